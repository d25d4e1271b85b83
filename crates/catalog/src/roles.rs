//! What can be asked of the catalog: one trait per subject, one method per transaction.
//!
//! Verbs that carry a [`ChangeId`](types::ChangeId) are idempotent by it: the transaction inserts the id
//! into the journal first, and where it stands there already, the recorded answer is given before any
//! precondition is looked at. So a caller that got [`CatalogError::Unknown`] repeats the same call.

mod expiry;
mod fleet;
mod imports;
pub(crate) mod instances;
pub(crate) mod limits;
mod moves;
mod repair;
pub(crate) mod shipping;
mod strays;

use async_trait::async_trait;
use types::{BackendName, BootId, BucketName, ChangeId, ManifestId, ReplicaId, Timestamp, UploadId};

use self::instances::Instances;
use self::limits::Limits;
use self::shipping::Shipping;
use crate::{
    AbortUpload, AddReplica, BackendId, BackendSpec, BucketId, CatalogError, CommitPart, CommitPut,
    Committed, CompleteUpload, Completed, CopyObject, CopyPart, CreateUpload, DeleteAnswer, DeleteObjects,
    Doomed, Fate, Identity, ListPage, ListQuery, Located, Object, Part, PartsPage, PartsQuery, Piece,
    ReplicaRow, Reserve, SetTags, Settled, Target, Totals, Upload, UploadsPage, UploadsQuery, Want,
};

pub use expiry::Expiry;
pub use fleet::{Fleet, FleetWork};
pub use imports::Imports;
pub use moves::Moves;
pub use repair::{Brake, Care, Repair, Scrubbing};
pub use strays::Strays;

/// All roles together.
pub trait Catalog:
    Deployment + Objects + Writes + Uploads + Reaping + Ledger + Instances + Limits + FleetWork + Shipping + Care
{
}

impl<T> Catalog for T where
    T: Deployment
        + Objects
        + Writes
        + Uploads
        + Reaping
        + Ledger
        + Instances
        + Limits
        + FleetWork
        + Shipping
        + Care
{
}

/// Who we are, and what the configuration names.
#[async_trait]
pub trait Deployment: Send + Sync + 'static {
    /// Whose catalog this is.
    async fn identity(&self) -> Result<Identity, CatalogError>;

    /// Registers this start of the process as alive, before its first write. In a catalog that one process
    /// owns, every other boot is dead from here on: its `writing` replicas are doomed, and as their
    /// requests may still arrive they settle only after their backend's late-arrival bound. So do those that
    /// waited for that already: by how much the clock was wrong until now, nobody knows.
    async fn begin_boot(&self, boot: BootId, at: Timestamp) -> Result<(), CatalogError>;

    /// The number of each bucket, in the order given; new ones are added. Others keep their objects.
    async fn sync_buckets(&self, names: &[BucketName], at: Timestamp) -> Result<Vec<BucketId>, CatalogError>;

    /// The number of each backend, in the order given; new ones are added. Others keep their rows.
    async fn sync_backends(&self, specs: &[BackendSpec]) -> Result<Vec<BackendId>, CatalogError>;
}

/// Reads. They never wait for a write.
#[async_trait]
pub trait Objects: Send + Sync + 'static {
    /// A number that rises with every transaction that dooms something. A reader notes it before it
    /// locates; what was doomed later than that may still be read by it (see [`Reaping::claim_doomed`]).
    fn horizon(&self) -> u64;

    /// An object and where the wanted bytes lie: one snapshot.
    async fn locate(
        &self,
        bucket: BucketId,
        key: &types::ObjectKey,
        want: Want,
    ) -> Result<Option<Located>, CatalogError>;

    /// Pieces of a manifest from the one that holds `offset` on, at most 64. Empty where the manifest is
    /// gone: then the object was replaced and the reader's horizon let go.
    async fn pieces(&self, manifest: ManifestId, offset: u64) -> Result<Vec<Piece>, CatalogError>;

    /// A page of a bucket. Costs the page, not the bucket.
    async fn list(&self, query: &ListQuery) -> Result<ListPage, CatalogError>;

    /// Parts of a multipart object behind a number, at most `limit`, and how many it has in all; `None` for
    /// an object that is not one. `modified` of these parts means nothing.
    async fn object_parts(
        &self,
        manifest: ManifestId,
        after: u32,
        limit: u32,
    ) -> Result<Option<(Vec<Part>, u32)>, CatalogError>;
}

