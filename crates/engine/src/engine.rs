//! The engine itself: what its verbs share.

use catalog::{ListPage, ListQuery, Metadata, PartsPage, PartsQuery, Upload, UploadsPage, UploadsQuery};
use types::{ObjectKey, UploadId};

use crate::{
    Bucket, CompleteUpload, CopyObject, CopyPart, CreateUpload, DeleteObjects, EngineError, GetObject,
    PutObject, PutPart, Read, Stored, StoredPart,
};

/// Reserve, stream, commit, locate.
pub struct Engine {}

impl Engine {
    /// Stores an object.
    pub async fn put_object(&self, _request: PutObject) -> Result<Stored, EngineError> {
        unreachable!()
    }
    /// Reads an object, or only its state.
    pub async fn get_object(&self, _request: GetObject) -> Result<Read, EngineError> {
        unreachable!()
    }
    /// Lists.
    pub async fn list_objects(&self, _query: &ListQuery) -> Result<ListPage, EngineError> {
        unreachable!()
    }
    /// Removes objects; one answer per item: whether there was one.
    pub async fn delete_objects(
        &self,
        _request: DeleteObjects,
    ) -> Result<Vec<Result<bool, EngineError>>, EngineError> {
        unreachable!()
    }
    /// Copies.
    pub async fn copy_object(&self, _request: CopyObject) -> Result<Stored, EngineError> {
        unreachable!()
    }
    /// Replaces tags.
    pub async fn set_tags(
        &self,
        _bucket: &Bucket,
        _key: &ObjectKey,
        _tags: Metadata,
    ) -> Result<(), EngineError> {
        unreachable!()
    }
    /// Parts of a multipart object, for GetObjectAttributes.
    pub async fn object_parts(
        &self,
        _object: &catalog::Object,
        _after: u32,
        _limit: u32,
    ) -> Result<Option<(Vec<catalog::Part>, u32)>, EngineError> {
        unreachable!()
    }
    /// Begins an upload.
    pub async fn create_upload(&self, _request: CreateUpload) -> Result<UploadId, EngineError> {
        unreachable!()
    }
    /// An open upload.
    pub async fn find_upload(
        &self,
        _bucket: &Bucket,
        _key: &ObjectKey,
        _upload: UploadId,
    ) -> Result<Upload, EngineError> {
        unreachable!()
    }
    /// Uploads a part.
    pub async fn put_part(&self, _request: PutPart) -> Result<StoredPart, EngineError> {
        unreachable!()
    }
    /// Copies a part.
    pub async fn copy_part(&self, _request: CopyPart) -> Result<StoredPart, EngineError> {
        unreachable!()
    }
    /// Completes.
    pub async fn complete_upload(&self, _request: CompleteUpload) -> Result<Stored, EngineError> {
        unreachable!()
    }
    /// Aborts.
    pub async fn abort_upload(
        &self,
        _bucket: &Bucket,
        _key: &ObjectKey,
        _upload: UploadId,
    ) -> Result<(), EngineError> {
        unreachable!()
    }
    /// Lists parts.
    pub async fn list_parts(&self, _query: &PartsQuery) -> Result<PartsPage, EngineError> {
        unreachable!()
    }
    /// Lists uploads.
    pub async fn list_uploads(&self, _query: &UploadsQuery) -> Result<UploadsPage, EngineError> {
        unreachable!()
    }
}
