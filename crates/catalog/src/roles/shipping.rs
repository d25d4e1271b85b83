//! Shipping: what of the catalog is not yet on the backends, and all of it page by page.

use async_trait::async_trait;
use types::{ChangeId, Timestamp};

use crate::{CatalogError, InternalFile, Names, Rebuilt, SnapshotCursor, SnapshotPage, Unshipped};

/// The journal on its way to the backends. `docs/shipping.md` has the rules.
#[async_trait]
pub trait Shipping: Send + Sync + 'static {
    /// Entries that no segment holds yet, oldest first: at most `rows_max`, and as many as fit into `bytes_max`
    /// bytes, but at least one, where there is one.
    async fn unshipped(&self, rows_max: u32, bytes_max: u64) -> Result<Unshipped, CatalogError>;

    /// These entries lie on the backends. One that is gone is no error.
    async fn mark_shipped(&self, changes: Vec<ChangeId>) -> Result<(), CatalogError>;

    /// The number of the last change: every one up to it is seen by whoever reads from now on.
    async fn last_sequence(&self) -> Result<u64, CatalogError>;

    /// The names behind the numbers of buckets and backends.
    async fn names(&self) -> Result<Names, CatalogError>;

    /// A page of everything, as much as fits into `bytes_max` bytes (at least one row), in the form of the
    /// journal's entries; without what the internal bucket holds. One page is one snapshot, several are not.
    async fn snapshot_page(&self, from: SnapshotCursor, bytes_max: u64)
    -> Result<SnapshotPage, CatalogError>;

    /// Until when limits are closed: what was spent in the periods that began up to then was lost with the
    /// catalog that this one was rebuilt from.
    async fn limits_closed(&self) -> Result<Option<Timestamp>, CatalogError>;

    /// The operator says that what is left of the limits may be spent.
    async fn open_limits(&self) -> Result<(), CatalogError>;
}

/// A catalog that is being made anew from what was shipped. It blocks: it is for a process that does nothing
/// else.
pub trait Rebuilding: Send {
    /// The key of the file that was applied last.
    ///
    /// # Errors
    /// Where the database does not answer.
    fn applied(&self) -> Result<Option<String>, CatalogError>;

    /// Applies a file, in one transaction: its lines whose number is above `after` (a snapshot's are all
    /// applied). Says how many.
    ///
    /// # Errors
    /// Where a line is not understood, or the database does not answer. Nothing of the file is applied then.
    fn apply(
        &mut self,
        file: &str,
        names: &Names,
        lines: &[&str],
        after: Option<u64>,
    ) -> Result<u64, CatalogError>;

    /// Counts everything and puts the catalog in place; what was there before is moved aside.
    ///
    /// # Errors
    /// Where the database or the file system does not answer. It can be repeated.
    fn finish(self: Box<Self>, internal: &[InternalFile], at: Timestamp) -> Result<Rebuilt, CatalogError>;
}
