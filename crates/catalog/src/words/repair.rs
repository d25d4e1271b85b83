//! Repair, proofs of replicas, and the brake.

use types::{BlobId, ReplicaId, ReplicaPath, Timestamp};

use crate::{BackendId, ReplicaState};

/// A blob that has fewer live replicas than it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShortBlob {
    /// The blob.
    pub blob: BlobId,
    /// Repairs that failed since it last gained a replica.
    pub attempts: u32,
}

/// Blobs to repair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shortage {
    /// Those that are due, most endangered first.
    pub due: Vec<ShortBlob>,
    /// When the first of those is due that wait for another try.
    pub next: Option<Timestamp>,
}

/// A repair that failed.
#[derive(Debug, Clone)]
pub struct Postponed {
    /// The blob.
    pub blob: BlobId,
    /// When to try again.
    pub retry_at: Timestamp,
    /// Why it failed, for the operator.
    pub error: String,
}

/// A page of the round over all replicas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScrubPage {
    /// Live and suspect replicas whose proof is old enough.
    pub unproved: Vec<Unproved>,
    /// The last replica that was looked at; `None` where the round ends with this page.
    pub last: Option<ReplicaId>,
}

/// A replica to be proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unproved {
    /// The replica.
    pub replica: ReplicaId,
    /// Its blob.
    pub blob: BlobId,
    /// Where.
    pub backend: BackendId,
    /// At which path.
    pub path: ReplicaPath,
    /// Live or suspect.
    pub state: ReplicaState,
    /// When all its bytes were last proved on the backend.
    pub verified_at: Option<Timestamp>,
}

/// How long ago replicas were proved: a page of a walk over all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProofAges {
    /// Live and suspect replicas that were never read whole since they were written.
    pub never_proved: u64,
    /// When the one was written or proved of which that is longest ago.
    pub oldest: Option<Timestamp>,
    /// Where the next page starts; `None` behind the last.
    pub next: Option<ReplicaId>,
}

impl ProofAges {
    /// This page and the next one together.
    #[must_use]
    pub fn and(self, later: Self) -> Self {
        let oldest = self.oldest.into_iter().chain(later.oldest).min();
        Self { never_proved: self.never_proved + later.never_proved, oldest, next: later.next }
    }
}

/// When too much is being doomed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrakeSettings {
    /// Share of all replicas that may be doomed within an hour, in millionths.
    pub share_ppm: u32,
    /// So many may be doomed within an hour, whatever the share.
    pub floor: u64,
    /// Whether what clients delete and overwrite counts too.
    pub clients: bool,
}

/// Whether deletes are held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BrakeState {
    /// Since when nothing is given out to be deleted; `None` while all is well.
    pub engaged_at: Option<Timestamp>,
    /// Why, for the operator. Empty while all is well.
    pub why: String,
    /// Replicas that count and were doomed within the hour before the last of them.
    pub doomed_in_hour: u64,
}
