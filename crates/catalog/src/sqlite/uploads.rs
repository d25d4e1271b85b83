//! Multipart uploads and their parts. `completion` has their end.

use async_trait::async_trait;
use runtime::mutation;
use rusqlite::{Connection, OptionalExtension, Row, params};
use types::{BucketName, ByteRange, ObjectKey, UploadId};

use super::rows::{self, Json, content_columns, int, json, millis, upload_columns};
use super::walk::{Scope, just_behind, successor};
use super::writer::Tx;
use super::{Sqlite, completion, content, journal, list, objects, stmt};
use crate::journal::{Entry, Item, PartItem, Slice};
use crate::{
    AbortUpload, BucketId, CatalogError, CommitPart, CompleteUpload, Completed, Content, CopyPart,
    CreateUpload, ListPosition, ListedUpload, Object, Part, PartsPage, PartsQuery, Refusal, Upload, Uploads,
    UploadsPage, UploadsQuery,
};

#[async_trait]
impl Uploads for Sqlite {
    async fn create_upload(&self, create: CreateUpload) -> Result<(), CatalogError> {
        self.write(move |tx| create_upload(tx, create.clone())).await
    }

    async fn find_upload(
        &self,
        upload: UploadId,
        bucket: BucketId,
        key: &ObjectKey,
    ) -> Result<Option<Upload>, CatalogError> {
        self.read(|conn| find_open(conn, upload, bucket, key)).await
    }

    async fn commit_part(&self, commit: CommitPart) -> Result<(), CatalogError> {
        self.write(move |tx| commit_part(tx, commit.clone())).await
    }

    async fn copy_part(&self, copy: CopyPart) -> Result<Part, CatalogError> {
        self.write(move |tx| copy_part(tx, copy.clone())).await
    }

    async fn complete_upload(&self, complete: CompleteUpload) -> Result<Completed, CatalogError> {
        self.write(move |tx| completion::complete_upload(tx, complete.clone())).await
    }

    async fn abort_upload(&self, abort: AbortUpload) -> Result<(), CatalogError> {
        self.write(move |tx| completion::abort_upload(tx, abort.clone())).await
    }

    async fn list_parts(&self, query: &PartsQuery) -> Result<PartsPage, CatalogError> {
        let query = query.clone();
        self.scan(move |conn| list_parts(conn, &query)).await
    }

    async fn list_uploads(&self, query: &UploadsQuery) -> Result<UploadsPage, CatalogError> {
        let query = query.clone();
        self.scan(move |conn| list_uploads(conn, &query)).await
    }
}

fn create_upload(tx: &mut Tx<'_>, create: CreateUpload) -> Result<(), CatalogError> {
    if journal::find(tx, create.change)?.is_some() {
        return Ok(());
    }
    let upload = create.upload;
    count_open(tx, upload.bucket, create.open_max, &create.bucket_name)?;
    tx.execute(
        "INSERT INTO uploads (upload, bucket, key, state, initiated, headers, metadata, tags, \
         checksum_algorithm, checksum_type, access_key, invocation) \
         VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        params![
            upload.upload.to_bytes(),
            upload.bucket.0,
            upload.key.as_str().as_bytes(),
            millis(upload.initiated),
            json(&upload.headers),
            json(&upload.metadata),
            json(&upload.tags),
            upload.checksum_algorithm,
            upload.checksum_type,
            upload.client.access_key,
            upload.client.invocation,
        ],
    )?;
    let sequence = tx.next_sequence();
    let mut entry = Entry::new();
    entry.push(Item::Upload(Box::new(upload.into())));
    journal::append(tx, create.change, sequence, &entry, None)
}

fn count_open(
    tx: &Tx<'_>,
    bucket: BucketId,
    open_max: Option<u64>,
    name: &BucketName,
) -> Result<(), CatalogError> {
    let counted = tx.execute(
        "UPDATE buckets SET uploads_open = uploads_open + 1 \
         WHERE id = ?1 AND (?2 IS NULL OR uploads_open < ?2)",
        params![bucket.0, open_max.map(int)],
    )?;
    match (counted, open_max) {
        (1, _) => Ok(()),
        (_, Some(open_max)) => Err(Refusal::TooManyUploads { bucket: name.clone(), open_max }.into()),
        (_, None) => Err(CatalogError::Damaged(format!("there is no bucket {name}"))),
    }
}

