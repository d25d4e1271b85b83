//! What is shipped: the journal's entries and, page by page, everything, as lines of text.

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};
use serde::Serialize;
use types::{
    BackendName, BlobId, BucketName, ChangeId, ManifestId, Md5, ReplicaId, ReplicaPath, Timestamp, UploadId,
};

use super::rows::{self, Json, Key, size, upload_columns};
use super::{Sqlite, brake, limits, stmt};
use crate::journal::{Entry, Item, ManifestPart, PartItem, QuarantinedItem, ReplicaItem, Slice};
use crate::{
    BackendId, BucketId, CatalogError, JournalLine, Names, Object, Shipping, SnapshotCursor, SnapshotPage,
    SnapshotTable, Unshipped,
};

#[async_trait]
impl Shipping for Sqlite {
    async fn unshipped(&self, rows_max: u32, bytes_max: u64) -> Result<Unshipped, CatalogError> {
        self.scan(move |conn| unshipped(conn, rows_max, bytes_max)).await
    }

    async fn mark_shipped(&self, changes: Vec<ChangeId>) -> Result<(), CatalogError> {
        self.write(move |tx| {
            changes.iter().try_for_each(|change| {
                tx.execute("UPDATE journal SET shipped = 1 WHERE change = ?1", params![change.to_bytes()])
                    .map(|_| ())
            })
        })
        .await
    }

    async fn last_sequence(&self) -> Result<u64, CatalogError> {
        self.readers.read(|conn| {
            Ok(stmt(conn, "SELECT sequence FROM counters WHERE id = 1")?.query_row([], |row| size(row, 0))?)
        })
    }

    async fn names(&self) -> Result<Names, CatalogError> {
        self.snapshot(names).await
    }

    async fn snapshot_page(
        &self,
        from: SnapshotCursor,
        bytes_max: u64,
    ) -> Result<SnapshotPage, CatalogError> {
        self.scan(move |conn| snapshot_page(conn, from, bytes_max)).await
    }

    async fn limits_closed(&self) -> Result<Option<Timestamp>, CatalogError> {
        self.read(limits::closed_until).await
    }

    async fn open_limits(&self) -> Result<(), CatalogError> {
        self.write(|tx| tx.execute("DELETE FROM meta WHERE name = 'limits_closed'", []).map(|_| ())).await
    }
}

