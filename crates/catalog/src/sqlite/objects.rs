//! Reads of objects.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use types::{BlobId, BucketName, ByteRange, ManifestId, ObjectKey, ReplicaId};

use super::rows::{self, Json, int, object_columns, size};
use super::{Sqlite, list, stmt};
use crate::{
    BackendId, BucketId, CatalogError, Content, ListPage, ListQuery, Located, Object, Objects, Part, Piece,
    ReplicaAt, ReplicaState, Unsatisfiable, Want,
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
        let found = match want {
            Want::State => return self.read(|conn| locate(conn, bucket, key, want)).await,
            _ => self.read(|conn| locate_blob(conn, bucket, key, want)).await?,
        };
        match found {
            Some(Found::Whole(located)) => Ok(Some(*located)),
            Some(Found::Manifest) => self.snapshot(|conn| locate(conn, bucket, key, want)).await,
            None => Ok(None),
        }
    }

    async fn pieces(&self, manifest: ManifestId, offset: u64) -> Result<Vec<Piece>, CatalogError> {
        let range = ByteRange::new(offset, u64::MAX - offset);
        self.snapshot(|conn| manifest_pieces(conn, manifest, range)).await
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
        self.snapshot(|conn| object_parts(conn, manifest, after, limit)).await
    }
}

/// What one statement finds.
enum Found {
    /// An object of one blob, with all that a reader needs.
    Whole(Box<Located>),
    /// An object of slices, which takes several statements.
    Manifest,
}

/// Locates an object of one blob with one statement: most objects, and the fastest read there is.
fn locate_blob(
    conn: &Connection,
    bucket: BucketId,
    key: &ObjectKey,
    want: Want,
) -> Result<Option<Found>, CatalogError> {
    const SQL: &str = concat!(
        "SELECT ",
        object_columns!(),
        ", k.name, b.size, c.crcs, r.state, r.replica, r.backend, r.path FROM objects AS o \
         CROSS JOIN buckets AS k ON k.id = o.bucket LEFT JOIN blobs AS b ON b.blob = o.blob \
         LEFT JOIN blocks AS c ON c.blob = o.blob \
         LEFT JOIN replicas AS r ON r.blob = o.blob AND r.state IN (1, 2) WHERE o.bucket = ?1 AND o.key = ?2"
    );
    let mut statement = stmt(conn, SQL)?;
    let mut rows = statement.query(params![bucket.0, key.as_str().as_bytes()])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let object = rows::object(row, bucket, key.clone())?;
    let Content::Blob(blob) = object.state.content else {
        return Ok(Some(Found::Manifest));
    };
    let name = bucket_name(&row.get::<_, String>(13)?)?;
    let size = row.get::<_, Option<i64>>(14)?.ok_or_else(|| no_blob(blob))?;
    let crcs: Option<Vec<u8>> = row.get(15)?;
    let mut replicas = Vec::new();
    let mut next = Some(row);
    while let Some(row) = next {
        // One row without any where there is none.
        if row.get::<_, Option<i64>>(16)?.is_some() {
            replicas.push(replica_at(row, 16)?);
        }
        next = rows.next()?;
    }
    let source = Source::new(blob, size, crcs, replicas);
    let (range, parts) = wanted(conn, &object, want)?;
    let whole = ByteRange::whole(source.size);
    let pieces = match range {
        Ok(range) if range.length > 0 => vec![source.into_piece(whole, 0)],
        _ => Vec::new(),
    };
    Ok(Some(Found::Whole(Box::new(Located { object, bucket: name, range, parts, pieces }))))
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
    let (range, parts) = wanted(conn, &object, want)?;
    let pieces = match range {
        Ok(range) if range.length > 0 => match object.state.content {
            Content::Blob(blob) => whole_blob(conn, blob)?,
            Content::Manifest(manifest) => manifest_pieces(conn, manifest, range)?,
        },
        _ => Vec::new(),
    };
    Ok(Some(Located { object, bucket, range, parts, pieces }))
}

/// The range that is wanted, and how many parts there are where one of them is.
fn wanted(conn: &Connection, object: &Object, want: Want) -> Result<(Wanted, Option<u32>), CatalogError> {
    let size = object.state.size;
    Ok(match want {
        Want::State => (Ok(ByteRange::new(0, 0)), None),
        Want::Part(number) => part_range(conn, object, number)?,
        Want::Whole => (Ok(ByteRange::whole(size)), None),
        Want::From { start, last } => (from(size, start, last), None),
        Want::Last(bytes) => (suffix(size, bytes), None),
    })
}

fn bucket_name(text: &str) -> Result<BucketName, CatalogError> {
    BucketName::parse(text).map_err(|error| CatalogError::Damaged(error.to_string()))
}

fn no_blob(blob: BlobId) -> CatalogError {
    CatalogError::Damaged(format!("there is no blob {blob}"))
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
    Ok(Some((object, bucket_name(&name)?)))
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

/// A whole blob as a reader needs it.
pub(super) fn whole_blob(conn: &Connection, blob: BlobId) -> Result<Vec<Piece>, CatalogError> {
    let source = source(conn, blob)?;
    let whole = ByteRange::whole(source.size);
    Ok(vec![source.into_piece(whole, 0)])
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
        pieces.push(source.clone().into_piece(run, size(row, 3)?));
        last = Some(source);
    }
    Ok(pieces)
}

/// A blob as a reader needs it.
#[derive(Clone)]
struct Source {
    blob: BlobId,
    size: u64,
    replicas: Vec<ReplicaAt>,
    blocks: Vec<u32>,
}

impl Source {
    fn new(blob: BlobId, size: i64, crcs: Option<Vec<u8>>, mut replicas: Vec<ReplicaAt>) -> Self {
        // Live ones first.
        replicas.sort_by_key(|at| (at.state != ReplicaState::Live, at.replica));
        Self { blob, size: rows::uint(size), replicas, blocks: rows::unpack(&crcs.unwrap_or_default()) }
    }

    fn into_piece(self, range: ByteRange, blob_offset: u64) -> Piece {
        let Self { blob, size, replicas, blocks } = self;
        Piece { range, blob, blob_offset, blob_size: size, replicas, blocks }
    }
}

/// Reads the columns state, replica, backend, path.
fn replica_at(row: &Row<'_>, first: usize) -> rusqlite::Result<ReplicaAt> {
    Ok(ReplicaAt {
        replica: ReplicaId::from_bytes(row.get(first + 1)?),
        backend: BackendId(row.get(first + 2)?),
        path: rows::path(row, first + 3)?,
        state: rows::replica_state(row.get(first)?)?,
    })
}

fn source(conn: &Connection, blob: BlobId) -> Result<Source, CatalogError> {
    let found: Option<(i64, Option<Vec<u8>>)> = stmt(
        conn,
        "SELECT b.size, k.crcs FROM blobs AS b LEFT JOIN blocks AS k ON k.blob = b.blob WHERE b.blob = ?1",
    )?
    .query_row(params![blob.to_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
    .optional()?;
    let (size, crcs) = found.ok_or_else(|| no_blob(blob))?;
    let replicas =
        stmt(conn, "SELECT state, replica, backend, path FROM replicas WHERE blob = ?1 AND state IN (1, 2)")?
            .query_map(params![blob.to_bytes()], |row| replica_at(row, 0))?
            .collect::<rusqlite::Result<_>>()?;
    Ok(Source::new(blob, size, crcs, replicas))
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
