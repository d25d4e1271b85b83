//! The answers of fleet work.

use async_trait::async_trait;
use types::{BlobId, BootId, ChangeId, ReplicaId, Timestamp};

use super::LosesAnswers;
use crate::{
    BackendId, BucketId, CatalogError, CommitMove, Committed, DoomedPage, Drain, ExpiredPage, ExpiredQuery,
    Expiry, Fleet, HeldPage, KnownReplica, MoveSource, Moves, Quarantined, Removed, RestoreQuarantined,
    Retire, Retired, SeenObject, StaleUpload, Stray, Strays, Target,
};

#[async_trait]
impl Fleet for LosesAnswers {
    async fn drains(&self) -> Result<Vec<Drain>, CatalogError> {
        self.inner.drains().await
    }

    async fn start_drain(&self, backend: BackendId, at: Timestamp) -> Result<(), CatalogError> {
        self.lose(self.inner.start_drain(backend, at).await)
    }

    async fn cancel_drain(&self, backend: BackendId) -> Result<bool, CatalogError> {
        self.lose(self.inner.cancel_drain(backend).await)
    }

    async fn held(
        &self,
        backend: BackendId,
        after: Option<ReplicaId>,
        rows_max: u32,
    ) -> Result<HeldPage, CatalogError> {
        self.inner.held(backend, after, rows_max).await
    }

    async fn retire_replica(&self, retire: Retire) -> Result<Retired, CatalogError> {
        self.lose(self.inner.retire_replica(retire).await)
    }

    async fn remove_backend(&self, backend: BackendId) -> Result<Removed, CatalogError> {
        self.lose(self.inner.remove_backend(backend).await)
    }

    async fn give_up_doomed(
        &self,
        change: ChangeId,
        backend: BackendId,
        limit: u32,
    ) -> Result<u32, CatalogError> {
        self.lose(self.inner.give_up_doomed(change, backend, limit).await)
    }

    async fn doomed(&self, limit: u32) -> Result<DoomedPage, CatalogError> {
        self.inner.doomed(limit).await
    }
}

#[async_trait]
impl Expiry for LosesAnswers {
    async fn expired(&self, query: &ExpiredQuery) -> Result<ExpiredPage, CatalogError> {
        self.inner.expired(query).await
    }

    async fn expire_objects(
        &self,
        change: ChangeId,
        bucket: BucketId,
        seen: Vec<SeenObject>,
    ) -> Result<u32, CatalogError> {
        self.lose(self.inner.expire_objects(change, bucket, seen).await)
    }

    async fn stale_uploads(&self, before: Timestamp, limit: u32) -> Result<Vec<StaleUpload>, CatalogError> {
        self.inner.stale_uploads(before, limit).await
    }
}

#[async_trait]
impl Strays for LosesAnswers {
    async fn known_replicas(
        &self,
        replicas: &[ReplicaId],
    ) -> Result<Vec<Option<KnownReplica>>, CatalogError> {
        self.inner.known_replicas(replicas).await
    }

    async fn quarantine(
        &self,
        change: ChangeId,
        backend: BackendId,
        strays: Vec<Stray>,
        until: Timestamp,
    ) -> Result<u32, CatalogError> {
        self.lose(self.inner.quarantine(change, backend, strays, until).await)
    }

    async fn quarantined(
        &self,
        after: Option<ReplicaId>,
        limit: u32,
    ) -> Result<Vec<Quarantined>, CatalogError> {
        self.inner.quarantined(after, limit).await
    }

    async fn doom_quarantined(
        &self,
        change: ChangeId,
        replicas: Vec<ReplicaId>,
    ) -> Result<u32, CatalogError> {
        self.lose(self.inner.doom_quarantined(change, replicas).await)
    }

    async fn expire_quarantined(
        &self,
        change: ChangeId,
        now: Timestamp,
        limit: u32,
    ) -> Result<u32, CatalogError> {
        self.lose(self.inner.expire_quarantined(change, now, limit).await)
    }

    async fn restore_quarantined(&self, restore: RestoreQuarantined) -> Result<Committed, CatalogError> {
        self.lose(self.inner.restore_quarantined(restore).await)
    }
}

#[async_trait]
impl Moves for LosesAnswers {
    async fn move_source(&self, blob: BlobId) -> Result<Option<MoveSource>, CatalogError> {
        self.inner.move_source(blob).await
    }

    async fn reserve_move(
        &self,
        blob: BlobId,
        owner: BootId,
        targets: Vec<Target>,
    ) -> Result<Option<Target>, CatalogError> {
        self.lose(self.inner.reserve_move(blob, owner, targets).await)
    }

    async fn commit_move(&self, commit: CommitMove) -> Result<(), CatalogError> {
        self.lose(self.inner.commit_move(commit).await)
    }
}
