//! Stand-ins: replicas of what lies on backends that are gone. The books still count what lies there, so repair does
//! not see these blobs, nor can it put them off: whoever walks decides from the [`Footing`] when to walk again.

use std::sync::atomic::Ordering::Relaxed;

use backend::Needs;
use catalog::{BackendId, Held, ReplicaState, ShortBlob};
use runtime::Readiness;
use types::{ReplicaId, Traffic};

use crate::engine::{Engine, Shared};
use crate::repair::{Outcome, RepairOptions};
use crate::{EngineError, Place};

/// Rows of the ledger looked at in one step of the walk over what a missing backend held.
const ROWS: u32 = 1000;

/// What a walk stands on: which backends are gone, and which others can help.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Footing {
    gone: Vec<BackendId>,
    /// Those that take replicas: neither gone nor draining, neither full nor shut by a limit.
    takers: Vec<BackendId>,
    /// Those that answer and may be read.
    readable: Vec<BackendId>,
    /// Live replicas that turned out to be lost or wrong, since the start of the process.
    lost: u64,
}

impl Footing {
    /// The backends that are gone.
    #[must_use]
    pub fn gone(&self) -> &[BackendId] {
        &self.gone
    }

    /// Whether any backend takes replicas.
    #[must_use]
    pub fn has_takers(&self) -> bool {
        !self.takers.is_empty()
    }

    /// Whether there may be more to do, or more that can be done, than on another footing.
    #[must_use]
    pub fn promises_more_than(&self, before: &Self) -> bool {
        let grew = |now: &[BackendId], then: &[BackendId]| now.iter().any(|id| !then.contains(id));
        grew(&self.gone, &before.gone)
            || grew(&self.takers, &before.takers)
            || grew(&self.readable, &before.readable)
            || self.lost > before.lost
    }
}

/// What a step of a walk came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoodIn {
    /// Replicas made.
    pub made: u64,
    /// Blobs for which making one failed.
    pub failed: u64,
    /// Blobs for which nothing was tried: every backend that takes replicas has them, or cannot take so large ones.
    pub nowhere: u64,
    /// Why it failed for one of them.
    pub example: Option<String>,
    /// Where the walk goes on; `None` behind the last row.
    pub next: Option<ReplicaId>,
}

impl Engine {
    /// What a walk would stand on now.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn footing(&self, gone: Vec<BackendId>) -> Result<Footing, EngineError> {
        let shared = &self.shared;
        let charged = shared.catalog.charged().await?;
        let is_full = |place: &Place| {
            let charged = charged.iter().find(|(id, ..)| *id == place.id).map_or(0, |(.., charged)| *charged);
            place.quota.is_some_and(|quota| charged >= quota)
        };
        let counting = shared.counting_places().await?;
        let mut footing = Footing { gone, lost: shared.repairs.lost.load(Relaxed), ..Footing::default() };
        for (index, place) in self.places().iter().enumerate() {
            if footing.gone.contains(&place.id) {
                continue;
            }
            if counting.order.contains(&index) && !is_full(place) && is_open(place, Needs::put(1)) {
                footing.takers.push(place.id);
            }
            if shared.readiness(index) == Readiness::Ready && is_open(place, Needs::egress(1)) {
                footing.readable.push(place.id);
            }
        }
        Ok(footing)
    }

    /// Makes the replicas that a backend which is gone held, where its blobs are short without them: a step of
    /// a walk over the ledger. A blob that is short in the books as well is left to repair.
    ///
    /// # Errors
    /// Where the catalog does not answer; what fails for one blob is told, and holds up no other.
    pub async fn stand_in_step(
        &self,
        backend: BackendId,
        footing: &Footing,
        after: Option<ReplicaId>,
        options: RepairOptions,
    ) -> Result<StoodIn, EngineError> {
        let shared = &self.shared;
        let page = shared.catalog.held(backend, after, ROWS).await?;
        let mut step = StoodIn { next: page.next, ..StoodIn::default() };
        let short: Vec<Held> = page.held.into_iter().filter(|held| is_short(held, &footing.gone)).collect();
        if short.is_empty() {
            return Ok(step);
        }
        let mut counting = shared.counting_places().await?;
        counting.order.retain(|&index| footing.takers.contains(&shared.places[index].id));
        let (due, nowhere): (Vec<_>, Vec<_>) =
            short.into_iter().partition(|held| !shared.takers(held, &counting).is_empty());
        step.nowhere = nowhere.len() as u64;
        let due = due.into_iter().map(|held| ShortBlob { blob: held.blob, attempts: 0 }).collect();
        for outcome in shared.repair_all(due, options, &counting.order, &footing.gone).await {
            match outcome {
                Outcome::Made => step.made += 1,
                Outcome::NotNeeded => {}
                Outcome::Failed(short, error) => {
                    tracing::debug!(blob = %short.blob, error, "no replica could be made that stands in");
                    step.failed += 1;
                    step.example.get_or_insert_with(|| format!("blob {}: {error}", short.blob));
                }
            }
        }
        shared.repairs.stood_in.fetch_add(step.made, Relaxed);
        Ok(step)
    }
}

/// Whether a blob has what it should in the books, and too little without the backends that are gone.
fn is_short(held: &Held, gone: &[BackendId]) -> bool {
    held.state == ReplicaState::Live
        && held.live_elsewhere(|other| !gone.contains(&other)) < held.wanted
        && held.live_elsewhere(|_| true) + 1 >= held.wanted
}

fn is_open(place: &Place, needs: Needs) -> bool {
    place.allowance.shut_until(Traffic::Maintenance, needs).is_none()
}

impl Shared {
    /// A live replica turned out to be lost or wrong.
    pub(crate) fn note_lost(&self) {
        self.repairs.lost.fetch_add(1, Relaxed);
        self.short.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: fn() -> Footing = || Footing {
        gone: vec![BackendId(1)],
        takers: vec![BackendId(2)],
        readable: vec![BackendId(2)],
        lost: 3,
    };

    #[test]
    fn only_what_can_help_or_was_lost_promises_more() {
        let more = vec![BackendId(2), BackendId(3)];
        assert!(!BASE().promises_more_than(&BASE()));
        for better in [
            Footing { gone: more.clone(), ..BASE() },
            Footing { takers: more.clone(), ..BASE() },
            Footing { readable: more, ..BASE() },
            Footing { lost: 4, ..BASE() },
        ] {
            assert!(better.promises_more_than(&BASE()), "{better:?}");
        }
        let worse = Footing { takers: Vec::new(), readable: Vec::new(), gone: Vec::new(), lost: 3 };
        assert!(!worse.promises_more_than(&BASE()));
    }
}
