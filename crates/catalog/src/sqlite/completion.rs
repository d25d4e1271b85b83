//! The end of an upload: completed, one transaction whatever its size, or aborted.

use runtime::mutation;
use rusqlite::{OptionalExtension, params};
use types::{Timestamp, UploadId};

use super::rows::{self, millis, to_json};
use super::uploads::{find_open, read_part};
use super::writer::Tx;
use super::writes::{check, find_present, recorded_commit, replace};
use super::{content, journal};
use crate::journal::{Entry, Item, ManifestPart, Slice};
use crate::{
    AbortUpload, BucketId, CatalogError, CompleteUpload, Completed, Content, Object, ObjectState, Part,
    Refusal,
};

pub(super) fn complete_upload(tx: &mut Tx<'_>, complete: CompleteUpload) -> Result<Completed, CatalogError> {
    if let Some(recorded) = journal::find(tx, complete.change)? {
        let state = recorded_commit(complete.change, recorded)?.object.state;
        return Ok(Completed { state, already: false });
    }
    let Some(upload) = find_open(tx.conn(), complete.upload, complete.bucket, &complete.key)? else {
        return completed_before(tx, &complete);
    };
    let (parts, contents) = load_parts(tx, complete.upload)?;
    let completion = (complete.decide)(&upload, &parts)?;
    let present = find_present(tx, complete.bucket, &complete.key)?;
    if !mutation::is_on("complete.precondition") {
        check(&complete.precondition, present.as_ref())?;
    }

    let mut entry = Entry::new();
    let holdings = parts.into_iter().zip(contents).collect();
    let (slices, parts) = hand_over(tx, holdings, &completion.numbers, &mut entry)?;
    let size = parts.last().map_or(0, |part| part.start + part.size);
    content::make_manifest(tx, complete.manifest, size, slices, parts, &mut entry)?;
    let state = ObjectState { content: Content::Manifest(complete.manifest), ..completion.state };
    let answer = Some((complete.fingerprint, &state));
    settle(tx, complete.upload, complete.bucket, complete.at, answer, &mut entry)?;
    let object =
        Object { bucket: complete.bucket, key: complete.key, revision: 0, change: complete.change, state };
    let object = replace(tx, object, present.map(|present| present.content), entry)?;
    Ok(Completed { state: object.state, already: false })
}

/// A completed upload is remembered: the same completion again gets the same answer.
fn completed_before(tx: &Tx<'_>, complete: &CompleteUpload) -> Result<Completed, CatalogError> {
    let answer: Option<String> = tx
        .stmt(
            "SELECT answer FROM uploads \
             WHERE upload = ?1 AND bucket = ?2 AND key = ?3 AND state = 1 AND fingerprint = ?4",
        )?
        .query_row(
            params![
                complete.upload.to_bytes(),
                complete.bucket.0,
                complete.key.as_str().as_bytes(),
                complete.fingerprint
            ],
            |row| row.get(0),
        )
        .optional()?;
    let answer = answer.filter(|_| !mutation::is_on("complete.remembered")).ok_or(Refusal::NoSuchUpload)?;
    let state = serde_json::from_str(&answer)
        .map_err(|error| CatalogError::Damaged(format!("answer of upload {}: {error}", complete.upload)))?;
    Ok(Completed { state, already: true })
}

/// All parts, ascending, and what holds each.
fn load_parts(tx: &Tx<'_>, upload: UploadId) -> Result<(Vec<Part>, Vec<Content>), CatalogError> {
    let mut statement = tx.stmt(
        "SELECT number, size, etag, modified, checksums, blob, manifest FROM parts WHERE upload = ?1 \
         ORDER BY number",
    )?;
    let mut found = statement.query(params![upload.to_bytes()])?;
    let (mut parts, mut contents) = (Vec::new(), Vec::new());
    while let Some(row) = found.next()? {
        parts.push(read_part(row)?);
        contents.push(rows::content(row, 5)?);
    }
    Ok((parts, contents))
}

/// Hands the references of the listed parts to slices; the others let go.
///
/// A listed blob is referenced by its slice where it was by its part, so nothing is counted; a part
/// without bytes has no slice and lets go.
fn hand_over(
    tx: &mut Tx<'_>,
    holdings: Vec<(Part, Content)>,
    listed: &[u32],
    entry: &mut Entry<'_>,
) -> Result<(Vec<Slice>, Vec<ManifestPart>), CatalogError> {
    let (mut slices, mut made) = (Vec::new(), Vec::new());
    let mut start = 0;
    let mut listed = listed.iter().copied().peekable();
    for (part, content) in holdings {
        if listed.peek() != Some(&part.number) {
            content::drop_ref(tx, content, entry)?;
            continue;
        }
        listed.next();
        match content {
            Content::Blob(blob) if part.size > 0 => {
                slices.push(Slice { start, blob, blob_offset: 0, length: part.size });
            }
            Content::Blob(_) => content::drop_ref(tx, content, entry)?,
            Content::Manifest(manifest) => {
                let moved = content::take_apart(tx, manifest, entry)?;
                content::check_slices(slices.len() + moved.len(), content::SLICES_MAX)?;
                slices.extend(moved.into_iter().map(|slice| Slice { start: start + slice.start, ..slice }));
            }
        }
        let Part { number, size, etag, checksums, .. } = part;
        made.push(ManifestPart { number, start, size, etag, checksums });
        start += size;
    }
    // What is left was not uploaded, or does not rise.
    match listed.next() {
        Some(number) => Err(Refusal::InvalidPart { number }.into()),
        None => Ok((slices, made)),
    }
}

/// The upload is open no more, and its parts are nobody's.
fn settle(
    tx: &Tx<'_>,
    upload: UploadId,
    bucket: BucketId,
    at: Timestamp,
    completed: Option<(String, &ObjectState)>,
    entry: &mut Entry<'_>,
) -> Result<(), CatalogError> {
    let state = if completed.is_some() { 1 } else { 2 };
    let (fingerprint, answer) =
        completed.map_or((None, None), |(fingerprint, answer)| (Some(fingerprint), Some(to_json(answer))));
    tx.execute("DELETE FROM parts WHERE upload = ?1", params![upload.to_bytes()])?;
    tx.execute(
        "UPDATE uploads SET state = ?2, settled_at = ?3, fingerprint = ?4, answer = ?5 \
         WHERE upload = ?1 AND state = 0",
        params![upload.to_bytes(), state, millis(at), fingerprint, answer],
    )?;
    tx.execute("UPDATE buckets SET uploads_open = uploads_open - 1 WHERE id = ?1", params![bucket.0])?;
    entry.push(Item::UploadSettled { upload, at, completed: fingerprint });
    Ok(())
}

pub(super) fn abort_upload(tx: &mut Tx<'_>, abort: AbortUpload) -> Result<(), CatalogError> {
    if journal::find(tx, abort.change)?.is_some() {
        return Ok(());
    }
    find_open(tx.conn(), abort.upload, abort.bucket, &abort.key)?.ok_or(Refusal::NoSuchUpload)?;
    let mut entry = Entry::new();
    let (_, contents) = load_parts(tx, abort.upload)?;
    for content in contents.into_iter().filter(|_| !mutation::is_on("abort.drops")) {
        content::drop_ref(tx, content, &mut entry)?;
    }
    settle(tx, abort.upload, abort.bucket, abort.at, None, &mut entry)?;
    let sequence = tx.next_sequence();
    journal::append(tx, abort.change, sequence, &entry, None)
}
