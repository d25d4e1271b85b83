//! Fleet work: what was drained, rebalanced, expired, and found astray.

use std::fmt;
use std::sync::OnceLock;

use engine::{Engine, FleetCounts, ImportDecision};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Reads the engine's counts when somebody asks.
#[derive(Default)]
pub(crate) struct FleetMetrics {
    source: OnceLock<(Engine, &'static str)>,
}

impl fmt::Debug for FleetMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FleetMetrics")
    }
}

impl FleetMetrics {
    /// From now on, there is an engine to ask. `strategy` is what rebalancing strives for.
    pub(crate) fn connect(&self, engine: Engine, strategy: &'static str) {
        // A process has one engine.
        let _ = self.source.set((engine, strategy));
    }
}

type Plain = (&'static str, &'static str, fn(&FleetCounts) -> u64);

const PLAIN: [Plain; 6] = [
    ("drain_objects_moved", "Replicas that were drained", |counts| counts.drain_moved),
    ("drain_bytes_moved", "Bytes charged for replicas that were drained", |counts| counts.drain_bytes),
    ("lifecycle_deleted", "Objects that expired", |counts| counts.expired),
    ("lifecycle_failed", "Objects that were to expire when the catalog did not answer", |counts| {
        counts.expiry_failed
    }),
    ("reconcile_strays", "Bytes of ours without a row that went into quarantine, as objects", |counts| {
        counts.strays
    }),
    ("reconcile_vanished", "Live replicas that were not where they should be", |counts| counts.vanished),
];

/// A counter with labels: its name, its help, the name of its second label, and its values.
type Labelled = (&'static str, &'static str, &'static [(&'static str, fn(&FleetCounts) -> u64)]);

const BY_STRATEGY: [Labelled; 2] = [
    (
        "rebalance_objects_moved",
        "Replicas that were to be rebalanced",
        &[("success", |counts| counts.rebalance_moved), ("error", |counts| counts.rebalance_failed)],
    ),
    ("rebalance_runs", "Runs that moved something, or tried", &[("success", |counts| counts.rebalance_runs)]),
];

impl Collector for FleetMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some((engine, strategy)) = self.source.get() else { return Ok(()) };
        let counts = engine.fleet_counts();
        encoder
            .encode_descriptor(
                "drain_active",
                "Backends that are to become empty and are not",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&counts.draining)?;
        let help = "Replicas that the run under way has yet to move";
        encoder
            .encode_descriptor("rebalance_pending", help, None, MetricType::Gauge)?
            .encode_gauge(&counts.rebalance_pending)?;
        for (name, help, value) in PLAIN {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, u64>(&value(&counts), None)?;
        }
        for (name, help, values) in BY_STRATEGY {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (status, value) in values {
                let labels = [("strategy", *strategy), ("status", *status)];
                metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value(&counts), None)?;
            }
        }
        let help = "Paths that were to be imported, by what became of them";
        let mut metric = encoder.encode_descriptor("import_classified", help, None, MetricType::Counter)?;
        for (decision, paths) in ImportDecision::ALL.iter().zip(counts.imports) {
            metric
                .encode_family(&[("source", "sync"), ("decision", decision.as_str())])?
                .encode_counter::<NoLabelSet, _, u64>(&paths, None)?;
        }
        let help = "Bytes copied to rebalance";
        encoder
            .encode_descriptor("rebalance_bytes_moved", help, None, MetricType::Counter)?
            .encode_family(&[("strategy", *strategy)])?
            .encode_counter::<NoLabelSet, _, u64>(&counts.rebalance_bytes, None)?;
        let mut metric = encoder.encode_descriptor(
            "rebalance_skipped",
            "Runs that had nothing to move",
            None,
            MetricType::Counter,
        )?;
        for (reason, value) in [("threshold", counts.rebalance_level), ("empty_plan", counts.rebalance_empty)]
        {
            metric
                .encode_family(&[("reason", reason)])?
                .encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }
}
