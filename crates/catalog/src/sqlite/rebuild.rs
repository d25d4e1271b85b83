//! A catalog made anew from what was shipped: entries are applied as absolute states, then everything that
//! counts is counted.
//!
//! It is made in a file aside and put in place when it is whole, so that it can be stopped at any moment and
//! goes on where it was. `docs/shipping.md` has the rules.

use std::borrow::Cow;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use runtime::mutation;
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use serde::Deserialize;
use types::{BlobId, ChangeId, ETag, Timestamp};

use super::open::{self, MemoryFile, OpenError, WhenHeld};
use super::rows::{self, content_columns, int, json, millis, to_json};
use super::{audit, decided};
use crate::journal::{Entry, Item, ManifestPart, ObjectItem, PartItem, QuarantinedItem, ReplicaItem, Slice};
use crate::{
    BackendId, BucketId, CatalogError, Checksums, Client, Content, Identity, InternalFile, Names,
    ObjectHeaders, ObjectState, Rebuilding, Rebuilt, Upload,
};

/// Until a process with this catalog has told, a backend may receive bytes for as long after they were sent.
const LATE_ARRIVAL_MS: i64 = 15 * 60 * 1000;
/// By how much the numbers of changes jump: those that were given out and not shipped are not given out again.
const SEQUENCE_JUMP: i64 = 1 << 32;

/// A catalog that is being made.
pub struct Rebuild {
    conn: Connection,
    place: Destination,
}

/// Where the catalog will be put.
enum Destination {
    File {
        path: PathBuf,
        aside: PathBuf,
        epoch: u64,
        /// Nobody opens the catalog that will be replaced.
        _lock: File,
    },
    Memory(MemoryFile),
}

#[derive(Deserialize)]
pub(super) struct Line {
    change: ChangeId,
    pub(super) seq: u64,
    pub(super) entry: Entry<'static>,
}

/// Reads a line of a file. What a later release says in it is not passed over.
pub(super) fn read_line(file: &str, text: &str) -> Result<Line, CatalogError> {
    serde_json::from_str(text).map_err(|error| {
        let version = env!("CARGO_PKG_VERSION");
        CatalogError::Damaged(format!(
            "{file}: {error}. A rebuild is done by the release that wrote it, or a later one; this is {version}"
        ))
    })
}

impl Rebuild {
    /// Begins, or goes on where an earlier rebuild from the same `source` was stopped.
    ///
    /// # Errors
    /// Where a process owns the catalog at `path`, or the file cannot be made.
    pub async fn begin(path: &Path, identity: Identity, source: &str) -> Result<Self, OpenError> {
        let lock = open::lock(path, WhenHeld::Fail).await?;
        let aside = open::with_suffix(path, ".rebuilding");
        let fail = |error: rusqlite::Error| open::database(&aside, error);
        let going_on = fs::metadata(&aside).is_ok_and(|found| found.len() > 0)
            && Connection::open(&aside)
                .and_then(|conn| text(&conn, "rebuild_source"))
                .is_ok_and(|found| found.as_deref() == Some(source));
        if !going_on {
            for file in [aside.clone(), open::with_suffix(&aside, "-wal"), open::with_suffix(&aside, "-shm")]
            {
                match fs::remove_file(&file) {
                    Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                        return Err(OpenError::Io { path: file, source });
                    }
                    _ => {}
                }
            }
        }
        let mut conn = Connection::open(&aside).map_err(fail)?;
        if !going_on {
            open::fill(&mut conn, identity.deployment).map_err(fail)?;
            set(&conn, "epoch", int(identity.epoch)).map_err(fail)?;
            set(&conn, "rebuild_source", source).map_err(fail)?;
        }
        open::prepare(&conn).map_err(fail)?;
        let epoch = identity.epoch;
        let place = Destination::File { path: path.to_owned(), aside, epoch, _lock: lock };
        Ok(Self { conn, place })
    }

    /// Begins one that will be put in the place of one in memory: for the simulation.
    ///
    /// # Errors
    /// Where SQLite has no memory.
    pub fn in_memory(file: &MemoryFile, identity: Identity) -> Result<Self, OpenError> {
        let fail = |error: rusqlite::Error| open::database(Path::new(":memory:"), error);
        let mut conn = Connection::open_in_memory().map_err(fail)?;
        open::fill(&mut conn, identity.deployment).map_err(fail)?;
        set(&conn, "epoch", int(identity.epoch)).map_err(fail)?;
        open::prepare(&conn).map_err(fail)?;
        Ok(Self { conn, place: Destination::Memory(file.clone()) })
    }
}

