//! Numbers for Prometheus: served by the daemon, pushed by a single run.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use companion::Exposition;
use snapshot::{Record, SnapshotName};
use types::Timestamp;

/// What takes time in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Finding the leader, logging in, and its first byte.
    Begin,
    /// From the first byte to the naming at every destination.
    Stream,
    /// Reading back, and thinning out.
    Verify,
}

impl Stage {
    fn word(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Stream => "stream",
            Self::Verify => "verify",
        }
    }
}

#[derive(Default)]
pub(crate) struct Metrics(Mutex<Numbers>);

#[derive(Default)]
struct Numbers {
    last_success: Option<Timestamp>,
    last_verified: Option<Timestamp>,
    size: u64,
    index: u64,
    size_dropped: bool,
    last_failed: bool,
    stages: BTreeMap<Stage, Duration>,
    failures: BTreeMap<String, u64>,
    runs: [u64; 2],
}

impl Metrics {
    /// Counts from zero: a destination that never failed has a number, too.
    pub(crate) fn know<'a>(&self, destinations: impl Iterator<Item = &'a str>) {
        let mut numbers = self.lock();
        for name in destinations {
            numbers.failures.entry(name.to_owned()).or_default();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Numbers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn took(&self, stage: Stage, time: Duration) {
        self.lock().stages.insert(stage, time);
    }

    pub(crate) fn failed_at(&self, destination: &str) {
        *self.lock().failures.entry(destination.to_owned()).or_default() += 1;
    }

    pub(crate) fn size_dropped(&self, dropped: bool) {
        self.lock().size_dropped = dropped;
    }

    /// What a run stored, or a daemon found at its start.
    pub(crate) fn stored(&self, name: &SnapshotName, record: &Record, verified: Timestamp) {
        let mut numbers = self.lock();
        numbers.last_success = Some(name.time);
        numbers.last_verified = Some(verified);
        (numbers.size, numbers.index) = (record.size, name.index);
    }

    pub(crate) fn ended(&self, well: bool) {
        let mut numbers = self.lock();
        numbers.runs[usize::from(well)] += 1;
        numbers.last_failed = !well;
    }

    /// When the last snapshot that is known of was taken.
    pub(crate) fn last_success(&self) -> Option<Timestamp> {
        self.lock().last_success
    }

    /// In the text format of Prometheus. `now`: with ages as well, which only who is asked again can give.
    pub(crate) fn text(&self, now: Option<Timestamp>) -> String {
        let numbers = self.lock();
        let mut page = Exposition::new("vault_snapshot_");
        let moments = [
            ("success", "When a snapshot was last stored.", numbers.last_success),
            ("verified", "When a snapshot was last verified.", numbers.last_verified),
        ];
        for (what, help, moment) in moments {
            let Some(moment) = moment else { continue };
            page.single(&format!("last_{what}_timestamp_seconds"), "gauge", help, moment.as_secs());
            if let Some(now) = now {
                let age = now.as_secs().saturating_sub(moment.as_secs());
                page.single(&format!("last_{what}_age_seconds"), "gauge", "The same as an age.", age);
            }
        }
        page.single("size_bytes", "gauge", "Bytes of the last snapshot as stored.", numbers.size);
        page.single("index", "gauge", "Raft index of the last snapshot.", numbers.index);
        let dropped = u8::from(numbers.size_dropped);
        page.single("size_dropped", "gauge", "Whether it was much smaller than the one before.", dropped);
        let failed = u8::from(numbers.last_failed);
        page.single("last_run_failed", "gauge", "Whether the last run failed anywhere.", failed);
        page.head("stage_seconds", "gauge", "How long each stage of the last run took.");
        for (stage, time) in &numbers.stages {
            page.line("stage_seconds", &[("stage", stage.word())], format!("{:.3}", time.as_secs_f64()));
        }
        page.head("destination_failures_total", "counter", "Failures by destination.");
        for (destination, count) in &numbers.failures {
            page.line("destination_failures_total", &[("destination", destination)], count);
        }
        page.head("runs_total", "counter", "Runs by outcome.");
        for (outcome, count) in ["failed", "ok"].iter().zip(numbers.runs) {
            page.line("runs_total", &[("outcome", outcome)], count);
        }
        page.finish()
    }
}
