//! Rows of the ledger: charged when they come, doomed, and gone with their charge.

use runtime::mutation;
use rusqlite::{OptionalExtension, Row, params};
use types::{BlobId, BootId, ReplicaId, Timestamp};

use super::rows::{self, int, millis};
use super::writer::{Sums, Tx};
use crate::journal::{self, Entry, Item};
use crate::{BackendId, CatalogError, Fate, Refusal, Target, WriteOutcome};

/// A replica whose bytes can be deleted at once.
pub(super) const AT_ONCE: i64 = 0;

/// Charges a target to its backend, where the quota, and at last a number of 63 bits, has room. One that
/// drains has none.
pub(super) fn charge(tx: &Tx<'_>, target: &Target) -> Result<bool, CatalogError> {
    let quota = target.quota.filter(|_| !mutation::is_on("charge.quota"));
    let charge = if mutation::is_on("charge.charged") { 0 } else { target.charge };
    let drains = mutation::is_on("charge.draining");
    let changed = tx.execute(
        "UPDATE backends SET charged = charged + ?2 WHERE id = ?1 AND charged <= 9223372036854775807 - ?2 \
         AND (?3 IS NULL OR charged + ?2 <= ?3) AND (drain_since IS NULL OR ?4)",
        params![target.backend.0, int(charge), quota.map(int), drains],
    )?;
    Ok(changed == 1)
}

/// Inserts the `writing` row of a target that was charged.
pub(super) fn insert(tx: &Tx<'_>, blob: BlobId, owner: BootId, target: &Target) -> Result<(), CatalogError> {
    tx.execute(
        "INSERT INTO replicas (replica, blob, backend, path, charged, state, owner) \
         VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6)",
        params![
            target.replica.to_bytes(),
            blob.to_bytes(),
            target.backend.0,
            target.path.as_str(),
            int(target.charge),
            owner.to_bytes(),
        ],
    )?;
    Ok(())
}

/// Whether a replica is `writing` by this owner.
pub(super) fn is_writing(tx: &Tx<'_>, replica: ReplicaId, owner: BootId) -> Result<bool, CatalogError> {
    Ok(tx
        .stmt("SELECT 1 FROM replicas WHERE replica = ?1 AND state = 0 AND owner = ?2")?
        .exists(params![replica.to_bytes(), owner.to_bytes()])?)
}

/// Carries out the fates of a written blob; gives how many of its replicas are live now.
///
/// A replica that is to be live has to be `writing` by this owner. One that is not to be kept may be gone
/// already.
pub(super) fn keep_live(
    tx: &mut Tx<'_>,
    owner: BootId,
    blob: BlobId,
    fates: &[Fate],
    entry: &mut Entry<'_>,
) -> Result<u32, CatalogError> {
    let mut live = 0;
    for fate in fates {
        match &fate.outcome {
            WriteOutcome::Live { version } => {
                make_live(tx, owner, blob, fate.replica, version.as_deref(), entry)?;
                live += 1;
            }
            _ => give_up(tx, owner, fate, entry)?,
        }
    }
    Ok(live)
}

fn make_live(
    tx: &mut Tx<'_>,
    owner: BootId,
    blob: BlobId,
    replica: ReplicaId,
    version: Option<&str>,
    entry: &mut Entry<'_>,
) -> Result<(), CatalogError> {
    let item = tx
        .stmt(
            "UPDATE replicas SET state = 1, owner = NULL, version = ?4 \
             WHERE replica = ?1 AND state = 0 AND owner = ?2 AND blob = ?3 RETURNING backend, path, charged",
        )?
        .query_row(params![replica.to_bytes(), owner.to_bytes(), blob.to_bytes(), version], |row| {
            let backend = BackendId(row.get(0)?);
            let version = version.map(str::to_owned);
            Ok((
                backend,
                journal::live(replica, blob, backend, rows::path(row, 1)?, rows::size(row, 2)?, version),
            ))
        })
        .optional()?;
    let (backend, item) = item.ok_or(Refusal::Changed("a replica"))?;
    tx.add_sums(backend.0, Sums { replicas_live: 1, ..Sums::default() });
    entry.push(item);
    Ok(())
}

/// Gives up a `writing` replica of this owner, whatever became of it. One that is gone is no error.
pub(super) fn give_up(
    tx: &mut Tx<'_>,
    owner: BootId,
    fate: &Fate,
    entry: &mut Entry<'_>,
) -> Result<(), CatalogError> {
    match &fate.outcome {
        WriteOutcome::Unsent => forget_unsent(tx, owner, fate.replica, entry),
        WriteOutcome::Live { .. } => doom_writing(tx, owner, fate.replica, AT_ONCE, entry),
        WriteOutcome::Doomed { arrives_until } => {
            let due = arrives_until.map_or(AT_ONCE, millis);
            doom_writing(tx, owner, fate.replica, due, entry)
        }
    }
}

fn doom_writing(
    tx: &mut Tx<'_>,
    owner: BootId,
    replica: ReplicaId,
    due: i64,
    entry: &mut Entry<'_>,
) -> Result<(), CatalogError> {
    let found = tx
        .stmt(
            "SELECT replica, backend, charged FROM replicas WHERE replica = ?1 AND state = 0 AND owner = ?2",
        )?
        .query_row(params![replica.to_bytes(), owner.to_bytes()], Charged::read)
        .optional()?;
    found.map_or(Ok(()), |row| doom(tx, row, rows::WRITING, due, entry))
}

