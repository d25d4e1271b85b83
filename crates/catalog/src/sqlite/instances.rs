//! Instances: who is alive, and the end of those who are not.

use async_trait::async_trait;
use runtime::mutation;
use rusqlite::{Connection, OptionalExtension, params};
use types::{BootId, Timestamp};

use super::rows::{int, millis, size, time};
use super::writer::Tx;
use super::{Sqlite, limits, replicas, stmt};
use crate::{CatalogError, Instance, Instances, Refusal};

#[async_trait]
impl Instances for Sqlite {
    async fn join(&self, boot: BootId, at: Timestamp) -> Result<(), CatalogError> {
        self.write(move |tx| join(tx, boot, at)).await
    }

    async fn beat(&self, boot: BootId, oldest_read: u64) -> Result<u64, CatalogError> {
        self.write(move |tx| beat(tx, boot, oldest_read)).await
    }

    async fn living(&self) -> Result<Vec<Instance>, CatalogError> {
        self.read(living).await
    }

    async fn declare_dead(&self, boot: BootId, beats: u64, at: Timestamp) -> Result<bool, CatalogError> {
        self.write(move |tx| declare_dead(tx, boot, beats, at)).await
    }
}

/// Registers a boot as alive. The dead stay dead.
pub(super) fn join(tx: &Tx<'_>, boot: BootId, at: Timestamp) -> Result<(), CatalogError> {
    tx.execute(
        "INSERT OR IGNORE INTO instances (boot, alive, began) VALUES (?1, 1, ?2)",
        params![boot.to_bytes(), millis(at)],
    )?;
    tx.check_alive(boot).map_err(|_| Refusal::Changed("the boot").into())
}

fn beat(tx: &Tx<'_>, boot: BootId, oldest_read: u64) -> Result<u64, CatalogError> {
    let beats = tx
        .stmt(
            "UPDATE instances SET beats = beats + 1, oldest_read = ?2 WHERE boot = ?1 AND (alive = 1 OR ?3) \
             RETURNING beats",
        )?
        .query_row(params![boot.to_bytes(), int(oldest_read), mutation::is_on("beat.alive")], |row| {
            size(row, 0)
        })
        .optional()?;
    beats.ok_or_else(|| Refusal::Changed("the boot").into())
}

fn living(conn: &Connection) -> Result<Vec<Instance>, CatalogError> {
    let found =
        stmt(conn, "SELECT boot, began, beats, oldest_read FROM instances WHERE alive = 1 ORDER BY boot")?
            .query_map([], |row| {
                Ok(Instance {
                    boot: BootId::from_bytes(row.get(0)?),
                    began: time(row, 1)?,
                    beats: size(row, 2)?,
                    oldest_read: size(row, 3)?,
                })
            })?
            .collect::<rusqlite::Result<_>>()?;
    Ok(found)
}

fn declare_dead(tx: &mut Tx<'_>, boot: BootId, beats: u64, at: Timestamp) -> Result<bool, CatalogError> {
    let anyhow = mutation::is_on("declare.beats");
    let died = tx.execute(
        "UPDATE instances SET alive = 0 WHERE boot = ?1 AND alive = 1 AND (beats = ?2 OR ?3)",
        params![boot.to_bytes(), int(beats), anyhow],
    )?;
    if died == 1 && !mutation::is_on("declare.buries") {
        bury(tx, boot, at)?;
    }
    if died == 1 {
        look_at_all_again(tx)?;
    }
    Ok(died == 1)
}

/// What the dead wrote last may be marked with the factor of another configuration: a round begins anew.
fn look_at_all_again(tx: &Tx<'_>) -> Result<(), CatalogError> {
    if !mutation::is_on("bury.remarks") {
        tx.execute("UPDATE rounds SET marked = x'' WHERE id = 1", [])?;
    }
    Ok(())
}

/// Everyone else is dead: one process owns the catalog.
pub(super) fn outlive(tx: &mut Tx<'_>, boot: BootId, at: Timestamp) -> Result<(), CatalogError> {
    let others: Vec<BootId> = tx
        .stmt("SELECT boot FROM instances WHERE alive = 1 AND boot <> ?1")?
        .query_map(params![boot.to_bytes()], |row| Ok(BootId::from_bytes(row.get(0)?)))?
        .collect::<rusqlite::Result<_>>()?;
    if !others.is_empty() {
        look_at_all_again(tx)?;
    }
    for other in others {
        tx.execute("UPDATE instances SET alive = 0 WHERE boot = ?1", params![other.to_bytes()])?;
        if !mutation::is_on("boot.buries") {
            bury(tx, other, at)?;
        }
    }
    Ok(())
}

fn bury(tx: &mut Tx<'_>, boot: BootId, at: Timestamp) -> Result<(), CatalogError> {
    limits::bury(tx, boot)?;
    replicas::doom_all_of(tx, boot, at)
}
