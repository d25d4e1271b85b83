//! What the journal says of a change: the absolute new state of everything that it touched.
//!
//! Enough to rebuild a catalog: counts and sums are recounted, so they are never in an entry. The same
//! for all databases.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use types::{BlobId, ETag, ManifestId, Md5, ObjectKey, ReplicaId, ReplicaPath, Timestamp, UploadId};

use crate::{BackendId, BucketId, Checksums, Client, Content, Metadata, ObjectHeaders, ObjectState, Upload};

/// The version of the form of an entry.
const VERSION: u32 = 1;

/// One change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry<'a> {
    v: u32,
    pub(crate) items: Vec<Item<'a>>,
}

impl<'a> Entry<'a> {
    pub(crate) fn new() -> Self {
        Self { v: VERSION, items: Vec::new() }
    }

    pub(crate) fn push(&mut self, item: Item<'a>) {
        self.items.push(item);
    }

    /// Whether it is of the internal bucket: such a change is not shipped.
    pub(crate) fn is_internal(&self) -> bool {
        self.items.iter().any(|item| match item {
            Item::Object(object) => object.bucket == BucketId::INTERNAL.0,
            Item::Removed { bucket, .. } => *bucket == BucketId::INTERNAL.0,
            _ => false,
        })
    }

    /// The object that the change made, where it made one.
    pub(crate) fn into_object(self) -> Option<ObjectItem<'a>> {
        self.items.into_iter().find_map(|item| match item {
            Item::Object(object) => Some(*object),
            _ => None,
        })
    }

    /// The part that the change made, where it made one.
    pub(crate) fn into_part(self) -> Option<PartItem> {
        self.items.into_iter().find_map(|item| match item {
            Item::Part(part) => Some(part),
            _ => None,
        })
    }
}

