//! Places: buckets, backends and the replicas on them.

use types::{BackendName, BlobId, BootId, DeploymentId, ReplicaId, ReplicaPath, Timestamp};

/// A bucket's number in the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketId(pub i64);

impl BucketId {
    /// The bucket of what we keep for ourselves. Its changes are not shipped.
    pub const INTERNAL: Self = Self(0);
}

/// A backend's number in the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(pub i64);

/// Whose catalog this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Made when the catalog was.
    pub deployment: DeploymentId,
    /// Rises with each rebuild.
    pub epoch: u64,
}

/// A backend as the configuration has it.
#[derive(Debug, Clone)]
pub struct BackendSpec {
    /// The operator's name.
    pub name: BackendName,
    /// For how many milliseconds after an attempt was given up its bytes may still arrive.
    pub late_arrival_ms: u64,
}

/// The state of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplicaState {
    /// Being written by its owner.
    Writing,
    /// Holds the blob's bytes.
    Live,
    /// Holds wrong bytes, or none; served only where no live one is left.
    Suspect,
    /// To be deleted.
    Doomed,
    /// Found, not ours to use: waits for the operator.
    Quarantined,
}

/// A row of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaRow {
    /// The replica.
    pub replica: ReplicaId,
    /// Its blob.
    pub blob: BlobId,
    /// Where.
    pub backend: BackendId,
    /// At which path.
    pub path: ReplicaPath,
    /// Bytes charged to the backend for it.
    pub charged: u64,
    /// Its state.
    pub state: ReplicaState,
    /// Who writes it, while `writing`.
    pub owner: Option<BootId>,
}

/// A replica whose bytes are to be deleted now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doomed {
    /// The replica.
    pub replica: ReplicaId,
    /// Where.
    pub backend: BackendId,
    /// At which path.
    pub path: ReplicaPath,
    /// Bytes charged until it is gone.
    pub charged: u64,
    /// Deletes tried so far.
    pub attempts: u32,
}

/// What came of deleting a doomed replica.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The replica.
    pub replica: ReplicaId,
    /// The outcome.
    pub outcome: SettledOutcome,
}

/// Whether the bytes are gone.
#[derive(Debug, Clone)]
pub enum SettledOutcome {
    /// The delete was answered with success: row and charge go.
    Gone,
    /// It failed; try again later.
    Failed {
        /// When.
        retry_at: Timestamp,
        /// Why, for the operator.
        error: String,
    },
}

/// What the ledger adds up to, by backend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// One entry per backend that the catalog knows.
    pub backends: Vec<BackendTotals>,
    /// Referenced blobs with fewer live replicas than wanted.
    pub under_replicated: u64,
    /// Referenced blobs with more live replicas than wanted.
    pub over_replicated: u64,
    /// Open multipart uploads.
    pub uploads_open: u64,
}

/// What the ledger holds of one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendTotals {
    /// The backend.
    pub backend: BackendId,
    /// Its name.
    pub name: BackendName,
    /// Bytes charged: reserved, stored, and not yet known to be gone.
    pub charged: u64,
    /// Of these, bytes of doomed replicas.
    pub doomed_bytes: u64,
    /// Live replicas.
    pub replicas_live: u64,
    /// Doomed replicas.
    pub replicas_doomed: u64,
}