fn unshipped(conn: &Connection, rows_max: u32, bytes_max: u64) -> Result<Unshipped, CatalogError> {
    let mut statement = stmt(
        conn,
        "SELECT change, seq, entry FROM journal INDEXED BY journal_unshipped WHERE shipped = 0 AND seq > 0 \
         ORDER BY seq",
    )?;
    let mut found = statement.query([])?;
    let (mut lines, mut bytes) = (Vec::new(), 0);
    while let Some(row) = found.next()? {
        let (change, seq) = (ChangeId::from_bytes(row.get(0)?), size(row, 1)?);
        let entry = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
        let text = format!(r#"{{"change":"{change}","seq":{seq},"entry":{entry}}}"#);
        bytes += line_bytes(&text);
        let is_full = lines.len() >= usize::try_from(rows_max).unwrap_or(usize::MAX) || bytes > bytes_max;
        if is_full && !lines.is_empty() {
            return Ok(Unshipped { lines, more: true });
        }
        lines.push(JournalLine { change, seq, text });
    }
    Ok(Unshipped { lines, more: false })
}

/// What a line has in a file, with its end.
fn line_bytes(line: &str) -> u64 {
    line.len() as u64 + 1
}

fn names(conn: &Connection) -> Result<Names, CatalogError> {
    let damaged = |error: types::NameError| CatalogError::Damaged(error.to_string());
    let pairs = |sql| -> Result<Vec<(i64, String)>, CatalogError> {
        let found = stmt(conn, sql)?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        Ok(found)
    };
    let buckets = pairs("SELECT id, name FROM buckets WHERE id > 0 ORDER BY id")?
        .into_iter()
        .map(|(id, name)| Ok((BucketId(id), BucketName::parse(&name).map_err(damaged)?)))
        .collect::<Result<_, CatalogError>>()?;
    let backends = pairs("SELECT id, name FROM backends ORDER BY id")?
        .into_iter()
        .map(|(id, name)| Ok((BackendId(id), BackendName::parse(&name).map_err(damaged)?)))
        .collect::<Result<_, CatalogError>>()?;
    Ok(Names { buckets, backends })
}

fn snapshot_page(
    conn: &Connection,
    from: SnapshotCursor,
    bytes_max: u64,
) -> Result<SnapshotPage, CatalogError> {
    let mut page = Page { lines: Vec::new(), bytes: 0, bytes_max, after: Vec::new() };
    let mut cursor = Some(from);
    while let Some(SnapshotCursor { table, after }) = cursor {
        page.after.clone_from(&after);
        let is_whole = match table {
            SnapshotTable::Blobs => page.blobs(conn, after)?,
            SnapshotTable::Replicas => page.replicas(conn, after)?,
            SnapshotTable::Manifests => page.manifests(conn, after)?,
            SnapshotTable::Objects => page.objects(conn, &after)?,
            SnapshotTable::Uploads => page.uploads(conn, after)?,
            SnapshotTable::Parts => page.parts(conn, after)?,
            SnapshotTable::Decisions => page.decisions(conn, &after)?,
        };
        if !is_whole {
            let next = Some(SnapshotCursor { table, after: page.after });
            return Ok(SnapshotPage { lines: page.lines, next });
        }
        cursor = next_table(table).map(|table| SnapshotCursor { table, after: Vec::new() });
    }
    Ok(SnapshotPage { lines: page.lines, next: None })
}

fn next_table(table: SnapshotTable) -> Option<SnapshotTable> {
    match table {
        SnapshotTable::Blobs => Some(SnapshotTable::Replicas),
        SnapshotTable::Replicas => Some(SnapshotTable::Manifests),
        SnapshotTable::Manifests => Some(SnapshotTable::Objects),
        SnapshotTable::Objects => Some(SnapshotTable::Uploads),
        SnapshotTable::Uploads => Some(SnapshotTable::Parts),
        SnapshotTable::Parts => Some(SnapshotTable::Decisions),
        SnapshotTable::Decisions => None,
    }
}

/// A change that is none: what a snapshot says of blobs and replicas was made by many.
fn no_change() -> ChangeId {
    ChangeId::from_bytes([0; 16])
}

#[derive(Serialize)]
struct Line<'a> {
    change: ChangeId,
    seq: u64,
    entry: &'a Entry<'a>,
}

/// A page that fills up. Each table's method says whether all that is left of it went in.
struct Page {
    lines: Vec<String>,
    bytes: u64,
    bytes_max: u64,
    /// The key of the last row that went in.
    after: Vec<u8>,
}

impl Page {
    /// Takes a row in, or says that it does not fit any more. The first always does.
    fn takes(&mut self, key: &[u8], change: ChangeId, seq: u64, items: Vec<Item<'_>>) -> bool {
        let mut entry = Entry::new();
        items.into_iter().for_each(|item| entry.push(item));
        let line = rows::to_json(&Line { change, seq, entry: &entry });
        self.bytes += line_bytes(&line);
        if self.bytes > self.bytes_max && !self.lines.is_empty() {
            return false;
        }
        self.lines.push(line);
        self.after = key.to_vec();
        true
    }

