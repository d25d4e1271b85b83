//! Who is told of runs: of repair, trimming, rebalancing and expiry.

use std::time::Duration;

/// Work that is counted in runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Work {
    /// Making replicas that are missing.
    Repair,
    /// Dooming replicas that are too many.
    Trim,
    /// Moving replicas so that backends are level.
    Rebalance,
    /// Removing objects that have expired.
    Lifecycle,
}

/// How a run went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunStatus {
    /// All that was tried succeeded.
    Success,
    /// Some of it did.
    Partial,
    /// None of it did.
    Failed,
    /// There was nothing to do.
    Empty,
    /// The catalog did not answer.
    Error,
}

impl RunStatus {
    /// The status of a run that did so much, and failed to do so much.
    #[must_use]
    pub fn of(done: u64, failed: u64) -> Self {
        match (done, failed) {
            (0, 0) => Self::Empty,
            (_, 0) => Self::Success,
            (0, _) => Self::Failed,
            _ => Self::Partial,
        }
    }

    /// The status as the label of a metric.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Empty => "empty",
            Self::Error => "error",
        }
    }
}

/// Is told of runs, for metrics.
pub trait Observer: Send + Sync {
    /// A run ended.
    fn ran(&self, work: Work, status: RunStatus, took: Duration);
}
