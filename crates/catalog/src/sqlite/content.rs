//! References: who holds a blob, a manifest's slices, and what follows when nobody does.

use runtime::mutation;
use rusqlite::{OptionalExtension, params};
use types::{BlobId, BootId, ManifestId, Md5};

use super::replicas;
use super::rows::{self, int, json};
use super::writer::Tx;
use crate::journal::{Entry, Item, ManifestPart, Slice};
use crate::{CatalogError, Content, NewBlob, Refusal};

/// Slices that one manifest may have, and that one part copy may bring. Copies of copies multiply them, a
/// transaction touches them all, and nobody may keep the others waiting for that.
pub(super) const SLICES_MAX: usize = 250_000;
pub(super) const SLICES_OF_A_PART_MAX: usize = 10_000;

/// Refuses content that lies in too many pieces.
pub(super) fn check_slices(slices: usize, slices_max: usize) -> Result<(), Refusal> {
    if slices <= slices_max {
        return Ok(());
    }
    let message =
        format!("the bytes lie in {slices} pieces, more than the {slices_max} allowed: upload them anew");
    Err(Refusal::BadCompletion { code: "InvalidRequest", message })
}

/// Makes written blobs content that is referenced once: the blob, or a manifest of several.
///
/// Refused: `Changed`, `NothingLive`.
pub(super) fn adopt(
    tx: &mut Tx<'_>,
    owner: BootId,
    blobs: &[NewBlob],
    manifest: ManifestId,
    entry: &mut Entry<'_>,
) -> Result<Content, CatalogError> {
    for blob in blobs {
        adopt_blob(tx, owner, blob, entry)?;
    }
    if let [blob] = blobs {
        return Ok(Content::Blob(blob.blob));
    }
    let mut slices = Vec::with_capacity(blobs.len());
    let mut start = 0;
    for blob in blobs {
        if blob.size > 0 {
            slices.push(Slice { start, blob: blob.blob, blob_offset: 0, length: blob.size });
        } else {
            drop_blob(tx, blob.blob, entry)?;
        }
        start += blob.size;
    }
    make_manifest(tx, manifest, start, slices, Vec::new(), entry)?;
    Ok(Content::Manifest(manifest))
}

/// A written blob becomes one that is referenced once.
fn adopt_blob(
    tx: &mut Tx<'_>,
    owner: BootId,
    new: &NewBlob,
    entry: &mut Entry<'_>,
) -> Result<(), CatalogError> {
    let packed = rows::pack(&new.blocks);
    entry.push(Item::blob(new.blob, new.size, new.wanted, new.md5, &packed));
    let live = replicas::keep_live(tx, owner, new.blob, &new.fates, entry)?;
    if live == 0 && !mutation::is_on("commit.live") {
        return Err(Refusal::NothingLive.into());
    }
    let changed = tx.execute(
        "UPDATE blobs SET size = ?2, refs = 1, wanted = ?3, replicas_live = ?4, md5 = ?5 \
         WHERE blob = ?1 AND refs = 0",
        params![new.blob.to_bytes(), int(new.size), new.wanted, live, new.md5.map(|md5| md5.0)],
    )?;
    if changed != 1 {
        return Err(Refusal::Changed("a blob").into());
    }
    if !packed.is_empty() {
        tx.execute("INSERT INTO blocks (blob, crcs) VALUES (?1, ?2)", params![new.blob.to_bytes(), packed])?;
    }
    Ok(())
}

/// Inserts a manifest with one reference. The references of its slices are the caller's.
pub(super) fn make_manifest(
    tx: &Tx<'_>,
    manifest: ManifestId,
    size: u64,
    slices: Vec<Slice>,
    parts: Vec<ManifestPart>,
    entry: &mut Entry<'_>,
) -> Result<(), CatalogError> {
    let id = manifest.to_bytes();
    let count = i64::try_from(parts.len()).expect("parts are numbered up to 10,000");
    tx.execute(
        "INSERT INTO manifests (manifest, refs, size, parts) VALUES (?1, 1, ?2, ?3)",
        params![id, int(size), count],
    )?;
    let mut insert = tx.stmt(
        "INSERT INTO entries (manifest, start, blob, blob_offset, length) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for slice in &slices {
        let (start, offset, length) = (int(slice.start), int(slice.blob_offset), int(slice.length));
        insert.execute(params![id, start, slice.blob.to_bytes(), offset, length])?;
    }
    let mut insert = tx.stmt(
        "INSERT INTO manifest_parts (manifest, number, start, size, etag, checksums) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for part in &parts {
        let (start, size, checksums) = (int(part.start), int(part.size), json(&part.checksums));
        insert.execute(params![id, part.number, start, size, part.etag.as_str(), checksums])?;
    }
    entry.push(Item::Manifest { manifest, size, slices, parts });
    Ok(())
}

