//! Repair: makes the replicas that are missing, and dooms those that are too many.
//!
//! A replica is made before the one that it stands in for goes, and every doom recounts under the blob's lock.
//! Cut off anywhere, there is one replica too many, never one too few.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use catalog::{BackendId, MoveSource, Postponed, ReplicaAt, ReplicaState, Retire, Retired, ShortBlob};
use futures::{StreamExt, stream};
use runtime::mutation;
use types::{BlobId, Timestamp};

use crate::EngineError;
use crate::engine::{Engine, Shared};
use crate::moving::Made;

/// Shortest and longest wait before a failed repair is tried again.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(300);
/// Blobs marked in one step when the factor has changed.
const MARKED: u32 = 1000;

/// How a repair goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepairOptions {
    /// Blobs repaired in one step.
    pub batch: u32,
    /// Blobs repaired at once.
    pub at_once: usize,
}

/// What a step of repair came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Replicas made.
    pub made: u64,
    /// Blobs that could not be repaired. Each is tried again when it is due.
    pub failed: u64,
    /// Blobs looked at. Some may have needed nothing any more.
    pub looked_at: u64,
    /// When the next of those that failed is due.
    pub next: Option<Duration>,
}

impl Repaired {
    fn of(outcomes: &[Outcome]) -> Self {
        let count = |what: fn(&Outcome) -> bool| outcomes.iter().filter(|one| what(one)).count() as u64;
        Self {
            made: count(|one| matches!(one, Outcome::Made)),
            failed: count(|one| matches!(one, Outcome::Failed(..))),
            looked_at: outcomes.len() as u64,
            next: None,
        }
    }
}

/// What became of one blob.
pub(crate) enum Outcome {
    Made,
    NotNeeded,
    Failed(ShortBlob, String),
}

impl Engine {
    /// Repairs blobs that have fewer live replicas than they should, the most endangered first. Replicas on
    /// backends that are `gone` do not count, and none is made there.
    ///
    /// # Errors
    /// Where the catalog does not answer; what fails for one blob puts that blob off.
    pub async fn repair_step(
        &self,
        options: RepairOptions,
        gone: &[BackendId],
    ) -> Result<Repaired, EngineError> {
        let shared = &self.shared;
        let now = shared.now_lasting();
        let shortage = shared.catalog.short_blobs(now, options.batch).await?;
        let next = shortage.next.map(|at| pause_until(at, now));
        if shortage.due.is_empty() {
            return Ok(Repaired { next, ..Repaired::default() });
        }
        let mut order = shared.counting_places().await?.order;
        order.retain(|&index| !gone.contains(&shared.places[index].id));
        let outcomes = shared.repair_all(shortage.due, options, &order, gone).await;
        shared.put_off(&outcomes).await?;
        Ok(Repaired { next, ..Repaired::of(&outcomes) })
    }

    /// Goes on with marking blobs after a change of the factor; says whether there is more to do.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn mark_factor_step(&self) -> Result<bool, EngineError> {
        let shared = &self.shared;
        let more = shared.catalog.remark_wanted(shared.settings.factor, MARKED).await?;
        if more {
            shared.short.ring();
        }
        Ok(more)
    }

    /// Dooms live replicas beyond what is wanted, of blobs behind an id. Gives how many, and where to go on;
    /// `None` behind the last blob that has too many.
    ///
    /// Those on backends that are `gone` neither count nor go. What stays lies on backends that are sound.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn trim_step(
        &self,
        after: Option<BlobId>,
        limit: u32,
        gone: &[BackendId],
    ) -> Result<(u64, Option<BlobId>), EngineError> {
        let trimmed = self.trim_some(after, limit, gone).await;
        if trimmed.is_err() {
            self.shared.repairs.trims_failed.fetch_add(1, Relaxed);
        }
        trimmed
    }

    async fn trim_some(
        &self,
        after: Option<BlobId>,
        limit: u32,
        gone: &[BackendId],
    ) -> Result<(u64, Option<BlobId>), EngineError> {
        let shared = &self.shared;
        let blobs = shared.catalog.surplus_blobs(after, limit).await?;
        if blobs.is_empty() {
            return Ok((0, None));
        }
        let ranks = shared.ranks(gone).await?;
        let mut removed = 0;
        for blob in &blobs {
            removed += shared.trim(*blob, &ranks).await?;
        }
        if removed > 0 {
            shared.reap.ring();
        }
        Ok((removed, blobs.last().copied()))
    }
}

