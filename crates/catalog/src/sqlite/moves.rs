//! One more replica of a blob that is referenced.

use async_trait::async_trait;
use runtime::mutation;
use rusqlite::{Connection, OptionalExtension, params};
use types::{BlobId, BootId};

use super::writer::Tx;
use super::{Sqlite, journal, objects, replicas, stmt};
use crate::journal::Entry;
use crate::{CatalogError, CommitMove, Fate, MoveSource, Moves, Refusal, Target, WriteOutcome};

#[async_trait]
impl Moves for Sqlite {
    async fn move_source(&self, blob: BlobId) -> Result<Option<MoveSource>, CatalogError> {
        self.snapshot(|conn| move_source(conn, blob)).await
    }

    async fn reserve_move(
        &self,
        blob: BlobId,
        owner: BootId,
        targets: Vec<Target>,
    ) -> Result<Option<Target>, CatalogError> {
        self.write(move |tx| reserve_move(tx, blob, owner, targets.clone())).await
    }

    async fn commit_move(&self, commit: CommitMove) -> Result<(), CatalogError> {
        self.write(move |tx| commit_move(tx, &commit)).await
    }
}

fn move_source(conn: &Connection, blob: BlobId) -> Result<Option<MoveSource>, CatalogError> {
    let wanted = stmt(conn, "SELECT wanted FROM blobs WHERE blob = ?1 AND refs > 0")?
        .query_row([blob.to_bytes()], |row| row.get(0))
        .optional()?;
    let Some(wanted) = wanted else { return Ok(None) };
    let piece = objects::whole_blob(conn, blob)?.pop();
    Ok(piece.map(|piece| MoveSource { piece, wanted }))
}

/// A blob that is referenced, under its lock.
fn check_referenced(tx: &Tx<'_>, blob: BlobId) -> Result<(), CatalogError> {
    let there = tx.stmt("SELECT 1 FROM blobs WHERE blob = ?1 AND refs > 0")?.exists([blob.to_bytes()])?;
    if there { Ok(()) } else { Err(Refusal::Changed("the blob").into()) }
}

fn reserve_move(
    tx: &Tx<'_>,
    blob: BlobId,
    owner: BootId,
    targets: Vec<Target>,
) -> Result<Option<Target>, CatalogError> {
    tx.check_alive(owner)?;
    for target in &targets {
        // Its answer was lost, and this is the repetition: whatever became of the blob meanwhile.
        if replicas::is_writing(tx, target.replica, owner)? {
            return Ok(Some(target.clone()));
        }
    }
    check_referenced(tx, blob)?;
    for target in targets {
        let there = tx
            .stmt("SELECT 1 FROM replicas WHERE blob = ?1 AND backend = ?2 AND state IN (0, 1)")?
            .exists(params![blob.to_bytes(), target.backend.0])?;
        let free = !there || mutation::is_on("move.one-per-backend");
        if free && replicas::charge(tx, &target)? {
            replicas::insert(tx, blob, owner, &target)?;
            return Ok(Some(target));
        }
    }
    Ok(None)
}

fn commit_move(tx: &mut Tx<'_>, commit: &CommitMove) -> Result<(), CatalogError> {
    if journal::find(tx, commit.change)?.is_some() {
        return Ok(());
    }
    tx.check_alive(commit.owner)?;
    if !mutation::is_on("move.referenced") {
        check_referenced(tx, commit.blob)?;
    }
    let mut entry = Entry::new();
    let fate =
        Fate { replica: commit.replica, outcome: WriteOutcome::Live { version: commit.version.clone() } };
    replicas::keep_live(tx, commit.owner, commit.blob, &[fate], &mut entry)?;
    if !mutation::is_on("move.counted") {
        tx.execute(
            "UPDATE blobs SET replicas_live = replicas_live + 1, next_attempt = 0, attempts = 0, \
             last_error = NULL WHERE blob = ?1",
            [commit.blob.to_bytes()],
        )?;
    }
    let sequence = tx.next_sequence();
    journal::append(tx, commit.change, sequence, &entry, None)
}