impl Rebuilding for Rebuild {
    fn applied(&self) -> Result<Option<String>, CatalogError> {
        Ok(text(&self.conn, "rebuild_applied")?)
    }

    fn apply(
        &mut self,
        file: &str,
        names: &Names,
        lines: &[&str],
        after: Option<u64>,
    ) -> Result<u64, CatalogError> {
        let tx = self.conn.transaction()?;
        know(&tx, names)?;
        let mut applied = 0;
        let mut last = 0;
        for text in lines {
            let line = read_line(file, text)?;
            last = last.max(line.seq);
            if after.is_none_or(|after| line.seq > after) {
                apply(&tx, line)?;
                applied += 1;
            }
        }
        stmt(&tx, "UPDATE counters SET sequence = MAX(sequence, ?1) WHERE id = 1")?
            .execute(params![int(last)])?;
        set(&tx, "rebuild_applied", file)?;
        tx.commit()?;
        Ok(applied)
    }

    fn finish(
        mut self: Box<Self>,
        internal: &[InternalFile],
        at: Timestamp,
    ) -> Result<Rebuilt, CatalogError> {
        let due = millis(at).saturating_add(LATE_ARRIVAL_MS);
        let tx = self.conn.transaction()?;
        internal.iter().try_for_each(|file| keep(&tx, file, at))?;
        if !mutation::is_on("rebuild.one-per-backend") {
            stmt(&tx, ONE_PER_BACKEND)?.execute([])?;
        }
        for sql in COUNT {
            stmt(&tx, sql)?.execute([])?;
        }
        stmt(&tx, KEEP_FILES)?.execute([])?;
        decided::forget_backends(&tx)?;
        // What is suspect is proved once more: it may have been found, and why it is doubted is lost.
        stmt(&tx, "UPDATE replicas SET next_attempt = ?1 WHERE state IN (2, 3)")?.execute(params![due])?;
        decided::give_time(&tx, at)?;
        stmt(&tx, "UPDATE counters SET sequence = sequence + ?1, doomed_seq = 1 WHERE id = 1")?
            .execute(params![SEQUENCE_JUMP])?;
        stmt(&tx, "DELETE FROM meta WHERE name LIKE 'rebuild%'")?.execute([])?;
        set(&tx, "limits_closed", millis(at))?;
        let wrong = audit::audit(&tx)?;
        let count = |sql| -> Result<u64, CatalogError> {
            Ok(stmt(&tx, sql)?.query_row([], |row| rows::size(row, 0))?)
        };
        let mut rebuilt = Rebuilt {
            objects: count("SELECT COUNT(*) FROM objects WHERE bucket > 0")?,
            blobs: count("SELECT COUNT(*) FROM blobs WHERE refs > 0")?,
            unreadable: count(UNREADABLE)?,
            replaced: None,
            wrong,
            decided: decided::read(&tx)?,
        };
        tx.commit()?;
        let Self { conn, place } = *self;
        let (path, aside, epoch, _lock) = match place {
            Destination::File { path, aside, epoch, _lock } => (path, aside, epoch, _lock),
            Destination::Memory(file) => {
                file.replace(conn);
                return Ok(rebuilt);
            }
        };
        conn.close().map_err(|(_, error)| error)?;
        let io = |error: std::io::Error| CatalogError::Unavailable(error.to_string());
        rebuilt.replaced = move_away(&path, epoch).map_err(io)?;
        File::open(&aside).and_then(|file| file.sync_all()).map_err(io)?;
        fs::rename(&aside, &path).map_err(io)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all()).map_err(io)?;
        Ok(rebuilt)
    }
}

