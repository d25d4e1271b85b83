//! Bytes that no row named.

use types::{BackendName, BlobId, ChangeId, Md5, ObjectKey, ReplicaId, ReplicaPath, Timestamp};

use crate::{BackendId, BucketId, ObjectState, ReplicaState, Unproved};

/// What the ledger says of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownReplica {
    /// Where.
    pub backend: BackendId,
    /// At which path.
    pub path: ReplicaPath,
    /// Its state.
    pub state: ReplicaState,
    /// Bytes of its blob.
    pub size: u64,
}

/// Bytes within our grammar of paths that no row names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// What the path says.
    pub replica: ReplicaId,
    /// What the path says.
    pub blob: BlobId,
    /// The path.
    pub path: ReplicaPath,
    /// Bytes that lie there.
    pub size: u64,
    /// Bytes to charge for them.
    pub charge: u64,
    /// Whether it is so old that nothing of it can still be on its way. What is younger may be taken in as a replica,
    /// and else is left alone.
    pub settled: bool,
}

/// Until when strays wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StrayTimes {
    /// From when on one that was taken in as a replica may be proved: nothing that a catalog which is gone sent can
    /// arrive any more.
    pub proved_from: Timestamp,
    /// When one in quarantine is deleted, unless somebody decides otherwise.
    pub kept_until: Timestamp,
}

/// What became of strays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TakenIn {
    /// Suspect replicas of blobs that the ledger knows.
    pub replicas: u32,
    /// In quarantine.
    pub quarantined: u32,
}

/// Replicas that were taken in and are not yet proved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToProve {
    /// Those whose time has come.
    pub due: Vec<Unproved>,
    /// When that of the next one comes.
    pub next: Option<Timestamp>,
}

/// A replica that waits for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The replica.
    pub replica: ReplicaId,
    /// Its blob.
    pub blob: BlobId,
    /// Where.
    pub backend: BackendId,
    /// The backend's name.
    pub name: BackendName,
    /// At which path.
    pub path: ReplicaPath,
    /// Bytes of the blob.
    pub size: u64,
    /// Bytes charged.
    pub charged: u64,
    /// When it is deleted, unless somebody decides otherwise.
    pub until: Timestamp,
}

/// Makes a quarantined replica an object.
#[derive(Debug, Clone)]
pub struct RestoreQuarantined {
    /// The change.
    pub change: ChangeId,
    /// The replica.
    pub replica: ReplicaId,
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
