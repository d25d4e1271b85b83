//! How many replicas there are, and how many there should be.

use async_trait::async_trait;
use runtime::mutation;
use rusqlite::{Connection, Row, params};
use types::{BlobId, Timestamp};

use super::rows::{self, millis};
use super::writer::Tx;
use super::{Sqlite, stmt};
use crate::{CatalogError, Postponed, Repair, ShortBlob, Shortage};

/// Levels of danger that are told apart. A blob that has more live replicas than this is in none.
const LEVELS: i64 = 16;

#[async_trait]
impl Repair for Sqlite {
    async fn short_blobs(&self, now: Timestamp, limit: u32) -> Result<Shortage, CatalogError> {
        self.readers.snapshot(|conn| short_blobs(conn, now, limit))
    }

    async fn postpone_repairs(&self, postponed: Vec<Postponed>) -> Result<(), CatalogError> {
        self.write(move |tx| postponed.iter().try_for_each(|one| postpone(tx, one))).await
    }

    async fn surplus_blobs(&self, after: Option<BlobId>, limit: u32) -> Result<Vec<BlobId>, CatalogError> {
        self.readers.read(|conn| surplus_blobs(conn, after, limit))
    }

    async fn remark_wanted(&self, factor: u32, limit: u32) -> Result<bool, CatalogError> {
        self.write(move |tx| remark_wanted(tx, factor, limit)).await
    }
}

pub(super) fn short_blobs(conn: &Connection, now: Timestamp, limit: u32) -> Result<Shortage, CatalogError> {
    // One walk per level: however many of the next one wait, the endangered come first, and nothing is sorted.
    let mut due = stmt(
        conn,
        "SELECT blob, attempts FROM blobs INDEXED BY blobs_endangered WHERE refs > 0 AND replicas_live < wanted \
         AND replicas_live = ?1 AND next_attempt <= ?2 ORDER BY next_attempt, blob LIMIT ?3",
    )?;
    let mut later = stmt(
        conn,
        "SELECT MIN(next_attempt) FROM blobs INDEXED BY blobs_endangered \
         WHERE refs > 0 AND replicas_live < wanted AND replicas_live = ?1 AND next_attempt > ?2",
    )?;
    let mut shortage = Shortage::default();
    let mut next: Option<i64> = None;
    for level in 0..LEVELS {
        let left = i64::from(limit) - i64::try_from(shortage.due.len()).unwrap_or(i64::MAX);
        for found in due.query_map(params![level, millis(now), left], short_blob)? {
            shortage.due.push(found?);
        }
        let waits: Option<i64> = later.query_row(params![level, millis(now)], |row| row.get(0))?;
        next = [next, waits].into_iter().flatten().min();
    }
    shortage.next = next.map(|at| Timestamp::from_millis(rows::uint(at)));
    Ok(shortage)
}

fn short_blob(row: &Row<'_>) -> rusqlite::Result<ShortBlob> {
    Ok(ShortBlob { blob: BlobId::from_bytes(row.get(0)?), attempts: row.get(1)? })
}

fn postpone(tx: &Tx<'_>, one: &Postponed) -> Result<(), CatalogError> {
    if mutation::is_on("repair.put-off") {
        return Ok(());
    }
    tx.execute(
        "UPDATE blobs SET next_attempt = ?2, attempts = attempts + 1, last_error = ?3 \
         WHERE blob = ?1 AND refs > 0 AND replicas_live < wanted",
        params![one.blob.to_bytes(), millis(one.retry_at), one.error],
    )?;
    Ok(())
}

/// The longest that a repair is put off, as far as a new process believes an old one's clock.
const PUT_OFF_MS_MAX: i64 = 300_000;

/// Nobody waits for a time that only a wrong clock can have meant.
pub(super) fn wait_anew(tx: &Tx<'_>, at: Timestamp) -> Result<(), CatalogError> {
    for level in 0..LEVELS {
        tx.execute(
            "UPDATE blobs INDEXED BY blobs_endangered SET next_attempt = ?2 \
             WHERE refs > 0 AND replicas_live < wanted AND replicas_live = ?1 AND next_attempt > ?2",
            params![level, millis(at).saturating_add(PUT_OFF_MS_MAX)],
        )?;
    }
    Ok(())
}

fn surplus_blobs(conn: &Connection, after: Option<BlobId>, limit: u32) -> Result<Vec<BlobId>, CatalogError> {
    let mut surplus = stmt(
        conn,
        "SELECT blob FROM blobs INDEXED BY blobs_surplus WHERE refs > 0 AND replicas_live > wanted \
         AND blob > ?1 ORDER BY blob LIMIT ?2",
    )?;
    let after = after.map_or(Vec::new(), |blob| blob.to_bytes().to_vec());
    let found = surplus.query_map(params![after, limit], |row| row.get(0).map(BlobId::from_bytes))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

fn remark_wanted(tx: &Tx<'_>, factor: u32, limit: u32) -> Result<bool, CatalogError> {
    // `marked` is the last blob that was marked; NULL once all are. What is being written is marked as its writer
    // says, and files of the journal are on two backends whatever the factor is.
    let (wanted, marked): (u32, Option<Vec<u8>>) = tx
        .stmt("SELECT wanted, marked FROM rounds WHERE id = 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let from = match marked {
        _ if wanted != factor => Vec::new(),
        Some(marked) => marked,
        None => return Ok(false),
    };
    let last: Option<Vec<u8>> = tx
        .stmt("SELECT MAX(blob) FROM (SELECT blob FROM blobs WHERE blob > ?1 ORDER BY blob LIMIT ?2)")?
        .query_row(params![from, limit], |row| row.get(0))?;
    if let Some(last) = &last {
        tx.execute(
            "UPDATE blobs SET wanted = ?1, next_attempt = 0 WHERE blob > ?2 AND blob <= ?3 AND wanted <> ?1 \
             AND refs > 0 AND (?4 OR blob NOT IN (SELECT blob FROM objects WHERE bucket = 0 AND blob IS NOT NULL))",
            params![factor, from, last, mutation::is_on("remark.files")],
        )?;
    }
    tx.execute("UPDATE rounds SET wanted = ?1, marked = ?2 WHERE id = 1", params![factor, last])?;
    Ok(last.is_some())
}