/// Moves a catalog out of the way, with its log.
fn move_away(path: &Path, epoch: u64) -> std::io::Result<Option<PathBuf>> {
    let away = |suffix: &str| open::with_suffix(path, &format!(".before-epoch-{epoch}{suffix}"));
    let mut moved = None;
    for suffix in ["-wal", "-shm", ""] {
        match fs::rename(open::with_suffix(path, suffix), away(suffix)) {
            Ok(()) if suffix.is_empty() => moved = Some(away(suffix)),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(moved)
}

/// A prepared statement. It passes by the plans that are checked: a rebuild reads whole tables on purpose.
pub(super) fn stmt<'c>(conn: &'c Connection, sql: &str) -> rusqlite::Result<CachedStatement<'c>> {
    conn.prepare_cached(sql)
}

fn text(conn: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    conn.query_row("SELECT value FROM meta WHERE name = ?1", params![name], |row| row.get(0)).optional()
}

fn set(conn: &Connection, name: &str, value: impl rusqlite::ToSql) -> rusqlite::Result<()> {
    conn.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)", params![name, value])
        .map(|_| ())
}

/// The numbers of buckets and backends stay what they were, for entries name them.
fn know(conn: &Connection, names: &Names) -> Result<(), CatalogError> {
    let other = |kind: &str, name: &str| CatalogError::Damaged(format!("{kind} {name} has two numbers"));
    for (BucketId(id), name) in &names.buckets {
        stmt(conn, "INSERT OR IGNORE INTO buckets (id, name, first_seen) VALUES (?1, ?2, 0)")?
            .execute(params![id, name.as_str()])?;
        let is_so = stmt(conn, "SELECT 1 FROM buckets WHERE id = ?1 AND name = ?2")?
            .exists(params![id, name.as_str()])?;
        if !is_so {
            return Err(other("bucket", name.as_str()));
        }
    }
    decided::name_backends(conn, &names.backends)?;
    for (BackendId(id), name) in &names.backends {
        stmt(conn, "INSERT OR IGNORE INTO backends (id, name, late_arrival_ms) VALUES (?1, ?2, ?3)")?
            .execute(params![id, name.as_str(), LATE_ARRIVAL_MS])?;
        let is_so = stmt(conn, "SELECT 1 FROM backends WHERE id = ?1 AND name = ?2")?
            .exists(params![id, name.as_str()])?;
        if !is_so {
            return Err(other("backend", name.as_str()));
        }
    }
    Ok(())
}

fn apply(conn: &Connection, line: Line) -> Result<(), CatalogError> {
    let Line { change, entry, .. } = line;
    let (mut completed, mut made) = (None, None);
    for item in entry.items {
        match item {
            Item::Object(object) => {
                put_object(conn, change, &object)?;
                made = Some(to_json(&object.state));
            }
            Item::UploadSettled { upload, at, completed: fingerprint } => {
                completed = fingerprint.is_some().then_some(upload.to_bytes());
                settle_upload(conn, upload.to_bytes(), at, fingerprint)?;
            }
            other => apply_item(conn, other)?,
        }
    }
    // What a completion answered is the state of the object that it made.
    match (completed, made) {
        (Some(upload), Some(answer)) => answer_upload(conn, upload, &answer),
        _ => Ok(()),
    }
}

