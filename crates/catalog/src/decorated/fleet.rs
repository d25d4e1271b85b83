//! The verbs of fleet work.

use async_trait::async_trait;
use types::{BlobId, BootId, ChangeId, ReplicaId, Timestamp};

use super::{Around, Decorated, Verb, reads, writes};
use crate::{
    BackendId, BucketId, CatalogError, CommitMove, Committed, DoomedPage, Drain, ExpiredPage, ExpiredQuery,
    Expiry, Fleet, HeldPage, KnownReplica, MoveSource, Moves, Quarantined, Removed, RestoreQuarantined,
    Retire, Retired, SeenObject, StaleUpload, Stray, StrayTimes, Strays, TakenIn, Target, ToProve,
};

#[async_trait]
impl<A: Around> Fleet for Decorated<A> {
    async fn drains(&self) -> Result<Vec<Drain>, CatalogError> {
        reads!(self.drains())
    }

    async fn start_drain(
        &self,
        change: ChangeId,
        backend: BackendId,
        at: Timestamp,
    ) -> Result<(), CatalogError> {
        writes!(self.start_drain(change, backend, at))
    }

    async fn cancel_drain(&self, change: ChangeId, backend: BackendId) -> Result<bool, CatalogError> {
        writes!(self.cancel_drain(change, backend))
    }

    async fn held(
        &self,
        backend: BackendId,
        after: Option<ReplicaId>,
        rows_max: u32,
    ) -> Result<HeldPage, CatalogError> {
        reads!(self.held(backend, after, rows_max))
    }

    async fn retire_replica(&self, retire: Retire) -> Result<Retired, CatalogError> {
        writes!(self.retire_replica(retire))
    }

    async fn remove_backend(&self, backend: BackendId) -> Result<Removed, CatalogError> {
        writes!(self.remove_backend(backend))
    }

    async fn give_up_doomed(
        &self,
        change: ChangeId,
        backend: BackendId,
        limit: u32,
    ) -> Result<u32, CatalogError> {
        writes!(self.give_up_doomed(change, backend, limit))
    }

    async fn doomed(&self, limit: u32) -> Result<DoomedPage, CatalogError> {
        reads!(self.doomed(limit))
    }
}

#[async_trait]
impl<A: Around> Expiry for Decorated<A> {
    async fn expired(&self, query: &ExpiredQuery) -> Result<ExpiredPage, CatalogError> {
        reads!(self.expired(query))
    }

    async fn expire_objects(
        &self,
        change: ChangeId,
        bucket: BucketId,
        seen: Vec<SeenObject>,
    ) -> Result<u32, CatalogError> {
        writes!(self.expire_objects(change, bucket, seen))
    }

    async fn stale_uploads(&self, before: Timestamp, limit: u32) -> Result<Vec<StaleUpload>, CatalogError> {
        reads!(self.stale_uploads(before, limit))
    }
}

#[async_trait]
impl<A: Around> Strays for Decorated<A> {
    async fn known_replicas(
        &self,
        replicas: &[ReplicaId],
    ) -> Result<Vec<Option<KnownReplica>>, CatalogError> {
        reads!(self.known_replicas(replicas))
    }

    async fn take_in(
        &self,
        change: ChangeId,
        backend: BackendId,
        strays: Vec<Stray>,
        times: StrayTimes,
    ) -> Result<TakenIn, CatalogError> {
        writes!(self.take_in(change, backend, strays, times))
    }

    async fn to_prove(&self, now: Timestamp, limit: u32) -> Result<ToProve, CatalogError> {
        reads!(self.to_prove(now, limit))
    }

    async fn put_off_proofs(&self, proofs: Vec<(ReplicaId, Option<Timestamp>)>) -> Result<(), CatalogError> {
        writes!(self.put_off_proofs(proofs))
    }

    async fn quarantined(
        &self,
        after: Option<ReplicaId>,
        limit: u32,
    ) -> Result<Vec<Quarantined>, CatalogError> {
        reads!(self.quarantined(after, limit))
    }

    async fn doom_quarantined(
        &self,
        change: ChangeId,
        replicas: Vec<ReplicaId>,
    ) -> Result<u32, CatalogError> {
        writes!(self.doom_quarantined(change, replicas))
    }

    async fn expire_quarantined(
        &self,
        change: ChangeId,
        now: Timestamp,
        limit: u32,
    ) -> Result<u32, CatalogError> {
        writes!(self.expire_quarantined(change, now, limit))
    }

    async fn restore_quarantined(&self, restore: RestoreQuarantined) -> Result<Committed, CatalogError> {
        writes!(self.restore_quarantined(restore))
    }
}

#[async_trait]
impl<A: Around> Moves for Decorated<A> {
    async fn move_source(&self, blob: BlobId) -> Result<Option<MoveSource>, CatalogError> {
        reads!(self.move_source(blob))
    }

    async fn reserve_move(
        &self,
        blob: BlobId,
        owner: BootId,
        targets: Vec<Target>,
    ) -> Result<Option<Target>, CatalogError> {
        writes!(self.reserve_move(blob, owner, targets))
    }

    async fn commit_move(&self, commit: CommitMove) -> Result<(), CatalogError> {
        writes!(self.commit_move(commit))
    }
}
