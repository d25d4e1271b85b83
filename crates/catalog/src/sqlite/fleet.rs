//! Backends that drain, replicas that move.

use async_trait::async_trait;
use runtime::mutation;
use rusqlite::{Connection, OptionalExtension, Row, params};
use types::{BackendName, BlobId, ChangeId, ReplicaId, Timestamp};

use super::replicas::{self, Charged};
use super::rows::{self, millis, size};
use super::writer::{Dooms, Tx};
use super::{Sqlite, journal, reaping, stmt};
use crate::journal::{Entry, Item};
use crate::{
    BackendId, CatalogError, DoomedPage, DoomedRow, Drain, Fleet, Held, HeldPage, OnBackend, Refusal,
    Removed, Retire, Retired,
};

/// Replicas in one page, each with the others of its blob.
const HELD_MAX: usize = 256;

#[async_trait]
impl Fleet for Sqlite {
    async fn drains(&self) -> Result<Vec<Drain>, CatalogError> {
        self.snapshot(drains).await
    }

    async fn start_drain(
        &self,
        change: ChangeId,
        backend: BackendId,
        at: Timestamp,
    ) -> Result<(), CatalogError> {
        self.write(move |tx| start_drain(tx, change, backend, at)).await
    }

    async fn cancel_drain(&self, change: ChangeId, backend: BackendId) -> Result<bool, CatalogError> {
        self.write(move |tx| cancel_drain(tx, change, backend)).await
    }

    async fn held(
        &self,
        backend: BackendId,
        after: Option<ReplicaId>,
        rows_max: u32,
    ) -> Result<HeldPage, CatalogError> {
        self.scan(move |conn| held(conn, backend, after, rows_max)).await
    }

    async fn retire_replica(&self, retire: Retire) -> Result<Retired, CatalogError> {
        self.write(move |tx| retire_replica(tx, &retire)).await
    }

    async fn remove_backend(&self, backend: BackendId) -> Result<Removed, CatalogError> {
        self.write(move |tx| remove_backend(tx, backend)).await
    }

    async fn give_up_doomed(
        &self,
        change: ChangeId,
        backend: BackendId,
        limit: u32,
    ) -> Result<u32, CatalogError> {
        self.write(move |tx| give_up_doomed(tx, change, backend, limit)).await
    }

    async fn doomed(&self, limit: u32) -> Result<DoomedPage, CatalogError> {
        self.snapshot(|conn| doomed(conn, limit)).await
    }
}

fn drains(conn: &Connection) -> Result<Vec<Drain>, CatalogError> {
    let mut statement = stmt(
        conn,
        "SELECT id, name, drain_since, drain_moved, drain_moved_bytes FROM backends \
         WHERE drain_since IS NOT NULL ORDER BY id",
    )?;
    let mut found = statement.query([])?;
    let mut drains = Vec::new();
    while let Some(row) = found.next()? {
        let backend = BackendId(row.get(0)?);
        drains.push(Drain {
            backend,
            name: name(row, 1)?,
            since: rows::time(row, 2)?,
            moved: size(row, 3)?,
            moved_bytes: size(row, 4)?,
            left: on_backend(conn, backend)?.unwrap_or_default(),
        });
    }
    Ok(drains)
}

fn name(row: &Row<'_>, at: usize) -> Result<BackendName, CatalogError> {
    let text = row.get_ref(at)?.as_str().map_err(rusqlite::Error::from)?;
    BackendName::parse(text).map_err(|error| CatalogError::Damaged(error.to_string()))
}

/// What lies on a backend: the live and doomed ones from their sums, the few others from their indexes.
fn on_backend(conn: &Connection, backend: BackendId) -> Result<Option<OnBackend>, CatalogError> {
    let sums = stmt(
        conn,
        "SELECT replicas_live, replicas_doomed, charged - doomed_bytes FROM backends WHERE id = ?1",
    )?
    .query_row([backend.0], |row| Ok((size(row, 0)?, size(row, 1)?, size(row, 2)?)))
    .optional()?;
    let Some((live, doomed, bytes)) = sums else { return Ok(None) };
    let count = |sql| stmt(conn, sql)?.query_row([backend.0], |row| size(row, 0));
    Ok(Some(OnBackend {
        live,
        suspect: count(
            "SELECT COUNT(*) FROM replicas INDEXED BY replicas_suspected WHERE state = 2 AND backend = ?1",
        )?,
        writing: count(
            "SELECT COUNT(*) FROM replicas INDEXED BY replicas_writing WHERE state = 0 AND backend = ?1",
        )?,
        quarantined: count(
            "SELECT COUNT(*) FROM replicas INDEXED BY replicas_quarantined WHERE state = 4 AND backend = ?1",
        )?,
        doomed,
        bytes,
    }))
}

