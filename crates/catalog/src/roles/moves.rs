//! Moves: one more replica of a blob that is referenced.

use async_trait::async_trait;
use types::{BlobId, BootId};

use crate::{CatalogError, CommitMove, MoveSource, Target};

/// Replicas that are made of others.
#[async_trait]
pub trait Moves: Send + Sync + 'static {
    /// What there is of a blob to make a replica of; `None` where nothing references it.
    async fn move_source(&self, blob: BlobId) -> Result<Option<MoveSource>, CatalogError>;

    /// none -> `writing`, on the first target with room whose backend has no `writing` or `live` replica of the
    /// blob; `None` where there is no such one. Refused: `Changed` where nothing references the blob.
    async fn reserve_move(
        &self,
        blob: BlobId,
        owner: BootId,
        targets: Vec<Target>,
    ) -> Result<Option<Target>, CatalogError>;

    /// `writing` -> `live`. Refused: `Changed` where nothing references the blob any more, or the replica is no
    /// longer `writing` by this owner: then the caller lets go.
    async fn commit_move(&self, commit: CommitMove) -> Result<(), CatalogError>;
}
