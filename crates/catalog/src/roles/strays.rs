//! Strays: bytes of ours that no row named, held in quarantine until somebody decides.

use async_trait::async_trait;
use types::{ChangeId, ReplicaId, Timestamp};

use crate::{
    BackendId, CatalogError, Committed, KnownReplica, Quarantined, RestoreQuarantined, Stray, StrayTimes,
    TakenIn, ToProve,
};

/// What lies on backends and should not.
#[async_trait]
pub trait Strays: Send + Sync + 'static {
    /// What the ledger says of these replicas, in their order; `None` where it names no such one.
    async fn known_replicas(&self, replicas: &[ReplicaId])
    -> Result<Vec<Option<KnownReplica>>, CatalogError>;

    /// none, `quarantined` -> `suspect`: as a replica of its blob, where that is referenced and as long.
    /// none -> `quarantined`: else, where it is settled. Charged whatever the quota says, for the bytes are there; what
    /// was charged already is not charged again. Any other replica that the ledger names by now is left alone.
    async fn take_in(
        &self,
        change: ChangeId,
        backend: BackendId,
        strays: Vec<Stray>,
        times: StrayTimes,
    ) -> Result<TakenIn, CatalogError>;

    /// Replicas that were taken in and may be proved at `now`, at most `limit`.
    async fn to_prove(&self, now: Timestamp, limit: u32) -> Result<ToProve, CatalogError>;

    /// When the proofs of replicas that were taken in are tried again; `None`: what there was to find out is known.
    async fn put_off_proofs(&self, proofs: Vec<(ReplicaId, Option<Timestamp>)>) -> Result<(), CatalogError>;

    /// Quarantined replicas behind an id, in their order, at most `limit`.
    async fn quarantined(
        &self,
        after: Option<ReplicaId>,
        limit: u32,
    ) -> Result<Vec<Quarantined>, CatalogError>;

    /// `quarantined` -> `doomed`: these, by the operator. Says how many there were.
    async fn doom_quarantined(&self, change: ChangeId, replicas: Vec<ReplicaId>)
    -> Result<u32, CatalogError>;

    /// `quarantined` -> `doomed`: those whose time is over at `now`, at most `limit`. Says how many.
    async fn expire_quarantined(
        &self,
        change: ChangeId,
        now: Timestamp,
        limit: u32,
    ) -> Result<u32, CatalogError>;

    /// `quarantined` -> `live`, as the content of a new object. Refused: `PreconditionFailed` where there is
    /// an object of that key, `Changed` where the replica is not in quarantine or its blob is referenced.
    async fn restore_quarantined(&self, restore: RestoreQuarantined) -> Result<Committed, CatalogError>;
}
