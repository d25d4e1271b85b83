//! Changes of objects that move no byte: copy, delete, tags.

use runtime::mutation;
use rusqlite::params;

use super::rows::{int, json};
use super::writer::{Dooms, Tx};
use super::writes::{already, check, find_present, recorded_commit, replace};
use super::{content, journal, objects};
use crate::journal::{Answer, Deleted, Entry, Item};
use crate::{
    BucketId, CatalogError, Committed, CopyObject, DeleteAnswer, DeleteItem, DeleteObjects, Object,
    ObjectState, Refusal, SetTags,
};

pub(super) fn copy_object(tx: &mut Tx<'_>, copy: CopyObject) -> Result<Committed, CatalogError> {
    if let Some(recorded) = journal::find(tx, copy.change)? {
        return recorded_commit(copy.change, recorded);
    }
    let source = objects::find(tx.conn(), copy.source_bucket, &copy.source_key)?.ok_or(Refusal::NoSuchKey)?;
    if source.change != copy.source_change && !mutation::is_on("copy.source") {
        return Err(Refusal::Changed("the source").into());
    }
    let mut state = ObjectState { modified: copy.at, client: copy.client, ..source.state };
    if let Some((headers, metadata)) = copy.replace_metadata {
        (state.headers, state.metadata) = (headers, metadata);
    }
    if let Some(tags) = copy.replace_tags {
        state.tags = tags;
    }
    if let Some(checksums) = copy.replace_checksums {
        state.checksums = checksums;
    }
    let present = find_present(tx, copy.bucket, &copy.key)?;
    if let Err(refusal) = check(&copy.precondition, present.as_ref())
        && !mutation::is_on("copy.precondition")
    {
        if present.is_some_and(|present| present.is_of_same_call(&refusal, &state)) {
            return already(tx, copy.change, copy.bucket, &copy.key, Entry::new());
        }
        return Err(refusal.into());
    }
    // Up before down: a copy onto itself must not touch 0.
    content::add_ref(tx, state.content)?;
    let object = Object { bucket: copy.bucket, key: copy.key, revision: 0, change: copy.change, state };
    let object = replace(tx, object, present.map(|present| present.content), Entry::new())?;
    Ok(Committed { object, already: false })
}

pub(super) fn delete_objects(
    tx: &mut Tx<'_>,
    delete: DeleteObjects,
) -> Result<Vec<DeleteAnswer>, CatalogError> {
    if let Some(recorded) = journal::find(tx, delete.change)? {
        return match recorded.answer {
            Some(Answer::Deleted(answers)) => Ok(answers.into_iter().map(DeleteAnswer::from).collect()),
            _ => Err(journal::reused(delete.change)),
        };
    }
    if delete.bucket == BucketId::INTERNAL {
        // What a snapshot has made superfluous: clients had no part in it.
        tx.dooms(Dooms::Safely);
    }
    let sequence = tx.next_sequence();
    let mut entry = Entry::new();
    let mut answers = Vec::with_capacity(delete.items.len());
    for item in &delete.items {
        answers.push(delete_one(tx, &delete, item, sequence, &mut entry)?);
    }
    let recorded = Answer::Deleted(answers.iter().map(Deleted::from).collect());
    journal::append(tx, delete.change, sequence, &entry, Some(&recorded))?;
    Ok(answers)
}

fn delete_one(
    tx: &mut Tx<'_>,
    delete: &DeleteObjects,
    item: &DeleteItem,
    sequence: u64,
    entry: &mut Entry<'_>,
) -> Result<DeleteAnswer, CatalogError> {
    let present = find_present(tx, delete.bucket, &item.key)?;
    if let Err(refusal) = check(&item.precondition, present.as_ref())
        && !mutation::is_on("delete.precondition")
    {
        return Ok(Err(refusal));
    }
    let Some(present) = present else {
        return Ok(Ok(false));
    };
    let key = item.key.as_str().as_bytes();
    tx.execute("DELETE FROM objects WHERE bucket = ?1 AND key = ?2", params![delete.bucket.0, key])?;
    content::drop_ref(tx, present.content, entry)?;
    entry.push(Item::Removed { bucket: delete.bucket.0, key: item.key.clone(), revision: sequence });
    Ok(Ok(true))
}

pub(super) fn set_tags(tx: &mut Tx<'_>, set: SetTags) -> Result<Object, CatalogError> {
    if let Some(recorded) = journal::find(tx, set.change)? {
        return recorded_commit(set.change, recorded).map(|committed| committed.object);
    }
    let mut object = objects::find(tx.conn(), set.bucket, &set.key)?.ok_or(Refusal::NoSuchKey)?;
    let sequence = tx.next_sequence();
    (object.state.tags, object.revision, object.change) = (set.tags, sequence, set.change);
    tx.execute(
        "UPDATE objects SET tags = ?3, revision = ?4, change = ?5 WHERE bucket = ?1 AND key = ?2",
        params![
            set.bucket.0,
            set.key.as_str().as_bytes(),
            json(&object.state.tags),
            int(sequence),
            set.change.to_bytes()
        ],
    )?;
    let mut entry = Entry::new();
    entry.push(Item::object(set.bucket, set.key, sequence, &object.state));
    journal::append(tx, set.change, sequence, &entry, None)?;
    drop(entry);
    Ok(object)
}