/// The row and the charge of a replica that was never sent simply go.
fn forget_unsent(
    tx: &mut Tx<'_>,
    owner: BootId,
    replica: ReplicaId,
    entry: &mut Entry<'_>,
) -> Result<(), CatalogError> {
    let found: Option<([u8; 16], i64, i64)> = tx
        .stmt(
            "DELETE FROM replicas WHERE replica = ?1 AND state = 0 AND owner = ?2 \
             RETURNING blob, backend, charged",
        )?
        .query_row(params![replica.to_bytes(), owner.to_bytes()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    if let Some((blob, backend, charged)) = found {
        if !mutation::is_on("unsent.released") {
            tx.add_sums(backend, Sums { charged: -charged, ..Sums::default() });
        }
        entry.push(Item::Gone { replica });
        forget_blob(tx, blob)?;
    }
    Ok(())
}

/// The replicas of a blob that nothing references any more are doomed. Who writes one finds that out.
pub(super) fn doom_blob(tx: &mut Tx<'_>, blob: BlobId, entry: &mut Entry<'_>) -> Result<(), CatalogError> {
    let found: Vec<(Charged, i64)> = tx
        .stmt("SELECT replica, backend, charged, state FROM replicas WHERE blob = ?1 AND state IN (1, 2)")?
        .query_map(params![blob.to_bytes()], |row| Ok((Charged::read(row)?, row.get(3)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (row, state) in found {
        doom(tx, row, state, AT_ONCE, entry)?;
    }
    Ok(())
}

/// Every replica that a boot was writing is doomed; its bytes may still arrive for a while.
pub(super) fn doom_all_of(tx: &mut Tx<'_>, owner: BootId, at: Timestamp) -> Result<(), CatalogError> {
    let found: Vec<(Charged, i64)> = tx
        .stmt(
            "SELECT r.replica, r.backend, r.charged, b.late_arrival_ms \
             FROM replicas AS r INDEXED BY replicas_writing CROSS JOIN backends AS b ON b.id = r.backend \
             WHERE r.state = 0 AND r.owner = ?1",
        )?
        .query_map(params![owner.to_bytes()], |row| Ok((Charged::read(row)?, row.get(3)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (row, late_ms) in found {
        let waits = !mutation::is_on("boot.late-arrival");
        let due = if waits { millis(at).saturating_add(late_ms) } else { AT_ONCE };
        doom(tx, row, rows::WRITING, due, &mut Entry::new())?;
    }
    Ok(())
}

/// The longest wait before a delete that failed is tried again, as far as a new process believes an old one's clock.
const RETRY_MS_MAX: i64 = 3_600_000;

/// A new process cannot know how wrong the clock was by which the one before said until when bytes may arrive: who
/// waits for that waits the whole bound anew, and nobody waits for a time that only a wrong clock can have meant.
pub(super) fn wait_anew(tx: &Tx<'_>, at: Timestamp) -> Result<(), CatalogError> {
    let backends: Vec<i64> = tx
        .stmt("SELECT id FROM backends ORDER BY id")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for backend in backends {
        tx.execute(
            "UPDATE replicas INDEXED BY replicas_doomed SET next_attempt = CASE WHEN attempts > 0 \
             THEN MIN(next_attempt, ?2 + ?3) \
             ELSE ?2 + (SELECT late_arrival_ms FROM backends WHERE id = ?1) END \
             WHERE state = 3 AND backend = ?1 AND next_attempt > 0",
            params![backend, millis(at), RETRY_MS_MAX],
        )?;
    }
    Ok(())
}

/// A replica with what is charged for it.
pub(super) struct Charged {
    pub(super) replica: ReplicaId,
    pub(super) backend: i64,
    pub(super) charged: i64,
}

impl Charged {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { replica: ReplicaId::from_bytes(row.get(0)?), backend: row.get(1)?, charged: row.get(2)? })
    }
}

/// `leaves` -> `doomed`. The blob's count of live replicas is the caller's.
pub(super) fn doom(
    tx: &mut Tx<'_>,
    row: Charged,
    leaves: i64,
    due: i64,
    entry: &mut Entry<'_>,
) -> Result<(), CatalogError> {
    let seq = int(tx.doomed_seq());
    let changed = tx.execute(
        "UPDATE replicas SET state = 3, owner = NULL, doomed_seq = ?3, next_attempt = ?4, attempts = 0, \
         last_error = NULL WHERE replica = ?1 AND state = ?2",
        params![row.replica.to_bytes(), leaves, seq, due],
    )?;
    debug_assert_eq!(changed, 1, "the row was read in this transaction");
    let replicas_live = if leaves == rows::LIVE { -1 } else { 0 };
    if leaves != rows::WRITING {
        tx.count_doomed();
    }
    tx.add_sums(
        row.backend,
        Sums { charged: 0, replicas_live, replicas_doomed: 1, doomed_bytes: row.charged },
    );
    entry.push(Item::Doomed { replica: row.replica });
    Ok(())
}

/// A blob that nothing references goes with its last replica.
pub(super) fn forget_blob(tx: &Tx<'_>, blob: [u8; 16]) -> Result<(), CatalogError> {
    tx.execute(
        "DELETE FROM blobs WHERE blob = ?1 AND refs = 0 \
         AND NOT EXISTS (SELECT 1 FROM replicas WHERE blob = ?1)",
        params![blob],
    )?;
    Ok(())
}