fn apply_item(conn: &Connection, item: Item<'_>) -> Result<(), CatalogError> {
    match item {
        Item::Object(_) | Item::UploadSettled { .. } => Ok(()),
        Item::Removed { .. } if mutation::is_on("rebuild.removes") => Ok(()),
        Item::Removed { bucket, key, .. } => run(
            conn,
            "DELETE FROM objects WHERE bucket = ?1 AND key = ?2",
            params![bucket, key.as_str().as_bytes()],
        ),
        Item::Blob { blob, size, wanted, md5, blocks } => put_blob(conn, blob, size, wanted, md5, &blocks),
        Item::Live(replica) => put_replica(conn, &replica),
        Item::Quarantined(QuarantinedItem { replica, until }) => {
            put_replica(conn, &replica)?;
            decided::quarantine(conn, &replica, until)
        }
        Item::Suspect { replica } => run(
            conn,
            "UPDATE replicas SET state = 2, doomed_seq = NULL WHERE replica = ?1",
            params![replica.to_bytes()],
        ),
        Item::Doomed { replica } => run(
            conn,
            "UPDATE replicas SET state = 3, doomed_seq = 1 WHERE replica = ?1",
            params![replica.to_bytes()],
        ),
        Item::Imported { replica, backend, path, bucket, size, stamp } => run(
            conn,
            "INSERT OR REPLACE INTO imports (backend, path, replica, bucket, size, stamp) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![backend, path.as_str(), replica.to_bytes(), bucket, int(size), stamp],
        ),
        Item::Gone { replica } => {
            run(conn, "DELETE FROM imports WHERE replica = ?1", params![replica.to_bytes()])?;
            run(conn, "DELETE FROM replicas WHERE replica = ?1", params![replica.to_bytes()])
        }
        Item::Manifest { manifest, size, slices, parts } => {
            put_manifest(conn, manifest.to_bytes(), size, &slices, &parts)
        }
        Item::Dissolving { manifest } => {
            run(conn, "UPDATE manifests SET doomed_seq = 1 WHERE manifest = ?1", params![manifest.to_bytes()])
        }
        Item::Dropped { manifest, start } => run(
            conn,
            "DELETE FROM entries WHERE manifest = ?1 AND start = ?2",
            params![manifest.to_bytes(), int(start)],
        ),
        Item::Dissolved { manifest } => remove_manifest(conn, manifest.to_bytes()),
        Item::Upload(upload) => put_upload(conn, &Upload::from(*upload)),
        Item::UploadAnswer { upload, answer } => answer_upload(conn, upload.to_bytes(), &answer),
        Item::Part(part) => put_part(conn, &part),
        Item::Drain { backend, since } => decided::drain(conn, backend, since),
        Item::Brake { since, why } => decided::brake(conn, since, &why),
    }
}

pub(super) fn run(
    conn: &Connection,
    sql: &'static str,
    params: impl rusqlite::Params,
) -> Result<(), CatalogError> {
    stmt(conn, sql)?.execute(params)?;
    Ok(())
}

fn put_object(conn: &Connection, change: ChangeId, object: &ObjectItem<'_>) -> Result<(), CatalogError> {
    let state = &object.state;
    let (blob, manifest) = content_columns(state.content);
    run(
        conn,
        "INSERT OR REPLACE INTO objects (bucket, key, size, etag, modified, checksums, revision, change, blob, \
         manifest, headers, metadata, tags, access_key, invocation) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        params![
            object.bucket,
            object.key.as_str().as_bytes(),
            int(state.size),
            state.etag.as_str(),
            millis(state.modified),
            json(&state.checksums),
            int(object.revision),
            change.to_bytes(),
            blob,
            manifest,
            json(&state.headers),
            json(&state.metadata),
            json(&state.tags),
            state.client.access_key,
            state.client.invocation,
        ],
    )
}

fn put_blob(
    conn: &Connection,
    blob: BlobId,
    size: u64,
    wanted: u32,
    md5: Option<String>,
    blocks: &str,
) -> Result<(), CatalogError> {
    let damaged = |what: &str| CatalogError::Damaged(format!("{what} of blob {blob} cannot be read"));
    let md5 = md5
        .map(|text| ETag::from_text(&text).md5().ok_or_else(|| damaged("the MD5")))
        .transpose()?
        .map(|md5| md5.0);
    let crcs = BASE64_STANDARD_NO_PAD.decode(blocks).map_err(|_| damaged("a checksum"))?;
    let id = blob.to_bytes();
    run(
        conn,
        "INSERT OR REPLACE INTO blobs (blob, size, refs, wanted, replicas_live, md5) VALUES (?1, ?2, 0, ?3, 0, ?4)",
        params![id, int(size), wanted, md5],
    )?;
    if crcs.is_empty() {
        return run(conn, "DELETE FROM blocks WHERE blob = ?1", params![id]);
    }
    run(conn, "INSERT OR REPLACE INTO blocks (blob, crcs) VALUES (?1, ?2)", params![id, crcs])
}

fn put_replica(conn: &Connection, item: &ReplicaItem) -> Result<(), CatalogError> {
    run(
        conn,
        "INSERT OR REPLACE INTO replicas (replica, blob, backend, path, charged, state, version) \
         VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6)",
        params![
            item.replica.to_bytes(),
            item.blob.to_bytes(),
            item.backend,
            item.path.as_str(),
            int(item.charged),
            item.version,
        ],
    )
}

