//! Proofs of what lies on the backends.

use async_trait::async_trait;
use runtime::mutation;
use rusqlite::{Connection, OptionalExtension, params};
use types::{BlobId, ChangeId, ReplicaId, Timestamp};

use super::rows::{self, millis};
use super::writer::{Sums, Tx};
use super::{Sqlite, journal, stmt};
use crate::journal::{Entry, live};
use crate::{BackendId, CatalogError, ProofAges, ScrubPage, Scrubbing, Unproved};

#[async_trait]
impl Scrubbing for Sqlite {
    async fn scrub_page(
        &self,
        before: Timestamp,
        limit: u32,
        rows_max: u32,
    ) -> Result<ScrubPage, CatalogError> {
        self.readers.snapshot(|conn| scrub_page(conn, before, limit, rows_max))
    }

    async fn note_scrubbed(&self, last: Option<ReplicaId>) -> Result<(), CatalogError> {
        let last = last.map(ReplicaId::to_bytes);
        self.write(move |tx| {
            tx.execute("UPDATE rounds SET scrubbed = ?1 WHERE id = 1", params![last])?;
            Ok(())
        })
        .await
    }

    async fn proof_ages(&self, after: Option<ReplicaId>, rows_max: u32) -> Result<ProofAges, CatalogError> {
        self.scan(move |conn| proof_ages(conn, after, rows_max)).await
    }

    async fn note_proved(
        &self,
        change: ChangeId,
        replica: ReplicaId,
        at: Timestamp,
    ) -> Result<(), CatalogError> {
        self.write(move |tx| note_proved(tx, change, replica, at)).await
    }
}

fn scrub_page(
    conn: &Connection,
    before: Timestamp,
    limit: u32,
    rows_max: u32,
) -> Result<ScrubPage, CatalogError> {
    let from: Option<Vec<u8>> =
        stmt(conn, "SELECT scrubbed FROM rounds WHERE id = 1")?.query_row([], |row| row.get(0))?;
    // In the order of the ledger itself, which is the order of writing: an index by the time of the last
    // proof would be paid for by every write, and a round gives the same order. An id begins with its time.
    let written_before = ReplicaId::from_parts(before, 0).to_bytes();
    let mut statement = stmt(
        conn,
        "SELECT replica, blob, backend, path, state, verified_at FROM replicas \
         WHERE replica > ?1 AND replica < ?2 ORDER BY replica LIMIT ?3",
    )?;
    let mut found = statement.query(params![from.unwrap_or_default(), written_before, rows_max])?;
    let (mut page, mut looked_at) = (ScrubPage::default(), 0);
    while let Some(row) = found.next()? {
        looked_at += 1;
        let replica = ReplicaId::from_bytes(row.get(0)?);
        page.last = Some(replica);
        let state: i64 = row.get(4)?;
        let verified_at: Option<i64> = row.get(5)?;
        let kept = [rows::LIVE, rows::SUSPECT].contains(&state);
        if kept && verified_at.is_none_or(|at| at <= millis(before)) {
            page.unproved.push(Unproved {
                replica,
                blob: BlobId::from_bytes(row.get(1)?),
                backend: BackendId(row.get(2)?),
                path: rows::path(row, 3)?,
                state: rows::replica_state(state)?,
                verified_at: verified_at.map(|at| Timestamp::from_millis(rows::uint(at))),
            });
        }
        if page.unproved.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
            return Ok(page);
        }
    }
    if looked_at < rows_max {
        page.last = None;
    }
    Ok(page)
}

fn proof_ages(conn: &Connection, after: Option<ReplicaId>, rows_max: u32) -> Result<ProofAges, CatalogError> {
    let after = after.map_or(Vec::new(), |replica| replica.to_bytes().to_vec());
    let mut statement = stmt(
        conn,
        "SELECT replica, state, verified_at FROM replicas WHERE replica > ?1 ORDER BY replica LIMIT ?2",
    )?;
    let mut found = statement.query(params![after, rows_max])?;
    let (mut ages, mut last, mut looked_at) = (ProofAges::default(), None, 0);
    while let Some(row) = found.next()? {
        looked_at += 1;
        let replica = ReplicaId::from_bytes(row.get(0)?);
        last = Some(replica);
        let (state, verified_at): (i64, Option<i64>) = (row.get(1)?, row.get(2)?);
        if ![rows::LIVE, rows::SUSPECT].contains(&state) {
            continue;
        }
        let proved = verified_at.map(|at| Timestamp::from_millis(rows::uint(at)));
        ages.never_proved += u64::from(proved.is_none());
        let known_since = proved.unwrap_or(replica.timestamp());
        ages.oldest = ages.oldest.into_iter().chain([known_since]).min();
    }
    ages.next = last.filter(|_| looked_at >= rows_max);
    Ok(ages)
}

fn note_proved(
    tx: &mut Tx<'_>,
    change: ChangeId,
    replica: ReplicaId,
    at: Timestamp,
) -> Result<(), CatalogError> {
    if journal::find(tx, change)?.is_some() {
        return Ok(());
    }
    tx.execute(
        "UPDATE replicas SET verified_at = ?2 WHERE replica = ?1 AND state IN (1, 2)",
        params![replica.to_bytes(), millis(at)],
    )?;
    acquit(tx, change, replica)
}

/// A suspect replica that holds the right bytes is live again.
fn acquit(tx: &mut Tx<'_>, change: ChangeId, replica: ReplicaId) -> Result<(), CatalogError> {
    const GUARDED: &str = "UPDATE replicas AS r SET state = 1, last_error = NULL, next_attempt = 0 WHERE replica = ?1 AND state = 2 \
         AND NOT EXISTS (SELECT 1 FROM replicas AS o \
             WHERE o.blob = r.blob AND o.backend = r.backend AND o.state IN (0, 1)) \
         RETURNING blob, backend, path, charged, version";
    const UNGUARDED: &str = "UPDATE replicas SET state = 1, last_error = NULL, next_attempt = 0 WHERE replica = ?1 AND state = 2 \
         RETURNING blob, backend, path, charged, version";
    let item = tx
        .stmt(if mutation::is_on("acquit.one-per-backend") { UNGUARDED } else { GUARDED })?
        .query_row(params![replica.to_bytes()], |row| {
            let (blob, backend) = (BlobId::from_bytes(row.get(0)?), BackendId(row.get(1)?));
            let (path, charged) = (rows::path(row, 2)?, rows::size(row, 3)?);
            Ok((blob, backend, live(replica, blob, backend, path, charged, row.get(4)?)))
        })
        .optional()?;
    let Some((blob, backend, item)) = item else { return Ok(()) };
    tx.execute(
        "UPDATE blobs SET replicas_live = replicas_live + 1 WHERE blob = ?1",
        params![blob.to_bytes()],
    )?;
    tx.add_sums(backend.0, Sums { replicas_live: 1, ..Sums::default() });
    let mut entry = Entry::new();
    entry.push(item);
    let sequence = tx.next_sequence();
    journal::append(tx, change, sequence, &entry, None)
}
