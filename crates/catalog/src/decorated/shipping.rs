//! The verbs of shipping.

use async_trait::async_trait;
use types::{ChangeId, Timestamp};

use super::{Around, Decorated, Verb, reads, writes};
use crate::{CatalogError, Names, Shipping, SnapshotCursor, SnapshotPage, Unshipped};

#[async_trait]
impl<A: Around> Shipping for Decorated<A> {
    async fn unshipped(&self, rows_max: u32, bytes_max: u64) -> Result<Unshipped, CatalogError> {
        reads!(self.unshipped(rows_max, bytes_max))
    }

    async fn mark_shipped(&self, changes: Vec<ChangeId>) -> Result<(), CatalogError> {
        writes!(self.mark_shipped(changes))
    }

    async fn last_sequence(&self) -> Result<u64, CatalogError> {
        reads!(self.last_sequence())
    }

    async fn names(&self) -> Result<Names, CatalogError> {
        reads!(self.names())
    }

    async fn snapshot_page(
        &self,
        from: SnapshotCursor,
        bytes_max: u64,
    ) -> Result<SnapshotPage, CatalogError> {
        reads!(self.snapshot_page(from, bytes_max))
    }

    async fn limits_closed(&self) -> Result<Option<Timestamp>, CatalogError> {
        reads!(self.limits_closed())
    }

    async fn open_limits(&self) -> Result<(), CatalogError> {
        writes!(self.open_limits())
    }
}
