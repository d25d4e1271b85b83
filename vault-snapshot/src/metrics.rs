//! Numbers for Prometheus: served by the daemon, pushed by a single run.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use types::Timestamp;

use crate::name::SnapshotName;
use crate::record::Record;

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
    pub(crate) fn new<'a>(destinations: impl Iterator<Item = &'a str>) -> Self {
        let failures = destinations.map(|name| (name.to_owned(), 0)).collect();
        Self(Mutex::new(Numbers { failures, ..Numbers::default() }))
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
        let mut page = Page(String::new());
        let moments = [("success", numbers.last_success), ("verified", numbers.last_verified)];
        for (what, moment) in moments {
            let Some(moment) = moment else { continue };
            let about =
                format!("When a snapshot was last {}.", if what == "success" { "stored" } else { what });
            page.add(
                &format!("last_{what}_timestamp_seconds"),
                &about,
                "gauge",
                &[("", moment.as_secs().to_string())],
            );
            if let Some(now) = now {
                let age = now.as_secs().saturating_sub(moment.as_secs());
                page.add(
                    &format!("last_{what}_age_seconds"),
                    "The same as an age.",
                    "gauge",
                    &[("", age.to_string())],
                );
            }
        }
        page.add(
            "size_bytes",
            "Bytes of the last snapshot as stored.",
            "gauge",
            &[("", numbers.size.to_string())],
        );
        page.add("index", "Raft index of the last snapshot.", "gauge", &[("", numbers.index.to_string())]);
        let flag = |flag: bool| [("", u8::from(flag).to_string())];
        page.add(
            "size_dropped",
            "Whether it was much smaller than the one before.",
            "gauge",
            &flag(numbers.size_dropped),
        );
        page.add(
            "last_run_failed",
            "Whether the last run failed anywhere.",
            "gauge",
            &flag(numbers.last_failed),
        );
        let stages: Vec<_> = numbers
            .stages
            .iter()
            .map(|(stage, time)| {
                (format!("{{stage=\"{}\"}}", stage.word()), format!("{:.3}", time.as_secs_f64()))
            })
            .collect();
        page.add("stage_seconds", "How long each stage of the last run took.", "gauge", &borrowed(&stages));
        // Names of destinations are letters, digits, `_` and `-`: nothing to escape.
        let failures: Vec<_> = numbers
            .failures
            .iter()
            .map(|(name, count)| (format!("{{destination=\"{name}\"}}"), count.to_string()))
            .collect();
        page.add("destination_failures_total", "Failures by destination.", "counter", &borrowed(&failures));
        let [failed, well] = numbers.runs.map(|count| count.to_string());
        page.add(
            "runs_total",
            "Runs by outcome.",
            "counter",
            &[("{outcome=\"failed\"}", failed), ("{outcome=\"ok\"}", well)],
        );
        page.0
    }
}

fn borrowed(rows: &[(String, String)]) -> Vec<(&str, String)> {
    rows.iter().map(|(labels, value)| (labels.as_str(), value.clone())).collect()
}

struct Page(String);

impl Page {
    fn add(&mut self, name: &str, about: &str, kind: &str, rows: &[(&str, String)]) {
        if rows.is_empty() {
            return;
        }
        // Writing to memory does not fail.
        let _ = writeln!(self.0, "# HELP vault_snapshot_{name} {about}\n# TYPE vault_snapshot_{name} {kind}");
        for (labels, value) in rows {
            let _ = writeln!(self.0, "vault_snapshot_{name}{labels} {value}");
        }
    }
}
