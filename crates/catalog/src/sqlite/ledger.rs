//! The books.

use async_trait::async_trait;
use rusqlite::{Connection, params};
use types::{BackendName, BlobId, BootId, ReplicaId};

use super::rows::{self, size};
use super::{Sqlite, audit, stmt};
use crate::{BackendId, BackendTotals, CatalogError, Ledger, ReplicaRow, Totals};

#[async_trait]
impl Ledger for Sqlite {
    async fn totals(&self) -> Result<Totals, CatalogError> {
        self.scan(totals).await
    }

    async fn charged(&self) -> Result<Vec<(BackendId, BackendName, u64)>, CatalogError> {
        self.read(|conn| {
            let totals = backend_totals(conn)?;
            Ok(totals.into_iter().map(|backend| (backend.backend, backend.name, backend.charged)).collect())
        })
        .await
    }

    async fn replicas(&self, after: Option<ReplicaId>, limit: u32) -> Result<Vec<ReplicaRow>, CatalogError> {
        self.scan(move |conn| replicas(conn, after, limit)).await
    }

    async fn audit(&self) -> Result<Vec<String>, CatalogError> {
        self.scan(audit::audit).await
    }
}

fn totals(conn: &Connection) -> Result<Totals, CatalogError> {
    // Counted up to 100,000: beyond that the number says no more than "very many".
    let under_replicated = stmt(
        conn,
        "SELECT COUNT(*) FROM (SELECT 1 FROM blobs INDEXED BY blobs_under_replicated \
         WHERE refs > 0 AND replicas_live < wanted LIMIT 100000)",
    )?
    .query_row([], |row| size(row, 0))?;
    let over_replicated = stmt(
        conn,
        "SELECT COUNT(*) FROM (SELECT 1 FROM blobs INDEXED BY blobs_surplus \
         WHERE refs > 0 AND replicas_live > wanted LIMIT 100000)",
    )?
    .query_row([], |row| size(row, 0))?;
    let uploads_open = stmt(conn, "SELECT COALESCE(SUM(uploads_open), 0) FROM buckets")?
        .query_row([], |row| size(row, 0))?;
    Ok(Totals { backends: backend_totals(conn)?, under_replicated, over_replicated, uploads_open })
}

fn backend_totals(conn: &Connection) -> Result<Vec<BackendTotals>, CatalogError> {
    let mut statement = stmt(
        conn,
        "SELECT id, name, charged, doomed_bytes, replicas_live, replicas_doomed FROM backends ORDER BY id",
    )?;
    let mut found = statement.query([])?;
    let mut totals = Vec::new();
    while let Some(row) = found.next()? {
        let name = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        totals.push(BackendTotals {
            backend: BackendId(row.get(0)?),
            name: BackendName::parse(name).map_err(|error| CatalogError::Damaged(error.to_string()))?,
            charged: size(row, 2)?,
            doomed_bytes: size(row, 3)?,
            replicas_live: size(row, 4)?,
            replicas_doomed: size(row, 5)?,
        });
    }
    Ok(totals)
}

fn replicas(
    conn: &Connection,
    after: Option<ReplicaId>,
    limit: u32,
) -> Result<Vec<ReplicaRow>, CatalogError> {
    let after = after.map_or(Vec::new(), |replica| replica.to_bytes().to_vec());
    let found = stmt(
        conn,
        "SELECT replica, blob, backend, path, charged, state, owner FROM replicas WHERE replica > ?1 \
         ORDER BY replica LIMIT ?2",
    )?
    .query_map(params![after, limit], |row| {
        Ok(ReplicaRow {
            replica: ReplicaId::from_bytes(row.get(0)?),
            blob: BlobId::from_bytes(row.get(1)?),
            backend: BackendId(row.get(2)?),
            path: rows::path(row, 3)?,
            charged: size(row, 4)?,
            state: rows::replica_state(row.get(5)?)?,
            owner: row.get::<_, Option<[u8; 16]>>(6)?.map(BootId::from_bytes),
        })
    })?
    .collect::<rusqlite::Result<_>>()?;
    Ok(found)
}