fn pause_until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::from_millis(at.as_millis().saturating_sub(now.as_millis())).max(RETRY_MIN)
}

/// How soon a repair that failed so often is tried again.
fn retry_after(attempts: u32) -> Duration {
    (RETRY_MIN * 2u32.pow(attempts.min(16))).min(RETRY_MAX)
}

impl Shared {
    /// Makes a replica of each of these blobs, on the first of the places in `order` that takes it.
    pub(crate) async fn repair_all(
        self: &Arc<Self>,
        due: Vec<ShortBlob>,
        options: RepairOptions,
        order: &[usize],
        gone: &[BackendId],
    ) -> Vec<Outcome> {
        let repairs = due.into_iter().map(|short| self.repair_one(short, order, gone));
        let outcomes: Vec<Outcome> =
            stream::iter(repairs).buffer_unordered(options.at_once.max(1)).collect().await;
        let failed = outcomes.iter().filter(|one| matches!(one, Outcome::Failed(..))).count();
        self.repairs.failed.fetch_add(failed as u64, Relaxed);
        outcomes
    }

    /// Those that could not be repaired wait, longer each time.
    async fn put_off(&self, outcomes: &[Outcome]) -> Result<(), EngineError> {
        let put_off = |one: &Outcome| {
            let Outcome::Failed(short, error) = one else { return None };
            let pause = retry_after(short.attempts);
            tracing::warn!(blob = %short.blob, attempts = short.attempts + 1, error, "a blob could not be repaired, trying again in {pause:?}");
            let retry_at = self.now_lasting().plus(pause);
            Some(Postponed { blob: short.blob, retry_at, error: error.clone() })
        };
        let postponed: Vec<Postponed> = outcomes.iter().filter_map(put_off).collect();
        if !postponed.is_empty() {
            self.repeat(|| self.catalog.postpone_repairs(postponed.clone())).await?;
        }
        Ok(())
    }

    async fn repair_one(self: &Arc<Self>, short: ShortBlob, order: &[usize], gone: &[BackendId]) -> Outcome {
        let error = match self.make_replica(short.blob, order).await {
            Ok(Made::Live(backend)) => {
                self.repairs.made.fetch_add(1, Relaxed);
                let name = self.place(backend).map(|(_, place)| place.name());
                tracing::info!(blob = %short.blob, backend.name = name.map(tracing::field::display), "made a replica");
                return match self.retire_suspects(short.blob, gone).await {
                    Ok(()) => Outcome::Made,
                    // The blob has what it should; the suspect one waits for the next proof.
                    Err(error) => {
                        tracing::warn!(%error, blob = %short.blob, "could not retire a suspect replica");
                        Outcome::Made
                    }
                };
            }
            Ok(Made::Gone) => return Outcome::NotNeeded,
            Ok(Made::NoRoom) => "no backend without it has room for another replica".to_owned(),
            Err(error) => error.to_string(),
        };
        Outcome::Failed(short, error)
    }

    /// Dooms the suspect replicas of a blob, as far as enough others are live.
    pub(crate) async fn retire_suspects(&self, blob: BlobId, gone: &[BackendId]) -> Result<(), EngineError> {
        if mutation::is_on("suspect.retired") {
            return Ok(());
        }
        let Some(source) = self.catalog.move_source(blob).await? else { return Ok(()) };
        for at in source.replicas().iter().filter(|at| at.state == ReplicaState::Suspect) {
            self.retire(at, source.wanted, gone.to_vec()).await?;
        }
        Ok(())
    }

