//! The verbs of imports.

use async_trait::async_trait;
use types::{ReplicaId, ReplicaPath};

use super::{Around, Decorated, Verb, reads, writes};
use crate::{BackendId, CatalogError, Committed, Import, Imported, Imports};

#[async_trait]
impl<A: Around> Imports for Decorated<A> {
    async fn import(&self, import: Import) -> Result<Committed, CatalogError> {
        writes!(self.import(import))
    }

    async fn imports_at(
        &self,
        backend: BackendId,
        paths: &[ReplicaPath],
    ) -> Result<Vec<Option<Imported>>, CatalogError> {
        reads!(self.imports_at(backend, paths))
    }

    async fn import_of(&self, replica: ReplicaId) -> Result<Option<Imported>, CatalogError> {
        reads!(self.import_of(replica))
    }
}