    fn blobs(&mut self, conn: &Connection, after: Vec<u8>) -> Result<bool, CatalogError> {
        let mut statement = stmt(
            conn,
            "SELECT b.blob, b.size, b.wanted, b.md5, k.crcs FROM blobs AS b LEFT JOIN blocks AS k \
             ON k.blob = b.blob WHERE b.blob > ?1 ORDER BY b.blob",
        )?;
        let mut found = statement.query(params![after])?;
        while let Some(row) = found.next()? {
            let id: [u8; 16] = row.get(0)?;
            let md5 = row.get::<_, Option<[u8; 16]>>(3)?.map(Md5);
            let blocks: Option<Vec<u8>> = row.get(4)?;
            let blob = BlobId::from_bytes(id);
            let item = Item::blob(blob, size(row, 1)?, row.get(2)?, md5, &blocks.unwrap_or_default());
            if !self.takes(&id, no_change(), 0, vec![item]) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn replicas(&mut self, conn: &Connection, after: Vec<u8>) -> Result<bool, CatalogError> {
        let mut statement = stmt(
            conn,
            "SELECT r.replica, r.blob, r.backend, r.path, r.charged, r.version, r.state, i.bucket, i.size, i.stamp, \
             r.next_attempt FROM replicas AS r LEFT JOIN imports AS i ON i.replica = r.replica \
             WHERE r.replica > ?1 ORDER BY r.replica",
        )?;
        let mut found = statement.query(params![after])?;
        while let Some(row) = found.next()? {
            let id: [u8; 16] = row.get(0)?;
            let (replica, blob) = (ReplicaId::from_bytes(id), BlobId::from_bytes(row.get(1)?));
            let path = rows::path(row, 3)?;
            let imported = imported(row, replica, &path)?;
            let item = ReplicaItem {
                replica,
                blob,
                backend: row.get(2)?,
                path,
                charged: size(row, 4)?,
                version: row.get(5)?,
            };
            let mut items = match row.get(6)? {
                rows::QUARANTINED => {
                    let until = row.get::<_, i64>(10)?;
                    let until = (until < i64::MAX).then(|| Timestamp::from_millis(rows::uint(until)));
                    vec![Item::Quarantined(QuarantinedItem { replica: item, until })]
                }
                rows::SUSPECT => vec![Item::Live(item), Item::Suspect { replica }],
                // Whoever writes it will be dead by the time that this is read.
                rows::DOOMED | rows::WRITING => vec![Item::Live(item), Item::Doomed { replica }],
                _ => vec![Item::Live(item)],
            };
            items.extend(imported);
            if !self.takes(&id, no_change(), 0, items) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn manifests(&mut self, conn: &Connection, after: Vec<u8>) -> Result<bool, CatalogError> {
        let mut statement =
            stmt(conn, "SELECT manifest, size, refs FROM manifests WHERE manifest > ?1 ORDER BY manifest")?;
        let mut found = statement.query(params![after])?;
        while let Some(row) = found.next()? {
            let id: [u8; 16] = row.get(0)?;
            let manifest = ManifestId::from_bytes(id);
            let (slices, parts) = (slices(conn, id)?, manifest_parts(conn, id)?);
            let mut items = vec![Item::Manifest { manifest, size: size(row, 1)?, slices, parts }];
            if row.get::<_, i64>(2)? == 0 {
                items.push(Item::Dissolving { manifest });
            }
            if !self.takes(&id, no_change(), 0, items) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn objects(&mut self, conn: &Connection, after: &[u8]) -> Result<bool, CatalogError> {
        const SQL: &str = concat!(
            "SELECT ",
            rows::object_columns!(),
            ", o.bucket, o.key FROM objects AS o WHERE (o.bucket, o.key) > (?1, ?2) ORDER BY o.bucket, o.key"
        );
        let (bucket, key) = match after.split_first_chunk::<8>() {
            Some((bucket, key)) => (i64::from_be_bytes(*bucket), key),
            // Behind whatever the internal bucket, number 0, holds: nothing in it begins with this byte.
            None => (BucketId::INTERNAL.0, &[0xff][..]),
        };
        let mut statement = stmt(conn, SQL)?;
        let mut found = statement.query(params![bucket, key])?;
        while let Some(row) = found.next()? {
            let (bucket, key) = (BucketId(row.get(13)?), row.get::<_, Key>(14)?.0);
            let place = [&bucket.0.to_be_bytes()[..], key.as_str().as_bytes()].concat();
            let Object { bucket, key, revision, change, state } = rows::object(row, bucket, key)?;
            if !self.takes(&place, change, revision, vec![Item::object(bucket, key, revision, &state)]) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn uploads(&mut self, conn: &Connection, after: Vec<u8>) -> Result<bool, CatalogError> {
        const SQL: &str = concat!(
            "SELECT ",
            upload_columns!(),
            ", state, settled_at, fingerprint, answer FROM uploads WHERE upload > ?1 ORDER BY upload"
        );
        let mut statement = stmt(conn, SQL)?;
        let mut found = statement.query(params![after])?;
        while let Some(row) = found.next()? {
            let upload = rows::upload(row)?;
            let id = upload.upload;
            let mut items = vec![Item::Upload(Box::new(upload.into()))];
            if row.get::<_, i64>(11)? != 0 {
                let (at, completed) = (rows::time(row, 12)?, row.get(13)?);
                items.push(Item::UploadSettled { upload: id, at, completed });
                if let Some(answer) = row.get(14)? {
                    items.push(Item::UploadAnswer { upload: id, answer });
                }
            }
            if !self.takes(&id.to_bytes(), no_change(), 0, items) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn parts(&mut self, conn: &Connection, after: Vec<u8>) -> Result<bool, CatalogError> {
        let (upload, number) = match after.split_first_chunk::<16>() {
            Some((upload, number)) => (upload.to_vec(), number.try_into().map_or(0, u32::from_be_bytes)),
            None => (Vec::new(), 0),
        };
        let mut statement = stmt(
            conn,
            "SELECT upload, number, size, etag, modified, checksums, blob, manifest FROM parts \
             WHERE (upload, number) > (?1, ?2) ORDER BY upload, number",
        )?;
        let mut found = statement.query(params![upload, number])?;
        while let Some(row) = found.next()? {
            let part = PartItem {
                upload: UploadId::from_bytes(row.get(0)?),
                number: row.get(1)?,
                size: size(row, 2)?,
                etag: rows::etag(row, 3)?,
                modified: rows::time(row, 4)?,
                checksums: row.get::<_, Json<_>>(5)?.0,
                content: rows::content(row, 6)?,
            };
            let place = [&part.upload.to_bytes()[..], &part.number.to_be_bytes()].concat();
            if !self.takes(&place, no_change(), 0, vec![Item::Part(part)]) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Backends that drain, by their numbers; the brake behind them.
    fn decisions(&mut self, conn: &Connection, after: &[u8]) -> Result<bool, CatalogError> {
        const BEHIND_ALL: [u8; 9] = [0xff; 9];
        let from = after.first_chunk::<8>().map_or(0, |number| i64::from_be_bytes(*number));
        let mut statement = stmt(
            conn,
            "SELECT id, drain_since FROM backends WHERE drain_since IS NOT NULL AND id > ?1 ORDER BY id",
        )?;
        let mut found = statement.query([from])?;
        while let Some(row) = found.next()? {
            let backend: i64 = row.get(0)?;
            let item = Item::Drain { backend, since: Some(rows::time(row, 1)?) };
            if !self.takes(&backend.to_be_bytes(), no_change(), 0, vec![item]) {
                return Ok(false);
            }
        }
        let brake = brake::state(conn)?;
        let Some(since) = brake.engaged_at else { return Ok(true) };
        let item = Item::Brake { since: Some(since), why: brake.why };
        Ok(self.takes(&BEHIND_ALL, no_change(), 0, vec![item]))
    }
}

fn slices(conn: &Connection, manifest: [u8; 16]) -> Result<Vec<Slice>, CatalogError> {
    let found = stmt(
        conn,
        "SELECT start, blob, blob_offset, length FROM entries WHERE manifest = ?1 ORDER BY start",
    )?
    .query_map(params![manifest], |row| {
        Ok(Slice {
            start: size(row, 0)?,
            blob: BlobId::from_bytes(row.get(1)?),
            blob_offset: size(row, 2)?,
            length: size(row, 3)?,
        })
    })?
    .collect::<rusqlite::Result<_>>()?;
    Ok(found)
}

fn manifest_parts(conn: &Connection, manifest: [u8; 16]) -> Result<Vec<ManifestPart>, CatalogError> {
    let read = |row: &Row<'_>| {
        Ok(ManifestPart {
            number: row.get(0)?,
            start: size(row, 1)?,
            size: size(row, 2)?,
            etag: rows::etag(row, 3)?,
            checksums: row.get::<_, Json<_>>(4)?.0,
        })
    };
    let found = stmt(
        conn,
        "SELECT number, start, size, etag, checksums FROM manifest_parts WHERE manifest = ?1 ORDER BY number",
    )?
    .query_map(params![manifest], read)?
    .collect::<rusqlite::Result<_>>()?;
    Ok(found)
}

/// As what a replica was imported, where it was.
fn imported(
    row: &Row<'_>,
    replica: ReplicaId,
    path: &ReplicaPath,
) -> Result<Option<Item<'static>>, CatalogError> {
    let Some(bucket) = row.get(7)? else { return Ok(None) };
    let (backend, path, size, stamp) = (row.get(2)?, path.clone(), size(row, 8)?, row.get(9)?);
    Ok(Some(Item::Imported { replica, backend, path, bucket, size, stamp }))
}
