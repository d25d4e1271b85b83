//! Strays that are taken in: as replicas of blobs that the ledger knows, or into quarantine.
//!
//! A replica that is taken in is suspect: read last, each block proved on its way, and it counts for nothing, until
//! all its bytes are proved. While its `next_attempt` is set it waits for that.

use runtime::mutation;
use rusqlite::{Connection, OptionalExtension, params};
use types::{BlobId, ChangeId, ReplicaId, Timestamp};

use super::rows::{self, int, millis};
use super::writer::{Sums, Tx};
use super::{journal, stmt};
use crate::journal::{Entry, Item, QuarantinedItem, ReplicaItem};
use crate::{BackendId, CatalogError, ReplicaState, Stray, StrayTimes, TakenIn, ToProve, Unproved};

/// Why it is suspect.
const FOUND: &str = "was found, and no change that is known named it";

pub(super) fn take_in(
    tx: &mut Tx<'_>,
    change: ChangeId,
    backend: BackendId,
    strays: Vec<Stray>,
    times: StrayTimes,
) -> Result<TakenIn, CatalogError> {
    if let Some(recorded) = journal::find(tx, change)? {
        return Ok(taken_in(&recorded.entry));
    }
    let mut entry = Entry::new();
    for stray in strays {
        if is_of_known_blob(tx, &stray)? {
            reclaim(tx, backend, stray, times.proved_from, &mut entry)?;
        } else if stray.settled {
            quarantine(tx, backend, stray, times.kept_until, &mut entry)?;
        }
    }
    if !entry.items.is_empty() {
        let sequence = tx.next_sequence();
        journal::append(tx, change, sequence, &entry, None)?;
    }
    Ok(taken_in(&entry))
}

/// What the items of an entry say of it.
fn taken_in(entry: &Entry<'_>) -> TakenIn {
    let mut taken = TakenIn::default();
    for item in &entry.items {
        match item {
            Item::Suspect { .. } => taken.replicas += 1,
            Item::Quarantined(_) => taken.quarantined += 1,
            _ => {}
        }
    }
    taken
}

/// Whether these may be the bytes of a blob that something references: nothing else becomes readable by them.
fn is_of_known_blob(tx: &Tx<'_>, stray: &Stray) -> Result<bool, CatalogError> {
    let there = tx
        .stmt("SELECT 1 FROM blobs WHERE blob = ?1 AND refs > 0 AND size = ?2")?
        .exists(params![stray.blob.to_bytes(), int(stray.size)])?;
    Ok(there)
}

/// none, `quarantined` -> `suspect`. What is in quarantine is charged already.
fn reclaim(
    tx: &mut Tx<'_>,
    backend: BackendId,
    stray: Stray,
    proved_from: Timestamp,
    entry: &mut Entry<'_>,
) -> Result<(), CatalogError> {
    let known: Option<(i64, i64, u64)> = tx
        .stmt("SELECT state, backend, charged FROM replicas WHERE replica = ?1")?
        .query_row([stray.replica.to_bytes()], |row| Ok((row.get(0)?, row.get(1)?, rows::size(row, 2)?)))
        .optional()?;
    // A time that has no milliseconds would say that nothing is to be proved.
    let due = millis(proved_from).max(1);
    let charged = match known {
        None => {
            tx.execute(
                "INSERT INTO replicas (replica, blob, backend, path, charged, state, next_attempt, last_error) \
                 VALUES (?1, ?2, ?3, ?4, ?5, 2, ?6, ?7)",
                params![
                    stray.replica.to_bytes(),
                    stray.blob.to_bytes(),
                    backend.0,
                    stray.path.as_str(),
                    int(stray.charge),
                    due,
                    FOUND,
                ],
            )?;
            tx.add_sums(backend.0, Sums { charged: int(stray.charge), ..Sums::default() });
            stray.charge
        }
        Some((rows::QUARANTINED, at, charged)) if at == backend.0 => {
            tx.execute(
                "UPDATE replicas SET state = 2, next_attempt = ?2, last_error = ?3 \
                 WHERE replica = ?1 AND state = 4",
                params![stray.replica.to_bytes(), due, FOUND],
            )?;
            charged
        }
        Some(_) => return Ok(()),
    };
    let Stray { replica, blob, path, .. } = stray;
    entry.push(Item::Live(ReplicaItem { replica, blob, backend: backend.0, path, charged, version: None }));
    entry.push(Item::Suspect { replica });
    Ok(())
}

