//! Listings of objects.

use types::{ETag, ObjectKey, Timestamp};

use crate::{BucketId, Checksums};

/// A page of a bucket.
#[derive(Debug, Clone)]
pub struct ListQuery {
    /// The bucket.
    pub bucket: BucketId,
    /// Keys with this prefix, compared byte by byte.
    pub prefix: String,
    /// Roll keys up that share what stands up to the first delimiter behind the prefix. Never empty.
    pub delimiter: Option<String>,
    /// Where to go on.
    pub after: Option<ListPosition>,
    /// How many lines at most. 0 gives an empty page that is not truncated.
    pub limit: u32,
}

/// Where a listing goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListPosition {
    /// Behind this key (any text; need not exist). A common prefix equal to it is not given again.
    Key(String),
    /// Behind all keys with this prefix.
    Prefix(String),
}

/// A page of a bucket: one snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListPage {
    /// In the order of the keys' bytes; a common prefix stands where its first key would.
    pub lines: Vec<Listed>,
    /// Whether there are more. Exact: never true on the last page.
    pub truncated: bool,
}

impl ListPage {
    /// Where the next page starts.
    #[must_use]
    pub fn next(&self) -> Option<ListPosition> {
        if !self.truncated {
            return None;
        }
        self.lines.last().map(|line| match line {
            Listed::Object(object) => ListPosition::Key(object.key.as_str().to_owned()),
            Listed::Prefix(prefix) => ListPosition::Prefix(prefix.clone()),
        })
    }
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// An object.
    Object(ListedObject),
    /// A common prefix: ends in the delimiter.
    Prefix(String),
}

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// The key.
    pub key: ObjectKey,
    /// Bytes.
    pub size: u64,
    /// The entity tag.
    pub etag: ETag,
    /// When it was written.
    pub modified: Timestamp,
    /// Its checksums.
    pub checksums: Checksums,
    /// The class that was asked for, where it is not the standard one.
    pub storage_class: Option<String>,
}
