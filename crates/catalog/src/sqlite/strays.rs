//! Strays: quarantined, doomed, or made objects.

use async_trait::async_trait;
use runtime::mutation;
use rusqlite::{Connection, OptionalExtension, Row, params};
use types::{BackendName, BlobId, ChangeId, ReplicaId, Timestamp};

use super::replicas::{self, Charged};
use super::rows::{self, int, millis, size};
use super::writer::{Dooms, Sums, Tx};
use super::writes::{find_present, recorded_commit, replace};
use super::{Sqlite, journal, stmt, taking};
use crate::journal::{Entry, Item, live};
use crate::{
    BackendId, CatalogError, Committed, Content, KnownReplica, Object, ObjectState, Quarantined, Refusal,
    RestoreQuarantined, Stray, StrayTimes, Strays, TakenIn, ToProve,
};

#[async_trait]
impl Strays for Sqlite {
    async fn known_replicas(
        &self,
        replicas: &[ReplicaId],
    ) -> Result<Vec<Option<KnownReplica>>, CatalogError> {
        let replicas = replicas.to_vec();
        self.scan(move |conn| replicas.iter().map(|replica| known(conn, *replica)).collect()).await
    }

    async fn take_in(
        &self,
        change: ChangeId,
        backend: BackendId,
        strays: Vec<Stray>,
        times: StrayTimes,
    ) -> Result<TakenIn, CatalogError> {
        self.write(move |tx| taking::take_in(tx, change, backend, strays.clone(), times)).await
    }

    async fn to_prove(&self, now: Timestamp, limit: u32) -> Result<ToProve, CatalogError> {
        self.snapshot(move |conn| taking::to_prove(conn, now, limit)).await
    }

    async fn put_off_proofs(&self, proofs: Vec<(ReplicaId, Option<Timestamp>)>) -> Result<(), CatalogError> {
        self.write(move |tx| taking::put_off(tx, &proofs)).await
    }

    async fn quarantined(
        &self,
        after: Option<ReplicaId>,
        limit: u32,
    ) -> Result<Vec<Quarantined>, CatalogError> {
        self.scan(move |conn| quarantined(conn, after, limit)).await
    }

    async fn doom_quarantined(
        &self,
        change: ChangeId,
        replicas: Vec<ReplicaId>,
    ) -> Result<u32, CatalogError> {
        self.write(move |tx| {
            tx.dooms(Dooms::Safely);
            let mut found = Vec::new();
            for replica in &replicas {
                found.extend(one_quarantined(tx, *replica)?);
            }
            doom_all(tx, change, found)
        })
        .await
    }

    async fn expire_quarantined(
        &self,
        change: ChangeId,
        now: Timestamp,
        limit: u32,
    ) -> Result<u32, CatalogError> {
        self.write(move |tx| {
            tx.dooms(Dooms::ByWorker);
            let now = if mutation::is_on("quarantine.kept") { Timestamp::from_millis(u64::MAX) } else { now };
            let due = due(tx, now, limit)?;
            doom_all(tx, change, due)
        })
        .await
    }

    async fn restore_quarantined(&self, restore: RestoreQuarantined) -> Result<Committed, CatalogError> {
        self.write(move |tx| restore_quarantined(tx, restore.clone())).await
    }
}

fn known(conn: &Connection, replica: ReplicaId) -> Result<Option<KnownReplica>, CatalogError> {
    let sql = "SELECT r.backend, r.path, r.state, b.size FROM replicas AS r \
               CROSS JOIN blobs AS b ON b.blob = r.blob WHERE r.replica = ?1";
    Ok(stmt(conn, sql)?
        .query_row([replica.to_bytes()], |row| {
            let (backend, path) = (BackendId(row.get(0)?), rows::path(row, 1)?);
            let state = rows::replica_state(row.get(2)?)?;
            Ok(KnownReplica { backend, path, state, size: size(row, 3)? })
        })
        .optional()?)
}

fn quarantined(
    conn: &Connection,
    after: Option<ReplicaId>,
    limit: u32,
) -> Result<Vec<Quarantined>, CatalogError> {
    let after = after.map_or(Vec::new(), |replica| replica.to_bytes().to_vec());
    // There are few of them: all are looked at.
    let mut statement = stmt(
        conn,
        "SELECT r.replica, r.blob, r.backend, b.name, r.path, k.size, r.charged, r.next_attempt \
         FROM replicas AS r INDEXED BY replicas_quarantined CROSS JOIN backends AS b ON b.id = r.backend \
         CROSS JOIN blobs AS k ON k.blob = r.blob \
         WHERE r.state = 4 AND r.replica > ?1 ORDER BY r.replica LIMIT ?2",
    )?;
    let mut found = statement.query(params![after, limit])?;
    let mut list = Vec::new();
    while let Some(row) = found.next()? {
        let name = row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)?;
        list.push(Quarantined {
            replica: ReplicaId::from_bytes(row.get(0)?),
            blob: BlobId::from_bytes(row.get(1)?),
            backend: BackendId(row.get(2)?),
            name: BackendName::parse(name).map_err(|error| CatalogError::Damaged(error.to_string()))?,
            path: rows::path(row, 4)?,
            size: size(row, 5)?,
            charged: size(row, 6)?,
            until: rows::time(row, 7)?,
        });
    }
    Ok(list)
}

