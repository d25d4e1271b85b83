//! The daemon: runs by the schedule, until it is told to end.

use std::time::Duration;

use runtime::Phase;
use types::Timestamp;

use crate::listener;
use crate::schedule::next_run;
use crate::take::Tool;
use crate::trouble::Trouble;

/// A run that stored nothing is repeated sooner than the schedule says.
const AGAIN_AFTER: Duration = Duration::from_secs(600);

impl Tool {
    /// Runs until the shutdown begins.
    pub(crate) async fn daemon(self: &std::sync::Arc<Self>) -> Result<(), Trouble> {
        let schedule = &self.config.schedule;
        if schedule.cron.is_empty() && schedule.interval.is_none() {
            return Err(Trouble::lasting("there is no schedule: set schedule.cron or schedule.interval"));
        }
        let _listener = match &self.config.metrics.listen {
            Some(address) => Some(listener::start(&address.to_string(), std::sync::Arc::clone(self)).await?),
            None => None,
        };
        self.remember().await;
        let mut last = self.metrics.last_success();
        let mut failed = false;
        loop {
            let due = self.due(last, failed);
            tracing::info!("the next run is due at {}", crate::name::print_time(due));
            tokio::select! {
                () = self.wait_until(due) => {}
                () = self.shutdown.reached(Phase::Draining) => return Ok(()),
            }
            last = Some(self.clock.now());
            let outcome = self.run(false).await;
            if self.shutdown.phase() >= Phase::Draining {
                return Ok(());
            }
            failed = outcome.is_err();
            self.conclude(&outcome);
        }
    }

    fn due(&self, last: Option<Timestamp>, failed: bool) -> Timestamp {
        let now = self.clock.now();
        let jitter = u64::try_from(self.config.schedule.jitter.as_millis()).unwrap_or(u64::MAX);
        let jitter = Duration::from_millis(self.chance.below(jitter.saturating_add(1)));
        let due = next_run(&self.config.schedule, last, now, jitter);
        // An expression without a next time was refused when the configuration was read.
        let due = due.unwrap_or_else(|| now.plus(AGAIN_AFTER));
        if failed { due.min(now.plus(AGAIN_AFTER)) } else { due }
    }

    /// Looks at the clock again and again: it may be set meanwhile, and a machine may sleep.
    async fn wait_until(&self, due: Timestamp) {
        loop {
            let left = due.as_millis().saturating_sub(self.clock.now().as_millis());
            if left == 0 {
                return;
            }
            runtime::sleep(Duration::from_millis(left).min(Duration::from_secs(30))).await;
        }
    }
}