fn put_manifest(
    conn: &Connection,
    id: [u8; 16],
    size: u64,
    slices: &[Slice],
    parts: &[ManifestPart],
) -> Result<(), CatalogError> {
    remove_manifest(conn, id)?;
    let count = i64::try_from(parts.len()).unwrap_or(i64::MAX);
    run(
        conn,
        "INSERT INTO manifests (manifest, refs, size, parts) VALUES (?1, 0, ?2, ?3)",
        params![id, int(size), count],
    )?;
    for slice in slices {
        run(
            conn,
            "INSERT INTO entries (manifest, start, blob, blob_offset, length) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![id, int(slice.start), slice.blob.to_bytes(), int(slice.blob_offset), int(slice.length)],
        )?;
    }
    for part in parts {
        let (start, size, checksums) = (int(part.start), int(part.size), json(&part.checksums));
        run(
            conn,
            "INSERT INTO manifest_parts (manifest, number, start, size, etag, checksums) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![id, part.number, start, size, part.etag.as_str(), checksums],
        )?;
    }
    Ok(())
}

fn remove_manifest(conn: &Connection, id: [u8; 16]) -> Result<(), CatalogError> {
    run(conn, "DELETE FROM entries WHERE manifest = ?1", params![id])?;
    run(conn, "DELETE FROM manifest_parts WHERE manifest = ?1", params![id])?;
    run(conn, "DELETE FROM manifests WHERE manifest = ?1", params![id])
}

fn put_upload(conn: &Connection, upload: &Upload) -> Result<(), CatalogError> {
    run(
        conn,
        "INSERT OR REPLACE INTO uploads (upload, bucket, key, state, initiated, headers, metadata, tags, \
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
    )
}

fn settle_upload(
    conn: &Connection,
    upload: [u8; 16],
    at: Timestamp,
    fingerprint: Option<String>,
) -> Result<(), CatalogError> {
    let state = if fingerprint.is_some() { 1 } else { 2 };
    run(conn, "DELETE FROM parts WHERE upload = ?1", params![upload])?;
    run(
        conn,
        "UPDATE uploads SET state = ?2, settled_at = ?3, fingerprint = ?4 WHERE upload = ?1",
        params![upload, state, millis(at), fingerprint],
    )
}

fn answer_upload(conn: &Connection, upload: [u8; 16], answer: &str) -> Result<(), CatalogError> {
    run(conn, "UPDATE uploads SET answer = ?2 WHERE upload = ?1", params![upload, answer])
}

fn put_part(conn: &Connection, part: &PartItem) -> Result<(), CatalogError> {
    let (blob, manifest) = content_columns(part.content);
    run(
        conn,
        "INSERT OR REPLACE INTO parts (upload, number, size, etag, modified, checksums, blob, manifest) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            part.upload.to_bytes(),
            part.number,
            int(part.size),
            part.etag.as_str(),
            millis(part.modified),
            json(&part.checksums),
            blob,
            manifest,
        ],
    )
}

/// A file of the internal bucket: an object like any other, or doomed where nothing needs it.
fn keep(conn: &Connection, file: &InternalFile, at: Timestamp) -> Result<(), CatalogError> {
    put_replica(
        conn,
        &ReplicaItem {
            replica: file.replica,
            blob: file.blob,
            backend: file.backend.0,
            path: file.path.clone(),
            charged: file.charge,
            version: None,
        },
    )?;
    let Some(blocks) = &file.blocks else { return Ok(()) };
    let id = file.blob.to_bytes();
    run(
        conn,
        "INSERT OR REPLACE INTO blobs (blob, size, refs, wanted, replicas_live) VALUES (?1, ?2, 0, 1, 0)",
        params![id, int(file.size)],
    )?;
    run(conn, "INSERT OR REPLACE INTO blocks (blob, crcs) VALUES (?1, ?2)", params![id, rows::pack(blocks)])?;
    let state = ObjectState {
        size: file.size,
        etag: ETag::from_text(&file.blob.to_string()),
        modified: at,
        content: Content::Blob(file.blob),
        headers: ObjectHeaders::default(),
        metadata: Vec::new(),
        tags: Vec::new(),
        checksums: Checksums::default(),
        client: Client::default(),
    };
    let (bucket, key) = (BucketId::INTERNAL.0, file.key.clone());
    put_object(
        conn,
        ChangeId::from_bytes([0; 16]),
        &ObjectItem { bucket, key, revision: 0, state: Cow::Owned(state) },
    )
}

