//! Multipart uploads.

use std::sync::Arc;

use types::{BootId, BucketName, ByteRange, ChangeId, ETag, ManifestId, ObjectKey, Timestamp, UploadId};

use crate::{
    BucketId, Checksums, Client, Metadata, NewBlob, ObjectHeaders, ObjectState, Precondition, Refusal,
};

/// An open upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its id.
    pub upload: UploadId,
    /// Its bucket.
    pub bucket: BucketId,
    /// Its key.
    pub key: ObjectKey,
    /// When it began.
    pub initiated: Timestamp,
    /// Headers of the object to be.
    pub headers: ObjectHeaders,
    /// Metadata of the object to be.
    pub metadata: Metadata,
    /// Tags of the object to be.
    pub tags: Metadata,
    /// `x-amz-checksum-algorithm` as asked for (`CRC32`, ...).
    pub checksum_algorithm: Option<String>,
    /// `x-amz-checksum-type` as asked for or implied (`COMPOSITE`, `FULL_OBJECT`).
    pub checksum_type: Option<String>,
    /// Who began it.
    pub client: Client,
}

/// Begins an upload.
#[derive(Debug, Clone)]
pub struct CreateUpload {
    /// The change.
    pub change: ChangeId,
    /// The upload.
    pub upload: Upload,
    /// The bucket's name, for the refusal.
    pub bucket_name: BucketName,
    /// How many open uploads the bucket may have.
    pub open_max: Option<u64>,
}

/// A part as it was uploaded last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// 1 to 10,000.
    pub number: u32,
    /// Bytes.
    pub size: u64,
    /// Its entity tag: 32 hexadecimal digits.
    pub etag: ETag,
    /// When it was uploaded.
    pub modified: Timestamp,
    /// Its checksums.
    pub checksums: Checksums,
}

/// Makes written blobs a part, in place of an earlier one of that number.
#[derive(Debug, Clone)]
pub struct CommitPart {
    /// The change.
    pub change: ChangeId,
    /// Who writes; has to be alive.
    pub owner: BootId,
    /// The upload; has to be open and of this bucket and key.
    pub upload: UploadId,
    /// The bucket.
    pub bucket: BucketId,
    /// The key.
    pub key: ObjectKey,
    /// The part.
    pub part: Part,
    /// Its blobs in the order of their bytes; at least one.
    pub blobs: Vec<NewBlob>,
    /// The manifest to make where there are several blobs.
    pub manifest: ManifestId,
}

/// Makes a range of an object a part, without moving a byte.
#[derive(Debug, Clone)]
pub struct CopyPart {
    /// The change.
    pub change: ChangeId,
    /// When.
    pub at: Timestamp,
    /// The source's bucket.
    pub source_bucket: BucketId,
    /// The source's key.
    pub source_key: ObjectKey,
    /// The source as the caller saw it.
    pub source_change: ChangeId,
    /// Which of its bytes.
    pub range: ByteRange,
    /// The upload; has to be open and of this bucket and key.
    pub upload: UploadId,
    /// The bucket.
    pub bucket: BucketId,
    /// The key.
    pub key: ObjectKey,
    /// The part's number.
    pub number: u32,
    /// The manifest to make where the range is not one whole blob.
    pub manifest: ManifestId,
    /// The part's tag where it is not one whole blob of known MD5: 32 hexadecimal digits.
    pub opaque_etag: ETag,
}

/// What a completion makes of the uploaded parts. Pure: may run more than once.
pub type DecideCompletion = Arc<dyn Fn(&Upload, &[Part]) -> Result<Completion, Refusal> + Send + Sync>;

/// The parts of a completed object, and its state.
#[derive(Debug, Clone)]
pub struct Completion {
    /// The numbers of the parts that make the object, ascending.
    pub numbers: Vec<u32>,
    /// The object's state; its `content` is overwritten by the manifest.
    pub state: ObjectState,
}

/// Completes an upload.
#[derive(Clone)]
pub struct CompleteUpload {
    /// The change.
    pub change: ChangeId,
    /// When.
    pub at: Timestamp,
    /// The upload.
    pub upload: UploadId,
    /// The bucket.
    pub bucket: BucketId,
    /// The key.
    pub key: ObjectKey,
    /// Decided on the key.
    pub precondition: Precondition,
    /// The manifest to make.
    pub manifest: ManifestId,
    /// What identifies the list of parts that the client named: a repeated completion with the same one
    /// gets the recorded answer.
    pub fingerprint: String,
    /// Decides on the parts as they are under the upload's lock; all parts are given, ascending.
    pub decide: DecideCompletion,
}

/// What a completion did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completed {
    /// The state that the completion made (it may have been replaced since, where `already`).
    pub state: ObjectState,
    /// Whether this was a repetition.
    pub already: bool,
}

/// Gives an upload up.
#[derive(Debug, Clone)]
pub struct AbortUpload {
    /// The change.
    pub change: ChangeId,
    /// When.
    pub at: Timestamp,
    /// The upload.
    pub upload: UploadId,
    /// The bucket.
    pub bucket: BucketId,
    /// The key.
    pub key: ObjectKey,
}

/// A page of parts.
#[derive(Debug, Clone)]
pub struct PartsQuery {
    /// The upload; has to be open and of this bucket and key.
    pub upload: UploadId,
    /// The bucket.
    pub bucket: BucketId,
    /// The key.
    pub key: ObjectKey,
    /// Parts behind this number.
    pub after: u32,
    /// How many at most.
    pub limit: u32,
}

/// A page of parts.
#[derive(Debug, Clone)]
pub struct PartsPage {
    /// The upload.
    pub upload: Upload,
    /// The parts, ascending.
    pub parts: Vec<Part>,
    /// Whether there are more.
    pub truncated: bool,
}

/// A page of open uploads of a bucket.
#[derive(Debug, Clone)]
pub struct UploadsQuery {
    /// The bucket.
    pub bucket: BucketId,
    /// Keys with this prefix.
    pub prefix: String,
    /// Roll keys up that share what stands up to the first delimiter behind the prefix.
    pub delimiter: Option<String>,
    /// Behind this key; with `after_upload` also later uploads of this very key.
    pub after_key: Option<String>,
    /// See `after_key`.
    pub after_upload: Option<UploadId>,
    /// How many lines at most.
    pub limit: u32,
}

/// One line of a listing of uploads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedUpload {
    /// An upload.
    Upload(Box<Upload>),
    /// A common prefix.
    Prefix(String),
}

/// A page of open uploads.
#[derive(Debug, Clone)]
pub struct UploadsPage {
    /// By key, then by upload id (which rises with time).
    pub lines: Vec<ListedUpload>,
    /// Whether there are more.
    pub truncated: bool,
}
