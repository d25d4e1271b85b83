//! A catalog whose answers get lost, for the tests of what is built on one.

mod fleet;
mod repair;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use types::{
    BackendName, BootId, BucketName, ChangeId, ManifestId, ObjectKey, ReplicaId, Timestamp, UploadId,
};

use crate::{
    AbortUpload, AddReplica, BackendId, BackendSpec, BucketId, Catalog, CatalogError, CommitPart, CommitPut,
    Committed, CompleteUpload, Completed, CopyObject, CopyPart, CreateUpload, DeleteAnswer, DeleteObjects,
    Deployment, Doomed, Fate, GrantAsk, GrantRecord, Granted, Identity, Instance, Instances, Ledger,
    LimitKey, Limits, ListPage, ListQuery, Located, Names, Object, Objects, Part, PartsPage, PartsQuery,
    Piece, Reaping, ReplicaRow, Reserve, SetTags, Settled, Shipping, SnapshotCursor, SnapshotPage, Target,
    Totals, Unshipped, Upload, Uploads, UploadsPage, UploadsQuery, Usage, Want, Writes,
};

/// Turns every so many'th success of a transaction into [`CatalogError::Unknown`]: it happened, and nobody
/// was told. Reads and the start-up verbs keep their answers.
pub struct LosesAnswers {
    inner: Arc<dyn Catalog>,
    every: u64,
    answers: AtomicU64,
}

impl LosesAnswers {
    /// Loses every `every`th answer; the first one that is lost is the `every`th.
    pub fn new(inner: Arc<dyn Catalog>, every: u64) -> Self {
        Self { inner, every, answers: AtomicU64::new(0) }
    }

    fn lose<T>(&self, answer: Result<T, CatalogError>) -> Result<T, CatalogError> {
        let answer = answer?;
        let number = self.answers.fetch_add(1, Ordering::Relaxed) + 1;
        if number.is_multiple_of(self.every) {
            return Err(CatalogError::Unknown("lost on purpose".to_owned()));
        }
        Ok(answer)
    }
}

#[async_trait]
impl Deployment for LosesAnswers {
    async fn identity(&self) -> Result<Identity, CatalogError> {
        self.inner.identity().await
    }

    async fn begin_boot(&self, boot: BootId, at: Timestamp) -> Result<(), CatalogError> {
        self.inner.begin_boot(boot, at).await
    }

    async fn sync_buckets(&self, names: &[BucketName], at: Timestamp) -> Result<Vec<BucketId>, CatalogError> {
        self.inner.sync_buckets(names, at).await
    }

    async fn sync_backends(&self, specs: &[BackendSpec]) -> Result<Vec<BackendId>, CatalogError> {
        self.inner.sync_backends(specs).await
    }
}

#[async_trait]
impl Objects for LosesAnswers {
    fn horizon(&self) -> u64 {
        self.inner.horizon()
    }

    async fn locate(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        want: Want,
    ) -> Result<Option<Located>, CatalogError> {
        self.inner.locate(bucket, key, want).await
    }

    async fn pieces(&self, manifest: ManifestId, offset: u64) -> Result<Vec<Piece>, CatalogError> {
        self.inner.pieces(manifest, offset).await
    }

    async fn list(&self, query: &ListQuery) -> Result<ListPage, CatalogError> {
        self.inner.list(query).await
    }

    async fn object_parts(
        &self,
        manifest: ManifestId,
        after: u32,
        limit: u32,
    ) -> Result<Option<(Vec<Part>, u32)>, CatalogError> {
        self.inner.object_parts(manifest, after, limit).await
    }
}

#[async_trait]
impl Writes for LosesAnswers {
    async fn reserve(&self, reserve: Reserve) -> Result<Vec<Target>, CatalogError> {
        self.lose(self.inner.reserve(reserve).await)
    }

    async fn add_replica(&self, add: AddReplica) -> Result<Option<Target>, CatalogError> {
        self.lose(self.inner.add_replica(add).await)
    }

    async fn let_go(&self, owner: BootId, fates: Vec<Fate>) -> Result<(), CatalogError> {
        self.lose(self.inner.let_go(owner, fates).await)
    }

    async fn commit_put(&self, commit: CommitPut) -> Result<Committed, CatalogError> {
        self.lose(self.inner.commit_put(commit).await)
    }

    async fn copy_object(&self, copy: CopyObject) -> Result<Committed, CatalogError> {
        self.lose(self.inner.copy_object(copy).await)
    }

    async fn delete_objects(&self, delete: DeleteObjects) -> Result<Vec<DeleteAnswer>, CatalogError> {
        self.lose(self.inner.delete_objects(delete).await)
    }

    async fn set_tags(&self, set: SetTags) -> Result<Object, CatalogError> {
        self.lose(self.inner.set_tags(set).await)
    }
}

#[async_trait]
impl Uploads for LosesAnswers {
    async fn create_upload(&self, create: CreateUpload) -> Result<(), CatalogError> {
        self.lose(self.inner.create_upload(create).await)
    }

    async fn find_upload(
        &self,
        upload: UploadId,
        bucket: BucketId,
        key: &ObjectKey,
    ) -> Result<Option<Upload>, CatalogError> {
        self.inner.find_upload(upload, bucket, key).await
    }

    async fn commit_part(&self, commit: CommitPart) -> Result<(), CatalogError> {
        self.lose(self.inner.commit_part(commit).await)
    }

