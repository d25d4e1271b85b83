//! Imports: a row for what lies on a backend, charged, and an object that it is the content of.

use async_trait::async_trait;
use runtime::mutation;
use rusqlite::{Connection, OptionalExtension, Row, params};
use types::{BucketName, ReplicaId, ReplicaPath};

use super::rows::{self, int, size};
use super::writer::{Sums, Tx};
use super::writes::{find_present, recorded_commit, replace};
use super::{Sqlite, journal, replicas, stmt};
use crate::journal::{Entry, Item, live};
use crate::{
    BackendId, CatalogError, Committed, Content, Import, Imported, Imports, Object, ObjectState, Refusal,
    Target,
};

#[async_trait]
impl Imports for Sqlite {
    async fn import(&self, import: Import) -> Result<Committed, CatalogError> {
        self.write(move |tx| self::import(tx, import.clone())).await
    }

    async fn imports_at(
        &self,
        backend: BackendId,
        paths: &[ReplicaPath],
    ) -> Result<Vec<Option<Imported>>, CatalogError> {
        let paths = paths.to_vec();
        self.scan(move |conn| paths.iter().map(|path| import_at(conn, backend, path)).collect()).await
    }

    async fn import_of(&self, replica: ReplicaId) -> Result<Option<Imported>, CatalogError> {
        self.read(move |conn| import_of(conn, replica)).await
    }
}

fn import(tx: &mut Tx<'_>, import: Import) -> Result<Committed, CatalogError> {
    if let Some(recorded) = journal::find(tx, import.change)? {
        return recorded_commit(import.change, recorded);
    }
    if find_present(tx, import.bucket, &import.key)?.is_some() && !mutation::is_on("import.free") {
        return Err(Refusal::PreconditionFailed.into());
    }
    if import_at(tx.conn(), import.backend, &import.path)?.is_some() {
        return Err(Refusal::Changed("the path").into());
    }
    let mut entry = Entry::new();
    insert(tx, &import, &mut entry)?;
    let state = ObjectState { content: Content::Blob(import.blob), ..import.state };
    let object = Object { bucket: import.bucket, key: import.key, revision: 0, change: import.change, state };
    Ok(Committed { object: replace(tx, object, None, entry)?, already: false })
}

/// The blob, its one live replica, charged, and what it was imported as.
fn insert(tx: &mut Tx<'_>, import: &Import, entry: &mut Entry<'_>) -> Result<(), CatalogError> {
    let Import { backend, replica, blob, charge, wanted, .. } = *import;
    let (path, quota) = (import.path.clone(), import.quota);
    let target = Target { backend, replica, path: path.clone(), charge, quota };
    if !mutation::is_on("import.charged") && !replicas::charge(tx, &target)? {
        return Err(Refusal::OutOfSpace { size: charge }.into());
    }
    let bytes = import.state.size;
    tx.execute(
        "INSERT INTO replicas (replica, blob, backend, path, charged, state) VALUES (?1, ?2, ?3, ?4, ?5, 1)",
        params![replica.to_bytes(), blob.to_bytes(), backend.0, path.as_str(), int(charge)],
    )?;
    tx.execute(
        "INSERT INTO blobs (blob, size, refs, wanted, replicas_live, md5) VALUES (?1, ?2, 1, ?3, 1, ?4)",
        params![blob.to_bytes(), int(bytes), wanted, import.md5.0],
    )?;
    let packed = rows::pack(&import.blocks);
    if !packed.is_empty() {
        tx.execute("INSERT INTO blocks (blob, crcs) VALUES (?1, ?2)", params![blob.to_bytes(), packed])?;
    }
    tx.execute(
        "INSERT INTO imports (backend, path, replica, bucket, size, stamp) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![backend.0, path.as_str(), replica.to_bytes(), import.bucket.0, int(bytes), import.stamp],
    )?;
    tx.add_sums(backend.0, Sums { replicas_live: 1, ..Sums::default() });
    entry.push(Item::blob(blob, bytes, wanted, Some(import.md5), &packed));
    entry.push(live(replica, blob, backend, path.clone(), charge, None));
    let (bucket, stamp) = (import.bucket.0, import.stamp.clone());
    entry.push(Item::Imported { replica, backend: backend.0, path, bucket, size: bytes, stamp });
    Ok(())
}

/// A replica is gone, and with it what it was imported as.
pub(super) fn forget(tx: &Tx<'_>, replica: ReplicaId) -> Result<(), CatalogError> {
    if !mutation::is_on("import.forgotten") {
        tx.execute("DELETE FROM imports WHERE replica = ?1", params![replica.to_bytes()])?;
    }
    Ok(())
}

fn import_at(
    conn: &Connection,
    backend: BackendId,
    path: &ReplicaPath,
) -> Result<Option<Imported>, CatalogError> {
    let sql = "SELECT i.replica, b.name, i.size, i.stamp FROM imports AS i \
               CROSS JOIN buckets AS b ON b.id = i.bucket WHERE i.backend = ?1 AND i.path = ?2";
    stmt(conn, sql)?.query_row(params![backend.0, path.as_str()], |row| Ok(read(row))).optional()?.transpose()
}

fn import_of(conn: &Connection, replica: ReplicaId) -> Result<Option<Imported>, CatalogError> {
    let sql = "SELECT i.replica, b.name, i.size, i.stamp FROM imports AS i \
               CROSS JOIN buckets AS b ON b.id = i.bucket WHERE i.replica = ?1";
    stmt(conn, sql)?.query_row([replica.to_bytes()], |row| Ok(read(row))).optional()?.transpose()
}

fn read(row: &Row<'_>) -> Result<Imported, CatalogError> {
    let name = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
    Ok(Imported {
        replica: ReplicaId::from_bytes(row.get(0)?),
        bucket: BucketName::parse(name).map_err(|error| CatalogError::Damaged(error.to_string()))?,
        size: size(row, 2)?,
        stamp: row.get(3)?,
    })
}
