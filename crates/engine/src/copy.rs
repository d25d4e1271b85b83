//! Copies: the target references the same content. No byte moves, however large the object.
//!
//! One thing needs the bytes: a checksum that the source does not have. They are read for it, and not written.

use catalog::{CatalogError, Checksums, Located, Object, Want};
use futures::TryStreamExt;
use types::{ByteRange, ETag};

use crate::digest::{ChecksumOf, md5_of};
use crate::engine::{Engine, Shared};
use crate::{Algorithm, CopyObject, CopyPart, EngineError, GetObject, Read, Source, Stored, StoredPart};

/// How often a copy starts over because its source changed under it.
const STARTS: u32 = 16;

impl Engine {
    /// Copies an object.
    ///
    /// # Errors
    /// [`EngineError::NoSuchKey`] and [`EngineError::PreconditionFailed`] of the source or the target.
    pub async fn copy_object(&self, request: CopyObject) -> Result<Stored, EngineError> {
        let shared = &self.shared;
        for _ in 0..STARTS {
            let source = shared.source(&request.source).await?.object;
            shared.check_size(source.state.size)?;
            let missing = request.checksum.filter(|one| one.of(&source.state.checksums).is_none());
            let replace_checksums = match missing {
                None => None,
                Some(algorithm) => match self.checksum_of(&request.source, &source, algorithm).await? {
                    Some(checksums) => Some(checksums),
                    None => continue,
                },
            };
            let copy = catalog::CopyObject {
                change: shared.ids.change(),
                at: shared.clock.now(),
                source_bucket: source.bucket,
                source_key: source.key,
                source_change: source.change,
                bucket: request.bucket.id,
                key: request.key.clone(),
                precondition: request.precondition.clone(),
                replace_metadata: request.replace_metadata.clone(),
                replace_tags: request.replace_tags.clone(),
                replace_checksums,
                client: request.client.clone(),
            };
            match shared.repeat(|| shared.catalog.copy_object(copy.clone())).await {
                Err(error) if Shared::has_changed(&error) => {}
                answer => {
                    let state = answer?.object.state;
                    shared.reap.ring();
                    let (size, etag, modified) = (state.size, state.etag, state.modified);
                    return Ok(Stored {
                        size,
                        etag,
                        modified,
                        checksums: state.checksums,
                        backends: Vec::new(),
                    });
                }
            }
        }
        Err(changing())
    }

    /// Reads an object for a checksum that it does not have. `None` where it has changed since it was seen.
    async fn checksum_of(
        &self,
        source: &Source,
        seen: &Object,
        algorithm: Algorithm,
    ) -> Result<Option<Checksums>, EngineError> {
        let get = GetObject {
            bucket: source.bucket.clone(),
            key: source.key.clone(),
            want: Want::Whole,
            conditions: source.conditions.clone(),
        };
        let Read::Found(opened) = self.get_object(get).await? else {
            return Err(EngineError::PreconditionFailed);
        };
        if opened.object.change != seen.change {
            return Ok(None);
        }
        let mut sum = ChecksumOf::new(algorithm);
        if let Some(mut body) = opened.body {
            while let Some(bytes) = body.stream.try_next().await? {
                sum.update(&bytes);
            }
        }
        Ok(Some(sum.finish()))
    }

    /// Makes a range of an object a part of an upload.
    ///
    /// # Errors
    /// As [`Self::copy_object`], and [`EngineError::NoSuchUpload`], [`EngineError::RangeNotSatisfiable`].
    pub async fn copy_part(&self, request: CopyPart) -> Result<StoredPart, EngineError> {
        let shared = &self.shared;
        for _ in 0..STARTS {
            let source = shared.source(&request.source).await?.object;
            let size = source.state.size;
            let range = match request.range {
                None => ByteRange::whole(size),
                Some((first, last)) if first <= last && last < size => {
                    ByteRange::new(first, last - first + 1)
                }
                Some(_) => return Err(EngineError::RangeNotSatisfiable { size }),
            };
            shared.check_size(range.length)?;
            let change = shared.ids.change();
            let copy = catalog::CopyPart {
                change,
                at: shared.clock.now(),
                source_bucket: source.bucket,
                source_key: source.key,
                source_change: source.change,
                range,
                upload: request.upload,
                bucket: request.bucket.id,
                key: request.key.clone(),
                number: request.number,
                manifest: shared.ids.manifest(),
                opaque_etag: ETag::of_md5(md5_of(&change.to_bytes())),
            };
            match shared.repeat(|| shared.catalog.copy_part(copy.clone())).await {
                Err(error) if Shared::has_changed(&error) => {}
                answer => {
                    let part = answer?;
                    shared.reap.ring();
                    let (etag, modified, checksums) = (part.etag, part.modified, part.checksums);
                    return Ok(StoredPart { etag, modified, checksums, backends: Vec::new() });
                }
            }
        }
        Err(changing())
    }
}

impl Shared {
    /// The source of a copy, as long as its conditions hold.
    async fn source(&self, source: &Source) -> Result<Located, EngineError> {
        let located = self.catalog.locate(source.bucket.id, &source.key, Want::State).await;
        let located = located.map_err(|error: CatalogError| EngineError::from(error))?;
        let located = located.ok_or(EngineError::NoSuchKey)?;
        source.conditions.demand(&located.object)?;
        Ok(located)
    }
}

fn changing() -> EngineError {
    EngineError::Unavailable(format!("the source changed {STARTS} times while it was copied"))
}