    async fn copy_part(&self, copy: CopyPart) -> Result<Part, CatalogError> {
        self.lose(self.inner.copy_part(copy).await)
    }

    async fn complete_upload(&self, complete: CompleteUpload) -> Result<Completed, CatalogError> {
        self.lose(self.inner.complete_upload(complete).await)
    }

    async fn abort_upload(&self, abort: AbortUpload) -> Result<(), CatalogError> {
        self.lose(self.inner.abort_upload(abort).await)
    }

    async fn list_parts(&self, query: &PartsQuery) -> Result<PartsPage, CatalogError> {
        self.inner.list_parts(query).await
    }

    async fn list_uploads(&self, query: &UploadsQuery) -> Result<UploadsPage, CatalogError> {
        self.inner.list_uploads(query).await
    }
}

#[async_trait]
impl Reaping for LosesAnswers {
    async fn claim_doomed(
        &self,
        backends: &[BackendId],
        horizon: u64,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Doomed>, CatalogError> {
        self.inner.claim_doomed(backends, horizon, now, limit).await
    }

    async fn settle_doomed(&self, change: ChangeId, settled: Vec<Settled>) -> Result<(), CatalogError> {
        self.lose(self.inner.settle_doomed(change, settled).await)
    }

    async fn next_doomed(&self, backends: &[BackendId]) -> Result<Option<Timestamp>, CatalogError> {
        self.inner.next_doomed(backends).await
    }

    async fn dissolve_manifests(
        &self,
        change: ChangeId,
        horizon: u64,
        limit: u32,
    ) -> Result<bool, CatalogError> {
        self.lose(self.inner.dissolve_manifests(change, horizon, limit).await)
    }

    async fn mark_suspect(
        &self,
        change: ChangeId,
        replica: ReplicaId,
        why: &str,
    ) -> Result<(), CatalogError> {
        self.lose(self.inner.mark_suspect(change, replica, why).await)
    }

    async fn expire_records(
        &self,
        uploads_before: Timestamp,
        journal_before: Timestamp,
        limit: u32,
    ) -> Result<bool, CatalogError> {
        self.lose(self.inner.expire_records(uploads_before, journal_before, limit).await)
    }
}

#[async_trait]
impl Ledger for LosesAnswers {
    async fn totals(&self) -> Result<Totals, CatalogError> {
        self.inner.totals().await
    }

    async fn charged(&self) -> Result<Vec<(BackendId, BackendName, u64)>, CatalogError> {
        self.inner.charged().await
    }

    async fn replicas(&self, after: Option<ReplicaId>, limit: u32) -> Result<Vec<ReplicaRow>, CatalogError> {
        self.inner.replicas(after, limit).await
    }

    async fn audit(&self) -> Result<Vec<String>, CatalogError> {
        self.inner.audit().await
    }
}

#[async_trait]
impl Instances for LosesAnswers {
    async fn join(&self, boot: BootId, at: Timestamp) -> Result<(), CatalogError> {
        self.inner.join(boot, at).await
    }

    async fn beat(&self, boot: BootId, oldest_read: u64) -> Result<u64, CatalogError> {
        self.lose(self.inner.beat(boot, oldest_read).await)
    }

    async fn living(&self) -> Result<Vec<Instance>, CatalogError> {
        self.inner.living().await
    }

    async fn declare_dead(&self, boot: BootId, beats: u64, at: Timestamp) -> Result<bool, CatalogError> {
        self.lose(self.inner.declare_dead(boot, beats, at).await)
    }
}

#[async_trait]
impl Limits for LosesAnswers {
    async fn time(&self) -> Result<Timestamp, CatalogError> {
        self.inner.time().await
    }

    async fn grant(&self, owner: BootId, asks: Vec<GrantAsk>) -> Result<Vec<Granted>, CatalogError> {
        self.lose(self.inner.grant(owner, asks).await)
    }

    async fn record(&self, owner: BootId, records: Vec<GrantRecord>) -> Result<(), CatalogError> {
        self.lose(self.inner.record(owner, records).await)
    }

    async fn usage(&self, keys: Vec<LimitKey>) -> Result<Vec<Usage>, CatalogError> {
        self.inner.usage(keys).await
    }
}

#[async_trait]
impl Shipping for LosesAnswers {
    async fn unshipped(&self, rows_max: u32, bytes_max: u64) -> Result<Unshipped, CatalogError> {
        self.inner.unshipped(rows_max, bytes_max).await
    }

    async fn mark_shipped(&self, changes: Vec<ChangeId>) -> Result<(), CatalogError> {
        self.lose(self.inner.mark_shipped(changes).await)
    }

    async fn last_sequence(&self) -> Result<u64, CatalogError> {
        self.inner.last_sequence().await
    }

    async fn names(&self) -> Result<Names, CatalogError> {
        self.inner.names().await
    }

    async fn snapshot_page(
        &self,
        from: SnapshotCursor,
        bytes_max: u64,
    ) -> Result<SnapshotPage, CatalogError> {
        self.inner.snapshot_page(from, bytes_max).await
    }

    async fn limits_closed(&self) -> Result<Option<Timestamp>, CatalogError> {
        self.inner.limits_closed().await
    }

    async fn open_limits(&self) -> Result<(), CatalogError> {
        self.lose(self.inner.open_limits().await)
    }
}
