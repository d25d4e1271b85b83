//! A catalog around another one: the one place that passes every verb on.
//!
//! What is done around a verb is told once, in [`Around`], whatever the verb is. A new verb gets its line here,
//! and every decorator has it.

mod fleet;
mod imports;
mod limits;
mod repair;
mod shipping;

use std::sync::Arc;

use async_trait::async_trait;
use types::{
    BackendName, BootId, BucketName, ChangeId, ManifestId, ObjectKey, ReplicaId, Timestamp, UploadId,
};

use crate::{
    AbortUpload, AddReplica, BackendId, BackendSpec, BucketId, Catalog, CatalogError, CommitPart, CommitPut,
    Committed, CompleteUpload, Completed, CopyObject, CopyPart, CreateUpload, DeleteAnswer, DeleteObjects,
    Deployment, Doomed, Fate, Identity, Ledger, ListPage, ListQuery, Located, Object, Objects, Part,
    PartsPage, PartsQuery, Piece, Reaping, ReplicaRow, Reserve, SetTags, Settled, Target, Totals, Upload,
    Uploads, UploadsPage, UploadsQuery, Want, Writes,
};

/// A verb, as far as a decorator tells verbs apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verb {
    /// Its name in the role.
    pub name: &'static str,
    /// Whether it can change anything.
    pub writes: bool,
}

/// What is done around each verb.
pub trait Around: Send + Sync + 'static {
    /// Runs the verb, or not: `run` does nothing before it is awaited.
    fn around<T: Send>(
        &self,
        verb: Verb,
        run: impl Future<Output = Result<T, CatalogError>> + Send,
    ) -> impl Future<Output = Result<T, CatalogError>> + Send;
}

/// A catalog with something around each verb.
pub struct Decorated<A> {
    inner: Arc<dyn Catalog>,
    around: A,
}

impl<A: Around> Decorated<A> {
    /// Does that around the verbs of this catalog.
    pub fn new(inner: Arc<dyn Catalog>, around: A) -> Self {
        Self { inner, around }
    }
}

macro_rules! reads {
    ($self:ident.$verb:ident($($argument:expr),*)) => {{
        let verb = Verb { name: stringify!($verb), writes: false };
        $self.around.around(verb, $self.inner.$verb($($argument),*)).await
    }};
}

macro_rules! writes {
    ($self:ident.$verb:ident($($argument:expr),*)) => {{
        let verb = Verb { name: stringify!($verb), writes: true };
        $self.around.around(verb, $self.inner.$verb($($argument),*)).await
    }};
}

use {reads, writes};

#[async_trait]
impl<A: Around> Deployment for Decorated<A> {
    async fn identity(&self) -> Result<Identity, CatalogError> {
        reads!(self.identity())
    }

    async fn begin_boot(&self, boot: BootId, at: Timestamp) -> Result<(), CatalogError> {
        writes!(self.begin_boot(boot, at))
    }

    async fn sync_buckets(&self, names: &[BucketName], at: Timestamp) -> Result<Vec<BucketId>, CatalogError> {
        writes!(self.sync_buckets(names, at))
    }

    async fn sync_backends(&self, specs: &[BackendSpec]) -> Result<Vec<BackendId>, CatalogError> {
        writes!(self.sync_backends(specs))
    }
}

#[async_trait]
impl<A: Around> Objects for Decorated<A> {
    fn horizon(&self) -> u64 {
        self.inner.horizon()
    }

    async fn locate(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        want: Want,
    ) -> Result<Option<Located>, CatalogError> {
        reads!(self.locate(bucket, key, want))
    }

    async fn pieces(&self, manifest: ManifestId, offset: u64) -> Result<Vec<Piece>, CatalogError> {
        reads!(self.pieces(manifest, offset))
    }

    async fn list(&self, query: &ListQuery) -> Result<ListPage, CatalogError> {
        reads!(self.list(query))
    }

    async fn object_parts(
        &self,
        manifest: ManifestId,
        after: u32,
        limit: u32,
    ) -> Result<Option<(Vec<Part>, u32)>, CatalogError> {
        reads!(self.object_parts(manifest, after, limit))
    }
}

#[async_trait]
impl<A: Around> Writes for Decorated<A> {
    async fn reserve(&self, reserve: Reserve) -> Result<Vec<Target>, CatalogError> {
        writes!(self.reserve(reserve))
    }