/// An open upload of this bucket and key.
pub(super) fn find_open(
    conn: &Connection,
    upload: UploadId,
    bucket: BucketId,
    key: &ObjectKey,
) -> Result<Option<Upload>, CatalogError> {
    const SQL: &str = concat!(
        "SELECT ",
        upload_columns!(),
        " FROM uploads WHERE upload = ?1 AND bucket = ?2 AND key = ?3 AND state = 0"
    );
    Ok(stmt(conn, SQL)?
        .query_row(params![upload.to_bytes(), bucket.0, key.as_str().as_bytes()], rows::upload)
        .optional()?)
}

fn commit_part(tx: &mut Tx<'_>, commit: CommitPart) -> Result<(), CatalogError> {
    if journal::find(tx, commit.change)?.is_some() {
        return Ok(());
    }
    tx.check_alive(commit.owner)?;
    if !mutation::is_on("part.open") {
        find_open(tx.conn(), commit.upload, commit.bucket, &commit.key)?.ok_or(Refusal::NoSuchUpload)?;
    }
    let mut entry = Entry::new();
    let content = content::adopt(tx, commit.owner, &commit.blobs, commit.manifest, &mut entry)?;
    put_part(tx, commit.upload, &commit.part, content, &mut entry)?;
    let sequence = tx.next_sequence();
    journal::append(tx, commit.change, sequence, &entry, None)
}

/// Puts a part in place of an earlier one of its number.
fn put_part(
    tx: &mut Tx<'_>,
    upload: UploadId,
    part: &Part,
    content: Content,
    entry: &mut Entry<'_>,
) -> Result<(), CatalogError> {
    let replaced = tx
        .stmt("SELECT blob, manifest FROM parts WHERE upload = ?1 AND number = ?2")?
        .query_row(params![upload.to_bytes(), part.number], |row| rows::content(row, 0))
        .optional()?;
    let (blob, manifest) = content_columns(content);
    tx.execute(
        "REPLACE INTO parts (upload, number, size, etag, modified, checksums, blob, manifest) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            upload.to_bytes(),
            part.number,
            int(part.size),
            part.etag.as_str(),
            millis(part.modified),
            json(&part.checksums),
            blob,
            manifest,
        ],
    )?;
    if let Some(replaced) = replaced.filter(|_| !mutation::is_on("part.drops")) {
        content::drop_ref(tx, replaced, entry)?;
    }
    entry.push(Item::Part(PartItem {
        upload,
        number: part.number,
        size: part.size,
        etag: part.etag.clone(),
        modified: part.modified,
        checksums: part.checksums.clone(),
        content,
    }));
    Ok(())
}

fn copy_part(tx: &mut Tx<'_>, copy: CopyPart) -> Result<Part, CatalogError> {
    if let Some(recorded) = journal::find(tx, copy.change)? {
        let part = recorded.entry.into_part().ok_or_else(|| journal::reused(copy.change))?;
        let PartItem { number, size, etag, modified, checksums, .. } = part;
        return Ok(Part { number, size, etag, modified, checksums });
    }
    find_open(tx.conn(), copy.upload, copy.bucket, &copy.key)?.ok_or(Refusal::NoSuchUpload)?;
    let source = objects::find(tx.conn(), copy.source_bucket, &copy.source_key)?.ok_or(Refusal::NoSuchKey)?;
    let as_seen = source.change == copy.source_change || mutation::is_on("part.source");
    if !as_seen || copy.range.end() > source.state.size {
        return Err(Refusal::Changed("the source").into());
    }
    let mut entry = Entry::new();
    let mut part = Part {
        number: copy.number,
        size: copy.range.length,
        etag: copy.opaque_etag.clone(),
        modified: copy.at,
        checksums: crate::Checksums::default(),
    };
    let content = take_range(tx, &copy, &source, &mut part, &mut entry)?;
    put_part(tx, copy.upload, &part, content, &mut entry)?;
    let sequence = tx.next_sequence();
    journal::append(tx, copy.change, sequence, &entry, None)?;
    Ok(part)
}

/// References a range of an object: the blob, where the range is exactly one, or a manifest of slices.
fn take_range(
    tx: &mut Tx<'_>,
    copy: &CopyPart,
    source: &Object,
    part: &mut Part,
    entry: &mut Entry<'_>,
) -> Result<Content, CatalogError> {
    let slices = range_slices(tx, source, copy.range)?;
    content::check_slices(slices.len(), content::SLICES_OF_A_PART_MAX)?;
    // An object without bytes may be one blob too, which has no slice.
    let whole = match (source.state.content, &slices[..]) {
        (Content::Blob(blob), []) => Some(blob),
        (_, [slice]) if slice.blob_offset == 0 => Some(slice.blob),
        _ => None,
    };
    if let Some(blob) = whole {
        let (size, md5) = content::blob_facts(tx, blob)?;
        if size == copy.range.length {
            content::add_ref(tx, Content::Blob(blob))?;
            part.etag = md5.map_or_else(|| copy.opaque_etag.clone(), types::ETag::of_md5);
            if source.state.content == Content::Blob(blob) {
                part.checksums = source.state.checksums.clone();
            }
            return Ok(Content::Blob(blob));
        }
    }
    for slice in &slices {
        content::add_ref(tx, Content::Blob(slice.blob))?;
    }
    content::make_manifest(tx, copy.manifest, copy.range.length, slices, Vec::new(), entry)?;
    Ok(Content::Manifest(copy.manifest))
}

