//! Listings: straight from the catalog, no backend is touched.

use catalog::{Content, ListPage, ListQuery, Object, Part, PartsPage, PartsQuery, UploadsPage, UploadsQuery};

use crate::EngineError;
use crate::engine::Engine;

impl Engine {
    /// A page of a bucket.
    ///
    /// # Errors
    /// Where the catalog cannot answer.
    pub async fn list_objects(&self, query: &ListQuery) -> Result<ListPage, EngineError> {
        Ok(self.shared.catalog.list(query).await?)
    }

    /// A page of an open upload's parts.
    ///
    /// # Errors
    /// [`EngineError::NoSuchUpload`].
    pub async fn list_parts(&self, query: &PartsQuery) -> Result<PartsPage, EngineError> {
        Ok(self.shared.catalog.list_parts(query).await?)
    }

    /// A page of a bucket's open uploads.
    ///
    /// # Errors
    /// Where the catalog cannot answer.
    pub async fn list_uploads(&self, query: &UploadsQuery) -> Result<UploadsPage, EngineError> {
        Ok(self.shared.catalog.list_uploads(query).await?)
    }

    /// Parts of a multipart object behind a number, and how many it has; `None` for any other object.
    ///
    /// # Errors
    /// Where the catalog cannot answer.
    pub async fn object_parts(
        &self,
        object: &Object,
        after: u32,
        limit: u32,
    ) -> Result<Option<(Vec<Part>, u32)>, EngineError> {
        match object.state.content {
            Content::Blob(_) => Ok(None),
            Content::Manifest(manifest) => {
                Ok(self.shared.catalog.object_parts(manifest, after, limit).await?)
            }
        }
    }
}