fn one_quarantined(tx: &Tx<'_>, replica: ReplicaId) -> Result<Option<Charged>, CatalogError> {
    Ok(tx
        .stmt("SELECT replica, backend, charged FROM replicas WHERE replica = ?1 AND state = 4")?
        .query_row([replica.to_bytes()], Charged::read)
        .optional()?)
}

fn due(tx: &Tx<'_>, now: Timestamp, limit: u32) -> Result<Vec<Charged>, CatalogError> {
    let mut statement = tx.stmt(
        "SELECT replica, backend, charged FROM replicas INDEXED BY replicas_quarantined \
         WHERE state = 4 AND next_attempt <= ?1 LIMIT ?2",
    )?;
    Ok(statement.query_map(params![millis(now), limit], Charged::read)?.collect::<rusqlite::Result<_>>()?)
}

fn doom_all(tx: &mut Tx<'_>, change: ChangeId, found: Vec<Charged>) -> Result<u32, CatalogError> {
    if let Some(recorded) = journal::find(tx, change)? {
        return Ok(count(&recorded.entry));
    }
    let mut entry = Entry::new();
    for row in found {
        replicas::doom(tx, row, rows::QUARANTINED, replicas::AT_ONCE, &mut entry)?;
    }
    append(tx, change, &entry)
}

/// One doom for each replica. The entry may say more by now: that the brake holds.
fn count(entry: &Entry<'_>) -> u32 {
    let doomed = entry.items.iter().filter(|item| matches!(item, Item::Doomed { .. }));
    u32::try_from(doomed.count()).unwrap_or(u32::MAX)
}

/// Records a change that did something; says to how many replicas.
fn append(tx: &mut Tx<'_>, change: ChangeId, entry: &Entry<'_>) -> Result<u32, CatalogError> {
    if !entry.items.is_empty() {
        let sequence = tx.next_sequence();
        journal::append(tx, change, sequence, entry, None)?;
    }
    Ok(count(entry))
}

fn restore_quarantined(tx: &mut Tx<'_>, restore: RestoreQuarantined) -> Result<Committed, CatalogError> {
    if let Some(recorded) = journal::find(tx, restore.change)? {
        return recorded_commit(restore.change, recorded);
    }
    if find_present(tx, restore.bucket, &restore.key)?.is_some() {
        return Err(Refusal::PreconditionFailed.into());
    }
    let mut entry = Entry::new();
    let blob = adopt(tx, &restore, &mut entry)?;
    let state = ObjectState { content: Content::Blob(blob), ..restore.state };
    let object =
        Object { bucket: restore.bucket, key: restore.key, revision: 0, change: restore.change, state };
    Ok(Committed { object: replace(tx, object, None, entry)?, already: false })
}

/// A quarantined replica becomes the live one of a blob that is referenced once.
fn adopt(
    tx: &mut Tx<'_>,
    restore: &RestoreQuarantined,
    entry: &mut Entry<'_>,
) -> Result<BlobId, CatalogError> {
    let read = |row: &Row<'_>| {
        let (blob, backend) = (BlobId::from_bytes(row.get(0)?), BackendId(row.get(1)?));
        Ok((blob, backend, rows::path(row, 2)?, size(row, 3)?))
    };
    let found = tx
        .stmt(
            "UPDATE replicas SET state = 1, next_attempt = 0 WHERE replica = ?1 AND state = 4 \
             RETURNING blob, backend, path, charged",
        )?
        .query_row([restore.replica.to_bytes()], read)
        .optional()?;
    let (blob, backend, path, charged) = found.ok_or(Refusal::Changed("the replica"))?;
    let packed = rows::pack(&restore.blocks);
    let (bytes, wanted, md5) = (restore.state.size, restore.wanted, restore.md5);
    let changed = tx.execute(
        "UPDATE blobs SET size = ?2, refs = 1, wanted = ?3, replicas_live = 1, md5 = ?4, next_attempt = 0 \
         WHERE blob = ?1 AND refs = 0 AND NOT EXISTS (SELECT 1 FROM replicas WHERE blob = ?1 AND state = 0)",
        params![blob.to_bytes(), int(bytes), wanted, md5.0],
    )?;
    if changed != 1 {
        return Err(Refusal::Changed("the blob").into());
    }
    if !packed.is_empty() {
        tx.execute("INSERT INTO blocks (blob, crcs) VALUES (?1, ?2)", params![blob.to_bytes(), packed])?;
    }
    tx.add_sums(backend.0, Sums { replicas_live: 1, ..Sums::default() });
    entry.push(Item::blob(blob, bytes, wanted, Some(md5), &packed));
    entry.push(live(restore.replica, blob, backend, path, charged, None));
    Ok(blob)
}
