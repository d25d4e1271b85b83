//! What fleet work did since the start of the process, for metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::engine::Engine;

/// Counters that only rise, and how many backends drain.
#[derive(Debug, Default)]
pub(crate) struct FleetStats {
    draining: AtomicU64,
    drain_moved: AtomicU64,
    drain_bytes: AtomicU64,
    rebalance_moved: AtomicU64,
    rebalance_failed: AtomicU64,
    rebalance_bytes: AtomicU64,
    rebalance_runs: AtomicU64,
    rebalance_level: AtomicU64,
    rebalance_empty: AtomicU64,
    rebalance_pending: AtomicU64,
    expired: AtomicU64,
    expiry_failed: AtomicU64,
    strays: AtomicU64,
    reclaimed: AtomicU64,
    vanished: AtomicU64,
    buried: AtomicU64,
    imports: [AtomicU64; ImportDecision::ALL.len()],
}

/// What became of a path that was to be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportDecision {
    /// It is an object now.
    Imported,
    /// It was imported before, its key is taken, it is of an orchestrator, or no object.
    Skipped,
    /// It could not be read, or changed meanwhile.
    Failed,
}

impl ImportDecision {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Imported, Self::Skipped, Self::Failed];

    /// The decision as the label of a metric.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Imported => "imported",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }
}

/// What fleet work did since the start of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FleetCounts {
    /// Backends that are to become empty and are not.
    pub draining: u64,
    /// Replicas that were drained.
    pub drain_moved: u64,
    /// Bytes that were charged for them.
    pub drain_bytes: u64,
    /// Replicas that were rebalanced.
    pub rebalance_moved: u64,
    /// Replicas that could not be.
    pub rebalance_failed: u64,
    /// Bytes that were copied for that.
    pub rebalance_bytes: u64,
    /// Runs that moved something, or tried.
    pub rebalance_runs: u64,
    /// Runs that found the backends level enough.
    pub rebalance_level: u64,
    /// Runs that found nothing that would make them more so.
    pub rebalance_empty: u64,
    /// Replicas that the run under way has yet to move.
    pub rebalance_pending: u64,
    /// Objects that expired.
    pub expired: u64,
    /// Objects that were to expire when the catalog did not answer.
    pub expiry_failed: u64,
    /// Strays that were put into quarantine.
    pub strays: u64,
    /// Replicas that were found of blobs that are known.
    pub reclaimed: u64,
    /// Live replicas that were not there.
    pub vanished: u64,
    /// Other instances that were declared dead.
    pub buried: u64,
    /// Paths that were to be imported, by what became of them, in the order of [`ImportDecision::ALL`].
    pub imports: [u64; ImportDecision::ALL.len()],
}

impl FleetStats {
    pub(crate) fn draining(&self, backends: u64) {
        self.draining.store(backends, Relaxed);
    }

    pub(crate) fn drained(&self, moved: u64, bytes: u64) {
        self.drain_moved.fetch_add(moved, Relaxed);
        self.drain_bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn rebalanced(&self, moved: u64, failed: u64, bytes: u64) {
        self.rebalance_runs.fetch_add(1, Relaxed);
        self.rebalance_moved.fetch_add(moved, Relaxed);
        self.rebalance_failed.fetch_add(failed, Relaxed);
        self.rebalance_bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn level(&self) {
        self.rebalance_level.fetch_add(1, Relaxed);
    }

    pub(crate) fn nothing_to_move(&self) {
        self.rebalance_empty.fetch_add(1, Relaxed);
    }

    pub(crate) fn to_rebalance(&self, replicas: u64) {
        self.rebalance_pending.store(replicas, Relaxed);
    }

    pub(crate) fn expiry_failed(&self, objects: u64) {
        self.expiry_failed.fetch_add(objects, Relaxed);
    }

    pub(crate) fn expired(&self, objects: u64) {
        self.expired.fetch_add(objects, Relaxed);
    }

    pub(crate) fn buried(&self, instances: u64) {
        self.buried.fetch_add(instances, Relaxed);
    }

    pub(crate) fn import_classified(&self, decision: ImportDecision, paths: u64) {
        let at = ImportDecision::ALL.iter().position(|known| *known == decision);
        self.imports[at.expect("all are listed")].fetch_add(paths, Relaxed);
    }

    pub(crate) fn took_in(&self, strays: u64, reclaimed: u64) {
        self.strays.fetch_add(strays, Relaxed);
        self.reclaimed.fetch_add(reclaimed, Relaxed);
    }

    pub(crate) fn vanished(&self) {
        self.vanished.fetch_add(1, Relaxed);
    }
}

impl Engine {
    /// What fleet work did since the start of the process.
    #[must_use]
    pub fn fleet_counts(&self) -> FleetCounts {
        let stats = &self.shared.stats;
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        FleetCounts {
            draining: read(&stats.draining),
            drain_moved: read(&stats.drain_moved),
            drain_bytes: read(&stats.drain_bytes),
            rebalance_moved: read(&stats.rebalance_moved),
            rebalance_failed: read(&stats.rebalance_failed),
            rebalance_bytes: read(&stats.rebalance_bytes),
            rebalance_runs: read(&stats.rebalance_runs),
            rebalance_level: read(&stats.rebalance_level),
            rebalance_empty: read(&stats.rebalance_empty),
            rebalance_pending: read(&stats.rebalance_pending),
            expired: read(&stats.expired),
            expiry_failed: read(&stats.expiry_failed),
            strays: read(&stats.strays),
            reclaimed: read(&stats.reclaimed),
            vanished: read(&stats.vanished),
            buried: read(&stats.buried),
            imports: std::array::from_fn(|at| read(&stats.imports[at])),
        }
    }
}
