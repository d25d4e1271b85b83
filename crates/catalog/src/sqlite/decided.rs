//! What was decided before a catalog was lost goes on in the one that is rebuilt: drains, the brake, and how long what
//! is in quarantine waits.
//!
//! Where it is doubtful, the safe side: what was held stays held.

use std::collections::BTreeMap;
use std::time::Duration;

use runtime::mutation;
use rusqlite::{Connection, OptionalExtension, params};
use types::{BackendName, ReplicaId, Timestamp};

use super::rebuild::{read_line, run, stmt};
use super::rows::{self, millis};
use crate::journal::{Item, QuarantinedItem, ReplicaItem};
use crate::{BackendId, CatalogError, Decided, InternalFile, Names, Rebuilding, Rebuilt};

/// The numbers in the header that was read last; `rebuild%` goes when a rebuild is finished.
const NAMED: &str = "rebuild_named";
/// So long at least what is in quarantine is kept after a rebuild: that an operator restored it may be among the
/// changes that were lost.
pub(super) const KEPT_AT_LEAST: Duration = Duration::from_hours(7 * 24);

/// Without a time of its own only the operator ends it.
pub(super) fn quarantine(
    conn: &Connection,
    replica: &ReplicaItem,
    until: Option<Timestamp>,
) -> Result<(), CatalogError> {
    run(
        conn,
        "UPDATE replicas SET state = 4, next_attempt = ?2 WHERE replica = ?1",
        params![replica.replica.to_bytes(), until.map_or(i64::MAX, millis)],
    )
}

pub(super) fn give_time(conn: &Connection, at: Timestamp) -> Result<(), CatalogError> {
    if mutation::is_on("rebuild.quarantine-kept") {
        return run(conn, "UPDATE replicas SET next_attempt = ?1 WHERE state = 4", params![millis(at)]);
    }
    run(
        conn,
        "UPDATE replicas SET next_attempt = MAX(next_attempt, ?1) WHERE state = 4",
        params![millis(at.plus(KEPT_AT_LEAST))],
    )
}

pub(super) fn drain(conn: &Connection, backend: i64, since: Option<Timestamp>) -> Result<(), CatalogError> {
    if mutation::is_on("rebuild.drains") {
        return Ok(());
    }
    run(conn, "UPDATE backends SET drain_since = ?2 WHERE id = ?1", params![backend, since.map(millis)])
}

pub(super) fn brake(conn: &Connection, since: Option<Timestamp>, why: &str) -> Result<(), CatalogError> {
    if mutation::is_on("rebuild.brake") {
        return Ok(());
    }
    let why = since.map(|_| why);
    run(conn, "UPDATE brake SET engaged_at = ?1, why = ?2 WHERE id = 1", params![since.map(millis), why])
}

/// A header names all backends that there were when it was made. One that it does not name was forgotten before, and
/// its name may be that of another one by now.
pub(super) fn name_backends(
    conn: &Connection,
    named: &[(BackendId, BackendName)],
) -> Result<(), CatalogError> {
    for (id, name) in named {
        let mut others = stmt(conn, "SELECT id FROM backends WHERE name = ?1 AND id <> ?2")?;
        let other: Option<i64> =
            others.query_row(params![name.as_str(), id.0], |row| row.get(0)).optional()?;
        if let Some(other) = other.filter(|other| named.iter().all(|(id, _)| id.0 != *other)) {
            run(conn, "DELETE FROM backends WHERE id = ?1", params![other])?;
        }
    }
    let numbers: Vec<i64> = named.iter().map(|(id, _)| id.0).collect();
    run(
        conn,
        "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)",
        params![NAMED, rows::to_json(&numbers)],
    )
}

/// What the last header did not name is forgotten, where nothing is left on it.
pub(super) fn forget_backends(conn: &Connection) -> Result<(), CatalogError> {
    let named: Option<String> = stmt(conn, "SELECT value FROM meta WHERE name = ?1")?
        .query_row(params![NAMED], |row| row.get(0))
        .optional()?;
    let Some(named) = named else { return Ok(()) };
    run(
        conn,
        "DELETE FROM backends WHERE id NOT IN (SELECT value FROM json_each(?1)) \
         AND id NOT IN (SELECT backend FROM replicas)",
        params![named],
    )
}