fn start_drain(
    tx: &mut Tx<'_>,
    change: ChangeId,
    backend: BackendId,
    at: Timestamp,
) -> Result<(), CatalogError> {
    if journal::find(tx, change)?.is_some() {
        return Ok(());
    }
    let started = tx.execute(
        "UPDATE backends SET drain_since = ?2, drain_moved = 0, drain_moved_bytes = 0 \
         WHERE id = ?1 AND drain_since IS NULL",
        params![backend.0, millis(at)],
    )?;
    if started == 1 {
        return append_drain(tx, change, backend, Some(at));
    }
    let known = tx.stmt("SELECT 1 FROM backends WHERE id = ?1")?.exists([backend.0])?;
    if known { Ok(()) } else { Err(Refusal::Changed("the backend").into()) }
}

fn cancel_drain(tx: &mut Tx<'_>, change: ChangeId, backend: BackendId) -> Result<bool, CatalogError> {
    if journal::find(tx, change)?.is_some() {
        return Ok(true);
    }
    let ended = tx.execute(
        "UPDATE backends SET drain_since = NULL WHERE id = ?1 AND drain_since IS NOT NULL",
        [backend.0],
    )?;
    if ended == 1 {
        append_drain(tx, change, backend, None)?;
    }
    Ok(ended == 1)
}

fn append_drain(
    tx: &mut Tx<'_>,
    change: ChangeId,
    backend: BackendId,
    since: Option<Timestamp>,
) -> Result<(), CatalogError> {
    if mutation::is_on("drain.journaled") {
        return Ok(());
    }
    let mut entry = Entry::new();
    entry.push(Item::Drain { backend: backend.0, since });
    let sequence = tx.next_sequence();
    journal::append(tx, change, sequence, &entry, None)
}

fn held(
    conn: &Connection,
    backend: BackendId,
    after: Option<ReplicaId>,
    rows_max: u32,
) -> Result<HeldPage, CatalogError> {
    let after = after.map_or(Vec::new(), |replica| replica.to_bytes().to_vec());
    // In the order of the ledger itself: an index by backend would be paid for by every write.
    let mut statement = stmt(
        conn,
        "SELECT replica, blob, backend, state, charged FROM replicas WHERE replica > ?1 \
         ORDER BY replica LIMIT ?2",
    )?;
    let mut found = statement.query(params![after, rows_max])?;
    let (mut page, mut looked_at, mut last) = (HeldPage::default(), 0, None);
    while let Some(row) = found.next()? {
        looked_at += 1;
        let replica = ReplicaId::from_bytes(row.get(0)?);
        last = Some(replica);
        let state: i64 = row.get(3)?;
        let wanted = row.get::<_, i64>(2)? == backend.0 && [rows::LIVE, rows::SUSPECT].contains(&state);
        if wanted && let Some(held) = one_held(conn, replica, row)? {
            page.held.push(held);
        }
        if page.held.len() == HELD_MAX {
            page.next = last;
            return Ok(page);
        }
    }
    page.next = last.filter(|_| looked_at == rows_max);
    Ok(page)
}

