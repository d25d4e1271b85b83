//! The end of bytes: doomed replicas are given out and settled, manifests dissolve, records expire.

use async_trait::async_trait;
use runtime::mutation;
use rusqlite::{Connection, OptionalExtension, Row, params};
use types::{BlobId, ChangeId, ManifestId, ReplicaId, Timestamp};

use super::rows::{self, int, millis, size};
use super::writer::{Sums, Tx};
use super::{Sqlite, brake, content, imports, journal, replicas, stmt};
use crate::journal::{Answer, Entry, Item};
use crate::{BackendId, CatalogError, Doomed, Reaping, Settled, SettledOutcome};

#[async_trait]
impl Reaping for Sqlite {
    async fn claim_doomed(
        &self,
        backends: &[BackendId],
        horizon: u64,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Doomed>, CatalogError> {
        self.snapshot(|conn| claim_doomed(conn, backends, horizon, now, limit)).await
    }

    async fn settle_doomed(&self, change: ChangeId, settled: Vec<Settled>) -> Result<(), CatalogError> {
        self.write(move |tx| settle_doomed(tx, change, &settled)).await
    }

    async fn next_doomed(&self, backends: &[BackendId]) -> Result<Option<Timestamp>, CatalogError> {
        self.read(|conn| next_doomed(conn, backends)).await
    }

    async fn dissolve_manifests(
        &self,
        change: ChangeId,
        horizon: u64,
        limit: u32,
    ) -> Result<bool, CatalogError> {
        self.write(move |tx| dissolve_manifests(tx, change, horizon, limit)).await
    }

    async fn mark_suspect(
        &self,
        change: ChangeId,
        replica: ReplicaId,
        why: &str,
    ) -> Result<(), CatalogError> {
        let why = why.to_owned();
        self.write(move |tx| mark_suspect(tx, change, replica, &why)).await
    }

    async fn expire_records(
        &self,
        uploads_before: Timestamp,
        journal_before: Timestamp,
        limit: u32,
    ) -> Result<bool, CatalogError> {
        self.write(move |tx| expire_records(tx, uploads_before, journal_before, limit)).await
    }
}

fn claim_doomed(
    conn: &Connection,
    backends: &[BackendId],
    horizon: u64,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Doomed>, CatalogError> {
    if brake::is_engaged(conn)? {
        return Ok(Vec::new());
    }
    let horizon = if mutation::is_on("claim.horizon") { u64::MAX } else { horizon };
    let now = if mutation::is_on("claim.due") { Timestamp::from_millis(u64::MAX) } else { now };
    // Two walks, so that neither what waits for its turn nor what waits for a reader is stepped over.
    let mut at_once = stmt(
        conn,
        "SELECT doomed_seq, replica, backend, path, charged, attempts FROM replicas INDEXED BY replicas_doomed \
         WHERE state = 3 AND backend = ?1 AND next_attempt = 0 AND doomed_seq <= ?2 \
         ORDER BY doomed_seq, replica LIMIT ?3",
    )?;
    let mut waited = stmt(
        conn,
        "SELECT doomed_seq, replica, backend, path, charged, attempts FROM replicas INDEXED BY replicas_doomed \
         WHERE state = 3 AND backend = ?1 AND next_attempt > 0 AND next_attempt <= ?4 AND doomed_seq <= ?2 \
         ORDER BY next_attempt LIMIT ?3",
    )?;
    let mut found = Vec::new();
    for backend in backends {
        let known = params![backend.0, int(horizon), limit];
        for row in at_once.query_map(known, read_doomed)? {
            found.push(row?);
        }
        let known = params![backend.0, int(horizon), limit, millis(now)];
        for row in waited.query_map(known, read_doomed)? {
            found.push(row?);
        }
    }
    found.sort_by_key(|(seq, doomed)| (*seq, doomed.replica));
    found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(found.into_iter().map(|(_, doomed)| doomed).collect())
}

fn read_doomed(row: &Row<'_>) -> rusqlite::Result<(u64, Doomed)> {
    let doomed = Doomed {
        replica: ReplicaId::from_bytes(row.get(1)?),
        backend: BackendId(row.get(2)?),
        path: rows::path(row, 3)?,
        charged: size(row, 4)?,
        attempts: row.get(5)?,
    };
    Ok((size(row, 0)?, doomed))
}

fn next_doomed(conn: &Connection, backends: &[BackendId]) -> Result<Option<Timestamp>, CatalogError> {
    if brake::is_engaged(conn)? {
        return Ok(None);
    }
    let mut first = stmt(
        conn,
        "SELECT MIN(next_attempt) FROM replicas INDEXED BY replicas_doomed WHERE state = 3 AND backend = ?1",
    )?;
    let mut next: Option<i64> = None;
    for backend in backends {
        let due: Option<i64> = first.query_row([backend.0], |row| row.get(0))?;
        next = [next, due].into_iter().flatten().min();
    }
    Ok(next.map(|due| Timestamp::from_millis(rows::uint(due))))
}

fn settle_doomed(tx: &mut Tx<'_>, change: ChangeId, settled: &[Settled]) -> Result<(), CatalogError> {
    if journal::find(tx, change)?.is_some() {
        return Ok(());
    }
    let mut entry = Entry::new();
    for one in settled {
        match &one.outcome {
            SettledOutcome::Gone => settle_gone(tx, one.replica, &mut entry)?,
            SettledOutcome::Failed { retry_at, error } => {
                tx.execute(
                    "UPDATE replicas SET next_attempt = ?2, attempts = attempts + 1, last_error = ?3 \
                     WHERE replica = ?1 AND state = 3",
                    params![one.replica.to_bytes(), millis(*retry_at), error],
                )?;
            }
        }
    }
    let sequence = tx.next_sequence();
    journal::append(tx, change, sequence, &entry, None)
}

/// The bytes of a doomed replica are gone, or given up: so go its row and its charge.
pub(super) fn settle_gone(
    tx: &mut Tx<'_>,
    replica: ReplicaId,
    entry: &mut Entry<'_>,
) -> Result<(), CatalogError> {
    let gone: Option<([u8; 16], i64, i64)> = tx
        .stmt("DELETE FROM replicas WHERE replica = ?1 AND state = 3 RETURNING blob, backend, charged")?
        .query_row(params![replica.to_bytes()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    if let Some((blob, backend, charged)) = gone {
        let sums = Sums { charged: -charged, replicas_live: 0, replicas_doomed: -1, doomed_bytes: -charged };
        if !mutation::is_on("settled.released") {
            tx.add_sums(backend, sums);
        }
        replicas::forget_blob(tx, blob)?;
        imports::forget(tx, replica)?;
        entry.push(Item::Gone { replica });
    }
    Ok(())
}

fn dissolve_manifests(
    tx: &mut Tx<'_>,
    change: ChangeId,
    horizon: u64,
    limit: u32,
) -> Result<bool, CatalogError> {
    if let Some(recorded) = journal::find(tx, change)? {
        return match recorded.answer {
            Some(Answer::More(more)) => Ok(more),
            _ => Err(journal::reused(change)),
        };
    }
    let mut entry = Entry::new();
    let mut left = limit;
    while left > 0
        && let Some(manifest) = next_dissolving(tx, horizon)?
    {
        let dropped = drop_entries(tx, manifest, left, &mut entry)?;
        if dropped < left {
            let id = manifest.to_bytes();
            tx.execute("DELETE FROM manifest_parts WHERE manifest = ?1", params![id])?;
            tx.execute("DELETE FROM manifests WHERE manifest = ?1 AND refs = 0", params![id])?;
            entry.push(Item::Dissolved { manifest });
        }
        // The row itself is work too, so that manifests without entries end the step as well.
        left -= dropped.max(1);
    }
    if entry.items.is_empty() {
        return Ok(false);
    }
    let more = next_dissolving(tx, horizon)?.is_some();
    let sequence = tx.next_sequence();
    journal::append(tx, change, sequence, &entry, Some(&Answer::More(more)))?;
    Ok(more)
}

fn next_dissolving(tx: &Tx<'_>, horizon: u64) -> Result<Option<ManifestId>, CatalogError> {
    let horizon = if mutation::is_on("dissolve.horizon") { u64::MAX } else { horizon };
    Ok(tx
        .stmt(
            "SELECT manifest FROM manifests INDEXED BY manifests_dissolving \
             WHERE refs = 0 AND doomed_seq <= ?1 ORDER BY doomed_seq LIMIT 1",
        )?
        .query_row(params![int(horizon)], |row| row.get(0).map(ManifestId::from_bytes))
        .optional()?)
}

/// Drops the first entries of a manifest and their references; says how many.
fn drop_entries(
    tx: &mut Tx<'_>,
    manifest: ManifestId,
    limit: u32,
    entry: &mut Entry<'_>,
) -> Result<u32, CatalogError> {
    let id = manifest.to_bytes();
    let found: Vec<(i64, [u8; 16])> = tx
        .stmt("SELECT start, blob FROM entries WHERE manifest = ?1 ORDER BY start LIMIT ?2")?
        .query_map(params![id, limit], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (start, blob) in &found {
        tx.execute("DELETE FROM entries WHERE manifest = ?1 AND start = ?2", params![id, start])?;
        content::drop_blob(tx, BlobId::from_bytes(*blob), entry)?;
        entry.push(Item::Dropped { manifest, start: rows::uint(*start) });
    }
    Ok(u32::try_from(found.len()).expect("the query gives at most `limit`"))
}

fn mark_suspect(
    tx: &mut Tx<'_>,
    change: ChangeId,
    replica: ReplicaId,
    why: &str,
) -> Result<(), CatalogError> {
    if journal::find(tx, change)?.is_some() {
        return Ok(());
    }
    const GUARDED: &str = "UPDATE replicas SET state = 2, last_error = ?2 WHERE replica = ?1 AND state = 1 \
         RETURNING blob, backend";
    const UNGUARDED: &str =
        "UPDATE replicas SET state = 2, last_error = ?2 WHERE replica = ?1 RETURNING blob, backend";
    let marked: Option<([u8; 16], i64)> = tx
        .stmt(if mutation::is_on("suspect.live") { UNGUARDED } else { GUARDED })?
        .query_row(params![replica.to_bytes(), why], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((blob, backend)) = marked else {
        return Ok(());
    };
    tx.execute(
        "UPDATE blobs SET replicas_live = replicas_live - 1, next_attempt = 0, attempts = 0 WHERE blob = ?1",
        params![blob],
    )?;
    tx.add_sums(backend, Sums { replicas_live: -1, ..Sums::default() });
    let mut entry = Entry::new();
    entry.push(Item::Suspect { replica });
    let sequence = tx.next_sequence();
    journal::append(tx, change, sequence, &entry, None)
}

fn expire_records(
    tx: &mut Tx<'_>,
    uploads_before: Timestamp,
    journal_before: Timestamp,
    limit: u32,
) -> Result<bool, CatalogError> {
    let uploads = tx.execute(
        "DELETE FROM uploads WHERE upload IN (SELECT upload FROM uploads INDEXED BY uploads_settled \
         WHERE state > 0 AND settled_at < ?1 ORDER BY settled_at LIMIT ?2)",
        params![millis(uploads_before), limit],
    )?;
    // A change id begins with its time.
    let oldest_kept = ChangeId::from_parts(journal_before, 0);
    let changes = tx.execute(
        "DELETE FROM journal WHERE change IN \
         (SELECT change FROM journal WHERE change < ?1 AND shipped = 1 ORDER BY change LIMIT ?2)",
        params![oldest_kept.to_bytes(), limit],
    )?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    Ok(uploads == limit || changes == limit)
}