/// The new state of one thing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Item<'a> {
    /// An object is as it says here.
    Object(Box<ObjectItem<'a>>),
    /// There is no object.
    Removed { bucket: i64, key: ObjectKey, revision: u64 },
    /// A blob exists.
    Blob { blob: BlobId, size: u64, wanted: u32, md5: Option<String>, blocks: String },
    /// A replica is live.
    Live(ReplicaItem),
    /// A replica lay there before: as it was imported.
    Imported { replica: ReplicaId, backend: i64, path: ReplicaPath, bucket: i64, size: u64, stamp: String },
    /// Bytes of ours that no row named: they wait.
    Quarantined(QuarantinedItem),
    /// A replica holds wrong bytes, or none.
    Suspect { replica: ReplicaId },
    /// A replica is to be deleted.
    Doomed { replica: ReplicaId },
    /// A replica's bytes are gone, or were never sent.
    Gone { replica: ReplicaId },
    /// A manifest exists, with these slices and parts.
    Manifest { manifest: ManifestId, size: u64, slices: Vec<Slice>, parts: Vec<ManifestPart> },
    /// A manifest dissolves: nothing references it.
    Dissolving { manifest: ManifestId },
    /// A manifest's slice from here on has let go of its blob.
    Dropped { manifest: ManifestId, start: u64 },
    /// A manifest is gone.
    Dissolved { manifest: ManifestId },
    /// An upload is open.
    Upload(Box<UploadItem>),
    /// An upload is completed (by this list of parts) or aborted, and its parts are gone.
    UploadSettled { upload: UploadId, at: Timestamp, completed: Option<String> },
    /// What was answered when it was completed. In snapshots only: in a change it is the object's state.
    UploadAnswer { upload: UploadId, answer: String },
    /// A part of an open upload is as it says here.
    Part(PartItem),
    /// A backend is to become empty, since then; or, without a time, it takes new replicas again.
    Drain {
        backend: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Timestamp>,
    },
    /// The brake holds all deletes, since then; or, without a time, it was released.
    Brake {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ObjectItem<'a> {
    pub(crate) bucket: i64,
    pub(crate) key: ObjectKey,
    pub(crate) revision: u64,
    pub(crate) state: Cow<'a, ObjectState>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ReplicaItem {
    pub(crate) replica: ReplicaId,
    pub(crate) blob: BlobId,
    pub(crate) backend: i64,
    pub(crate) path: ReplicaPath,
    pub(crate) charged: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct QuarantinedItem {
    #[serde(flatten)]
    pub(crate) replica: ReplicaItem,
    /// When its time is over. Without one only the operator ends it; so do entries that were written before this
    /// was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<Timestamp>,
}

/// A run of a manifest's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Slice {
    pub(crate) start: u64,
    pub(crate) blob: BlobId,
    pub(crate) blob_offset: u64,
    pub(crate) length: u64,
}

/// A part of a completed object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ManifestPart {
    pub(crate) number: u32,
    pub(crate) start: u64,
    pub(crate) size: u64,
    pub(crate) etag: ETag,
    pub(crate) checksums: Checksums,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PartItem {
    pub(crate) upload: UploadId,
    pub(crate) number: u32,
    pub(crate) size: u64,
    pub(crate) etag: ETag,
    pub(crate) modified: Timestamp,
    pub(crate) checksums: Checksums,
    pub(crate) content: Content,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct UploadItem {
    upload: UploadId,
    bucket: i64,
    key: ObjectKey,
    initiated: Timestamp,
    headers: ObjectHeaders,
    metadata: Metadata,
    tags: Metadata,
    checksum_algorithm: Option<String>,
    checksum_type: Option<String>,
    client: Client,
}

impl From<UploadItem> for Upload {
    fn from(item: UploadItem) -> Self {
        Self {
            upload: item.upload,
            bucket: BucketId(item.bucket),
            key: item.key,
            initiated: item.initiated,
            headers: item.headers,
            metadata: item.metadata,
            tags: item.tags,
            checksum_algorithm: item.checksum_algorithm,
            checksum_type: item.checksum_type,
            client: item.client,
        }
    }
}

impl From<Upload> for UploadItem {
    fn from(upload: Upload) -> Self {
        Self {
            upload: upload.upload,
            bucket: upload.bucket.0,
            key: upload.key,
            initiated: upload.initiated,
            headers: upload.headers,
            metadata: upload.metadata,
            tags: upload.tags,
            checksum_algorithm: upload.checksum_algorithm,
            checksum_type: upload.checksum_type,
            client: upload.client,
        }
    }
}

impl<'a> Item<'a> {
    pub(crate) fn object(bucket: BucketId, key: ObjectKey, revision: u64, state: &'a ObjectState) -> Self {
        Self::Object(Box::new(ObjectItem { bucket: bucket.0, key, revision, state: Cow::Borrowed(state) }))
    }

    pub(crate) fn blob(blob: BlobId, size: u64, wanted: u32, md5: Option<Md5>, packed_blocks: &[u8]) -> Self {
        let blocks = BASE64_STANDARD_NO_PAD.encode(packed_blocks);
        Self::Blob { blob, size, wanted, md5: md5.map(Md5::to_hex), blocks }
    }
}

/// An answer that does not follow from its entry.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// The object of an earlier attempt of the same call stands.
    Already { object: Box<ObjectItem<'static>>, change: types::ChangeId },
    /// What became of each item of a delete.
    Deleted(Vec<Deleted>),
    /// Whether there was more to do.
    More(bool),
}

/// What became of an item of a delete.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Deleted {
    /// There was an object.
    Was,
    /// There was none.
    WasNot,
    /// The precondition named an object that is not there.
    NoSuchKey,
    /// The precondition does not hold.
    PreconditionFailed,
}

impl From<&crate::DeleteAnswer> for Deleted {
    fn from(answer: &crate::DeleteAnswer) -> Self {
        match answer {
            Ok(true) => Self::Was,
            Ok(false) => Self::WasNot,
            Err(crate::Refusal::NoSuchKey) => Self::NoSuchKey,
            Err(_) => Self::PreconditionFailed,
        }
    }
}

impl From<Deleted> for crate::DeleteAnswer {
    fn from(deleted: Deleted) -> Self {
        match deleted {
            Deleted::Was => Ok(true),
            Deleted::WasNot => Ok(false),
            Deleted::NoSuchKey => Err(crate::Refusal::NoSuchKey),
            Deleted::PreconditionFailed => Err(crate::Refusal::PreconditionFailed),
        }
    }
}

/// A replica that became live.
pub(crate) fn live(
    replica: ReplicaId,
    blob: BlobId,
    backend: BackendId,
    path: ReplicaPath,
    charged: u64,
    version: Option<String>,
) -> Item<'static> {
    Item::Live(ReplicaItem { replica, blob, backend: backend.0, path, charged, version })
}
