//! Objects: what clients see, and where its bytes lie.

use serde::{Deserialize, Serialize};
use types::{
    BlobId, BucketName, ByteRange, ChangeId, ETag, ManifestId, ObjectKey, ReplicaId, ReplicaPath, Timestamp,
};

use crate::{BackendId, BucketId, ReplicaState};

/// Names and values in the order they were given.
pub type Metadata = Vec<(String, String)>;

/// What holds an object's (or a part's) bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// One whole blob.
    Blob(BlobId),
    /// Slices of blobs.
    Manifest(ManifestId),
}

/// An object as it is at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its bucket.
    pub bucket: BucketId,
    /// Its key.
    pub key: ObjectKey,
    /// Rises with each change of this key.
    pub revision: u64,
    /// The change that made this state.
    pub change: ChangeId,
    /// The state.
    pub state: ObjectState,
}

/// All that a client put, and what followed from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectState {
    /// Bytes of content.
    pub size: u64,
    /// The entity tag.
    pub etag: ETag,
    /// When the client wrote it.
    pub modified: Timestamp,
    /// What holds the bytes.
    pub content: Content,
    /// System headers.
    pub headers: ObjectHeaders,
    /// `x-amz-meta-*`: names without that prefix.
    pub metadata: Metadata,
    /// Tags.
    pub tags: Metadata,
    /// Checksums of the content.
    pub checksums: Checksums,
    /// Who wrote it, and in which call.
    pub client: Client,
}

/// Headers that are stored and given back as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObjectHeaders {
    /// `Content-Type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `Cache-Control`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// `Content-Disposition`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    /// `Content-Encoding`, without `aws-chunked`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    /// `Expires`, as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// `x-amz-website-redirect-location`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub website_redirect: Option<String>,
    /// `x-amz-storage-class` as asked for; all classes are stored alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
}

/// Checksums in base64, as the S3 API spells them. Where `composite`, they are checksums of the parts'
/// checksums and carry a `-N`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checksums {
    /// Whether they are of the composite type.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub composite: bool,
    /// CRC32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crc32: Option<String>,
    /// CRC32C.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crc32c: Option<String>,
    /// CRC64NVME.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crc64nvme: Option<String>,
    /// SHA-1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha1: Option<String>,
    /// SHA-256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// Who made a change: so that an SDK's own retry of a conditional write that had won is a success.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Client {
    /// The access key that signed.
    pub access_key: String,
    /// `amz-sdk-invocation-id`, equal in all attempts of one call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invocation: Option<String>,
}

impl Client {
    /// Whether both are attempts of one call of an SDK.
    #[must_use]
    pub fn is_same_call(&self, other: &Self) -> bool {
        self.invocation.is_some() && self == other
    }
}

/// Which entity tags an `If-Match` or `If-None-Match` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MatchTags {
    /// `*`
    Any,
    /// A list; weak tags are compared without their `W/`, for objects have strong ones only.
    Tags(Vec<ETag>),
}

impl MatchTags {
    fn matches(&self, etag: &ETag) -> bool {
        match self {
            Self::Any => true,
            Self::Tags(tags) => tags.contains(etag),
        }
    }
}

/// What a write demands of the present object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Precondition {
    /// `If-Match`: there is an object with one of these tags.
    pub if_match: Option<MatchTags>,
    /// `If-None-Match`: there is none with one of these tags.
    pub if_none_match: Option<MatchTags>,
}

impl Precondition {
    /// Whether nothing is demanded.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }

    /// Decides on the present object's tag.
    ///
    /// # Errors
    /// [`Refusal::NoSuchKey`](crate::Refusal::NoSuchKey) for an `If-Match` without an object,
    /// [`Refusal::PreconditionFailed`](crate::Refusal::PreconditionFailed) for all else that does not hold.
    pub fn check(&self, present: Option<&ETag>) -> Result<(), crate::Refusal> {
        if let Some(tags) = &self.if_match {
            match present {
                None => return Err(crate::Refusal::NoSuchKey),
                Some(etag) if !tags.matches(etag) => return Err(crate::Refusal::PreconditionFailed),
                Some(_) => {}
            }
        }
        if let (Some(tags), Some(etag)) = (&self.if_none_match, present)
            && tags.matches(etag)
        {
            return Err(crate::Refusal::PreconditionFailed);
        }
        Ok(())
    }
}

