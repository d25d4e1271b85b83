//! The trait that every store implements, and its words.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use runtime::Breaker;
use types::{BackendName, ByteRange, ReplicaPath, Timestamp};

use crate::{BackendError, Body, ByteStream};

/// A store of bytes under paths.
///
/// Paths are opaque UTF-8 of at most 1,024 bytes and may hold anything (`../x`, `//`, NUL); a driver
/// escapes what its store cannot spell. Bytes are immutable by the callers' promise: a path gets at most
/// one `put` whose head left, ever, so a driver never retries a `put` by itself.
///
/// Dropping a future stops the operation; what was on its way may still arrive.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// The operator's name for this backend.
    fn name(&self) -> &BackendName;

    /// What this backend can do.
    fn profile(&self) -> Profile;

    /// What knows whether it is worth asking at present, where something does. A decorator passes it on.
    fn breaker(&self) -> Option<&Arc<Breaker>> {
        None
    }

    /// Stores a body. On `Ok` the bytes survive a crash of the backend as far as it promises any.
    ///
    /// # Errors
    /// [`ErrorKind::BadBody`](crate::ErrorKind::BadBody) where the body failed (nothing is visible at the
    /// path then), [`ErrorKind::OutOfSpace`](crate::ErrorKind::OutOfSpace),
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) and
    /// [`ErrorKind::Refused`](crate::ErrorKind::Refused) only where it is certain that nothing was stored or
    /// will be, else [`ErrorKind::Unknown`](crate::ErrorKind::Unknown).
    async fn put(
        &self,
        path: &ReplicaPath,
        body: Body,
        options: PutOptions,
    ) -> Result<PutReceipt, BackendError>;

    /// Reads all bytes, or a range of them. The answer has exactly the bytes that were asked for.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` where the store answers another range than the one demanded.
    async fn get(&self, path: &ReplicaPath, range: Option<ByteRange>) -> Result<Download, BackendError>;

    /// What lies at the path.
    async fn head(&self, path: &ReplicaPath) -> Result<Stat, BackendError>;

    /// Removes what lies at the path. Removing nothing is a success.
    async fn delete(&self, path: &ReplicaPath) -> Result<(), BackendError>;

    /// Removes many (at most 1,000), each with its own answer, in the order given.
    ///
    /// # Errors
    /// Only where the whole request failed: then any of them may or may not be gone.
    async fn delete_many(&self, paths: &[ReplicaPath]) -> Result<Vec<Deleted>, BackendError>;

    /// How many requests [`Backend::delete_many`] of these sends: one, where the store can spell and delete
    /// them together.
    fn delete_requests(&self, paths: &[ReplicaPath]) -> u64 {
        let _ = paths;
        1
    }

    /// One page of what lies under a prefix, in an order that the store chooses but keeps; `cursor` is
    /// what the page before gave.
    async fn list(&self, prefix: &str, cursor: Option<&str>) -> Result<ListPage, BackendError>;

    /// Copies within the store, without the bytes passing through us.
    async fn copy(&self, from: &ReplicaPath, to: &ReplicaPath) -> Result<(), BackendError>;
}

/// The answer to deleting one of many.
pub type Deleted = Result<(), BackendError>;

/// What travels with a put.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    /// What the bytes say of themselves: names in lower case, ASCII values, at most 2 KB in all.
    pub metadata: Vec<MetadataEntry>,
}

/// One name and value of a stored object's metadata.
pub type MetadataEntry = (String, String);

/// What a store said when it had taken a body.
#[derive(Debug, Clone, Default)]
pub struct PutReceipt {
    /// The store's entity tag. Never to be taken for an MD5.
    pub etag: Option<String>,
    /// The store's version id, where it keeps versions.
    pub version: Option<String>,
}

/// Bytes on their way from a backend.
pub struct Download {
    /// Exactly this many bytes follow.
    pub length: u64,
    /// Size of everything that lies at the path.
    pub total: u64,
    /// The bytes. Fewer than `length` end in an error, never in silence.
    pub stream: ByteStream<BackendError>,
}

/// What lies at a path.
#[derive(Debug, Clone)]
pub struct Stat {
    /// Size in bytes.
    pub size: u64,
    /// The store's entity tag, where it has one.
    pub etag: Option<String>,
    /// When it was stored, as the store tells.
    pub modified: Option<Timestamp>,
    /// What travelled with the put.
    pub metadata: Vec<MetadataEntry>,
    /// `content-type` and the like, where whoever stored it said so. Ours say nothing there.
    pub headers: Vec<MetadataEntry>,
}

/// One page of a listing.
#[derive(Debug, Clone, Default)]
pub struct ListPage {
    /// What lies there.
    pub entries: Vec<Entry>,
    /// Where the next page starts; `None` behind the last.
    pub next: Option<String>,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path, as it was put.
    pub path: ReplicaPath,
    /// Size in bytes.
    pub size: u64,
}

/// What a backend can do: from configuration, built-in knowledge and observation, never assumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Largest body of one put, in bytes.
    pub put_bytes_max: u64,
    /// Whether a delete frees the bytes (a bucket that keeps versions does not).
    pub delete_frees: bool,
    /// For how long after an attempt was given up its bytes may still arrive.
    pub late_arrival_bound: Duration,
    /// Every stored object is billed as at least this many bytes.
    pub billable_bytes_min: u64,
}

impl Profile {
    /// What a replica of this many bytes is charged.
    #[must_use]
    pub fn charge(&self, stored_bytes: u64) -> u64 {
        stored_bytes.max(self.billable_bytes_min)
    }
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Download({} of {} bytes)", self.length, self.total)
    }
}
