//! Storing an object.

use std::future::Future;
use std::time::Duration;

use catalog::{CatalogError, CommitPut, Content, Metadata, ObjectState, Refusal, ReserveFor};
use runtime::mutation;
use types::{BlobId, ETag, ObjectKey, Timestamp};

use crate::describe::describe;
use crate::engine::{Engine, Shared};
use crate::intake::Intake;
use crate::recent::Forgetting;
use crate::write::WriteFor;
use crate::{Bucket, EngineError, PutObject, Stored};

/// How often a transaction whose answer was lost is repeated before the request gives up.
const REPEATS: u32 = 8;

impl Engine {
    /// Stores an object: reserve, stream, commit.
    ///
    /// The order is the crash safety: whatever happens in between leaves `writing` replicas that the reaper
    /// settles, never an object that points at nothing.
    ///
    /// # Errors
    /// See [`EngineError`]; after any of them the object is what it was before.
    pub async fn put_object(&self, request: PutObject) -> Result<Stored, EngineError> {
        let PutObject { bucket, key, body, headers, metadata, tags, precondition, client } = request;
        let shared = &self.shared;
        let size = body.length;
        shared.check_size(size)?;
        let purpose = ReserveFor::Object {
            bucket: bucket.id,
            key: key.clone(),
            precondition: precondition.clone(),
            client: client.clone(),
            size,
        };
        let says = describe(&bucket.name, &key, &headers, &metadata);
        let write = WriteFor { bucket: &bucket, key: &key, purpose, says };
        let written = shared.write_body(write, Intake::new(body, &shared.hashers)).await?;

        let modified = shared.clock.now();
        let state = ObjectState {
            size,
            etag: ETag::of_md5(written.proof.md5),
            modified,
            // The commit knows what the blobs make.
            content: Content::Blob(BlobId::from_parts(Timestamp::default(), 0)),
            headers,
            metadata,
            tags,
            checksums: written.proof.checksums,
            client,
        };
        let commit = CommitPut {
            change: shared.ids.change(),
            owner: shared.boot,
            bucket: bucket.id,
            key,
            precondition,
            blobs: written.blobs,
            manifest: shared.ids.manifest(),
            state,
        };
        let forgetting = Forgetting::new(&shared.recent, bucket.id, vec![commit.key.clone()]);
        match shared.repeat(|| shared.catalog.commit_put(commit.clone())).await {
            Ok(committed) => {
                // Where an earlier call of the client had won, its blobs are not these.
                let pieces = if committed.already { Vec::new() } else { written.pieces };
                forgetting.wrote(&committed.object, &pieces);
                written.held.committed();
                shared.reap.ring();
                shared.call_for_repair(&commit.blobs);
                let state = committed.object.state;
                let backends = written.backends;
                Ok(Stored {
                    size,
                    etag: state.etag,
                    modified: state.modified,
                    checksums: state.checksums,
                    backends,
                })
            }
            Err(error) => {
                written.held.let_go().await;
                Err(error.into())
            }
        }
    }

    /// Replaces an object's tags.
    ///
    /// # Errors
    /// [`EngineError::NoSuchKey`].
    pub async fn set_tags(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        tags: Metadata,
    ) -> Result<(), EngineError> {
        let shared = &self.shared;
        let set = catalog::SetTags { change: shared.ids.change(), bucket: bucket.id, key: key.clone(), tags };
        let forgetting = Forgetting::new(&shared.recent, bucket.id, vec![key.clone()]);
        let object = shared.repeat(|| shared.catalog.set_tags(set.clone())).await?;
        forgetting.wrote(&object, &[]);
        Ok(())
    }
}

impl Shared {
    pub(crate) fn check_size(&self, size: u64) -> Result<(), EngineError> {
        let size_max = self.settings.object_bytes_limit();
        if size > size_max { Err(EngineError::TooLarge { size, size_max }) } else { Ok(()) }
    }

    /// Carries a transaction out; where its answer is lost, repeats it (with the same change id, so that it
    /// happens once). Once an answer was lost, a catalog that is not available does not make it known: the
    /// transaction may have happened. A frozen catalog is not changed.
    pub(crate) async fn repeat<T, F>(&self, mut transaction: impl FnMut() -> F) -> Result<T, CatalogError>
    where
        F: Future<Output = Result<T, CatalogError>>,
    {
        self.check_not_frozen()?;
        let mut pause = Duration::from_millis(20);
        let mut lost = None;
        for _ in 0..REPEATS {
            if lost.is_some() {
                runtime::sleep(pause).await;
                pause *= 2;
            }
            match transaction().await {
                Err(error @ CatalogError::Unknown(_)) if mutation::is_on("lost.repeated") => {
                    return Err(error);
                }
                Err(CatalogError::Unknown(why)) => {
                    tracing::warn!(why, "the catalog's answer was lost, repeating the transaction");
                    lost = Some(why);
                }
                // This time it did not happen; before, it may have.
                Err(CatalogError::Unavailable(_)) if lost.is_some() => {}
                answer => return answer,
            }
        }
        Err(CatalogError::Unknown(lost.unwrap_or_default()))
    }

    /// Repeats a verb whose source changed under it.
    pub(crate) fn has_changed(error: &CatalogError) -> bool {
        matches!(error.refusal(), Some(Refusal::Changed(_)))
    }
}