const UNREADABLE: &str = "SELECT COUNT(*) FROM blobs AS b WHERE b.refs > 0 \
     AND NOT EXISTS (SELECT 1 FROM replicas AS r WHERE r.blob = b.blob AND r.state IN (1, 2))";

/// A file may lie twice on a backend: one of them was to be deleted. The younger one was made to replace it.
const ONE_PER_BACKEND: &str = "UPDATE replicas SET state = 3, doomed_seq = 1 WHERE state = 1 \
     AND EXISTS (SELECT 1 FROM replicas AS o WHERE o.blob = replicas.blob AND o.backend = replicas.backend \
         AND o.state = 1 AND o.replica > replicas.replica)";

/// What was shipped stays on as many backends as it lies on: until the next snapshot there is nothing else.
const KEEP_FILES: &str = "UPDATE blobs SET wanted = MAX(1, replicas_live) \
     WHERE blob IN (SELECT blob FROM objects WHERE bucket = 0 AND blob IS NOT NULL)";

/// Everything that counts is counted, in this order. All of it reads whole tables.
const COUNT: &[&str] = &[
    "CREATE TEMP TABLE held (id BLOB NOT NULL PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID",
    // Manifests.
    "INSERT INTO held SELECT manifest, COUNT(*) FROM (
         SELECT manifest FROM objects WHERE manifest IS NOT NULL UNION ALL
         SELECT manifest FROM parts WHERE manifest IS NOT NULL) GROUP BY manifest",
    "UPDATE manifests SET refs = COALESCE((SELECT n FROM held WHERE id = manifest), 0)",
    "UPDATE manifests SET doomed_seq = CASE WHEN refs = 0 THEN 1 END",
    "DELETE FROM held",
    // Blobs.
    "INSERT INTO held SELECT blob, COUNT(*) FROM (
         SELECT blob FROM objects WHERE blob IS NOT NULL UNION ALL
         SELECT blob FROM parts WHERE blob IS NOT NULL UNION ALL SELECT blob FROM entries) GROUP BY blob",
    "UPDATE blobs SET refs = COALESCE((SELECT n FROM held WHERE id = blob), 0)",
    "DELETE FROM held",
    // A blob that nothing holds has no live replica; what has no blob gets one that nothing holds.
    "INSERT OR IGNORE INTO blobs (blob, size, refs, wanted, replicas_live)
         SELECT blob, charged, 0, 1, 0 FROM replicas",
    "UPDATE replicas SET state = 3, doomed_seq = 1
         WHERE state IN (1, 2) AND blob IN (SELECT blob FROM blobs WHERE refs = 0)",
    "DELETE FROM blocks WHERE blob NOT IN (SELECT blob FROM blobs WHERE refs > 0)",
    "DELETE FROM blobs WHERE refs = 0 AND blob NOT IN (SELECT blob FROM replicas)",
    "INSERT INTO held SELECT blob, COUNT(*) FROM replicas WHERE state = 1 GROUP BY blob",
    "UPDATE blobs SET replicas_live = COALESCE((SELECT n FROM held WHERE id = blob), 0)",
    "DROP TABLE held",
    // What was imported and is gone.
    "DELETE FROM imports WHERE replica NOT IN (SELECT replica FROM replicas)",
    // Sums.
    "UPDATE backends SET
         charged = COALESCE((SELECT SUM(charged) FROM replicas WHERE backend = id), 0),
         replicas_live = (SELECT COUNT(*) FROM replicas WHERE backend = id AND state = 1),
         replicas_doomed = (SELECT COUNT(*) FROM replicas WHERE backend = id AND state = 3),
         doomed_bytes = COALESCE((SELECT SUM(charged) FROM replicas WHERE backend = id AND state = 3), 0)",
    "UPDATE buckets SET uploads_open =
         (SELECT COUNT(*) FROM uploads WHERE bucket = id AND state = 0)",
];
