//! Replicas that are made of others.

use types::{BlobId, BootId, ChangeId, ReplicaId};

use crate::{Piece, ReplicaAt};

/// What there is of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveSource {
    /// The whole blob, as a reader needs it.
    pub piece: Piece,
    /// How many live replicas it should have.
    pub wanted: u32,
}

impl MoveSource {
    /// Where it can be read.
    #[must_use]
    pub fn replicas(&self) -> &[ReplicaAt] {
        &self.piece.replicas
    }
}

/// A replica that was made of others, and holds all their bytes.
#[derive(Debug, Clone)]
pub struct CommitMove {
    /// The change.
    pub change: ChangeId,
    /// Who wrote it; has to be alive.
    pub owner: BootId,
    /// The blob.
    pub blob: BlobId,
    /// The replica.
    pub replica: ReplicaId,
    /// The provider's version id, where it keeps versions.
    pub version: Option<String>,
}
