//! Who we are, and what the configuration names.

use async_trait::async_trait;
use runtime::mutation;
use rusqlite::params;
use types::{BootId, BucketName, Timestamp};

use super::rows::{int, millis};
use super::writer::Tx;
use super::{Sqlite, instances, repair, replicas, taking};
use crate::{BackendId, BackendSpec, BucketId, CatalogError, Deployment, Identity};

#[async_trait]
impl Deployment for Sqlite {
    async fn identity(&self) -> Result<Identity, CatalogError> {
        Ok(self.identity)
    }

    async fn begin_boot(&self, boot: BootId, at: Timestamp) -> Result<(), CatalogError> {
        self.write(move |tx| begin_boot(tx, boot, at)).await
    }

    async fn sync_buckets(&self, names: &[BucketName], at: Timestamp) -> Result<Vec<BucketId>, CatalogError> {
        let names = names.to_vec();
        self.write(move |tx| names.iter().map(|name| bucket_id(tx, name, at)).collect()).await
    }

    async fn sync_backends(&self, specs: &[BackendSpec]) -> Result<Vec<BackendId>, CatalogError> {
        let specs = specs.to_vec();
        self.write(move |tx| specs.iter().map(|spec| backend_id(tx, spec)).collect()).await
    }
}

fn begin_boot(tx: &mut Tx<'_>, boot: BootId, at: Timestamp) -> Result<(), CatalogError> {
    instances::outlive(tx, boot, at)?;
    if !mutation::is_on("boot.waits-anew") {
        replicas::wait_anew(tx, at)?;
    }
    if !mutation::is_on("boot.repairs-anew") {
        repair::wait_anew(tx, at)?;
    }
    taking::wait_anew(tx, at)?;
    instances::join(tx, boot, at)
}

fn bucket_id(tx: &Tx<'_>, name: &BucketName, at: Timestamp) -> Result<BucketId, CatalogError> {
    tx.execute(
        "INSERT INTO buckets (name, first_seen) SELECT ?1, ?2 \
         WHERE NOT EXISTS (SELECT 1 FROM buckets WHERE name = ?1)",
        params![name.as_str(), millis(at)],
    )?;
    let id = tx
        .stmt("SELECT id FROM buckets WHERE name = ?1")?
        .query_row(params![name.as_str()], |row| row.get(0))?;
    Ok(BucketId(id))
}

fn backend_id(tx: &Tx<'_>, spec: &BackendSpec) -> Result<BackendId, CatalogError> {
    let id = tx
        .stmt(
            "INSERT INTO backends (name, late_arrival_ms) VALUES (?1, ?2) \
             ON CONFLICT (name) DO UPDATE SET late_arrival_ms = excluded.late_arrival_ms RETURNING id",
        )?
        .query_row(params![spec.name.as_str(), int(spec.late_arrival_ms)], |row| row.get(0))?;
    Ok(BackendId(id))
}
