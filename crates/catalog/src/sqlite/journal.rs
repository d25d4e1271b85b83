//! The journal's rows.

use runtime::mutation;
use rusqlite::{OptionalExtension, params};
use types::ChangeId;

use super::rows::{int, to_json};
use super::writer::Tx;
use crate::CatalogError;
use crate::journal::{Answer, Entry, Item};

/// What the journal recorded of a change that happened before.
pub(super) struct Recorded {
    pub(super) entry: Entry<'static>,
    pub(super) answer: Option<Answer>,
}

/// Looks a change up: where it is there, its answer is given again before anything else is looked at.
pub(super) fn find(tx: &Tx<'_>, change: ChangeId) -> Result<Option<Recorded>, CatalogError> {
    let found: Option<(String, Option<String>)> = tx
        .stmt("SELECT entry, answer FROM journal WHERE change = ?1")?
        .query_row(params![change.to_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((entry, answer)) = found.filter(|_| !mutation::is_on("journal.remembers")) else {
        return Ok(None);
    };
    let damaged = |error| CatalogError::Damaged(format!("journal entry of change {change}: {error}"));
    Ok(Some(Recorded {
        entry: serde_json::from_str(&entry).map_err(damaged)?,
        answer: answer.map(|text| serde_json::from_str(&text)).transpose().map_err(damaged)?,
    }))
}

/// Appends a change.
pub(super) fn append(
    tx: &Tx<'_>,
    change: ChangeId,
    sequence: u64,
    entry: &Entry<'_>,
    answer: Option<&Answer>,
) -> Result<(), CatalogError> {
    tx.is_change(change);
    tx.execute(
        "INSERT INTO journal (change, seq, shipped, entry, answer) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![change.to_bytes(), int(sequence), entry.is_internal(), to_json(entry), answer.map(to_json)],
    )?;
    Ok(())
}

/// Adds to the entry of a change that this transaction appended: the two are shipped together or not at all.
pub(super) fn amend(tx: &Tx<'_>, change: ChangeId, item: Item<'static>) -> Result<(), CatalogError> {
    let text: String = tx
        .stmt("SELECT entry FROM journal WHERE change = ?1")?
        .query_row(params![change.to_bytes()], |row| row.get(0))?;
    let mut entry: Entry<'static> = serde_json::from_str(&text)
        .map_err(|error| CatalogError::Damaged(format!("journal entry of change {change}: {error}")))?;
    entry.push(item);
    tx.execute(
        "UPDATE journal SET entry = ?2 WHERE change = ?1",
        params![change.to_bytes(), to_json(&entry)],
    )?;
    Ok(())
}

/// A recorded change that is not of the kind that was asked for: an id was used twice.
pub(super) fn reused(change: ChangeId) -> CatalogError {
    CatalogError::Damaged(format!("change {change} is recorded as one of another kind"))
}