/// A replica with what a move has to know of its blob; `None` where nothing references it.
fn one_held(conn: &Connection, replica: ReplicaId, row: &Row<'_>) -> Result<Option<Held>, CatalogError> {
    let id: [u8; 16] = row.get(1)?;
    let blob = stmt(conn, "SELECT size, wanted FROM blobs WHERE blob = ?1 AND refs > 0")?
        .query_row([id], |row| Ok((size(row, 0)?, row.get(1)?)))
        .optional()?;
    let Some((blob_size, wanted)) = blob else { return Ok(None) };
    let others = stmt(conn, "SELECT backend, state FROM replicas WHERE blob = ?1 AND replica <> ?2")?
        .query_map(params![id, replica.to_bytes()], |row| {
            Ok((BackendId(row.get(0)?), rows::replica_state(row.get(1)?)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let state = rows::replica_state(row.get(3)?)?;
    let (blob, charged) = (BlobId::from_bytes(id), size(row, 4)?);
    Ok(Some(Held { replica, blob, state, charged, size: blob_size, wanted, others }))
}

fn retire_replica(tx: &mut Tx<'_>, retire: &Retire) -> Result<Retired, CatalogError> {
    if journal::find(tx, retire.change)?.is_some() {
        return Ok(Retired::Doomed);
    }
    let Some((blob, state, row)) = retirable(tx, retire.replica)? else { return Ok(Retired::Gone) };
    // Counted here, under the blob's lock: what the caller saw may be long ago.
    let others = live_others(tx, blob, retire)?;
    if others < retire.least.max(1) && !mutation::is_on("retire.recounted") {
        return Ok(Retired::Needed { others });
    }
    // Others stand in for it, so the brake does not count it.
    tx.dooms(Dooms::Safely);
    let mut entry = Entry::new();
    let (backend, charged) = (row.backend, row.charged);
    replicas::doom(tx, row, state, replicas::AT_ONCE, &mut entry)?;
    if state == rows::LIVE && !mutation::is_on("retire.counted") {
        tx.execute(
            "UPDATE blobs SET replicas_live = replicas_live - 1, next_attempt = 0 WHERE blob = ?1",
            [blob],
        )?;
    }
    tx.execute(
        "UPDATE backends SET drain_moved = drain_moved + 1, drain_moved_bytes = drain_moved_bytes + ?2 \
         WHERE id = ?1 AND drain_since IS NOT NULL",
        params![backend, charged],
    )?;
    let sequence = tx.next_sequence();
    journal::append(tx, retire.change, sequence, &entry, None)?;
    Ok(Retired::Doomed)
}

type Retirable = ([u8; 16], i64, Charged);

fn retirable(tx: &Tx<'_>, replica: ReplicaId) -> Result<Option<Retirable>, CatalogError> {
    Ok(tx
        .stmt(
            "SELECT r.replica, r.backend, r.charged, r.blob, r.state FROM replicas AS r \
             CROSS JOIN blobs AS b ON b.blob = r.blob \
             WHERE r.replica = ?1 AND r.state IN (1, 2) AND b.refs > 0",
        )?
        .query_row([replica.to_bytes()], |row| Ok((row.get(3)?, row.get(4)?, Charged::read(row)?)))
        .optional()?)
}

fn live_others(tx: &Tx<'_>, blob: [u8; 16], retire: &Retire) -> Result<u32, CatalogError> {
    let mut statement =
        tx.stmt("SELECT backend FROM replicas WHERE blob = ?1 AND state = 1 AND replica <> ?2")?;
    let mut found = statement.query(params![blob, retire.replica.to_bytes()])?;
    let mut others = 0;
    while let Some(row) = found.next()? {
        others += u32::from(!retire.except.contains(&BackendId(row.get(0)?)));
    }
    Ok(others)
}

fn remove_backend(tx: &Tx<'_>, backend: BackendId) -> Result<Removed, CatalogError> {
    let Some(left) = on_backend(tx.conn(), backend)? else { return Ok(Removed::Unknown) };
    if !left.is_drained() || left.doomed > 0 {
        return Ok(Removed::Occupied(left));
    }
    tx.execute("DELETE FROM backends WHERE id = ?1", [backend.0])?;
    Ok(Removed::Forgotten)
}

fn give_up_doomed(
    tx: &mut Tx<'_>,
    change: ChangeId,
    backend: BackendId,
    limit: u32,
) -> Result<u32, CatalogError> {
    let count = |entry: &Entry<'_>| u32::try_from(entry.items.len()).unwrap_or(u32::MAX);
    if let Some(recorded) = journal::find(tx, change)? {
        return Ok(count(&recorded.entry));
    }
    let drains =
        tx.stmt("SELECT 1 FROM backends WHERE id = ?1 AND drain_since IS NOT NULL")?.exists([backend.0])?;
    if !drains {
        return Err(Refusal::Changed("the backend").into());
    }
    let doomed: Vec<ReplicaId> = tx
        .stmt(
            "SELECT replica FROM replicas INDEXED BY replicas_doomed WHERE state = 3 AND backend = ?1 LIMIT ?2",
        )?
        .query_map(params![backend.0, limit], |row| row.get(0).map(ReplicaId::from_bytes))?
        .collect::<rusqlite::Result<_>>()?;
    let mut entry = Entry::new();
    for replica in doomed {
        reaping::settle_gone(tx, replica, &mut entry)?;
    }
    if !entry.items.is_empty() {
        let sequence = tx.next_sequence();
        journal::append(tx, change, sequence, &entry, None)?;
    }
    Ok(count(&entry))
}

fn doomed(conn: &Connection, limit: u32) -> Result<DoomedPage, CatalogError> {
    let mut backends = stmt(conn, "SELECT id, name, replicas_doomed FROM backends ORDER BY id")?;
    let mut first = stmt(
        conn,
        "SELECT replica, path, charged, attempts, next_attempt, last_error FROM replicas \
         INDEXED BY replicas_doomed WHERE state = 3 AND backend = ?1 ORDER BY next_attempt LIMIT ?2",
    )?;
    let mut page = DoomedPage::default();
    let mut found = backends.query([])?;
    while let Some(row) = found.next()? {
        let (backend, name) = (BackendId(row.get(0)?), name(row, 1)?);
        page.depth += size(row, 2)?;
        let read = |row: &Row<'_>| {
            Ok(DoomedRow {
                replica: ReplicaId::from_bytes(row.get(0)?),
                backend,
                name: name.clone(),
                path: rows::path(row, 1)?,
                charged: size(row, 2)?,
                attempts: row.get(3)?,
                due: rows::time(row, 4)?,
                error: row.get(5)?,
            })
        };
        for row in first.query_map(params![backend.0, limit], read)? {
            page.rows.push(row?);
        }
    }
    page.rows.sort_by_key(|row| (row.due, row.replica));
    Ok(page)
}
