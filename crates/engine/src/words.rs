//! What the engine's verbs take and give.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use catalog::{
    BucketId, Checksums, Client, DeleteItem, MatchTags, Metadata, Object, ObjectHeaders, Precondition, Want,
};
use futures::Stream;
use types::{BackendName, BucketName, ByteRange, ETag, Md5, ObjectKey, Timestamp, UploadId};

use crate::{BodyFault, EngineError};

/// A bucket that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its number in the catalog.
    pub id: BucketId,
    /// Its name.
    pub name: BucketName,
}

/// How the engine places and writes. Each value is a setting.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The order in which backends are tried.
    pub strategy: Strategy,
    /// Replicas of each blob.
    pub factor: u32,
    /// How many of them have to be durable before a write is answered.
    pub ack_replicas: u32,
    /// Bytes of a body that may be in memory at once.
    pub window_bytes: u64,
    /// Bytes of all bodies together that may be in memory at once.
    pub memory_budget_bytes: u64,
    /// A target that takes no byte for this long while a peer waits is let go.
    pub stall_timeout: Duration,
    /// Least size of a part that is not the last, in bytes.
    pub part_bytes_min: u64,
    /// Largest object (also of all its parts together), in bytes; `None` is 1 PiB.
    pub object_bytes_max: Option<u64>,
    /// A read that runs for longer no longer holds back the reaper.
    pub read_guard_max: Duration,
    /// For how long a completed upload is remembered.
    pub completed_upload_kept: Duration,
    /// For how long a journal entry is kept for repeats.
    pub journal_kept: Duration,
    /// For how long a stray waits for the operator before it is deleted.
    pub quarantine_kept: Duration,
}

/// No object is larger than this: 1 PiB, far above what S3 knows. What a client announces is charged before
/// it sends a byte, and sums of such numbers have to stay within 63 bits.
const OBJECT_BYTES_LIMIT: u64 = 1 << 50;

impl Settings {
    /// The largest object that is taken, in bytes.
    #[must_use]
    pub fn object_bytes_limit(&self) -> u64 {
        self.object_bytes_max.unwrap_or(OBJECT_BYTES_LIMIT).min(OBJECT_BYTES_LIMIT)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            strategy: Strategy::Pack,
            factor: 1,
            ack_replicas: 1,
            window_bytes: 4 << 20,
            memory_budget_bytes: 256 << 20,
            stall_timeout: Duration::from_secs(5),
            part_bytes_min: 5 << 20,
            object_bytes_max: None,
            read_guard_max: Duration::from_secs(15 * 60),
            completed_upload_kept: Duration::from_secs(24 * 3600),
            journal_kept: Duration::from_secs(3600),
            quarantine_kept: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

/// The order in which backends are tried for a new blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// In configuration order: fill one, then the next.
    Pack,
    /// The least full one first.
    Spread,
}

/// A checksum algorithm of the S3 API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// CRC-32.
    Crc32,
    /// CRC-32C.
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// The name in `x-amz-checksum-algorithm`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// Reads a name, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(text))
    }

    /// The value of this algorithm among stored checksums.
    #[must_use]
    pub fn of(self, checksums: &Checksums) -> Option<&str> {
        match self {
            Self::Crc32 => checksums.crc32.as_deref(),
            Self::Crc32c => checksums.crc32c.as_deref(),
            Self::Crc64Nvme => checksums.crc64nvme.as_deref(),
            Self::Sha1 => checksums.sha1.as_deref(),
            Self::Sha256 => checksums.sha256.as_deref(),
        }
    }

    /// Sets the value of this algorithm.
    pub fn set(self, checksums: &mut Checksums, value: String) {
        *match self {
            Self::Crc32 => &mut checksums.crc32,
            Self::Crc32c => &mut checksums.crc32c,
            Self::Crc64Nvme => &mut checksums.crc64nvme,
            Self::Sha1 => &mut checksums.sha1,
            Self::Sha256 => &mut checksums.sha256,
        } = Some(value);
    }
}