    async fn retire(
        &self,
        at: &ReplicaAt,
        least: u32,
        except: Vec<BackendId>,
    ) -> Result<Retired, EngineError> {
        let retire = Retire { change: self.ids.change(), replica: at.replica, least, except };
        let retired = self.repeat(|| self.catalog.retire_replica(retire.clone())).await?;
        if retired == Retired::Doomed {
            self.reap.ring();
        }
        Ok(retired)
    }

    async fn trim(&self, blob: BlobId, ranks: &[Rank]) -> Result<u64, EngineError> {
        let Some(source) = self.catalog.move_source(blob).await? else { return Ok(0) };
        let unsound = ranks.iter().filter(|rank| rank.score < SOUND).map(|rank| rank.backend);
        let unsound: Vec<BackendId> = unsound.collect();
        let mut removed = 0;
        for at in beyond(&source, ranks) {
            match self.retire(&at, source.wanted, unsound.clone()).await? {
                Retired::Doomed => removed += 1,
                // Fewer are sound than are wanted: whatever is left stays.
                Retired::Needed { .. } => break,
                Retired::Gone => {}
            }
        }
        self.repairs.trimmed.fetch_add(removed, Relaxed);
        Ok(removed)
    }

    /// Every backend that the catalog knows, with how gladly a replica is kept there.
    async fn ranks(&self, gone: &[BackendId]) -> Result<Vec<Rank>, EngineError> {
        let counting = self.counting_places().await?;
        let charged = self.catalog.charged().await?;
        let rank = |(backend, _, charged): &(BackendId, types::BackendName, u64)| {
            let place = self.place(*backend);
            let score = match place {
                _ if gone.contains(backend) => GONE,
                None => GONE,
                Some((index, _)) if !counting.order.contains(&index) => 0.0,
                Some((index, _)) if self.health.rank(index).0 => 1.0,
                Some((_, place)) => room(*charged, place.quota),
            };
            Rank { backend: *backend, score }
        };
        Ok(charged.iter().map(rank).collect())
    }
}

/// A backend, and how gladly a replica is kept there.
struct Rank {
    backend: BackendId,
    score: f64,
}

/// Replicas here neither count nor go.
const GONE: f64 = -1.0;
/// From here on a replica counts.
const SOUND: f64 = 2.0;

/// 2 and the share of the quota that is free; 2.5 without a quota.
fn room(charged: u64, quota: Option<u64>) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a ratio for ordering only")]
    let used = match quota {
        None => 0.5,
        Some(0) => 1.0,
        Some(quota) => (charged as f64 / quota as f64).min(1.0),
    };
    SOUND + (1.0 - used)
}

/// The live replicas that are too many, the one that is kept least gladly first.
fn beyond(source: &MoveSource, ranks: &[Rank]) -> Vec<ReplicaAt> {
    let score =
        |at: &ReplicaAt| ranks.iter().find(|rank| rank.backend == at.backend).map_or(GONE, |rank| rank.score);
    let mut live: Vec<ReplicaAt> = source
        .replicas()
        .iter()
        .filter(|at| at.state == ReplicaState::Live && score(at) >= 0.0)
        .cloned()
        .collect();
    live.sort_by(|a, b| score(a).total_cmp(&score(b)));
    let wanted = usize::try_from(source.wanted.max(1)).unwrap_or(usize::MAX);
    live.truncate(live.len().saturating_sub(wanted));
    live
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_repair_is_tried_less_and_less_often_but_never_given_up() {
        assert_eq!(retry_after(0), Duration::from_secs(1));
        assert_eq!(retry_after(3), Duration::from_secs(8));
        assert_eq!(retry_after(4_000_000), RETRY_MAX);
    }

    #[test]
    fn an_emptier_backend_keeps_more_gladly() {
        assert!(room(1, Some(10)) > room(5, None) && room(5, None) > room(9, Some(10)));
        assert!(room(20, Some(10)) >= SOUND && room(0, Some(0)) >= SOUND);
    }
}
