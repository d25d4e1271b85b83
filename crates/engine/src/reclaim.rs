//! Reclaim: what was found and taken in as a replica of a blob that is known is proved, and counts again.
//!
//! Until then it is suspect: read last, each block proved on its way, and nothing is doomed because it is there. For a
//! catalog that is gone may have sent a delete of it, and that may still arrive. `docs/shipping.md` has the rules.

use std::sync::Arc;
use std::time::Duration;

use backend::ErrorKind;
use catalog::Unproved;
use types::{ReplicaId, Timestamp};

use crate::EngineError;
use crate::engine::{Engine, Shared};
use crate::scrub::Verdict;

/// How soon a proof is tried again that could not be made.
const RETRY: Duration = Duration::from_mins(5);
/// The same, where a limit left no room for it.
const LIMIT_RETRY: Duration = Duration::from_hours(1);

/// What a step of proving found replicas came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Replicas that are right.
    pub proved: u64,
    /// Replicas that are wrong, or not there.
    pub wrong: u64,
    /// Replicas that could not be read now.
    pub deferred: u64,
    /// When the next is due.
    pub next: Option<Duration>,
}

impl Reclaimed {
    /// Replicas that had their turn.
    #[must_use]
    pub fn looked_at(&self) -> u64 {
        self.proved + self.wrong + self.deferred
    }
}

/// When a proof is to be tried again; `None` once it told what there is to know.
type Again = Option<Timestamp>;

impl Engine {
    /// Proves up to `limit` replicas that were taken in, once nothing that was sent before can arrive any more.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn reclaim_step(&self, limit: u32) -> Result<Reclaimed, EngineError> {
        let shared = &self.shared;
        let now = shared.now_lasting();
        let waiting = shared.catalog.to_prove(now, limit).await?;
        let pause = |at: Timestamp| Duration::from_millis(at.as_millis().saturating_sub(now.as_millis()));
        let mut reclaimed = Reclaimed { next: waiting.next.map(pause), ..Reclaimed::default() };
        let mut proofs: Vec<(ReplicaId, Again)> = Vec::new();
        for found in &waiting.due {
            let again = shared.reclaim_one(found, &mut reclaimed).await?;
            proofs.push((found.replica, again));
        }
        if !proofs.is_empty() {
            shared.repeat(|| shared.catalog.put_off_proofs(proofs.clone())).await?;
        }
        Ok(reclaimed)
    }
}

impl Shared {
    async fn reclaim_one(
        self: &Arc<Self>,
        found: &Unproved,
        reclaimed: &mut Reclaimed,
    ) -> Result<Again, EngineError> {
        let _guard = self.readers.enter(self.catalog.horizon());
        let in_a_while = |pause| Some(self.now_lasting().plus(pause));
        let Some((place, _)) = self.place(found.backend) else {
            reclaimed.deferred += 1;
            return Ok(in_a_while(LIMIT_RETRY));
        };
        // Where nothing references the blob any more, what was found is doomed with the others.
        let Some(source) = self.catalog.move_source(found.blob).await? else { return Ok(None) };
        let Some(at) = source.replicas().iter().find(|at| at.replica == found.replica) else {
            return Ok(None);
        };
        match self.prove(place, at, &source).await {
            Verdict::Right => {
                reclaimed.proved += 1;
                let (change, now) = (self.ids.change(), self.now_lasting());
                self.repeat(|| self.catalog.note_proved(change, at.replica, now)).await?;
                tracing::info!(replica = %at.replica, path = %at.path, "a replica that was found is proved");
            }
            Verdict::Wrong(why) => {
                reclaimed.wrong += 1;
                tracing::warn!(replica = %at.replica, path = %at.path, why, "a replica that was found is wrong");
            }
            Verdict::Unreadable(error) => {
                reclaimed.deferred += 1;
                tracing::debug!(%error, replica = %at.replica, "a replica that was found cannot be proved now");
                let limited = matches!(error.kind, ErrorKind::LimitReached { .. });
                return Ok(in_a_while(if limited { LIMIT_RETRY } else { RETRY }));
            }
        }
        // A wrong one goes where enough others are live; so does one whose backend has another meanwhile.
        self.retire_suspects(found.blob, &[]).await?;
        Ok(None)
    }
}
