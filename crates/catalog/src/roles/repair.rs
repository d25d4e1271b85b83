//! Replicas after the write: those that are missing, those that are too many, and proofs of all.

use async_trait::async_trait;
use types::{BlobId, ChangeId, ReplicaId, Timestamp};

use crate::{BrakeSettings, BrakeState, CatalogError, Postponed, ProofAges, ScrubPage, Shortage};

/// The roles that keep replicas as they should be.
pub trait Care: Repair + Scrubbing + Brake {}

impl<T: Repair + Scrubbing + Brake> Care for T {}

/// How many replicas there are, and how many there should be.
#[async_trait]
pub trait Repair: Send + Sync + 'static {
    /// Referenced blobs with fewer live replicas than wanted that are due at `now`: those with the fewest
    /// first, and of these those that are due for the longest time; at most `limit`. Claims nothing.
    async fn short_blobs(&self, now: Timestamp, limit: u32) -> Result<Shortage, CatalogError>;

    /// Puts off blobs whose repair failed. One that gained a replica, or lost one, is due at once again.
    async fn postpone_repairs(&self, postponed: Vec<Postponed>) -> Result<(), CatalogError>;

    /// Referenced blobs with more live replicas than wanted, behind an id, in their order, at most `limit`.
    async fn surplus_blobs(&self, after: Option<BlobId>, limit: u32) -> Result<Vec<BlobId>, CatalogError>;

    /// Goes on with marking all referenced blobs as wanting `factor` replicas, at most `limit` of them; begins anew
    /// where the factor is another one than the last time, or another boot died since. Those of the
    /// internal bucket stay as they are. Says whether there is more to do.
    async fn remark_wanted(&self, factor: u32, limit: u32) -> Result<bool, CatalogError>;
}

/// Proofs of what lies on the backends, in rounds: every replica has its turn before any has a second.
#[async_trait]
pub trait Scrubbing: Send + Sync + 'static {
    /// Goes on with the round where it was noted to be: live and suspect replicas that were written before
    /// `before` and not proved since, at most `limit`; looks at `rows_max` rows at most, so a page may be
    /// empty and still not the last.
    async fn scrub_page(
        &self,
        before: Timestamp,
        limit: u32,
        rows_max: u32,
    ) -> Result<ScrubPage, CatalogError>;

    /// Notes how far the round has come; `None` begins the next one.
    async fn note_scrubbed(&self, last: Option<ReplicaId>) -> Result<(), CatalogError>;

    /// How long ago the replicas behind an id were proved, in their order; looks at `rows_max` rows at most.
    async fn proof_ages(&self, after: Option<ReplicaId>, rows_max: u32) -> Result<ProofAges, CatalogError>;

    /// All bytes of a replica were read and are right. A suspect one becomes `live`, unless its backend has
    /// another `writing` or `live` one of the blob.
    async fn note_proved(
        &self,
        change: ChangeId,
        replica: ReplicaId,
        at: Timestamp,
    ) -> Result<(), CatalogError>;
}

/// The brake: holds all deletes when more is doomed than can be meant. What is doomed only because others
/// stand in for it does not count.
#[async_trait]
pub trait Brake: Send + Sync + 'static {
    /// From when on it is too much.
    async fn set_brake(&self, settings: BrakeSettings) -> Result<(), CatalogError>;

    /// Whether deletes are held.
    async fn brake(&self) -> Result<BrakeState, CatalogError>;

    /// An operator has looked: deletes go on, and the counting begins anew.
    async fn release_brake(&self, change: ChangeId) -> Result<(), CatalogError>;
}