/// What the rebuilt catalog says.
pub(super) fn read(conn: &Connection) -> Result<Decided, CatalogError> {
    let mut decided = Decided::default();
    let mut drains =
        stmt(conn, "SELECT name, drain_since FROM backends WHERE drain_since IS NOT NULL ORDER BY id")?;
    let mut found = drains.query([])?;
    while let Some(row) = found.next()? {
        let name = BackendName::parse(&row.get::<_, String>(0)?)
            .map_err(|error| CatalogError::Damaged(error.to_string()))?;
        decided.drains.push((name, rows::time(row, 1)?));
    }
    decided.brake = stmt(conn, "SELECT engaged_at, why FROM brake WHERE id = 1 AND engaged_at IS NOT NULL")?
        .query_row([], |row| Ok((rows::time(row, 0)?, row.get::<_, Option<String>>(1)?.unwrap_or_default())))
        .optional()?;
    let mut waiting = stmt(conn, "SELECT next_attempt FROM replicas WHERE state = 4")?;
    let mut found = waiting.query([])?;
    while let Some(row) = found.next()? {
        let until: i64 = row.get(0)?;
        decided.wait((until < i64::MAX).then(|| Timestamp::from_millis(rows::uint(until))));
    }
    Ok(decided)
}

impl Decided {
    fn wait(&mut self, until: Option<Timestamp>) {
        match until {
            None => self.held += 1,
            Some(until) => {
                self.quarantined += 1;
                self.quarantine_ends = Some(self.quarantine_ends.map_or(until, |first| first.min(until)));
            }
        }
    }
}

/// A rebuild that makes nothing: it reads all that a rebuild reads, and tells what was decided.
#[derive(Debug, Default)]
pub struct Glance {
    names: BTreeMap<i64, BackendName>,
    drains: BTreeMap<i64, Timestamp>,
    brake: Option<(Timestamp, String)>,
    quarantined: BTreeMap<ReplicaId, Option<Timestamp>>,
}

impl Rebuilding for Glance {
    fn applied(&self) -> Result<Option<String>, CatalogError> {
        Ok(None)
    }

    fn apply(
        &mut self,
        file: &str,
        names: &Names,
        lines: &[&str],
        after: Option<u64>,
    ) -> Result<u64, CatalogError> {
        self.names = names.backends.iter().map(|(id, name)| (id.0, name.clone())).collect();
        let mut applied = 0;
        for text in lines {
            let line = read_line(file, text)?;
            if after.is_none_or(|after| line.seq > after) {
                line.entry.items.into_iter().for_each(|item| self.see(item));
                applied += 1;
            }
        }
        Ok(applied)
    }

    fn finish(self: Box<Self>, _: &[InternalFile], at: Timestamp) -> Result<Rebuilt, CatalogError> {
        let name = |(id, since): (i64, Timestamp)| Some((self.names.get(&id)?.clone(), since));
        let drains = self.drains.iter().map(|(id, since)| (*id, *since)).filter_map(name).collect();
        let mut decided = Decided { drains, brake: self.brake, ..Decided::default() };
        for until in self.quarantined.into_values() {
            decided.wait(until.map(|until| until.max(at.plus(KEPT_AT_LEAST))));
        }
        Ok(Rebuilt { decided, ..Rebuilt::default() })
    }
}

impl Glance {
    fn see(&mut self, item: Item<'_>) {
        match item {
            Item::Drain { backend, since: Some(since) } => drop(self.drains.insert(backend, since)),
            Item::Drain { backend, since: None } => drop(self.drains.remove(&backend)),
            Item::Brake { since, why } => self.brake = since.map(|since| (since, why)),
            Item::Quarantined(QuarantinedItem { replica, until }) => {
                self.quarantined.insert(replica.replica, until);
            }
            Item::Live(ReplicaItem { replica, .. }) | Item::Doomed { replica } | Item::Gone { replica } => {
                self.quarantined.remove(&replica);
            }
            _ => {}
        }
    }
}