/// The slices of blobs that hold a range of an object, as slices of the range.
fn range_slices(tx: &Tx<'_>, source: &Object, range: ByteRange) -> Result<Vec<Slice>, CatalogError> {
    if range.length == 0 {
        return Ok(Vec::new());
    }
    let whole = match source.state.content {
        Content::Blob(blob) => vec![Slice { start: 0, blob, blob_offset: 0, length: source.state.size }],
        Content::Manifest(manifest) => content::slices(tx, manifest, range.start, range.end())?,
    };
    let cut = |slice: Slice| {
        let shared = ByteRange::new(slice.start, slice.length).intersect(range)?;
        Some(Slice {
            start: shared.start - range.start,
            blob: slice.blob,
            blob_offset: slice.blob_offset + (shared.start - slice.start),
            length: shared.length,
        })
    };
    Ok(whole.into_iter().filter_map(cut).collect())
}

/// Reads the columns number, size, etag, modified, checksums.
pub(super) fn read_part(row: &Row<'_>) -> rusqlite::Result<Part> {
    Ok(Part {
        number: row.get(0)?,
        size: rows::size(row, 1)?,
        etag: rows::etag(row, 2)?,
        modified: rows::time(row, 3)?,
        checksums: row.get::<_, Json<_>>(4)?.0,
    })
}

fn list_parts(conn: &Connection, query: &PartsQuery) -> Result<PartsPage, CatalogError> {
    let upload = find_open(conn, query.upload, query.bucket, &query.key)?.ok_or(Refusal::NoSuchUpload)?;
    let mut parts = stmt(
        conn,
        "SELECT number, size, etag, modified, checksums FROM parts WHERE upload = ?1 AND number > ?2 \
         ORDER BY number LIMIT ?3",
    )?
    .query_map(params![query.upload.to_bytes(), query.after, i64::from(query.limit) + 1], read_part)?
    .collect::<rusqlite::Result<Vec<_>>>()?;
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let truncated = limit > 0 && parts.len() > limit;
    parts.truncate(limit);
    Ok(PartsPage { upload, parts, truncated })
}

fn list_uploads(conn: &Connection, query: &UploadsQuery) -> Result<UploadsPage, CatalogError> {
    const SQL: &str = concat!(
        "SELECT ",
        upload_columns!(),
        " FROM uploads INDEXED BY uploads_open WHERE state = 0 AND bucket = ?1 \
         AND (key, upload) >= (?2, ?3) AND key < ?4 ORDER BY key, upload"
    );
    let mut page = UploadsPage { lines: Vec::new(), truncated: false };
    if query.limit == 0 {
        return Ok(page);
    }
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let scope = Scope::new(&query.prefix, query.delimiter.as_deref());
    let mut next = Some(first_upload(query, &scope));
    while let Some((key, upload)) = next.take() {
        let mut statement = stmt(conn, SQL)?;
        let mut found = statement.query(params![query.bucket.0, key, upload, scope.end()])?;
        while let Some(row) = found.next()? {
            if page.lines.len() == limit {
                page.truncated = true;
                return Ok(page);
            }
            let key = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
            if let Some(common) = scope.common_prefix(key) {
                page.lines.push(ListedUpload::Prefix(list::text(query.bucket, common)?));
                next = Some((successor(common), Vec::new()));
                break;
            }
            page.lines.push(ListedUpload::Upload(Box::new(rows::upload(row)?)));
        }
    }
    Ok(page)
}

/// Where a listing of uploads starts: a key, and the upload of that key.
fn first_upload(query: &UploadsQuery, scope: &Scope) -> (Vec<u8>, Vec<u8>) {
    let after = query.after_key.clone().map(ListPosition::Key);
    let start = scope.start(after.as_ref());
    match (&query.after_key, query.after_upload) {
        (Some(key), Some(upload)) if start == just_behind(key.as_bytes()) => {
            (key.as_bytes().to_owned(), just_behind(&upload.to_bytes()))
        }
        _ => (start, Vec::new()),
    }
}
