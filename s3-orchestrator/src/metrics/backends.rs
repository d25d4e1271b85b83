//! Requests to backends.

use std::sync::Arc;
use std::time::Duration;

use backend::{Direction, ErrorKind, MeterSink, Operation, Outcome};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use types::BackendName;

use super::Labels;

const SECONDS: [f64; 13] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];

type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// Counters of requests to all backends.
pub(crate) struct BackendMetrics {
    totals: Family<Labels, Counter>,
    seconds: Histograms,
    bytes: Family<Labels, Counter>,
    broken: Family<Labels, Counter>,
}

/// Counters of one backend.
pub(crate) struct OneBackend {
    operations: [Attempts; Operation::ALL.len()],
    bytes_in: Counter,
    bytes_out: Counter,
    broken: Counter,
}

struct Attempts {
    succeeded: Counter,
    failed: Counter,
    /// Whoever waited went away: no fault of the backend.
    dropped: Counter,
    seconds: Histogram,
}

impl BackendMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let seconds: Histograms = Family::new_with_constructor(|| Histogram::new(SECONDS));
        let counters =
            Self { totals: Family::default(), seconds, bytes: Family::default(), broken: Family::default() };
        registry.register(
            "backend_requests",
            "Requests to backends, each attempt by itself",
            counters.totals.clone(),
        );
        registry.register("backend_duration_seconds", "Until a backend answered", counters.seconds.clone());
        registry.register("backend_bytes", "Bytes of bodies to and from backends", counters.bytes.clone());
        registry.register("backend_broken_downloads", "Downloads that broke off", counters.broken.clone());
        counters
    }

    /// The counters of one backend.
    pub(crate) fn of(&self, backend: &BackendName) -> Arc<OneBackend> {
        let labels = |more: &[(&'static str, &str)]| -> Labels {
            let own = [("backend", backend.as_str())];
            own.iter().chain(more).map(|(name, value)| (*name, (*value).to_owned())).collect()
        };
        let attempts = |operation: Operation| {
            let operation = ("operation", operation.as_str());
            let total = |status| self.totals.get_or_create_owned(&labels(&[operation, ("status", status)]));
            Attempts {
                succeeded: total("success"),
                failed: total("error"),
                dropped: total("dropped"),
                seconds: self.seconds.get_or_create_owned(&labels(&[operation])),
            }
        };
        let bytes = |direction| self.bytes.get_or_create_owned(&labels(&[("direction", direction)]));
        Arc::new(OneBackend {
            operations: Operation::ALL.map(attempts),
            bytes_in: bytes("in"),
            bytes_out: bytes("out"),
            broken: self.broken.get_or_create_owned(&labels(&[])),
        })
    }
}

impl MeterSink for OneBackend {
    fn attempt(&self, _: &BackendName, _: Operation) {}

    fn outcome(&self, _: &BackendName, operation: Operation, outcome: Outcome, duration: Duration) {
        let found = Operation::ALL.into_iter().zip(&self.operations).find(|(known, _)| *known == operation);
        let Some((_, attempts)) = found else { return };
        match outcome {
            Outcome::Done => &attempts.succeeded,
            // Looking for what is not there is an answer like any other.
            Outcome::Failed(ErrorKind::NotFound) => &attempts.succeeded,
            Outcome::Failed(ErrorKind::BadBody) | Outcome::Dropped => &attempts.dropped,
            Outcome::Failed(_) => &attempts.failed,
        }
        .inc();
        attempts.seconds.observe(duration.as_secs_f64());
    }

    fn bytes(&self, _: &BackendName, direction: Direction, bytes: u64) {
        match direction {
            Direction::In => &self.bytes_in,
            Direction::Out => &self.bytes_out,
        }
        .inc_by(bytes);
    }

    fn broken(&self, _: &BackendName, _: ErrorKind) {
        self.broken.inc();
    }
}