/// The bytes of a body as a client sends them.
pub type IncomingStream = Pin<Box<dyn Stream<Item = Result<Bytes, BodyFault>> + Send>>;

/// Reads the checksums in a body's trailer, once the body has ended.
pub type TrailerChecksums = Box<dyn FnOnce() -> Result<Vec<(Algorithm, String)>, BodyFault> + Send>;

/// A body on its way in, and what has to be proved of it before anything is made of it.
pub struct Incoming {
    /// Bytes that were announced. More or fewer is a fault.
    pub length: u64,
    /// The bytes.
    pub stream: IncomingStream,
    /// What they have to be.
    pub expected: Expected,
}

/// What a client said of its body.
#[derive(Default)]
pub struct Expected {
    /// `Content-MD5`.
    pub md5: Option<Md5>,
    /// Checksums given in headers, in base64.
    pub checksums: Vec<(Algorithm, String)>,
    /// Checksums that will be given in the trailer.
    pub trailer: Option<TrailerChecksums>,
    /// Algorithms of the trailer, known from its announcement: computed while the body streams by.
    pub trailer_algorithms: Vec<Algorithm>,
    /// Algorithms to compute although no value was given.
    pub compute: Vec<Algorithm>,
}

/// Stores an object.
pub struct PutObject {
    /// The bucket.
    pub bucket: Bucket,
    /// The key.
    pub key: ObjectKey,
    /// The bytes.
    pub body: Incoming,
    /// Headers to keep.
    pub headers: ObjectHeaders,
    /// `x-amz-meta-*`.
    pub metadata: Metadata,
    /// Tags.
    pub tags: Metadata,
    /// Decided in the commit.
    pub precondition: Precondition,
    /// Who asks.
    pub client: Client,
}

/// What was stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Bytes.
    pub size: u64,
    /// The entity tag.
    pub etag: ETag,
    /// When.
    pub modified: Timestamp,
    /// The checksums that were given or asked for.
    pub checksums: Checksums,
    /// Where it lies. Empty where no byte moved.
    pub backends: Vec<BackendName>,
}

/// Reads an object.
#[derive(Debug, Clone)]
pub struct GetObject {
    /// The bucket.
    pub bucket: Bucket,
    /// The key.
    pub key: ObjectKey,
    /// Which bytes.
    pub want: Want,
    /// On which conditions.
    pub conditions: ReadConditions,
}

/// Conditions of a read, decided as RFC 9110 section 13.2.2 says.
#[derive(Debug, Clone, Default)]
pub struct ReadConditions {
    /// `If-Match`.
    pub if_match: Option<MatchTags>,
    /// `If-None-Match`.
    pub if_none_match: Option<MatchTags>,
    /// `If-Modified-Since`, compared by the second.
    pub if_modified_since: Option<Timestamp>,
    /// `If-Unmodified-Since`, compared by the second.
    pub if_unmodified_since: Option<Timestamp>,
}

/// The answer to a read.
pub enum Read {
    /// 304: the client has it already.
    NotModified(Box<Object>),
    /// Here it is.
    Found(Box<Opened>),
}

/// An object that was opened for reading.
pub struct Opened {
    /// The object.
    pub object: Object,
    /// The bytes that were asked for; all for [`Want::State`].
    pub range: ByteRange,
    /// How many parts it has, where one part was asked for of a multipart object.
    pub parts: Option<u32>,
    /// The bytes of the range; `None` for [`Want::State`].
    pub body: Option<OpenedBody>,
}

/// Bytes on their way out.
pub struct OpenedBody {
    /// Exactly the range's bytes, or an error: then the connection must not end cleanly.
    pub stream: Pin<Box<dyn Stream<Item = Result<Bytes, EngineError>> + Send>>,
    /// The backend that the first bytes come from; `None` where there are none.
    pub backend: Option<BackendName>,
}

/// Removes objects.
#[derive(Debug, Clone)]
pub struct DeleteObjects {
    /// The bucket.
    pub bucket: Bucket,
    /// What to remove.
    pub items: Vec<DeleteItem>,
}

