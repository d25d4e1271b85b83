//! Scrub: reads replicas whole and compares every block with the checksum that was recorded.
//!
//! What is wrong becomes suspect, and by that short and due for repair; a suspect one that is right after all
//! is live again. Nothing is ever deleted here.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use backend::{BackendError, ErrorKind};
use catalog::{MoveSource, ReplicaAt, ReplicaState, Unproved};
use format::BlockVerifier;
use futures::StreamExt;
use runtime::mutation;
use types::ByteRange;

use crate::EngineError;
use crate::engine::{Engine, Shared};
use crate::get::NOT_THERE;

/// Rows of the ledger looked at in one step.
const ROWS: u32 = 1000;

/// What a step of scrubbing came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Replicas that are right.
    pub proved: u64,
    /// Replicas that are wrong, or not there.
    pub wrong: u64,
    /// Replicas that could not be read now. They have their turn in the next round.
    pub deferred: u64,
    /// Whether the round ended: every replica had its turn.
    pub round_ended: bool,
}

/// What reading a replica came to.
pub(crate) enum Verdict {
    Right,
    Wrong(String),
    Unreadable(BackendError),
}

impl Engine {
    /// Proves up to `limit` replicas that were neither written nor proved within `age_min`, and goes on where
    /// the step before ended.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn scrub_step(&self, limit: u32, age_min: Duration) -> Result<Scrubbed, EngineError> {
        let shared = &self.shared;
        let before = shared.now_lasting().minus(age_min);
        let page = shared.catalog.scrub_page(before, limit, ROWS).await?;
        let mut scrubbed = Scrubbed { round_ended: page.last.is_none(), ..Scrubbed::default() };
        for unproved in &page.unproved {
            shared.scrub_one(unproved, &mut scrubbed).await?;
        }
        // Behind the proofs: whoever is cut off in between proves them again.
        shared.repeat(|| shared.catalog.note_scrubbed(page.last)).await?;
        Ok(scrubbed)
    }
}

impl Shared {
    async fn scrub_one(
        self: &Arc<Self>,
        unproved: &Unproved,
        scrubbed: &mut Scrubbed,
    ) -> Result<(), EngineError> {
        let _guard = self.readers.enter(self.catalog.horizon());
        let Some((place, _)) = self.place(unproved.backend) else { return Ok(()) };
        let Some(source) = self.catalog.move_source(unproved.blob).await? else { return Ok(()) };
        let Some(at) = source.replicas().iter().find(|at| at.replica == unproved.replica).cloned() else {
            return Ok(());
        };
        match self.prove(place, &at, &source).await {
            Verdict::Right => {
                scrubbed.proved += 1;
                self.proofs.scrubbed.fetch_add(1, Relaxed);
                let (change, now) = (self.ids.change(), self.now_lasting());
                self.repeat(|| self.catalog.note_proved(change, at.replica, now)).await?;
                if at.state == ReplicaState::Suspect && !mutation::is_on("suspect.superfluous") {
                    // Its backend may have been given another one meanwhile: then it is one too many.
                    self.retire_suspects(unproved.blob, &[]).await?;
                }
            }
            Verdict::Wrong(why) => {
                scrubbed.wrong += 1;
                self.proofs.scrubbed.fetch_add(1, Relaxed);
                self.proofs.scrub_errors.fetch_add(1, Relaxed);
                if at.state == ReplicaState::Live {
                    self.suspect(place, &at, &why).await;
                } else {
                    self.retire_suspects(at_blob(&source), &[]).await?;
                }
            }
            Verdict::Unreadable(error) => {
                scrubbed.deferred += 1;
                self.proofs.deferred.fetch_add(1, Relaxed);
                if matches!(error.kind, ErrorKind::LimitReached { .. }) {
                    // Nobody asked the backend: it is no worse for that.
                    self.proofs.declined.fetch_add(1, Relaxed);
                    tracing::debug!(%error, replica = %at.replica, "a limit leaves no room for proofs now");
                } else {
                    self.health.failed(place);
                    tracing::warn!(%error, replica = %at.replica, "a replica could not be proved now");
                }
            }
        }
        Ok(())
    }

    /// Reads all of a replica, a chunk at a time, and keeps none of it.
    pub(crate) async fn prove(&self, place: usize, at: &ReplicaAt, source: &MoveSource) -> Verdict {
        let size = source.piece.blob_size;
        let download = match self.places[place].maintenance.get(&at.path, None).await {
            Ok(download) => download,
            Err(error) => return verdict_of(error),
        };
        if download.length != size {
            return Verdict::Wrong(format!("has {} bytes of the {size} that it should", download.length));
        }
        let mut verifier = BlockVerifier::new(ByteRange::whole(size));
        let recorded = |block: u64| source.piece.blocks.get(usize::try_from(block).ok()?).copied();
        let (mut stream, mut read, mut proved) = (download.stream, 0, Vec::new());
        while let Some(chunk) = stream.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => return verdict_of(error),
            };
            read += chunk.len() as u64;
            if let Err(error) = verifier.update(chunk, recorded, &mut proved)
                && !mutation::is_on("scrub.compared")
            {
                return Verdict::Wrong(error.to_string());
            }
            proved.clear();
        }
        if read == size { Verdict::Right } else { Verdict::Wrong("ends before its last byte".to_owned()) }
    }
}

fn at_blob(source: &MoveSource) -> types::BlobId {
    source.piece.blob
}

/// Only what a backend says of this one path counts against the replica: an answer that broke off is none.
fn verdict_of(error: BackendError) -> Verdict {
    match error.kind {
        ErrorKind::NotFound => Verdict::Wrong(NOT_THERE.to_owned()),
        _ => Verdict::Unreadable(error),
    }
}
