//! Writes of objects: reserve, let go, commit.

use async_trait::async_trait;
use runtime::mutation;
use rusqlite::{OptionalExtension, params};
use types::{BlobId, BootId, ChangeId, ETag, ObjectKey};

use super::rows::{self, content_columns, int, json, millis};
use super::writer::Tx;
use super::{Sqlite, content, edits, journal, objects, replicas, uploads};
use crate::journal::{Answer, Entry, Item, ObjectItem};
use crate::{
    AddReplica, BucketId, CatalogError, Client, CommitPut, Committed, Content, CopyObject, DeleteAnswer,
    DeleteObjects, Fate, Object, ObjectState, Precondition, Refusal, Reserve, ReserveFor, SetTags, Target,
    Writes,
};

#[async_trait]
impl Writes for Sqlite {
    async fn reserve(&self, request: Reserve) -> Result<Vec<Target>, CatalogError> {
        self.write(move |tx| reserve(tx, request.clone())).await
    }

    async fn add_replica(&self, add: AddReplica) -> Result<Option<Target>, CatalogError> {
        self.write(move |tx| add_replica(tx, add.clone())).await
    }

    async fn let_go(&self, owner: BootId, fates: Vec<Fate>) -> Result<(), CatalogError> {
        self.write(move |tx| {
            let mut unrecorded = Entry::new();
            fates.iter().try_for_each(|fate| replicas::give_up(tx, owner, fate, &mut unrecorded))
        })
        .await
    }

    async fn commit_put(&self, commit: CommitPut) -> Result<Committed, CatalogError> {
        self.write(move |tx| commit_put(tx, commit.clone())).await
    }

    async fn copy_object(&self, copy: CopyObject) -> Result<Committed, CatalogError> {
        self.write(move |tx| edits::copy_object(tx, copy.clone())).await
    }

    async fn delete_objects(&self, delete: DeleteObjects) -> Result<Vec<DeleteAnswer>, CatalogError> {
        self.write(move |tx| edits::delete_objects(tx, delete.clone())).await
    }

    async fn set_tags(&self, set: SetTags) -> Result<Object, CatalogError> {
        self.write(move |tx| edits::set_tags(tx, set.clone())).await
    }
}

fn reserve(tx: &mut Tx<'_>, request: Reserve) -> Result<Vec<Target>, CatalogError> {
    tx.check_alive(request.owner)?;
    // Before anything is changed, so that most who are refused leave no traces.
    if let Err(refused) = check_purpose(tx, &request.purpose) {
        // An answer was lost, and the precondition held when the blob came: this is not the time to look at it.
        let repeated = is_reserved(tx, request.blob)? && !mutation::is_on("reserve.repeated");
        return if repeated { repeated_reserve(tx, request) } else { Err(refused) };
    }
    let inserted = tx.execute(
        "INSERT OR IGNORE INTO blobs (blob, size, refs, wanted, replicas_live) VALUES (?1, ?2, 0, ?3, 0)",
        params![request.blob.to_bytes(), int(request.size), request.wanted],
    )?;
    if inserted == 0 && !mutation::is_on("reserve.repeated") {
        return repeated_reserve(tx, request);
    }
    let mut taken: Vec<Target> = Vec::new();
    for target in request.targets {
        if taken.len() >= usize::try_from(request.wanted).unwrap_or(usize::MAX) {
            break;
        }
        let twice = taken.iter().any(|other| other.backend == target.backend);
        if !twice && replicas::charge(tx, &target)? {
            replicas::insert(tx, request.blob, request.owner, &target)?;
            taken.push(target);
        }
    }
    if taken.is_empty() || taken.len() < usize::try_from(request.least).unwrap_or(usize::MAX) {
        return Err(Refusal::OutOfSpace { size: request.size }.into());
    }
    Ok(taken)
}

fn is_reserved(tx: &Tx<'_>, blob: BlobId) -> Result<bool, CatalogError> {
    Ok(tx.stmt("SELECT 1 FROM blobs WHERE blob = ?1")?.exists(params![blob.to_bytes()])?)
}

