//! Quarantine: what the operator decides about strays.

use backend::Download;
use catalog::{Client, ObjectState, Quarantined, RestoreQuarantined};
use format::BlockHasher;
use futures::StreamExt;
use types::{ETag, Md5, ObjectKey, ReplicaId};

use crate::describe::{said_headers, said_user};
use crate::digest::Digests;
use crate::engine::{Engine, Place, Shared};
use crate::recent::Forgetting;
use crate::{Bucket, EngineError, Stored};

/// Rows that are looked through for one.
const PAGE: u32 = 1000;

impl Engine {
    /// A quarantined replica; `None` where it is in no quarantine.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn find_quarantined(&self, replica: ReplicaId) -> Result<Option<Quarantined>, EngineError> {
        let mut after = None;
        loop {
            let page = self.shared.catalog.quarantined(after, PAGE).await?;
            let Some(last) = page.last().map(|row| row.replica) else { return Ok(None) };
            if let Some(found) = page.into_iter().find(|row| row.replica == replica) {
                return Ok(Some(found));
            }
            after = Some(last);
        }
    }

    /// Dooms strays whose time is over, at most `limit`; says how many.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn expire_quarantined(&self, limit: u32) -> Result<u32, EngineError> {
        let shared = &self.shared;
        let (change, now) = (shared.ids.change(), shared.now_lasting());
        let doomed = shared.repeat(|| shared.catalog.expire_quarantined(change, now, limit)).await?;
        if doomed > 0 {
            shared.wake_reaper();
        }
        Ok(doomed)
    }

    /// Dooms strays that the operator wants gone; says how many there were.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn delete_quarantined(&self, replicas: &[ReplicaId]) -> Result<u32, EngineError> {
        let shared = &self.shared;
        let change = shared.ids.change();
        let doomed = shared.repeat(|| shared.catalog.doom_quarantined(change, replicas.to_vec())).await?;
        shared.wake_reaper();
        Ok(doomed)
    }

    /// What a replica says of itself: the bucket and key that it was written for.
    #[must_use]
    pub fn says_for(&self, found: &Quarantined) -> Option<(types::BucketName, ObjectKey)> {
        let (_, place) = self.shared.place(found.backend)?;
        place.grammar.parse(found.path.as_str())?.object
    }

    /// Makes a quarantined replica an object again, under a key that is free. Its bytes are read once, for
    /// their checksums; headers and metadata come from what was stored with them.
    ///
    /// # Errors
    /// [`EngineError::PreconditionFailed`] where the key is taken, [`EngineError::Unavailable`] where the
    /// bytes cannot be read.
    pub async fn restore_quarantined(
        &self,
        found: &Quarantined,
        bucket: &Bucket,
        key: ObjectKey,
    ) -> Result<Stored, EngineError> {
        let shared = &self.shared;
        let gone = || EngineError::Unavailable("its backend is not in the configuration".to_owned());
        let (_, place) = shared.place(found.backend).ok_or_else(gone)?;
        let state = shared.read_state(place, found).await?;
        let restore = RestoreQuarantined {
            change: shared.ids.change(),
            replica: found.replica,
            bucket: bucket.id,
            key,
            md5: state.md5,
            blocks: state.blocks,
            state: state.object,
            wanted: shared.settings.factor,
        };
        let forgetting = Forgetting::new(&shared.recent, bucket.id, vec![restore.key.clone()]);
        let made = shared.repeat(|| shared.catalog.restore_quarantined(restore.clone())).await?;
        forgetting.wrote(&made.object, &[]);
        tracing::info!(bucket = %bucket.name, replica = %found.replica, "a replica was restored from quarantine");
        let object = made.object.state;
        let (size, etag, modified) = (object.size, object.etag, object.modified);
        let backends = vec![place.name().clone()];
        Ok(Stored { size, etag, modified, checksums: object.checksums, backends })
    }
}

/// What a read of the bytes told.
struct ReadState {
    object: ObjectState,
    md5: Md5,
    blocks: Vec<u32>,
}

impl Shared {
    async fn read_state(&self, place: &Place, found: &Quarantined) -> Result<ReadState, EngineError> {
        let unreadable = |error: backend::BackendError| EngineError::Unavailable(error.to_string());
        let stat = place.maintenance.head(&found.path).await.map_err(unreadable)?;
        let Download { length, mut stream, .. } =
            place.maintenance.get(&found.path, None).await.map_err(unreadable)?;
        let (mut digests, mut blocks) = (Digests::new(&self.hashers, length, []), BlockHasher::new());
        while let Some(bytes) = stream.next().await {
            let bytes = bytes.map_err(unreadable)?;
            blocks.update(&bytes);
            digests.update(&bytes).await;
        }
        let lost = || EngineError::Internal("the thread of a digest was lost".to_owned());
        let (md5, checksums) = digests.finish().await.ok_or_else(lost)?;
        let object = ObjectState {
            size: length,
            etag: ETag::of_md5(md5),
            // The blob's own time: when the client wrote it.
            modified: found.blob.timestamp(),
            content: catalog::Content::Blob(found.blob),
            headers: said_headers(&stat.metadata),
            metadata: said_user(&stat.metadata),
            tags: Vec::new(),
            checksums,
            client: Client::default(),
        };
        Ok(ReadState { object, md5, blocks: blocks.finish() })
    }
}
