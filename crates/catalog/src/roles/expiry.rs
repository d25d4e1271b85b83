//! Expiry: objects that are old enough, uploads that nobody goes on with.

use async_trait::async_trait;
use types::{ChangeId, Timestamp};

use crate::{BucketId, CatalogError, ExpiredPage, ExpiredQuery, SeenObject, StaleUpload};

/// What goes by its age.
#[async_trait]
pub trait Expiry: Send + Sync + 'static {
    /// Objects under a prefix that were written before a time and carry all of some tags: looks at so many
    /// rows, so a page may be empty and still not the last.
    async fn expired(&self, query: &ExpiredQuery) -> Result<ExpiredPage, CatalogError>;

    /// Removes objects that are still as they were seen; says how many. One that was written, copied or
    /// tagged since stays, also where it got the same bytes.
    async fn expire_objects(
        &self,
        change: ChangeId,
        bucket: BucketId,
        seen: Vec<SeenObject>,
    ) -> Result<u32, CatalogError>;

    /// Open uploads that began before a time and have no part from after it, at most `limit`, oldest first.
    async fn stale_uploads(&self, before: Timestamp, limit: u32) -> Result<Vec<StaleUpload>, CatalogError>;
}
