//! The brake: counts what is doomed without a successor, and holds all deletes when it is too much.

use async_trait::async_trait;
use runtime::mutation;
use rusqlite::{Connection, params};
use types::Timestamp;

use super::rows::{self, int, millis};
use super::writer::{Dooms, Tx};
use super::{Sqlite, stmt};
use crate::{Brake, BrakeSettings, BrakeState, CatalogError};

const MINUTE_MS: u64 = 60_000;
/// Minutes that are counted together.
const HOUR: u64 = 60;

#[async_trait]
impl Brake for Sqlite {
    async fn set_brake(&self, settings: BrakeSettings) -> Result<(), CatalogError> {
        self.write(move |tx| {
            tx.execute(
                "UPDATE brake SET share_ppm = ?1, floor = ?2, clients = ?3 WHERE id = 1",
                params![settings.share_ppm, int(settings.floor), settings.clients],
            )?;
            Ok(())
        })
        .await
    }

    async fn brake(&self) -> Result<BrakeState, CatalogError> {
        self.readers.snapshot(|conn| {
            let (engaged_at, why): (Option<i64>, Option<String>) =
                stmt(conn, "SELECT engaged_at, why FROM brake WHERE id = 1")?
                    .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(BrakeState {
                engaged_at: engaged_at.map(|at| Timestamp::from_millis(rows::uint(at))),
                why: why.unwrap_or_default(),
                doomed_in_hour: doomed(conn)?,
            })
        })
    }

    async fn release_brake(&self) -> Result<(), CatalogError> {
        self.write(|tx| {
            tx.execute("DELETE FROM brake_minutes WHERE minute >= 0", [])?;
            tx.execute("UPDATE brake SET engaged_at = NULL, why = NULL WHERE id = 1", [])?;
            Ok(())
        })
        .await
    }
}

/// Whether deletes are held.
pub(super) fn is_engaged(conn: &Connection) -> Result<bool, CatalogError> {
    if mutation::is_on("brake.engaged") {
        return Ok(false);
    }
    Ok(stmt(conn, "SELECT engaged_at IS NOT NULL FROM brake WHERE id = 1")?
        .query_row([], |row| row.get(0))?)
}

fn doomed(conn: &Connection) -> Result<u64, CatalogError> {
    // At most as many rows as an hour has minutes.
    Ok(stmt(conn, "SELECT COALESCE(SUM(doomed), 0) FROM brake_minutes WHERE minute >= 0")?
        .query_row([], |row| rows::size(row, 0))?)
}

/// Counts what a transaction doomed, and engages the brake where that is too much. At its end: the sums of
/// the backends are as the transaction leaves them.
pub(super) fn count(tx: &Tx<'_>, dooms: Dooms, number: u64, at: Timestamp) -> Result<(), CatalogError> {
    if number == 0 || dooms == Dooms::Safely || mutation::is_on("brake.counted") {
        return Ok(());
    }
    let (share_ppm, floor, clients): (u64, u64, bool) = tx
        .stmt("SELECT share_ppm, floor, clients FROM brake WHERE id = 1")?
        .query_row([], |row| Ok((rows::size(row, 0)?, rows::size(row, 1)?, row.get(2)?)))?;
    if dooms == Dooms::ByClient && !clients {
        return Ok(());
    }
    let minute = at.as_millis() / MINUTE_MS;
    tx.execute("DELETE FROM brake_minutes WHERE minute <= ?1", params![int(minute) - int(HOUR)])?;
    tx.execute(
        "INSERT INTO brake_minutes (minute, doomed) VALUES (?1, ?2) \
         ON CONFLICT (minute) DO UPDATE SET doomed = doomed + excluded.doomed",
        params![int(minute), int(number)],
    )?;
    let doomed = doomed(tx.conn())?;
    let live = tx
        .stmt("SELECT COALESCE(SUM(replicas_live), 0) FROM backends")?
        .query_row([], |row| rows::size(row, 0))?;
    let all = live.saturating_add(doomed);
    let too_much = u128::from(doomed) * 1_000_000 > u128::from(all) * u128::from(share_ppm);
    if doomed > floor && too_much {
        let why = format!("{doomed} of {all} replicas were doomed within an hour");
        tx.execute(
            "UPDATE brake SET engaged_at = ?1, why = ?2 WHERE id = 1 AND engaged_at IS NULL",
            params![millis(at), why],
        )?;
    }
    Ok(())
}