fn quarantine(
    tx: &mut Tx<'_>,
    backend: BackendId,
    stray: Stray,
    until: Timestamp,
    entry: &mut Entry<'_>,
) -> Result<(), CatalogError> {
    let inserted = tx.execute(
        "INSERT OR IGNORE INTO replicas (replica, blob, backend, path, charged, state, next_attempt) \
         VALUES (?1, ?2, ?3, ?4, ?5, 4, ?6)",
        params![
            stray.replica.to_bytes(),
            stray.blob.to_bytes(),
            backend.0,
            stray.path.as_str(),
            int(stray.charge),
            millis(until),
        ],
    )?;
    if inserted == 0 {
        return Ok(());
    }
    tx.execute(
        "INSERT OR IGNORE INTO blobs (blob, size, refs, wanted, replicas_live) VALUES (?1, ?2, 0, 0, 0)",
        params![stray.blob.to_bytes(), int(stray.size)],
    )?;
    if !mutation::is_on("quarantine.charged") {
        tx.add_sums(backend.0, Sums { charged: int(stray.charge), ..Sums::default() });
    }
    let Stray { replica, blob, path, charge: charged, .. } = stray;
    let replica = ReplicaItem { replica, blob, backend: backend.0, path, charged, version: None };
    let ends = millis(until) < i64::MAX && !mutation::is_on("quarantine.journaled");
    let until = ends.then_some(until);
    entry.push(Item::Quarantined(QuarantinedItem { replica, until }));
    Ok(())
}

pub(super) fn to_prove(conn: &Connection, now: Timestamp, limit: u32) -> Result<ToProve, CatalogError> {
    let mut statement = stmt(
        conn,
        "SELECT replica, blob, backend, path, verified_at FROM replicas INDEXED BY replicas_taken_in \
         WHERE state = 2 AND next_attempt > 0 AND next_attempt <= ?1 ORDER BY next_attempt, replica LIMIT ?2",
    )?;
    let mut found = statement.query(params![millis(now), limit])?;
    let mut waiting = ToProve::default();
    while let Some(row) = found.next()? {
        let verified_at: Option<i64> = row.get(4)?;
        waiting.due.push(Unproved {
            replica: ReplicaId::from_bytes(row.get(0)?),
            blob: BlobId::from_bytes(row.get(1)?),
            backend: BackendId(row.get(2)?),
            path: rows::path(row, 3)?,
            state: ReplicaState::Suspect,
            verified_at: verified_at.map(|at| Timestamp::from_millis(rows::uint(at))),
        });
    }
    let next: Option<i64> = stmt(
        conn,
        "SELECT MIN(next_attempt) FROM replicas INDEXED BY replicas_taken_in \
         WHERE state = 2 AND next_attempt > 0 AND next_attempt > ?1",
    )?
    .query_row(params![millis(now)], |row| row.get(0))?;
    waiting.next = next.map(|at| Timestamp::from_millis(rows::uint(at)));
    Ok(waiting)
}

pub(super) fn put_off(tx: &Tx<'_>, proofs: &[(ReplicaId, Option<Timestamp>)]) -> Result<(), CatalogError> {
    for (replica, until) in proofs {
        tx.execute(
            "UPDATE replicas SET next_attempt = ?2 WHERE replica = ?1 AND state = 2",
            params![replica.to_bytes(), until.map_or(0, |at| millis(at).max(1))],
        )?;
    }
    Ok(())
}

/// A new process cannot know how long the one before has waited: the whole bound is waited for anew.
pub(super) fn wait_anew(tx: &Tx<'_>, at: Timestamp) -> Result<(), CatalogError> {
    tx.execute(
        "UPDATE replicas INDEXED BY replicas_taken_in SET next_attempt = MAX(1, ?1 + \
         (SELECT late_arrival_ms FROM backends WHERE id = backend)) WHERE state = 2 AND next_attempt > 0",
        params![millis(at)],
    )?;
    Ok(())
}
