//! The brake: counts what is doomed without a successor, and holds all deletes when it is too much.

use async_trait::async_trait;
use runtime::mutation;
use rusqlite::{Connection, params};
use types::{ChangeId, Timestamp};

use super::rows::{self, int, millis};
use super::writer::{Dooms, Tx};
use super::{Sqlite, journal, stmt};
use crate::journal::{Entry, Item};
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
        self.readers.snapshot(state)
    }

    async fn release_brake(&self, change: ChangeId) -> Result<(), CatalogError> {
        self.write(move |tx| release(tx, change)).await
    }
}

pub(super) fn state(conn: &Connection) -> Result<BrakeState, CatalogError> {
    let (engaged_at, why): (Option<i64>, Option<String>) =
        stmt(conn, "SELECT engaged_at, why FROM brake WHERE id = 1")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(BrakeState {
        engaged_at: engaged_at.map(|at| Timestamp::from_millis(rows::uint(at))),
        why: why.unwrap_or_default(),
        doomed_in_hour: doomed(conn)?,
    })
}

fn release(tx: &mut Tx<'_>, change: ChangeId) -> Result<(), CatalogError> {
    if journal::find(tx, change)?.is_some() {
        return Ok(());
    }
    tx.execute("DELETE FROM brake_minutes WHERE minute >= 0", [])?;
    let released = tx.execute(
        "UPDATE brake SET engaged_at = NULL, why = NULL WHERE id = 1 AND engaged_at IS NOT NULL",
        [],
    )?;
    if released == 0 {
        return Ok(());
    }
    let mut entry = Entry::new();
    entry.push(Item::Brake { since: None, why: String::new() });
    let sequence = tx.next_sequence();
    journal::append(tx, change, sequence, &entry, None)
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
///
/// That it holds is said in the entry of the change that doomed the last of them: no catalog that is rebuilt knows of
/// that doom and not of the brake.
pub(super) fn count(
    tx: &Tx<'_>,
    dooms: Dooms,
    number: u64,
    change: Option<ChangeId>,
) -> Result<(), CatalogError> {
    if number == 0 || dooms == Dooms::Safely || mutation::is_on("brake.counted") {
        return Ok(());
    }
    let change = change.ok_or_else(|| CatalogError::Damaged("dooms are in no change".to_owned()))?;
    let at = change.timestamp();
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
        let engaged = tx.execute(
            "UPDATE brake SET engaged_at = ?1, why = ?2 WHERE id = 1 AND engaged_at IS NULL",
            params![millis(at), why],
        )?;
        if engaged == 1 && !mutation::is_on("brake.journaled") {
            journal::amend(tx, change, Item::Brake { since: Some(at), why })?;
        }
    }
    Ok(())
}