/// Which bytes of an object a reader wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// None: the state alone.
    State,
    /// All.
    Whole,
    /// From an offset to the end or to an inclusive last byte (`bytes=a-` and `bytes=a-b`).
    From {
        /// First byte.
        start: u64,
        /// Last byte, where one was named.
        last: Option<u64>,
    },
    /// The last so many (`bytes=-n`).
    Last(u64),
    /// One part of a multipart upload. An object that is not one has part 1 only.
    Part(u32),
}

impl Want {
    /// The wanted bytes of an object of this size; `None` for a part, which takes more than its size to know.
    #[must_use]
    pub fn of(self, size: u64) -> Option<Result<ByteRange, Unsatisfiable>> {
        Some(match self {
            Self::State => Ok(ByteRange::new(0, 0)),
            Self::Whole => Ok(ByteRange::whole(size)),
            Self::From { start, last } if start < size && last.is_none_or(|last| last >= start) => {
                let last = last.map_or(size - 1, |last| last.min(size - 1));
                Ok(ByteRange::new(start, last - start + 1))
            }
            Self::Last(bytes) if bytes.min(size) > 0 => {
                let length = bytes.min(size);
                Ok(ByteRange::new(size - length, length))
            }
            Self::From { .. } | Self::Last(_) => Err(Unsatisfiable),
            Self::Part(_) => return None,
        })
    }
}

/// The wanted bytes do not exist (416; for a part likewise).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsatisfiable;

/// An object, and where the wanted bytes lie: one snapshot.
#[derive(Debug, Clone)]
pub struct Located {
    /// The object.
    pub object: Object,
    /// The name of its bucket.
    pub bucket: BucketName,
    /// The wanted bytes, as a range of the object.
    pub range: Result<ByteRange, Unsatisfiable>,
    /// How many parts it has, where [`Want::Part`] was asked of a multipart object.
    pub parts: Option<u32>,
    /// The first pieces of the range, at most 64; where they end before the range does, ask
    /// [`Objects::pieces`](crate::Objects::pieces) for more. Empty for [`Want::State`] and an empty range.
    pub pieces: Vec<Piece>,
}

/// A run of an object's bytes that is a slice of one blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The run, as a range of the object. The whole slice, also where only some of it is wanted.
    pub range: ByteRange,
    /// The blob.
    pub blob: BlobId,
    /// Where the slice starts in the blob.
    pub blob_offset: u64,
    /// Bytes of the whole blob.
    pub blob_size: u64,
    /// Its replicas that can be read: live ones first, then suspect ones.
    pub replicas: Vec<ReplicaAt>,
    /// CRC32C of each 64 KiB of the whole blob.
    pub blocks: Vec<u32>,
}

/// Where a replica lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaAt {
    /// The replica.
    pub replica: ReplicaId,
    /// Its backend.
    pub backend: BackendId,
    /// Its path.
    pub path: ReplicaPath,
    /// `Live` or `Suspect`.
    pub state: ReplicaState,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Refusal;

    fn check(precondition: Precondition, present: Option<&str>, expected: Result<(), Refusal>) {
        assert_eq!(precondition.check(present.map(ETag::from_text).as_ref()), expected);
    }

    fn if_match(tags: MatchTags) -> Precondition {
        Precondition { if_match: Some(tags), if_none_match: None }
    }

    fn if_none_match(tags: MatchTags) -> Precondition {
        Precondition { if_match: None, if_none_match: Some(tags) }
    }

    fn tags(tag: &str) -> MatchTags {
        MatchTags::Tags(vec![ETag::from_text(tag)])
    }

    #[test]
    fn preconditions_decide_as_rfc_9110_says() {
        check(Precondition::default(), Some("a"), Ok(()));
        check(if_match(tags("a")), Some("a"), Ok(()));
        check(if_match(tags("a")), Some("b"), Err(Refusal::PreconditionFailed));
        check(if_match(tags("a")), None, Err(Refusal::NoSuchKey));
        check(if_match(MatchTags::Any), Some("a"), Ok(()));
        check(if_none_match(MatchTags::Any), None, Ok(()));
        check(if_none_match(MatchTags::Any), Some("a"), Err(Refusal::PreconditionFailed));
        check(if_none_match(tags("a")), Some("b"), Ok(()));
    }
}
