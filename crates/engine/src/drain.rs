//! Emptying a backend: what it holds is on others before it goes from here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use catalog::{BackendId, Drain, Held, Removed};
use futures::{StreamExt, stream};
use types::ReplicaId;

use crate::engine::{Engine, Shared};
use crate::moving::Moved;
use crate::{EngineError, placement};

/// Why a draining backend does not get on, as far as this process has tried.
#[derive(Debug, Default)]
pub(crate) struct Troubles {
    last: Mutex<BTreeMap<BackendId, String>>,
}

impl Troubles {
    pub(crate) fn note(&self, backend: BackendId, why: Option<String>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            Some(why) => last.insert(backend, why),
            None => last.remove(&backend),
        };
    }
}

impl Engine {
    /// From now on a backend takes nothing new, and its worker moves away what it holds.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn start_drain(&self, backend: BackendId) -> Result<(), EngineError> {
        let (shared, at, change) = (&self.shared, self.shared.clock.now(), self.shared.ids.change());
        shared.repeat(|| shared.catalog.start_drain(change, backend, at)).await?;
        Ok(())
    }

    /// A backend takes new replicas again; says whether it drained.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn cancel_drain(&self, backend: BackendId) -> Result<bool, EngineError> {
        let (shared, change) = (&self.shared, self.shared.ids.change());
        let drained = shared.repeat(|| shared.catalog.cancel_drain(change, backend)).await?;
        shared.troubles.note(backend, None);
        Ok(drained)
    }

    /// Forgets a backend on which nothing is left. Where `give_up` says that it is gone for good, what waits to be
    /// deleted there counts as deleted.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn remove_backend(&self, backend: BackendId, give_up: bool) -> Result<Removed, EngineError> {
        let shared = &self.shared;
        let mut removed = shared.repeat(|| shared.catalog.remove_backend(backend)).await?;
        while let Removed::Occupied(left) = removed
            && give_up
            && left.is_drained()
        {
            let change = shared.ids.change();
            shared.repeat(|| shared.catalog.give_up_doomed(change, backend, GIVE_UP)).await?;
            removed = shared.repeat(|| shared.catalog.remove_backend(backend)).await?;
        }
        Ok(removed)
    }

    /// Why a draining backend does not get on, where it does not.
    #[must_use]
    pub fn drain_trouble(&self, backend: BackendId) -> Option<String> {
        self.shared.troubles.last.lock().unwrap_or_else(PoisonError::into_inner).get(&backend).cloned()
    }

    /// Whether a backend did what it was asked lately.
    #[must_use]
    pub fn is_healthy(&self, backend: BackendId) -> bool {
        self.shared.place(backend).is_some_and(|(index, _)| !self.shared.health.rank(index).0)
    }
}

/// Rows given up in one transaction.
const GIVE_UP: u32 = 1_000;

/// Replicas that are moved at once.
const AT_ONCE: usize = 4;

/// What a page of a draining backend came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DrainedPage {
    /// Replicas that are no longer on it.
    pub moved: u64,
    /// Bytes that were charged for them.
    pub moved_bytes: u64,
    /// Replicas that could not be moved.
    pub stuck: u64,
    /// Where the next page starts; `None` behind the last.
    pub next: Option<ReplicaId>,
}

impl Engine {
    /// The backends that are to become empty.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn drains(&self) -> Result<Vec<Drain>, EngineError> {
        let drains = self.shared.catalog.drains().await?;
        let active = drains.iter().filter(|drain| !drain.left.is_drained()).count();
        self.shared.stats.draining(active as u64);
        Ok(drains)
    }

    /// Moves away what one page of a draining backend holds. What cannot be moved stays where it is.
    ///
    /// A blob is left with as many live replicas as it wants, or as many as there are backends left for it.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn drain_page(
        &self,
        backend: BackendId,
        after: Option<ReplicaId>,
        rows_max: u32,
    ) -> Result<DrainedPage, EngineError> {
        let shared = &self.shared;
        let page = shared.catalog.held(backend, after, rows_max).await?;
        let mut drained = DrainedPage { next: page.next, ..DrainedPage::default() };
        if page.held.is_empty() {
            return Ok(drained);
        }
        let counting = shared.counting_places().await?;
        let counting = &counting;
        let moves = page.held.into_iter().map(|held| async move {
            let moved = shared.drain_one(&held, counting).await;
            (held.charged, moved)
        });
        let mut moving = stream::iter(moves).buffer_unordered(AT_ONCE);
        while let Some((charged, moved)) = moving.next().await {
            let trouble = match moved {
                Ok(Moved::Away { .. }) => {
                    drained.moved += 1;
                    drained.moved_bytes += charged;
                    continue;
                }
                Ok(Moved::Gone) => continue,
                Ok(Moved::NoRoom) => "no other backend has room for what is left".to_owned(),
                Ok(Moved::Needed) => "too few other replicas are live".to_owned(),
                Err(error) => error.to_string(),
            };
            drained.stuck += 1;
            shared.troubles.note(backend, Some(trouble));
        }
        if drained.stuck == 0 {
            shared.troubles.note(backend, None);
        }
        shared.stats.drained(drained.moved, drained.moved_bytes);
        Ok(drained)
    }
}

/// The backends that replicas are safe on: those of the configuration that do not drain.
pub(crate) struct Counting {
    /// Their indices among the places, best first for a new replica.
    pub(crate) order: Vec<usize>,
    /// All other backends that the catalog knows.
    pub(crate) except: Vec<BackendId>,
}

impl Shared {
    pub(crate) async fn counting_places(&self) -> Result<Counting, EngineError> {
        let draining: Vec<BackendId> =
            self.catalog.drains().await?.into_iter().map(|drain| drain.backend).collect();
        let candidates = self.candidates().await?;
        let mut order = placement::order(&candidates, self.settings.strategy, 0, 0);
        order.retain(|&index| !draining.contains(&self.places[index].id));
        let counts = |id: BackendId| order.iter().any(|&index| self.places[index].id == id);
        let known = self.catalog.charged().await?.into_iter().map(|(id, ..)| id);
        let except = known.filter(|id| !counts(*id)).collect();
        Ok(Counting { order, except })
    }

    /// The places that may take a blob which is held elsewhere, best first.
    pub(crate) fn takers(&self, held: &Held, counting: &Counting) -> Vec<usize> {
        let takes = |index: &usize| {
            let place = &self.places[*index];
            held.is_missing_on(place.id)
                && held.size <= place.backend.profile().put_bytes_max
                && place.object_bytes_max.is_none_or(|max| held.size <= max)
        };
        counting.order.iter().copied().filter(takes).collect()
    }

    async fn drain_one(self: &Arc<Self>, held: &Held, counting: &Counting) -> Result<Moved, EngineError> {
        // Where fewer backends are left than the blob wants, it gets along with those.
        let left = u32::try_from(counting.order.len()).unwrap_or(u32::MAX);
        let least = held.wanted.min(left).max(1);
        let order = self.takers(held, counting);
        let moved = self.move_away(held, &order, least, &counting.except).await?;
        if matches!(moved, Moved::Away { copied_bytes } if copied_bytes > 0) {
            // What was made may stand in for one that is suspect, too.
            self.retire_suspects(held.blob, &counting.except).await?;
        }
        Ok(moved)
    }

    /// Something was doomed.
    pub(crate) fn wake_reaper(&self) {
        self.reap.ring();
    }
}