/// One more reference, of something that is referenced.
pub(super) fn add_ref(tx: &Tx<'_>, content: Content) -> Result<(), CatalogError> {
    let changed = match content {
        Content::Blob(blob) => tx.execute(
            "UPDATE blobs SET refs = refs + 1 WHERE blob = ?1 AND refs > 0",
            params![blob.to_bytes()],
        )?,
        Content::Manifest(manifest) => tx.execute(
            "UPDATE manifests SET refs = refs + 1 WHERE manifest = ?1 AND refs > 0",
            params![manifest.to_bytes()],
        )?,
    };
    if changed == 1 {
        Ok(())
    } else {
        Err(CatalogError::Damaged(format!("{content:?} has no reference to add to")))
    }
}

/// One reference less. At 0 a blob's replicas are doomed, and a manifest dissolves.
pub(super) fn drop_ref(tx: &mut Tx<'_>, content: Content, entry: &mut Entry<'_>) -> Result<(), CatalogError> {
    match content {
        Content::Blob(blob) => drop_blob(tx, blob, entry),
        Content::Manifest(manifest) => drop_manifest(tx, manifest, entry),
    }
}

/// One reference of a blob less.
pub(super) fn drop_blob(tx: &mut Tx<'_>, blob: BlobId, entry: &mut Entry<'_>) -> Result<(), CatalogError> {
    let id = blob.to_bytes();
    let left: Option<i64> = tx
        .stmt("UPDATE blobs SET refs = refs - 1 WHERE blob = ?1 AND refs > 0 RETURNING refs")?
        .query_row(params![id], |row| row.get(0))
        .optional()?;
    match left {
        None => Err(CatalogError::Damaged(format!("blob {blob} has no reference to drop"))),
        Some(0) if mutation::is_on("blob.doomed") => Ok(()),
        Some(0) => {
            replicas::doom_blob(tx, blob, entry)?;
            tx.execute("UPDATE blobs SET replicas_live = 0 WHERE blob = ?1", params![id])?;
            tx.execute("DELETE FROM blocks WHERE blob = ?1", params![id])?;
            Ok(())
        }
        Some(_) => Ok(()),
    }
}

fn drop_manifest(tx: &mut Tx<'_>, manifest: ManifestId, entry: &mut Entry<'_>) -> Result<(), CatalogError> {
    let id = manifest.to_bytes();
    let left: Option<i64> = tx
        .stmt("UPDATE manifests SET refs = refs - 1 WHERE manifest = ?1 AND refs > 0 RETURNING refs")?
        .query_row(params![id], |row| row.get(0))
        .optional()?;
    match left {
        None => Err(CatalogError::Damaged(format!("manifest {manifest} has no reference to drop"))),
        Some(0) => {
            let seq = int(tx.doomed_seq());
            // Its blobs are doomed step by step, later on and by somebody else.
            tx.count_doomed();
            tx.execute("UPDATE manifests SET doomed_seq = ?2 WHERE manifest = ?1", params![id, seq])?;
            entry.push(Item::Dissolving { manifest });
            Ok(())
        }
        Some(_) => Ok(()),
    }
}

/// All slices of a manifest, from the one that holds `from` on, up to `to`.
pub(super) fn slices(
    tx: &Tx<'_>,
    manifest: ManifestId,
    from: u64,
    to: u64,
) -> Result<Vec<Slice>, CatalogError> {
    let mut found = tx.stmt(
        "SELECT start, blob, blob_offset, length FROM entries WHERE manifest = ?1 AND start < ?3 AND start >= \
         COALESCE((SELECT MAX(start) FROM entries WHERE manifest = ?1 AND start <= ?2), 0) ORDER BY start",
    )?;
    let slices = found
        .query_map(params![manifest.to_bytes(), int(from), int(to)], |row| {
            Ok(Slice {
                start: rows::size(row, 0)?,
                blob: BlobId::from_bytes(row.get(1)?),
                blob_offset: rows::size(row, 2)?,
                length: rows::size(row, 3)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(slices)
}

/// A manifest's slices are handed to another holder: it goes, the references of its blobs stay.
pub(super) fn take_apart(
    tx: &Tx<'_>,
    manifest: ManifestId,
    entry: &mut Entry<'_>,
) -> Result<Vec<Slice>, CatalogError> {
    let slices = slices(tx, manifest, 0, u64::MAX)?;
    tx.execute("DELETE FROM entries WHERE manifest = ?1", params![manifest.to_bytes()])?;
    tx.execute("DELETE FROM manifests WHERE manifest = ?1", params![manifest.to_bytes()])?;
    entry.push(Item::Dissolved { manifest });
    Ok(slices)
}

/// Size and MD5 of a blob.
pub(super) fn blob_facts(tx: &Tx<'_>, blob: BlobId) -> Result<(u64, Option<Md5>), CatalogError> {
    tx.stmt("SELECT size, md5 FROM blobs WHERE blob = ?1")?
        .query_row(params![blob.to_bytes()], |row| {
            Ok((rows::size(row, 0)?, row.get::<_, Option<[u8; 16]>>(1)?.map(Md5)))
        })
        .optional()?
        .ok_or_else(|| CatalogError::Damaged(format!("there is no blob {blob}")))
}
