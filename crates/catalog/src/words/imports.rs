//! Objects that lay on a backend before we knew of them.

use types::{BlobId, BucketName, ChangeId, Md5, ObjectKey, ReplicaId, ReplicaPath};

use crate::{BackendId, BucketId, ObjectState};

/// Makes what lies at a path an object, and charges it. It stays where it is.
#[derive(Debug, Clone)]
pub struct Import {
    /// The change.
    pub change: ChangeId,
    /// Where it lies.
    pub backend: BackendId,
    /// At which path.
    pub path: ReplicaPath,
    /// What tells it from whatever else may come to lie there.
    pub stamp: String,
    /// The blob to be.
    pub blob: BlobId,
    /// The replica to be.
    pub replica: ReplicaId,
    /// Bytes to charge.
    pub charge: u64,
    /// The backend's quota in bytes; `None` is unlimited.
    pub quota: Option<u64>,
    /// The bucket.
    pub bucket: BucketId,
    /// The key; has to be free.
    pub key: ObjectKey,
    /// The new state; its `content` is overwritten by the blob.
    pub state: ObjectState,
    /// MD5 of the bytes, as they were read just now.
    pub md5: Md5,
    /// CRC32C of each 64 KiB of them.
    pub blocks: Vec<u32>,
    /// How many live replicas the blob should have.
    pub wanted: u32,
}

/// What was imported, as it was then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Its replica.
    pub replica: ReplicaId,
    /// The bucket that it was imported into. The path was its key.
    pub bucket: BucketName,
    /// Bytes.
    pub size: u64,
    /// What told it from whatever else may come to lie there.
    pub stamp: String,
}