    async fn add_replica(&self, add: AddReplica) -> Result<Option<Target>, CatalogError> {
        writes!(self.add_replica(add))
    }

    async fn let_go(&self, owner: BootId, fates: Vec<Fate>) -> Result<(), CatalogError> {
        writes!(self.let_go(owner, fates))
    }

    async fn commit_put(&self, commit: CommitPut) -> Result<Committed, CatalogError> {
        writes!(self.commit_put(commit))
    }

    async fn copy_object(&self, copy: CopyObject) -> Result<Committed, CatalogError> {
        writes!(self.copy_object(copy))
    }

    async fn delete_objects(&self, delete: DeleteObjects) -> Result<Vec<DeleteAnswer>, CatalogError> {
        writes!(self.delete_objects(delete))
    }

    async fn set_tags(&self, set: SetTags) -> Result<Object, CatalogError> {
        writes!(self.set_tags(set))
    }
}

#[async_trait]
impl<A: Around> Uploads for Decorated<A> {
    async fn create_upload(&self, create: CreateUpload) -> Result<(), CatalogError> {
        writes!(self.create_upload(create))
    }

    async fn find_upload(
        &self,
        upload: UploadId,
        bucket: BucketId,
        key: &ObjectKey,
    ) -> Result<Option<Upload>, CatalogError> {
        reads!(self.find_upload(upload, bucket, key))
    }

    async fn commit_part(&self, commit: CommitPart) -> Result<(), CatalogError> {
        writes!(self.commit_part(commit))
    }

    async fn copy_part(&self, copy: CopyPart) -> Result<Part, CatalogError> {
        writes!(self.copy_part(copy))
    }

    async fn complete_upload(&self, complete: CompleteUpload) -> Result<Completed, CatalogError> {
        writes!(self.complete_upload(complete))
    }

    async fn abort_upload(&self, abort: AbortUpload) -> Result<(), CatalogError> {
        writes!(self.abort_upload(abort))
    }

    async fn list_parts(&self, query: &PartsQuery) -> Result<PartsPage, CatalogError> {
        reads!(self.list_parts(query))
    }

    async fn list_uploads(&self, query: &UploadsQuery) -> Result<UploadsPage, CatalogError> {
        reads!(self.list_uploads(query))
    }
}

#[async_trait]
impl<A: Around> Reaping for Decorated<A> {
    async fn claim_doomed(
        &self,
        backends: &[BackendId],
        horizon: u64,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Doomed>, CatalogError> {
        reads!(self.claim_doomed(backends, horizon, now, limit))
    }

    async fn settle_doomed(&self, change: ChangeId, settled: Vec<Settled>) -> Result<(), CatalogError> {
        writes!(self.settle_doomed(change, settled))
    }

    async fn next_doomed(&self, backends: &[BackendId]) -> Result<Option<Timestamp>, CatalogError> {
        reads!(self.next_doomed(backends))
    }

    async fn dissolve_manifests(
        &self,
        change: ChangeId,
        horizon: u64,
        limit: u32,
    ) -> Result<bool, CatalogError> {
        writes!(self.dissolve_manifests(change, horizon, limit))
    }

    async fn mark_suspect(
        &self,
        change: ChangeId,
        replica: ReplicaId,
        why: &str,
    ) -> Result<(), CatalogError> {
        writes!(self.mark_suspect(change, replica, why))
    }

    async fn expire_records(
        &self,
        uploads_before: Timestamp,
        journal_before: Timestamp,
        limit: u32,
    ) -> Result<bool, CatalogError> {
        writes!(self.expire_records(uploads_before, journal_before, limit))
    }
}

#[async_trait]
impl<A: Around> Ledger for Decorated<A> {
    async fn totals(&self) -> Result<Totals, CatalogError> {
        reads!(self.totals())
    }

    async fn charged(&self) -> Result<Vec<(BackendId, BackendName, u64)>, CatalogError> {
        reads!(self.charged())
    }

    async fn replicas(&self, after: Option<ReplicaId>, limit: u32) -> Result<Vec<ReplicaRow>, CatalogError> {
        reads!(self.replicas(after, limit))
    }

    async fn audit(&self) -> Result<Vec<String>, CatalogError> {
        reads!(self.audit())
    }
}
