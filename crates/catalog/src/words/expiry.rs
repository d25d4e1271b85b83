//! What goes by its age.

use types::{ChangeId, ObjectKey, Timestamp, UploadId};

use crate::{BucketId, Metadata};

/// Which objects are old enough.
#[derive(Debug, Clone)]
pub struct ExpiredQuery {
    /// Their bucket.
    pub bucket: BucketId,
    /// What their keys begin with.
    pub prefix: String,
    /// Tags that they carry, all of them.
    pub tags: Metadata,
    /// They were written before this.
    pub before: Timestamp,
    /// They come behind this key.
    pub after: Option<ObjectKey>,
    /// How many rows to look at, at most.
    pub rows_max: u32,
}

/// A page of objects that are old enough.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpiredPage {
    /// The objects, in the order of their keys.
    pub objects: Vec<SeenObject>,
    /// Where the next page starts; `None` behind the last.
    pub next: Option<ObjectKey>,
}

/// An object as somebody saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenObject {
    /// Its key.
    pub key: ObjectKey,
    /// The change that made it so.
    pub change: ChangeId,
}

/// An upload that nobody goes on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleUpload {
    /// The upload.
    pub upload: UploadId,
    /// Its bucket.
    pub bucket: BucketId,
    /// Its key.
    pub key: ObjectKey,
}
