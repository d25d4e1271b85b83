//! What repair and proofs did since the start of the process, for metrics, and the brake.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use catalog::{BrakeSettings, BrakeState, ProofAges};
use types::ReplicaId;

use crate::EngineError;
use crate::engine::Engine;

/// Rows of the ledger looked at in one step.
const ROWS: u32 = 10_000;

/// Replicas made and doomed.
#[derive(Debug, Default)]
pub(crate) struct RepairStats {
    pub(crate) made: AtomicU64,
    pub(crate) stood_in: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) trimmed: AtomicU64,
    pub(crate) trims_failed: AtomicU64,
    /// Live replicas that turned out to be lost or wrong.
    pub(crate) lost: AtomicU64,
}

/// Replicas proved.
#[derive(Debug, Default)]
pub(crate) struct ProofStats {
    pub(crate) reads: AtomicU64,
    pub(crate) read_errors: AtomicU64,
    pub(crate) scrubbed: AtomicU64,
    pub(crate) scrub_errors: AtomicU64,
    pub(crate) deferred: AtomicU64,
    /// Those of them that a limit held back.
    pub(crate) declined: AtomicU64,
    /// How long ago replicas were proved, when that was last looked at.
    pub(crate) ages: Mutex<Option<ProofAges>>,
    /// Whether the log has been told that the brake is engaged.
    pub(crate) alarmed: AtomicBool,
}

/// What repair and proofs did since the start of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UpkeepCounts {
    /// Replicas made, those that stand in for others included.
    pub made: u64,
    /// Replicas made because a backend is gone.
    pub stood_in: u64,
    /// Repairs that failed; each counts once per try.
    pub failed: u64,
    /// Replicas doomed because there were too many.
    pub trimmed: u64,
    /// Looks for those that failed.
    pub trims_failed: u64,
    /// Replicas from which a client was served; each block was proved on its way.
    pub reads: u64,
    /// Replicas that turned out to be wrong while they were read.
    pub read_errors: u64,
    /// Replicas read whole to be proved.
    pub scrubbed: u64,
    /// Replicas that turned out to be wrong by that.
    pub scrub_errors: u64,
    /// Replicas that could not be read when it was their turn.
    pub deferred: u64,
    /// Those of them that a limit held back.
    pub declined: u64,
}

impl Engine {
    /// What repair and proofs did since the start of the process.
    #[must_use]
    pub fn upkeep(&self) -> UpkeepCounts {
        let (repairs, proofs) = (&self.shared.repairs, &self.shared.proofs);
        UpkeepCounts {
            made: repairs.made.load(Relaxed),
            stood_in: repairs.stood_in.load(Relaxed),
            failed: repairs.failed.load(Relaxed),
            trimmed: repairs.trimmed.load(Relaxed),
            trims_failed: repairs.trims_failed.load(Relaxed),
            reads: proofs.reads.load(Relaxed),
            read_errors: proofs.read_errors.load(Relaxed),
            scrubbed: proofs.scrubbed.load(Relaxed),
            scrub_errors: proofs.scrub_errors.load(Relaxed),
            deferred: proofs.deferred.load(Relaxed),
            declined: proofs.declined.load(Relaxed),
        }
    }

    /// Goes on with a walk over all replicas that looks how long ago they were proved: a page of it. `so_far` is what
    /// the pages before gave; behind the last page it is kept for whoever asks.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn proof_ages_step(&self, so_far: ProofAges) -> Result<ProofAges, EngineError> {
        let after: Option<ReplicaId> = so_far.next;
        let ages = so_far.and(self.shared.catalog.proof_ages(after, ROWS).await?);
        if ages.next.is_none() {
            *self.shared.proofs.ages.lock().unwrap_or_else(PoisonError::into_inner) = Some(ages);
        }
        Ok(ages)
    }

    /// Replicas that were never proved since they were written, and for how long the one is not proved of which that
    /// is longest ago; as of the last walk over all of them, `None` before the first.
    #[must_use]
    pub fn proof_ages(&self) -> Option<(u64, Duration)> {
        let ages = (*self.shared.proofs.ages.lock().unwrap_or_else(PoisonError::into_inner))?;
        let now = self.shared.clock.now();
        let age =
            |at: types::Timestamp| Duration::from_millis(now.as_millis().saturating_sub(at.as_millis()));
        Some((ages.never_proved, ages.oldest.map_or(Duration::ZERO, age)))
    }

    /// From when on too much is doomed within an hour, so that deletes are held.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn set_brake(&self, settings: BrakeSettings) -> Result<(), EngineError> {
        Ok(self.shared.repeat(|| self.shared.catalog.set_brake(settings)).await?)
    }

    /// Whether deletes are held. The log is told once.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn brake(&self) -> Result<BrakeState, EngineError> {
        let state = self.shared.catalog.brake().await?;
        let engaged = state.engaged_at.is_some();
        if engaged && !self.shared.proofs.alarmed.swap(engaged, Relaxed) {
            tracing::error!(
                why = state.why,
                "the brake is engaged: nothing is deleted any more until an operator releases it"
            );
        }
        Ok(state)
    }

    /// An operator has looked: deletes go on, and the counting begins anew.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn release_brake(&self) -> Result<(), EngineError> {
        let change = self.shared.ids.change();
        self.shared.repeat(|| self.shared.catalog.release_brake(change)).await?;
        self.shared.proofs.alarmed.store(false, Relaxed);
        tracing::warn!("the brake was released, deletes go on");
        self.shared.reap.ring();
        Ok(())
    }
}
