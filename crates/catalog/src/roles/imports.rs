//! Imports: what lies on a backend becomes an object, without being moved.

use async_trait::async_trait;
use types::{ReplicaId, ReplicaPath};

use crate::{BackendId, CatalogError, Committed, Import, Imported};

/// Objects that lay on a backend before we knew of them.
#[async_trait]
pub trait Imports: Send + Sync + 'static {
    /// none -> `live`, charged, as the content of a new object. Refused: `PreconditionFailed` where there is an object
    /// of that key, `OutOfSpace` where the quota has no room or the backend drains, `Changed` where what lies at the
    /// path was imported already.
    async fn import(&self, import: Import) -> Result<Committed, CatalogError>;

    /// What was imported from these paths, in their order; `None` where nothing was, or its replica is gone.
    async fn imports_at(
        &self,
        backend: BackendId,
        paths: &[ReplicaPath],
    ) -> Result<Vec<Option<Imported>>, CatalogError>;

    /// As what a replica was imported; `None` for one that we wrote.
    async fn import_of(&self, replica: ReplicaId) -> Result<Option<Imported>, CatalogError>;
}
