//! Values as columns, and columns as values.

use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use serde::Serialize;
use serde::de::DeserializeOwned;
use types::{BlobId, ChangeId, ETag, ManifestId, ObjectKey, ReplicaPath, Timestamp};

use crate::{BucketId, Client, Content, Object, ObjectState, ReplicaState, Upload};

pub(super) const WRITING: i64 = 0;
pub(super) const LIVE: i64 = 1;
pub(super) const SUSPECT: i64 = 2;
pub(super) const DOOMED: i64 = 3;
pub(super) const QUARANTINED: i64 = 4;

/// A count or size as SQLite holds it. What exceeds 63 bits is no number that we could meet.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A count or size that SQLite held.
pub(super) fn uint(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(super) fn millis(at: Timestamp) -> i64 {
    int(at.as_millis())
}

pub(super) fn time(row: &Row<'_>, at: usize) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp::from_millis(uint(row.get(at)?)))
}

pub(super) fn size(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    Ok(uint(row.get(at)?))
}

/// JSON, or NULL for what is as empty as its default.
pub(super) fn json<T: Serialize + Default + PartialEq>(value: &T) -> Option<String> {
    (*value != T::default()).then(|| to_json(value))
}

pub(super) fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("strings, numbers and lists of them have a JSON form")
}

/// A column of JSON.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned + Default> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Null => Ok(Self(T::default())),
            ValueRef::Text(text) => {
                serde_json::from_slice(text).map(Self).map_err(|error| FromSqlError::Other(Box::new(error)))
            }
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

/// A key, stored as its bytes.
pub(super) struct Key(pub(super) ObjectKey);

impl FromSql for Key {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let other = |error: Box<dyn std::error::Error + Send + Sync>| FromSqlError::Other(error);
        let text = std::str::from_utf8(value.as_blob()?).map_err(|error| other(error.into()))?;
        ObjectKey::parse(text).map(Self).map_err(|error| other(error.into()))
    }
}

pub(super) fn path(row: &Row<'_>, at: usize) -> rusqlite::Result<ReplicaPath> {
    let text = row.get_ref(at)?.as_str()?;
    ReplicaPath::parse(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, error.into())
    })
}

pub(super) fn etag(row: &Row<'_>, at: usize) -> rusqlite::Result<ETag> {
    Ok(ETag::from_text(row.get_ref(at)?.as_str()?))
}

/// The two columns `blob` and `manifest`.
pub(super) fn content(row: &Row<'_>, at: usize) -> rusqlite::Result<Content> {
    if let Some(blob) = row.get::<_, Option<[u8; 16]>>(at)? {
        return Ok(Content::Blob(BlobId::from_bytes(blob)));
    }
    Ok(Content::Manifest(ManifestId::from_bytes(row.get(at + 1)?)))
}

/// Content as the two columns `blob` and `manifest`.
pub(super) fn content_columns(content: Content) -> (Option<[u8; 16]>, Option<[u8; 16]>) {
    match content {
        Content::Blob(blob) => (Some(blob.to_bytes()), None),
        Content::Manifest(manifest) => (None, Some(manifest.to_bytes())),
    }
}

pub(super) fn client(row: &Row<'_>, at: usize) -> rusqlite::Result<Client> {
    Ok(Client { access_key: row.get(at)?, invocation: row.get(at + 1)? })
}

/// The columns of an object `o`, as [`object`] reads them.
macro_rules! object_columns {
    () => {
        "o.size, o.etag, o.modified, o.checksums, o.revision, o.change, o.blob, o.manifest, o.headers, \
         o.metadata, o.tags, o.access_key, o.invocation"
    };
}
pub(super) use object_columns;

/// Reads [`object_columns`] from the first column on.
pub(super) fn object(row: &Row<'_>, bucket: BucketId, key: ObjectKey) -> rusqlite::Result<Object> {
    let state = ObjectState {
        size: size(row, 0)?,
        etag: etag(row, 1)?,
        modified: time(row, 2)?,
        content: content(row, 6)?,
        headers: row.get::<_, Json<_>>(8)?.0,
        metadata: row.get::<_, Json<_>>(9)?.0,
        tags: row.get::<_, Json<_>>(10)?.0,
        checksums: row.get::<_, Json<_>>(3)?.0,
        client: client(row, 11)?,
    };
    Ok(Object { bucket, key, revision: size(row, 4)?, change: ChangeId::from_bytes(row.get(5)?), state })
}

/// The columns of an upload, as [`upload`] reads them.
macro_rules! upload_columns {
    () => {
        "upload, bucket, key, initiated, headers, metadata, tags, checksum_algorithm, checksum_type, \
         access_key, invocation"
    };
}
pub(super) use upload_columns;

/// Reads [`upload_columns`] from the first column on.
pub(super) fn upload(row: &Row<'_>) -> rusqlite::Result<Upload> {
    Ok(Upload {
        upload: types::UploadId::from_bytes(row.get(0)?),
        bucket: BucketId(row.get(1)?),
        key: row.get::<_, Key>(2)?.0,
        initiated: time(row, 3)?,
        headers: row.get::<_, Json<_>>(4)?.0,
        metadata: row.get::<_, Json<_>>(5)?.0,
        tags: row.get::<_, Json<_>>(6)?.0,
        checksum_algorithm: row.get(7)?,
        checksum_type: row.get(8)?,
        client: client(row, 9)?,
    })
}

pub(super) fn replica_state(number: i64) -> rusqlite::Result<ReplicaState> {
    Ok(match number {
        WRITING => ReplicaState::Writing,
        LIVE => ReplicaState::Live,
        SUSPECT => ReplicaState::Suspect,
        DOOMED => ReplicaState::Doomed,
        QUARANTINED => ReplicaState::Quarantined,
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(0, other)),
    })
}

/// CRCs packed as four bytes each, little endian.
pub(super) fn pack(blocks: &[u32]) -> Vec<u8> {
    blocks.iter().flat_map(|crc| crc.to_le_bytes()).collect()
}

/// Reads what [`pack`] wrote.
pub(super) fn unpack(bytes: &[u8]) -> Vec<u32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| u32::from_le_bytes(*word)).collect()
}