/// Where a copy comes from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The bucket.
    pub bucket: Bucket,
    /// The key.
    pub key: ObjectKey,
    /// `x-amz-copy-source-if-*`; what does not hold is [`EngineError::PreconditionFailed`].
    pub conditions: ReadConditions,
}

/// Copies an object without moving a byte.
#[derive(Debug, Clone)]
pub struct CopyObject {
    /// From where.
    pub source: Source,
    /// The target's bucket.
    pub bucket: Bucket,
    /// The target's key.
    pub key: ObjectKey,
    /// Decided on the target, in the commit.
    pub precondition: Precondition,
    /// New headers and metadata (`REPLACE`), or those of the source.
    pub replace_metadata: Option<(ObjectHeaders, Metadata)>,
    /// New tags (`REPLACE`), or those of the source.
    pub replace_tags: Option<Metadata>,
    /// A checksum that the target has to have. Where the source has none of this kind the bytes are read for
    /// it, and it takes the place of those that the source has.
    pub checksum: Option<Algorithm>,
    /// Who asks.
    pub client: Client,
}

/// Begins a multipart upload.
#[derive(Debug, Clone)]
pub struct CreateUpload {
    /// The bucket.
    pub bucket: Bucket,
    /// The key.
    pub key: ObjectKey,
    /// Headers of the object to be.
    pub headers: ObjectHeaders,
    /// Metadata of the object to be.
    pub metadata: Metadata,
    /// Tags of the object to be.
    pub tags: Metadata,
    /// The checksum algorithm that was asked for.
    pub checksum_algorithm: Option<Algorithm>,
    /// Whether full-object checksums were asked for (`FULL_OBJECT`); `Some(false)` is `COMPOSITE`.
    pub checksum_full_object: Option<bool>,
    /// How many open uploads the bucket may have.
    pub open_max: Option<u64>,
    /// Who asks.
    pub client: Client,
}

/// Uploads a part.
pub struct PutPart {
    /// The bucket.
    pub bucket: Bucket,
    /// The key.
    pub key: ObjectKey,
    /// The upload.
    pub upload: UploadId,
    /// 1 to 10,000.
    pub number: u32,
    /// The bytes.
    pub body: Incoming,
}

/// A part that was stored.
#[derive(Debug, Clone)]
pub struct StoredPart {
    /// Its entity tag.
    pub etag: ETag,
    /// When.
    pub modified: Timestamp,
    /// Its checksums.
    pub checksums: Checksums,
    /// Where it lies. Empty where no byte moved.
    pub backends: Vec<BackendName>,
}

/// Makes a range of an object a part.
#[derive(Debug, Clone)]
pub struct CopyPart {
    /// From where.
    pub source: Source,
    /// Which bytes, inclusive; all where none were named.
    pub range: Option<(u64, u64)>,
    /// The bucket.
    pub bucket: Bucket,
    /// The key.
    pub key: ObjectKey,
    /// The upload.
    pub upload: UploadId,
    /// 1 to 10,000.
    pub number: u32,
}

/// Completes a multipart upload.
#[derive(Debug, Clone)]
pub struct CompleteUpload {
    /// The bucket.
    pub bucket: Bucket,
    /// The key.
    pub key: ObjectKey,
    /// The upload.
    pub upload: UploadId,
    /// The parts, as the client lists them.
    pub parts: Vec<ListedPart>,
    /// Decided on the key, in the commit.
    pub precondition: Precondition,
    /// Checksums of the whole object as the client computed them.
    pub checksums: Checksums,
    /// `x-amz-checksum-type`: whether the client says that they are of the full object.
    pub checksum_full_object: Option<bool>,
    /// `x-amz-mp-object-size`.
    pub size: Option<u64>,
    /// Who asks.
    pub client: Client,
}

/// A part as the client lists it in a completion.
#[derive(Debug, Clone)]
pub struct ListedPart {
    /// Its number.
    pub number: u32,
    /// Its entity tag.
    pub etag: ETag,
    /// Its checksums, where the client gives them.
    pub checksums: Checksums,
}
