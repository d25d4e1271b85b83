//! Limits and grants: the sum of what was granted is on the limit's row, and never above the limit.

use async_trait::async_trait;
use runtime::mutation;
use rusqlite::{Connection, OptionalExtension, params};
use types::{BootId, LimitKind, Timestamp, Traffic};

use super::rows::{int, millis, size};
use super::writer::Tx;
use super::{Sqlite, stmt};
use crate::{CatalogError, GrantAsk, GrantRecord, Granted, LimitKey, Limits, Refusal, Usage};

#[async_trait]
impl Limits for Sqlite {
    async fn time(&self) -> Result<Timestamp, CatalogError> {
        Ok(self.clock.now())
    }

    async fn grant(&self, owner: BootId, asks: Vec<GrantAsk>) -> Result<Vec<Granted>, CatalogError> {
        self.write(move |tx| {
            tx.check_alive(owner)?;
            asks.iter().map(|ask| grant(tx, owner, ask)).collect()
        })
        .await
    }

    async fn record(&self, owner: BootId, records: Vec<GrantRecord>) -> Result<(), CatalogError> {
        self.write(move |tx| {
            tx.check_alive(owner)?;
            records.iter().try_for_each(|one| record(tx, owner, one))
        })
        .await
    }

    async fn usage(&self, keys: Vec<LimitKey>) -> Result<Vec<Usage>, CatalogError> {
        self.read(|conn| keys.iter().map(|key| usage(conn, key)).collect()).await
    }
}

/// The periods that began up to here are closed: a catalog that was rebuilt does not know what was spent in
/// them.
pub(super) fn closed_until(conn: &Connection) -> Result<Option<Timestamp>, CatalogError> {
    let found = stmt(conn, "SELECT value FROM meta WHERE name = 'limits_closed'")?
        .query_row([], |row| size(row, 0))
        .optional()?;
    Ok(found.map(Timestamp::from_millis))
}

fn kind(kind: LimitKind) -> i64 {
    match kind {
        LimitKind::Requests => 0,
        LimitKind::Egress => 1,
        LimitKind::Ingress => 2,
    }
}

fn number(traffic: Traffic) -> i64 {
    match traffic {
        Traffic::Client => 0,
        Traffic::Maintenance => 1,
    }
}

fn grant(tx: &Tx<'_>, owner: BootId, ask: &GrantAsk) -> Result<Granted, CatalogError> {
    let (granted, _) = held(tx, owner, &ask.key, ask.traffic)?.unwrap_or_default();
    let (client, maintenance) = granted_from(tx, &ask.key)?;
    let closed = closed_until(tx.conn())?.is_some_and(|at| ask.key.period <= at);
    let room = if closed { 0 } else { ask.terms.room(ask.traffic, client, maintenance) };
    let give = match room < ask.least {
        _ if mutation::is_on("grant.room") => ask.want,
        true => 0,
        false => ask.want.min(room),
    };
    if granted != ask.had || give == 0 {
        return Ok(Granted { granted, room });
    }
    hold(tx, owner, &ask.key, ask.traffic, (granted + give, 0))?;
    add(tx, &ask.key, ask.traffic, (int(give), 0))?;
    Ok(Granted { granted: granted + give, room: room.saturating_sub(give) })
}

fn record(tx: &Tx<'_>, owner: BootId, record: &GrantRecord) -> Result<(), CatalogError> {
    let (granted, spent) = held(tx, owner, &record.key, record.traffic)?.unwrap_or_default();
    if granted != record.had {
        return Ok(());
    }
    if record.spent > record.keeps || (record.keeps > granted && !record.counted) {
        return Err(Refusal::Changed("a grant").into());
    }
    let spent = int(record.spent) - int(spent);
    hold(tx, owner, &record.key, record.traffic, (record.keeps, spent))?;
    add(tx, &record.key, record.traffic, (int(record.keeps) - int(granted), spent))
}