/// Writes of objects.
#[async_trait]
pub trait Writes: Send + Sync + 'static {
    /// Inserts a blob and its `writing` replicas, charged. Gives the targets that were taken, in the order
    /// in which they were offered.
    async fn reserve(&self, reserve: Reserve) -> Result<Vec<Target>, CatalogError>;

    /// One more `writing` replica; `None` where no target has room.
    async fn add_replica(&self, add: AddReplica) -> Result<Option<Target>, CatalogError>;

    /// Gives up `writing` replicas of this owner that will not be committed. A blob that nothing references
    /// and that has no row left goes too. Naming one that is gone is no error. `Live` dooms here.
    async fn let_go(&self, owner: BootId, fates: Vec<Fate>) -> Result<(), CatalogError>;

    /// Makes written blobs an object. Refused: `PreconditionFailed`, `NoSuchKey`, `NothingLive`, and
    /// `Changed` where a replica is no longer `writing` by this owner. A refused commit dooms nothing: the
    /// caller lets go.
    async fn commit_put(&self, commit: CommitPut) -> Result<Committed, CatalogError>;

    /// Gives a key the content of another. Refused: `NoSuchKey` (of the source), `Changed`,
    /// `PreconditionFailed`.
    async fn copy_object(&self, copy: CopyObject) -> Result<Committed, CatalogError>;

    /// Removes objects.
    async fn delete_objects(&self, delete: DeleteObjects) -> Result<Vec<DeleteAnswer>, CatalogError>;

    /// Replaces an object's tags; its `modified` and entity tag stay. Refused: `NoSuchKey`.
    async fn set_tags(&self, set: SetTags) -> Result<Object, CatalogError>;
}

/// Multipart uploads.
#[async_trait]
pub trait Uploads: Send + Sync + 'static {
    /// Begins an upload. Refused: `TooManyUploads`.
    async fn create_upload(&self, create: CreateUpload) -> Result<(), CatalogError>;

    /// An open upload; `None` where there is none of that id, bucket and key.
    async fn find_upload(
        &self,
        upload: UploadId,
        bucket: BucketId,
        key: &types::ObjectKey,
    ) -> Result<Option<Upload>, CatalogError>;

    /// Makes written blobs a part. Refused: `NoSuchUpload`, `NothingLive`, `Changed`.
    async fn commit_part(&self, commit: CommitPart) -> Result<(), CatalogError>;

    /// Makes a range of an object a part. Refused: `NoSuchUpload`, `NoSuchKey`, `Changed`.
    async fn copy_part(&self, copy: CopyPart) -> Result<Part, CatalogError>;

    /// Completes an upload: one transaction, whatever its size. Refused: `NoSuchUpload`, what `decide`
    /// refuses, `PreconditionFailed`, `NoSuchKey`.
    async fn complete_upload(&self, complete: CompleteUpload) -> Result<Completed, CatalogError>;

    /// Gives an upload up. Refused: `NoSuchUpload` (also for a completed one).
    async fn abort_upload(&self, abort: AbortUpload) -> Result<(), CatalogError>;

    /// A page of parts. Refused: `NoSuchUpload`.
    async fn list_parts(&self, query: &PartsQuery) -> Result<PartsPage, CatalogError>;

    /// A page of open uploads.
    async fn list_uploads(&self, query: &UploadsQuery) -> Result<UploadsPage, CatalogError>;
}

/// The end of bytes.
#[async_trait]
pub trait Reaping: Send + Sync + 'static {
    /// Doomed replicas that are due at `now` (none while the [`Brake`] is engaged), oldest first, at most `limit`, on the given backends; none
    /// that was doomed behind `horizon` (the oldest number that a living reader has noted), none whose
    /// bytes may still arrive. Claims nothing: asking twice gives the same.
    async fn claim_doomed(
        &self,
        backends: &[BackendId],
        horizon: u64,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Doomed>, CatalogError>;

    /// Records what came of deleting them.
    async fn settle_doomed(&self, change: ChangeId, settled: Vec<Settled>) -> Result<(), CatalogError>;

    /// When the next doomed replica on one of the given backends is due, where there is one (in the past:
    /// now) and the [`Brake`] is not engaged.
    async fn next_doomed(&self, backends: &[BackendId]) -> Result<Option<Timestamp>, CatalogError>;

    /// Goes on with dissolving manifests that nothing references and no reader within `horizon` can hold: at
    /// most `limit` entries. Says whether there is more to do now.
    async fn dissolve_manifests(
        &self,
        change: ChangeId,
        horizon: u64,
        limit: u32,
    ) -> Result<bool, CatalogError>;

    /// `live` becomes `suspect`, and the blob is due for repair. A replica in any other state stays as it is.
    async fn mark_suspect(&self, change: ChangeId, replica: ReplicaId, why: &str)
    -> Result<(), CatalogError>;

    /// Forgets completed and aborted uploads and shipped journal entries from before, at most `limit` of each.
    /// Says whether there is more.
    async fn expire_records(
        &self,
        uploads_before: Timestamp,
        journal_before: Timestamp,
        limit: u32,
    ) -> Result<bool, CatalogError>;
}

/// The books.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// What the ledger adds up to. Costs an index walk: for metrics every so often, not per request.
    async fn totals(&self) -> Result<Totals, CatalogError>;

    /// Bytes charged, by backend: a point read, for placement.
    async fn charged(&self) -> Result<Vec<(BackendId, BackendName, u64)>, CatalogError>;

    /// Replica rows behind an id, in their order, at most `limit`.
    async fn replicas(&self, after: Option<ReplicaId>, limit: u32) -> Result<Vec<ReplicaRow>, CatalogError>;

    /// Proves the books: every count and sum equals what it counts. Gives what does not add up, in words.
    /// Reads everything: for tests and the operator's check.
    async fn audit(&self) -> Result<Vec<String>, CatalogError>;
}
