//! Reads of objects.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use types::{BlobId, BucketName, ByteRange, ManifestId, ObjectKey, ReplicaId};

use super::rows::{self, Json, int, object_columns, size};
use super::{Sqlite, list, stmt};
use crate::{
    BackendId, BucketId, CatalogError, Content, ListPage, ListQuery, Located, Object, Objects, Part, Piece,
    ReplicaAt, Unsatisfiable, Want,
};

const PIECES_MAX: usize = 64;
/// Pieces end early once they carry this many block checksums: slices of one huge blob each bring all of
/// them, and a request's memory must not depend on the size of a blob times 64.
const BLOCKS_MAX: usize = 128 * 1024;

#[async_trait]
impl Objects for Sqlite {
    fn horizon(&self) -> u64 {
        self.horizon.load(Ordering::Acquire)
    }

    async fn locate(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        want: Want,
    ) -> Result<Option<Located>, CatalogError> {
        if want == Want::State {
            return self.readers.read(|conn| locate(conn, bucket, key, want));
        }
        self.readers.snapshot(|conn| locate(conn, bucket, key, want))
    }

    async fn pieces(&self, manifest: ManifestId, offset: u64) -> Result<Vec<Piece>, CatalogError> {
        let range = ByteRange::new(offset, u64::MAX - offset);
        self.readers.snapshot(|conn| manifest_pieces(conn, manifest, range))
    }

    async fn list(&self, query: &ListQuery) -> Result<ListPage, CatalogError> {
        let query = query.clone();
        self.scan(move |conn| list::list(conn, &query)).await
    }

    async fn object_parts(
        &self,
        manifest: ManifestId,
        after: u32,
        limit: u32,
    ) -> Result<Option<(Vec<Part>, u32)>, CatalogError> {
        self.readers.snapshot(|conn| object_parts(conn, manifest, after, limit))
    }
}

fn locate(
    conn: &Connection,
    bucket: BucketId,
    key: &ObjectKey,
    want: Want,
) -> Result<Option<Located>, CatalogError> {
    let Some((object, bucket)) = find_named(conn, bucket, key)? else {
        return Ok(None);
    };
    let (range, parts) = match want {
        Want::State => (Ok(ByteRange::new(0, 0)), None),
        Want::Part(number) => part_range(conn, &object, number)?,
        Want::Whole => (Ok(ByteRange::whole(object.state.size)), None),
        Want::From { start, last } => (from(object.state.size, start, last), None),
        Want::Last(bytes) => (suffix(object.state.size, bytes), None),
    };
    let pieces = match range {
        Ok(range) if range.length > 0 => match object.state.content {
            Content::Blob(blob) => whole_blob(conn, blob)?,
            Content::Manifest(manifest) => manifest_pieces(conn, manifest, range)?,
        },
        _ => Vec::new(),
    };
    Ok(Some(Located { object, bucket, range, parts, pieces }))
}

fn find_named(
    conn: &Connection,
    bucket: BucketId,
    key: &ObjectKey,
) -> Result<Option<(Object, BucketName)>, CatalogError> {
    const SQL: &str = concat!(
        "SELECT ",
        object_columns!(),
        ", b.name FROM objects AS o CROSS JOIN buckets AS b ON b.id = o.bucket WHERE o.bucket = ?1 AND o.key = ?2"
    );
    let found = stmt(conn, SQL)?
        .query_row(params![bucket.0, key.as_str().as_bytes()], |row| {
            Ok((rows::object(row, bucket, key.clone())?, row.get::<_, String>(13)?))
        })
        .optional()?;
    let Some((object, name)) = found else {
        return Ok(None);
    };
    let name = BucketName::parse(&name).map_err(|error| CatalogError::Damaged(error.to_string()))?;
    Ok(Some((object, name)))
}

/// An object as it is, for a transaction.
pub(super) fn find(
    conn: &Connection,
    bucket: BucketId,
    key: &ObjectKey,
) -> Result<Option<Object>, CatalogError> {
    const SQL: &str =
        concat!("SELECT ", object_columns!(), " FROM objects AS o WHERE o.bucket = ?1 AND o.key = ?2");
    Ok(stmt(conn, SQL)?
        .query_row(params![bucket.0, key.as_str().as_bytes()], |row| rows::object(row, bucket, key.clone()))
        .optional()?)
}

type Wanted = Result<ByteRange, Unsatisfiable>;

fn from(size: u64, start: u64, last: Option<u64>) -> Wanted {
    if start >= size || last.is_some_and(|last| last < start) {
        return Err(Unsatisfiable);
    }
    let last = last.map_or(size - 1, |last| last.min(size - 1));
    Ok(ByteRange::new(start, last - start + 1))
}

fn suffix(size: u64, bytes: u64) -> Wanted {
    let length = bytes.min(size);
    if length == 0 { Err(Unsatisfiable) } else { Ok(ByteRange::new(size - length, length)) }
}

