//! Writes: reservations, commits, copies, deletes.

use types::{
    BlobId, BootId, ChangeId, ManifestId, Md5, ObjectKey, ReplicaId, ReplicaPath, Timestamp, UploadId,
};

use crate::{
    BackendId, BucketId, Checksums, Client, Metadata, Object, ObjectHeaders, ObjectState, Precondition,
};

/// A place for one replica, offered to a reservation.
#[derive(Debug, Clone)]
pub struct Target {
    /// The backend.
    pub backend: BackendId,
    /// The replica to be.
    pub replica: ReplicaId,
    /// Its path.
    pub path: ReplicaPath,
    /// Bytes to charge.
    pub charge: u64,
    /// The backend's quota in bytes; `None` is unlimited.
    pub quota: Option<u64>,
}

/// What a reservation is for: it is refused early where the write could not be committed anyway.
#[derive(Debug, Clone)]
pub enum ReserveFor {
    /// An object. `size` is the object's, not the blob's.
    Object {
        /// Its bucket.
        bucket: BucketId,
        /// Its key.
        key: ObjectKey,
        /// Checked a first time here; decided in the commit. A call that may be the client's own retry of
        /// one that had won passes.
        precondition: Precondition,
        /// Who asks.
        client: Client,
        /// Bytes of the object.
        size: u64,
    },
    /// A part of an upload, which has to be open and of this bucket and key.
    Part {
        /// The upload.
        upload: UploadId,
        /// Its bucket.
        bucket: BucketId,
        /// Its key.
        key: ObjectKey,
    },
}

/// Reserve: inserts the blob with one `writing` replica per target, charged.
#[derive(Debug, Clone)]
pub struct Reserve {
    /// The blob to be.
    pub blob: BlobId,
    /// Who writes.
    pub owner: BootId,
    /// Bytes of the blob.
    pub size: u64,
    /// What for.
    pub purpose: ReserveFor,
    /// Where it may go, best first; the first ones whose quota has room are taken.
    pub targets: Vec<Target>,
    /// How many to take at most.
    pub wanted: u32,
    /// How many to take at least; else [`Refusal::OutOfSpace`](crate::Refusal::OutOfSpace).
    pub least: u32,
}

/// One more `writing` replica for a blob whose body is still whole: takes the first target with room
/// whose backend has no `writing` or `live` replica of the blob.
#[derive(Debug, Clone)]
pub struct AddReplica {
    /// The blob, with refs = 0 and at least one row of this owner.
    pub blob: BlobId,
    /// Who writes.
    pub owner: BootId,
    /// Where it may go, best first.
    pub targets: Vec<Target>,
}

/// What became of a `writing` replica.
#[derive(Debug, Clone)]
pub struct Fate {
    /// The replica.
    pub replica: ReplicaId,
    /// What became of it.
    pub outcome: WriteOutcome,
}

/// What became of writing a replica.
#[derive(Debug, Clone)]
pub enum WriteOutcome {
    /// The backend has it.
    Live {
        /// The provider's version id, where it keeps versions.
        version: Option<String>,
    },
    /// No request ever left: the row and the charge simply go.
    Unsent,
    /// Let go or failed. Its bytes are doomed.
    Doomed {
        /// Until when bytes may still arrive; only a delete sent later settles it. `None`: the outcome is
        /// known.
        arrives_until: Option<Timestamp>,
    },
}

/// A blob that was written, and the fate of every replica reserved for it.
#[derive(Debug, Clone)]
pub struct NewBlob {
    /// The blob.
    pub blob: BlobId,
    /// Bytes.
    pub size: u64,
    /// MD5 of all its bytes, where it was computed.
    pub md5: Option<Md5>,
    /// CRC32C of each 64 KiB.
    pub blocks: Vec<u32>,
    /// How many live replicas it should have.
    pub wanted: u32,
    /// The fate of each `writing` replica.
    pub fates: Vec<Fate>,
}

/// Commit: makes written blobs an object, in place of what was there.
#[derive(Debug, Clone)]
pub struct CommitPut {
    /// The change, chosen before the first attempt.
    pub change: ChangeId,
    /// Who writes; has to be alive.
    pub owner: BootId,
    /// The bucket.
    pub bucket: BucketId,
    /// The key.
    pub key: ObjectKey,
    /// Decided here.
    pub precondition: Precondition,
    /// The blobs in the order of their bytes; at least one.
    pub blobs: Vec<NewBlob>,
    /// The manifest to make where there are several blobs.
    pub manifest: ManifestId,
    /// The new state; its `content` is overwritten by what the blobs make.
    pub state: ObjectState,
}

/// What a commit did.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The object as it is now.
    pub object: Object,
    /// Whether this call was the client's own retry of one that had won: then the earlier one stands and
    /// the new blobs were doomed.
    pub already: bool,
}

/// Copy: gives another key (or the same one) the content of a source.
#[derive(Debug, Clone)]
pub struct CopyObject {
    /// The change.
    pub change: ChangeId,
    /// When.
    pub at: Timestamp,
    /// The source's bucket.
    pub source_bucket: BucketId,
    /// The source's key.
    pub source_key: ObjectKey,
    /// The change that made the source's state, as the caller saw it; else
    /// [`Refusal::Changed`](crate::Refusal::Changed).
    pub source_change: ChangeId,
    /// The target's bucket.
    pub bucket: BucketId,
    /// The target's key.
    pub key: ObjectKey,
    /// Decided on the target.
    pub precondition: Precondition,
    /// New headers and metadata, or those of the source.
    pub replace_metadata: Option<(ObjectHeaders, Metadata)>,
    /// New tags, or those of the source.
    pub replace_tags: Option<Metadata>,
    /// New checksums, or those of the source.
    pub replace_checksums: Option<Checksums>,
    /// Who copies.
    pub client: Client,
}

/// Delete: removes objects of one bucket, all in one transaction.
#[derive(Debug, Clone)]
pub struct DeleteObjects {
    /// The change.
    pub change: ChangeId,
    /// When.
    pub at: Timestamp,
    /// The bucket.
    pub bucket: BucketId,
    /// What to remove. A key may stand twice; the second finds nothing.
    pub items: Vec<DeleteItem>,
}

/// One object to remove.
#[derive(Debug, Clone)]
pub struct DeleteItem {
    /// The key.
    pub key: ObjectKey,
    /// Decided here. `If-Match` on a key without an object is refused with `NoSuchKey`.
    pub precondition: Precondition,
}

/// The answer for one item, in their order: whether there was an object.
pub type DeleteAnswer = Result<bool, crate::Refusal>;

/// Replaces the tags of an object.
#[derive(Debug, Clone)]
pub struct SetTags {
    /// The change.
    pub change: ChangeId,
    /// The bucket.
    pub bucket: BucketId,
    /// The key.
    pub key: ObjectKey,
    /// The new tags; empty removes them.
    pub tags: Metadata,
}
