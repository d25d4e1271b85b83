//! The daemon: runs by the schedule, until it is told to end. SIGHUP reads the configuration anew.

use std::sync::Arc;
use std::time::Duration;

use companion::Page;
use runtime::{Phase, Task};
use snapshot::{next_run, print_time};
use tokio::signal::unix::{SignalKind, signal};
use types::Timestamp;

use crate::cli::Flags;
use crate::tool::{self, Tool};
use crate::trouble::Trouble;

/// A run that stored nothing is repeated sooner than the schedule says.
const AGAIN_AFTER: Duration = Duration::from_secs(600);

impl Tool {
    /// Runs until the shutdown begins.
    pub(crate) async fn daemon(mut self, flags: &Flags) -> Result<(), Trouble> {
        self.check_schedule()?;
        let mut reload = signal(SignalKind::hangup())?;
        let _pages = self.serve().await?;
        self.remember().await;
        let mut last = self.lasting.metrics.last_success();
        let mut failed = false;
        loop {
            let due = self.due(last, failed);
            tracing::info!("the next run is due at {}", print_time(due));
            tokio::select! {
                () = self.wait_until(due) => {}
                () = self.lasting.shutdown.reached(Phase::Draining) => return Ok(()),
                // One that comes during a run is taken after it.
                _ = reload.recv() => {
                    self = self.anew(flags);
                    continue;
                }
            }
            last = Some(self.lasting.clock.now());
            let outcome = self.run(false).await;
            if self.lasting.shutdown.phase() >= Phase::Draining {
                return Ok(());
            }
            failed = outcome.is_err();
            self.conclude(&outcome);
        }
    }

    fn check_schedule(&self) -> Result<(), Trouble> {
        let schedule = &self.config.schedule;
        if schedule.cron.is_empty() && schedule.interval.is_none() {
            return Err(Trouble::lasting("there is no schedule: set schedule.cron or schedule.interval"));
        }
        Ok(())
    }

    async fn serve(&self) -> Result<Option<Task<()>>, Trouble> {
        let Some(address) = &self.config.metrics.listen else { return Ok(None) };
        // An address without a host is all of them.
        let address = address.to_string();
        let address = if address.starts_with(':') { format!("0.0.0.0{address}") } else { address };
        let (metrics, clock) = (Arc::clone(&self.lasting.metrics), self.lasting.clock.clone());
        let answer = move |path: &str| match path {
            "/metrics" => Some(Page::metrics(metrics.text(Some(clock.now())))),
            "/health" => Some(Page::status(200, "ok")),
            _ => None,
        };
        companion::listen(address, answer).await.map(Some).map_err(Trouble::lasting)
    }

    /// The same with the configuration as it is now; as before, where that cannot be used.
    fn anew(self, flags: &Flags) -> Self {
        let loaded = tool::load(flags).map_err(|problems| problems.to_string()).and_then(|(config, _)| {
            let new = Self::new(config, flags, self.lasting.clone());
            let new = new.and_then(|new| new.check_schedule().map(|()| new));
            new.map_err(|trouble| trouble.message)
        });
        match loaded {
            Ok(new) => {
                if new.config.metrics.listen != self.config.metrics.listen {
                    tracing::warn!("metrics.listen changes with a restart only");
                }
                tracing::info!("the configuration was read anew");
                new
            }
            Err(why) => {
                tracing::error!("the old configuration stays: {why}");
                self
            }
        }
    }

    fn due(&self, last: Option<Timestamp>, failed: bool) -> Timestamp {
        let now = self.lasting.clock.now();
        let jitter = u64::try_from(self.config.schedule.jitter.as_millis()).unwrap_or(u64::MAX);
        let jitter = Duration::from_millis(self.lasting.chance.below(jitter.saturating_add(1)));
        let due = next_run(&self.config.schedule, last, now, jitter);
        // An expression without a next time was refused when the configuration was read.
        let due = due.unwrap_or_else(|| now.plus(AGAIN_AFTER));
        if failed { due.min(now.plus(AGAIN_AFTER)) } else { due }
    }

    /// Looks at the clock again and again: it may be set meanwhile, and a machine may sleep.
    async fn wait_until(&self, due: Timestamp) {
        loop {
            let left = due.as_millis().saturating_sub(self.lasting.clock.now().as_millis());
            if left == 0 {
                return;
            }
            runtime::sleep(Duration::from_millis(left).min(Duration::from_secs(30))).await;
        }
    }
}