/// The blob is there: an answer was lost, and the same targets are given again.
fn repeated_reserve(tx: &Tx<'_>, request: Reserve) -> Result<Vec<Target>, CatalogError> {
    let mut taken = Vec::new();
    for target in request.targets {
        if replicas::is_writing(tx, target.replica, request.owner)? {
            taken.push(target);
        }
    }
    if taken.is_empty() { Err(Refusal::Changed("the blob").into()) } else { Ok(taken) }
}

fn check_purpose(tx: &Tx<'_>, purpose: &ReserveFor) -> Result<(), CatalogError> {
    match purpose {
        ReserveFor::Part { upload, bucket, key } => {
            uploads::find_open(tx.conn(), *upload, *bucket, key)?.ok_or(Refusal::NoSuchUpload)?;
        }
        ReserveFor::Object { precondition, .. } if precondition.is_none() => {}
        ReserveFor::Object { bucket, key, precondition, client, size } => {
            let present = find_present(tx, *bucket, key)?;
            match check(precondition, present.as_ref()) {
                Err(Refusal::PreconditionFailed) if present.is_some_and(|p| p.may_be_of(client, *size)) => {}
                other => other?,
            }
        }
    }
    Ok(())
}

fn add_replica(tx: &mut Tx<'_>, add: AddReplica) -> Result<Option<Target>, CatalogError> {
    tx.check_alive(add.owner)?;
    let held = tx
        .stmt(
            "SELECT 1 FROM replicas AS r CROSS JOIN blobs AS b ON b.blob = r.blob \
             WHERE r.blob = ?1 AND r.owner = ?2 AND r.state = 0 AND b.refs = 0",
        )?
        .exists(params![add.blob.to_bytes(), add.owner.to_bytes()])?;
    if !held {
        return Err(Refusal::Changed("the blob").into());
    }
    for target in add.targets {
        // Its answer was lost, and this is the repetition.
        if replicas::is_writing(tx, target.replica, add.owner)? {
            return Ok(Some(target));
        }
        let there = tx
            .stmt("SELECT 1 FROM replicas WHERE blob = ?1 AND backend = ?2 AND state IN (0, 1)")?
            .exists(params![add.blob.to_bytes(), target.backend.0])?;
        if !there && replicas::charge(tx, &target)? {
            replicas::insert(tx, add.blob, add.owner, &target)?;
            return Ok(Some(target));
        }
    }
    Ok(None)
}

fn commit_put(tx: &mut Tx<'_>, commit: CommitPut) -> Result<Committed, CatalogError> {
    if let Some(recorded) = journal::find(tx, commit.change)? {
        return recorded_commit(commit.change, recorded);
    }
    tx.check_alive(commit.owner)?;
    let mut entry = Entry::new();
    let present = find_present(tx, commit.bucket, &commit.key)?;
    if let Err(refusal) = check(&commit.precondition, present.as_ref())
        && !mutation::is_on("commit.precondition")
    {
        let won = present.is_some_and(|present| present.is_of_same_call(&refusal, &commit.state));
        if !won {
            return Err(refusal.into());
        }
        // The client sent this twice, and the first one won: the new blobs are not needed.
        for fate in commit.blobs.iter().flat_map(|blob| &blob.fates) {
            replicas::give_up(tx, commit.owner, fate, &mut entry)?;
        }
        return already(tx, commit.change, commit.bucket, &commit.key, entry);
    }
    let content = content::adopt(tx, commit.owner, &commit.blobs, commit.manifest, &mut entry)?;
    let state = ObjectState { content, ..commit.state };
    let object = Object { bucket: commit.bucket, key: commit.key, revision: 0, change: commit.change, state };
    let object = replace(tx, object, present.map(|present| present.content), entry)?;
    Ok(Committed { object, already: false })
}

/// Puts an object in place of what was there, and records the change.
pub(super) fn replace(
    tx: &mut Tx<'_>,
    object: Object,
    replaced: Option<Content>,
    mut entry: Entry<'static>,
) -> Result<Object, CatalogError> {
    let sequence = tx.next_sequence();
    let object = Object { revision: sequence, ..object };
    store(tx, &object)?;
    if let Some(content) = replaced.filter(|_| !mutation::is_on("replace.drops")) {
        content::drop_ref(tx, content, &mut entry)?;
    }
    let mut entry: Entry<'_> = entry;
    entry.push(Item::object(object.bucket, object.key.clone(), sequence, &object.state));
    journal::append(tx, object.change, sequence, &entry, None)?;
    drop(entry);
    Ok(object)
}

