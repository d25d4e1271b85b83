//! What repair, trimming and proofs did, runs of workers, and the brake.

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use catalog::BrakeState;
use engine::{Engine, UpkeepCounts};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use workers::{Observer, RunStatus, Work};

use super::Labels;

/// Prometheus gives up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// 10 ms to about three hours.
const RUN_BUCKETS: u16 = 11;
/// A run of rebalancing moves a batch.
const REBALANCE_SECONDS: [f64; 9] = [1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0];

/// Runs as they end, counters as they are, the brake as it was last seen.
pub(crate) struct UpkeepMetrics {
    /// And what rebalancing strives for.
    engine: OnceLock<(Engine, &'static str)>,
    brake: Mutex<BrakeState>,
    repair: Runs,
    trim: Runs,
    lifecycle: Runs,
    rebalance: Family<Labels, Histogram, fn() -> Histogram>,
}

struct Runs {
    number: Family<Labels, Counter>,
    took: Histogram,
}

impl Runs {
    fn new(registry: &mut Registry, name: &str, what: &str) -> Self {
        let number = Family::<Labels, Counter>::default();
        registry.register(format!("{name}_runs"), format!("Runs of {what}"), number.clone());
        let took = Histogram::new(exponential_buckets(0.01, 4.0, RUN_BUCKETS));
        registry.register(
            format!("{name}_duration_seconds"),
            format!("How long runs of {what} took"),
            took.clone(),
        );
        Self { number, took }
    }
}

impl UpkeepMetrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let rebalance: Family<Labels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(REBALANCE_SECONDS));
        let help = "How long runs of rebalancing took";
        registry.register("rebalance_duration_seconds", help, rebalance.clone());
        Self {
            engine: OnceLock::new(),
            brake: Mutex::default(),
            repair: Runs::new(registry, "replication", "repair"),
            trim: Runs::new(registry, "over_replication", "trimming"),
            lifecycle: Runs::new(registry, "lifecycle", "expiry"),
            rebalance,
        }
    }

    /// From now on, there is an engine to ask. `strategy` is what rebalancing strives for.
    pub(crate) fn connect(&self, engine: Engine, strategy: &'static str) {
        // A process has one engine.
        let _ = self.engine.set((engine, strategy));
    }

    /// Looks at the brake. Without an answer it stays as it was seen.
    pub(crate) async fn refresh(&self) {
        let Some((engine, _)) = self.engine.get() else { return };
        if let Ok(Ok(state)) = runtime::timeout(PATIENCE, engine.brake()).await {
            *self.brake.lock().unwrap_or_else(PoisonError::into_inner) = state;
        }
    }
}

impl fmt::Debug for UpkeepMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpkeepMetrics")
    }
}

impl Observer for UpkeepMetrics {
    fn ran(&self, work: Work, status: RunStatus, took: Duration) {
        let runs = match work {
            Work::Repair => &self.repair,
            Work::Trim => &self.trim,
            Work::Lifecycle => &self.lifecycle,
            // Its runs are counted where its moves are.
            Work::Rebalance => {
                let strategy = self.engine.get().map_or("", |(_, strategy)| strategy);
                let labels = vec![("strategy", strategy.to_owned())];
                self.rebalance.get_or_create_owned(&labels).observe(took.as_secs_f64());
                return;
            }
        };
        runs.number.get_or_create(&vec![("status", status.as_str().to_owned())]).inc();
        runs.took.observe(took.as_secs_f64());
    }
}

/// A counter: its name, its help, its value.
type Count = (&'static str, &'static str, fn(&UpkeepCounts) -> u64);

const COUNTS: [Count; 7] = [
    ("replication_copies_created", "Replicas made after the write", |counts| counts.made),
    ("replication_errors", "Repairs that failed; each counts once per try", |counts| counts.failed),
    ("replication_health_copies", "Replicas made because a backend is gone", |counts| counts.stood_in),
    ("over_replication_removed", "Replicas doomed because there were too many", |counts| counts.trimmed),
    ("over_replication_errors", "Looks for those that failed", |counts| counts.trims_failed),
    ("integrity_usage_declined", "Proofs that a limit left no room for", |counts| counts.declined),
    ("integrity_deferred_copies", "Replicas that could not be read when it was their turn", |counts| {
        counts.deferred
    }),
];

/// A counter by operation: its name, its help, its values.
type ByOperation = (&'static str, &'static str, [(&'static str, fn(&UpkeepCounts) -> u64); 2]);

const BY_OPERATION: [ByOperation; 2] = [
    (
        "integrity_checks",
        "Replicas that were read and proved",
        [("read", |counts| counts.reads), ("scrub", |counts| counts.scrubbed)],
    ),
    (
        "integrity_errors",
        "Replicas that turned out to be wrong",
        [("read", |counts| counts.read_errors), ("scrub", |counts| counts.scrub_errors)],
    ),
];

impl Collector for UpkeepMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some((engine, _)) = self.engine.get() else { return Ok(()) };
        let counts = engine.upkeep();
        for (name, help, value) in COUNTS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&value(&counts), None)?;
        }
        for (name, help, values) in BY_OPERATION {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (operation, value) in values {
                metric
                    .encode_family(&[("operation", operation)])?
                    .encode_counter::<NoLabelSet, _, u64>(&value(&counts), None)?;
            }
        }
        if let Some((never, oldest)) = engine.proof_ages() {
            for (name, help, value) in [
                (
                    "integrity_never_verified_copies",
                    "Replicas that were never read whole since they were written",
                    never,
                ),
                (
                    "integrity_oldest_unverified_seconds",
                    "For how long the replica is not proved of which that is longest ago",
                    oldest.as_secs(),
                ),
            ] {
                encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
            }
        }
        let brake = self.brake.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, help, value) in [
            (
                "brake_engaged",
                "1 while nothing is deleted because too much was doomed; an operator has to release it",
                u64::from(brake.engaged_at.is_some()),
            ),
            ("brake_doomed_in_hour", "Replicas that count for the brake", brake.doomed_in_hour),
        ] {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
        }
        Ok(())
    }
}