/// The range of a part, and how many parts there are.
fn part_range(
    conn: &Connection,
    object: &Object,
    number: u32,
) -> Result<(Wanted, Option<u32>), CatalogError> {
    let only = if number == 1 { Ok(ByteRange::whole(object.state.size)) } else { Err(Unsatisfiable) };
    let Content::Manifest(manifest) = object.state.content else {
        return Ok((only, None));
    };
    let parts = count_parts(conn, manifest)?.unwrap_or(0);
    if parts == 0 {
        return Ok((only, None));
    }
    let found = stmt(conn, "SELECT start, size FROM manifest_parts WHERE manifest = ?1 AND number = ?2")?
        .query_row(params![manifest.to_bytes(), number], |row| {
            Ok(ByteRange::new(size(row, 0)?, size(row, 1)?))
        })
        .optional()?;
    Ok((found.ok_or(Unsatisfiable), Some(parts)))
}

fn count_parts(conn: &Connection, manifest: ManifestId) -> Result<Option<u32>, CatalogError> {
    Ok(stmt(conn, "SELECT parts FROM manifests WHERE manifest = ?1")?
        .query_row(params![manifest.to_bytes()], |row| row.get(0))
        .optional()?)
}

fn whole_blob(conn: &Connection, blob: BlobId) -> Result<Vec<Piece>, CatalogError> {
    let source = source(conn, blob)?;
    Ok(vec![source.piece(ByteRange::whole(source.size), 0)])
}

/// The pieces that hold a range's bytes, as many as go into one answer.
fn manifest_pieces(
    conn: &Connection,
    manifest: ManifestId,
    range: ByteRange,
) -> Result<Vec<Piece>, CatalogError> {
    let mut statement = stmt(
        conn,
        "SELECT start, length, blob, blob_offset FROM entries WHERE manifest = ?1 AND start >= \
         COALESCE((SELECT MAX(start) FROM entries WHERE manifest = ?1 AND start <= ?2), 0) ORDER BY start",
    )?;
    let mut found = statement.query(params![manifest.to_bytes(), int(range.start)])?;
    let mut pieces: Vec<Piece> = Vec::new();
    let mut last: Option<Source> = None;
    let mut blocks = 0;
    while let Some(row) = found.next()? {
        let run = ByteRange::new(size(row, 0)?, size(row, 1)?);
        if run.end() <= range.start {
            continue;
        }
        if run.start >= range.end() || pieces.len() == PIECES_MAX || blocks > BLOCKS_MAX {
            break;
        }
        let blob = BlobId::from_bytes(row.get(2)?);
        let source = match last.take() {
            Some(source) if source.blob == blob => source,
            _ => source(conn, blob)?,
        };
        blocks += source.blocks.len();
        pieces.push(source.piece(run, size(row, 3)?));
        last = Some(source);
    }
    Ok(pieces)
}

/// A blob as a reader needs it.
struct Source {
    blob: BlobId,
    size: u64,
    replicas: Vec<ReplicaAt>,
    blocks: Vec<u32>,
}

impl Source {
    fn piece(&self, range: ByteRange, blob_offset: u64) -> Piece {
        Piece {
            range,
            blob: self.blob,
            blob_offset,
            blob_size: self.size,
            replicas: self.replicas.clone(),
            blocks: self.blocks.clone(),
        }
    }
}

fn source(conn: &Connection, blob: BlobId) -> Result<Source, CatalogError> {
    let found: Option<(i64, Option<Vec<u8>>)> = stmt(
        conn,
        "SELECT b.size, k.crcs FROM blobs AS b LEFT JOIN blocks AS k ON k.blob = b.blob WHERE b.blob = ?1",
    )?
    .query_row(params![blob.to_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
    .optional()?;
    let (bytes, crcs) = found.ok_or_else(|| CatalogError::Damaged(format!("there is no blob {blob}")))?;
    let replicas =
        stmt(conn, "SELECT state, replica, backend, path FROM replicas WHERE blob = ?1 AND state IN (1, 2)")?
            .query_map(params![blob.to_bytes()], |row| {
                let state: i64 = row.get(0)?;
                let at = ReplicaAt {
                    replica: ReplicaId::from_bytes(row.get(1)?),
                    backend: BackendId(row.get(2)?),
                    path: rows::path(row, 3)?,
                    state: rows::replica_state(state)?,
                };
                Ok((state, at))
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut replicas = replicas;
    replicas.sort_by_key(|(state, at)| (*state, at.replica));
    let replicas = replicas.into_iter().map(|(_, at)| at).collect();
    Ok(Source { blob, size: rows::uint(bytes), replicas, blocks: rows::unpack(&crcs.unwrap_or_default()) })
}

fn object_parts(
    conn: &Connection,
    manifest: ManifestId,
    after: u32,
    limit: u32,
) -> Result<Option<(Vec<Part>, u32)>, CatalogError> {
    let Some(count) = count_parts(conn, manifest)?.filter(|count| *count > 0) else {
        return Ok(None);
    };
    let parts = stmt(
        conn,
        "SELECT number, size, etag, checksums FROM manifest_parts WHERE manifest = ?1 AND number > ?2 \
         ORDER BY number LIMIT ?3",
    )?
    .query_map(params![manifest.to_bytes(), after, limit], |row| {
        Ok(Part {
            number: row.get(0)?,
            size: size(row, 1)?,
            etag: rows::etag(row, 2)?,
            modified: types::Timestamp::default(),
            checksums: row.get::<_, Json<_>>(3)?.0,
        })
    })?
    .collect::<rusqlite::Result<_>>()?;
    Ok(Some((parts, count)))
}