/// Writes an object's row.
fn store(tx: &Tx<'_>, object: &Object) -> Result<(), CatalogError> {
    let state = &object.state;
    let (blob, manifest) = content_columns(state.content);
    tx.execute(
        "REPLACE INTO objects (bucket, key, size, etag, modified, checksums, revision, change, blob, manifest, \
         headers, metadata, tags, access_key, invocation) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        params![
            object.bucket.0,
            object.key.as_str().as_bytes(),
            int(state.size),
            state.etag.as_str(),
            millis(state.modified),
            json(&state.checksums),
            int(object.revision),
            object.change.to_bytes(),
            blob,
            manifest,
            json(&state.headers),
            json(&state.metadata),
            json(&state.tags),
            state.client.access_key,
            state.client.invocation,
        ],
    )?;
    Ok(())
}

/// Answers an attempt of a call of which an earlier attempt won: the object that it made stands.
pub(super) fn already(
    tx: &mut Tx<'_>,
    change: ChangeId,
    bucket: BucketId,
    key: &ObjectKey,
    entry: Entry<'_>,
) -> Result<Committed, CatalogError> {
    let object = objects::find(tx.conn(), bucket, key)?.ok_or(Refusal::Changed("the object"))?;
    let sequence = tx.next_sequence();
    let item = ObjectItem {
        bucket: bucket.0,
        key: key.clone(),
        revision: object.revision,
        state: std::borrow::Cow::Owned(object.state.clone()),
    };
    let answer = Answer::Already { object: Box::new(item), change: object.change };
    journal::append(tx, change, sequence, &entry, Some(&answer))?;
    Ok(Committed { object, already: true })
}

/// The recorded answer of a put or a copy.
pub(super) fn recorded_commit(
    change: ChangeId,
    recorded: journal::Recorded,
) -> Result<Committed, CatalogError> {
    let (item, change, already) = match recorded.answer {
        Some(Answer::Already { object, change }) => (*object, change, true),
        _ => (recorded.entry.into_object().ok_or_else(|| journal::reused(change))?, change, false),
    };
    let object = Object {
        bucket: BucketId(item.bucket),
        key: item.key,
        revision: item.revision,
        change,
        state: item.state.into_owned(),
    };
    Ok(Committed { object, already })
}

/// What a write has to know of the object that it finds.
pub(super) struct Present {
    size: u64,
    pub(super) etag: ETag,
    pub(super) content: Content,
    client: Client,
}

impl Present {
    /// Whether an earlier attempt of this very call may have made it.
    fn may_be_of(&self, client: &Client, size: u64) -> bool {
        self.client.is_same_call(client) && self.size == size
    }

    /// Whether an earlier attempt of the call made it, so that the refusal is none.
    pub(super) fn is_of_same_call(&self, refusal: &Refusal, state: &ObjectState) -> bool {
        *refusal == Refusal::PreconditionFailed
            && self.may_be_of(&state.client, state.size)
            && self.etag == state.etag
    }
}

pub(super) fn find_present(
    tx: &Tx<'_>,
    bucket: BucketId,
    key: &ObjectKey,
) -> Result<Option<Present>, CatalogError> {
    Ok(tx
        .stmt(
            "SELECT size, etag, blob, manifest, access_key, invocation FROM objects \
             WHERE bucket = ?1 AND key = ?2",
        )?
        .query_row(params![bucket.0, key.as_str().as_bytes()], |row| {
            Ok(Present {
                size: rows::size(row, 0)?,
                etag: rows::etag(row, 1)?,
                content: rows::content(row, 2)?,
                client: rows::client(row, 4)?,
            })
        })
        .optional()?)
}

pub(super) fn check(precondition: &Precondition, present: Option<&Present>) -> Result<(), Refusal> {
    precondition.check(present.map(|present| &present.etag))
}