/// What an owner holds: granted, spent.
fn held(
    tx: &Tx<'_>,
    owner: BootId,
    key: &LimitKey,
    traffic: Traffic,
) -> Result<Option<(u64, u64)>, CatalogError> {
    let found = tx
        .stmt(
            "SELECT granted, spent FROM grants \
             WHERE backend = ?1 AND kind = ?2 AND period = ?3 AND traffic = ?4 AND owner = ?5",
        )?
        .query_row(
            params![
                key.backend.as_str(),
                kind(key.kind),
                millis(key.period),
                number(traffic),
                owner.to_bytes()
            ],
            |row| Ok((size(row, 0)?, size(row, 1)?)),
        )
        .optional()?;
    Ok(found)
}

/// What was granted to clients and to maintenance in this period and all later ones.
fn granted_from(tx: &Tx<'_>, key: &LimitKey) -> Result<(u64, u64), CatalogError> {
    const SINCE: &str = "SELECT COALESCE(SUM(granted_client), 0), COALESCE(SUM(granted_maintenance), 0) FROM limits \
         WHERE backend = ?1 AND kind = ?2 AND period >= ?3";
    const ALONE: &str = "SELECT COALESCE(SUM(granted_client), 0), COALESCE(SUM(granted_maintenance), 0) FROM limits \
         WHERE backend = ?1 AND kind = ?2 AND period = ?3";
    let sums = tx
        .stmt(if mutation::is_on("grant.later") { ALONE } else { SINCE })?
        .query_row(params![key.backend.as_str(), kind(key.kind), millis(key.period)], |row| {
            Ok((size(row, 0)?, size(row, 1)?))
        })?;
    Ok(sums)
}

/// Sets what an owner is granted, and adds to what it spent.
fn hold(
    tx: &Tx<'_>,
    owner: BootId,
    key: &LimitKey,
    traffic: Traffic,
    (granted, spent): (u64, i64),
) -> Result<(), CatalogError> {
    tx.execute(
        "INSERT INTO grants (backend, kind, period, traffic, owner, granted, spent) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (backend, kind, period, traffic, owner) \
         DO UPDATE SET granted = excluded.granted, spent = spent + excluded.spent",
        params![
            key.backend.as_str(),
            kind(key.kind),
            millis(key.period),
            number(traffic),
            owner.to_bytes(),
            int(granted),
            spent,
        ],
    )?;
    Ok(())
}

/// Adds to the sums over all owners.
fn add(
    tx: &Tx<'_>,
    key: &LimitKey,
    traffic: Traffic,
    (granted, spent): (i64, i64),
) -> Result<(), CatalogError> {
    const CLIENT: &str = "INSERT INTO limits (backend, kind, period, granted_client, spent_client) \
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (backend, kind, period) DO UPDATE SET \
         granted_client = granted_client + excluded.granted_client, \
         spent_client = spent_client + excluded.spent_client";
    const MAINTENANCE: &str = "INSERT INTO limits (backend, kind, period, granted_maintenance, spent_maintenance) \
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (backend, kind, period) DO UPDATE SET \
         granted_maintenance = granted_maintenance + excluded.granted_maintenance, \
         spent_maintenance = spent_maintenance + excluded.spent_maintenance";
    let sql = match traffic {
        Traffic::Client => CLIENT,
        Traffic::Maintenance => MAINTENANCE,
    };
    tx.execute(sql, params![key.backend.as_str(), kind(key.kind), millis(key.period), granted, spent])?;
    Ok(())
}

fn usage(conn: &Connection, key: &LimitKey) -> Result<Usage, CatalogError> {
    let found = stmt(
        conn,
        "SELECT granted_client, granted_maintenance, spent_client, spent_maintenance FROM limits \
         WHERE backend = ?1 AND kind = ?2 AND period = ?3",
    )?
    .query_row(params![key.backend.as_str(), kind(key.kind), millis(key.period)], |row| {
        Ok(Usage {
            granted_client: size(row, 0)?,
            granted_maintenance: size(row, 1)?,
            spent_client: size(row, 2)?,
            spent_maintenance: size(row, 3)?,
        })
    })
    .optional()?;
    Ok(found.unwrap_or_default())
}

/// The grants of an owner that died go; the sums stay, so that its rest is lost to the period.
pub(super) fn bury(tx: &Tx<'_>, owner: BootId) -> Result<(), CatalogError> {
    tx.execute("DELETE FROM grants WHERE owner = ?1", params![owner.to_bytes()])?;
    Ok(())
}
