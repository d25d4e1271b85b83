//! Rebalance: moves replicas until every backend is within tolerance. Never dooms a replica before its successor is
//! live, never moves one to a backend that has the blob, and leaves alone what drains, fails or has no quota.

use std::sync::Arc;

use catalog::{BackendId, Held, ReplicaState};
use futures::{StreamExt, stream};
use types::ReplicaId;

use crate::engine::{Engine, Shared};
use crate::moving::Moved;
use crate::{EngineError, Strategy};

/// Pages of a backend that one run looks through for what to move.
const PAGES_MAX: u32 = 20;
const PAGE_ROWS: u32 = 5_000;

/// What rebalancing is to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Balance {
    /// `Pack` empties the last backends into the first, `Spread` levels their shares.
    pub strategy: Strategy,
    /// A difference in shares that is left alone.
    pub threshold: f64,
    /// Replicas moved in one run.
    pub batch: u32,
    /// Moves at once.
    pub concurrency: usize,
}

/// What a run came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rebalanced {
    /// Replicas moved.
    pub moved: u64,
    /// Bytes copied for that.
    pub bytes: u64,
    /// Replicas that could not be moved.
    pub failed: u64,
}

/// How full a backend is that takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Share {
    place: usize,
    used: u64,
    quota: u64,
}

impl Share {
    #[expect(clippy::cast_precision_loss, reason = "a ratio, for comparing only")]
    fn ratio(&self) -> f64 {
        self.used as f64 / self.quota.max(1) as f64
    }
}

/// So many bytes are to go from one place to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebalancePlan {
    from: usize,
    to: usize,
    bytes: u64,
}

/// Which bytes are to go where: `None` where all are level enough. Pure.
fn plan(shares: &[Share], strategy: Strategy, threshold: f64) -> Option<Vec<RebalancePlan>> {
    let ratios = || shares.iter().map(Share::ratio);
    let spread = ratios().fold(0.0, f64::max) - ratios().fold(f64::INFINITY, f64::min);
    if shares.len() < 2 || spread <= 0.0 || spread < threshold {
        return None;
    }
    Some(match strategy {
        Strategy::Pack => pack(shares),
        Strategy::Spread => level(shares),
    })
}

/// Each backend, from the last one, gives what those before it have room for.
fn pack(shares: &[Share]) -> Vec<RebalancePlan> {
    let mut room: Vec<u64> = shares.iter().map(|share| share.quota.saturating_sub(share.used)).collect();
    let mut left: Vec<u64> = shares.iter().map(|share| share.used).collect();
    let mut flows = Vec::new();
    for to in 0..shares.len() {
        for from in (to + 1..shares.len()).rev() {
            let bytes = room[to].min(left[from]);
            if bytes > 0 {
                flows.push(RebalancePlan { from: shares[from].place, to: shares[to].place, bytes });
                room[to] -= bytes;
                left[from] -= bytes;
            }
        }
    }
    flows
}

/// Those above the common share give to those below it, neither beyond it.
fn level(shares: &[Share]) -> Vec<RebalancePlan> {
    let sum = |read: fn(&Share) -> u64| shares.iter().map(|share| u128::from(read(share))).sum::<u128>();
    let (used, quota) = (sum(|share| share.used), sum(|share| share.quota).max(1));
    let fair = |share: &Share| u64::try_from(u128::from(share.quota) * used / quota).unwrap_or(u64::MAX);
    let mut above: Vec<(usize, u64)> =
        shares.iter().map(|share| (share.place, share.used.saturating_sub(fair(share)))).collect();
    let mut below: Vec<(usize, u64)> =
        shares.iter().map(|share| (share.place, fair(share).saturating_sub(share.used))).collect();
    above.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    below.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let mut flows = Vec::new();
    for (from, excess) in &mut above {
        for (to, want) in &mut below {
            let bytes = (*excess).min(*want);
            if bytes > 0 {
                flows.push(RebalancePlan { from: *from, to: *to, bytes });
                *excess -= bytes;
                *want -= bytes;
            }
        }
    }
    flows
}

/// Which of these replicas make up a flow, largest first: fewer requests for the same bytes. Pure.
fn choose(mut held: Vec<Held>, to: BackendId, mut bytes: u64, count_max: usize) -> Vec<Held> {
    held.retain(|held| {
        let whole = held.live_elsewhere(|_| true) + 1 >= held.wanted;
        // What has too few replicas is repair's.
        held.state == ReplicaState::Live && whole && !held.is_on(to) && held.charged > 0
    });
    held.sort_by_key(|held| (std::cmp::Reverse(held.charged), held.replica));
    held.retain(|held| {
        let fits = held.charged <= bytes;
        bytes -= if fits { held.charged } else { 0 };
        fits
    });
    held.truncate(count_max);
    held
}

impl Engine {
    /// Moves replicas towards the balance, one run's worth.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn rebalance(&self, balance: Balance) -> Result<Rebalanced, EngineError> {
        let shared = &self.shared;
        let shares = shared.shares().await?;
        let Some(flows) = plan(&shares, balance.strategy, balance.threshold) else {
            shared.stats.level();
            return Ok(Rebalanced::default());
        };
        let mut done = Rebalanced::default();
        let (mut left, mut tried) = (balance.batch as usize, 0);
        for flow in flows {
            let moves = shared.choose_for(flow, left).await?;
            left -= moves.len();
            tried += moves.len();
            shared.carry_out(flow, moves, balance.concurrency, &mut done).await;
            if left == 0 {
                break;
            }
        }
        if tried == 0 {
            shared.stats.nothing_to_move();
            return Ok(done);
        }
        shared.stats.rebalanced(done.moved, done.failed, done.bytes);
        tracing::info!(moved = done.moved, bytes = done.bytes, failed = done.failed, "rebalanced");
        Ok(done)
    }
}

impl Shared {
    /// The backends that take part: with a quota, not draining, doing what they are asked.
    async fn shares(&self) -> Result<Vec<Share>, EngineError> {
        let counting = self.counting_places().await?;
        let charged = self.catalog.charged().await?;
        let mut places = counting.order;
        places.sort_unstable();
        let share = |place: usize| {
            let at = &self.places[place];
            let used = charged.iter().find(|(id, ..)| *id == at.id).map_or(0, |(.., used)| *used);
            let quota = at.quota.filter(|_| !self.health.rank(place).0)?;
            Some(Share { place, used, quota })
        };
        Ok(places.into_iter().filter_map(share).collect())
    }

    /// Looks for replicas that make up a flow.
    async fn choose_for(&self, flow: RebalancePlan, count_max: usize) -> Result<Vec<Held>, EngineError> {
        let (from, to) = (self.places[flow.from].id, &self.places[flow.to]);
        let put_bytes_max = to.backend.profile().put_bytes_max;
        let (mut found, mut after): (Vec<Held>, Option<ReplicaId>) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let page = self.catalog.held(from, after, PAGE_ROWS).await?;
            found.extend(page.held.into_iter().filter(|held| held.size <= put_bytes_max));
            found = choose(found, to.id, flow.bytes, count_max);
            after = page.next;
            if after.is_none() || found.len() == count_max {
                break;
            }
        }
        Ok(found)
    }

    async fn carry_out(
        self: &Arc<Self>,
        flow: RebalancePlan,
        moves: Vec<Held>,
        concurrency: usize,
        done: &mut Rebalanced,
    ) {
        let one = |held: Held| async move {
            // As many as there were, with the successor in the place of this one.
            let least = held.live_elsewhere(|_| true) + 1;
            self.move_away(&held, &[flow.to], least, &[]).await
        };
        let mut pending = moves.len() as u64;
        self.stats.to_rebalance(pending);
        let mut moving = stream::iter(moves.into_iter().map(one)).buffer_unordered(concurrency.max(1));
        while let Some(moved) = moving.next().await {
            pending -= 1;
            self.stats.to_rebalance(pending);
            match moved {
                Ok(Moved::Away { copied_bytes }) => {
                    done.moved += 1;
                    done.bytes += copied_bytes;
                }
                Ok(Moved::Gone) => {}
                Ok(Moved::NoRoom | Moved::Needed) => done.failed += 1,
                Err(error) => {
                    done.failed += 1;
                    tracing::warn!(%error, "a replica could not be rebalanced");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use types::{BlobId, Timestamp};

    use super::*;

    /// `used/quota` for each backend.
    fn check(strategy: Strategy, threshold: f64, shares: &str, expected: &str) {
        let read = |(place, word): (usize, &str)| {
            let (used, quota) = word.split_once('/').unwrap();
            Share { place, used: used.parse().unwrap(), quota: quota.parse().unwrap() }
        };
        let shares: Vec<Share> = shares.split(' ').enumerate().map(read).collect();
        let flows = plan(&shares, strategy, threshold);
        let shown = flows.map_or("level".to_owned(), |flows| {
            let words = flows.iter().map(|flow| format!("{}>{}:{}", flow.from, flow.to, flow.bytes));
            words.collect::<Vec<_>>().join(" ")
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn spread_levels_shares_and_overshoots_on_neither_side() {
        check(Strategy::Spread, 0.1, "80/100 20/100", "0>1:30");
        check(Strategy::Spread, 0.1, "90/100 30/300", "0>1:60");
        check(Strategy::Spread, 0.1, "90/100 0/100 0/100", "0>1:30 0>2:30");
        check(Strategy::Spread, 0.1, "50/100 50/100 50/100", "level");
    }

    #[test]
    fn pack_empties_the_last_into_the_first() {
        check(Strategy::Pack, 0.1, "10/100 50/100 30/100", "2>0:30 1>0:50");
        check(Strategy::Pack, 0.1, "90/100 50/100 30/100", "2>0:10 2>1:20");
        check(Strategy::Pack, 0.1, "100/100 0/100", "");
    }

    #[test]
    fn what_is_within_the_threshold_is_left_alone() {
        check(Strategy::Spread, 0.1, "55/100 50/100", "level");
        check(Strategy::Spread, 0.0, "55/100 50/100", "0>1:2");
        check(Strategy::Spread, 0.0, "50/100 50/100", "level");
        check(Strategy::Spread, 0.1, "90/100", "level");
        check(Strategy::Pack, 0.5, "10/100 50/100", "level");
    }

    fn held(number: u128, charged: u64, others: &[(i64, ReplicaState)]) -> Held {
        let at = Timestamp::from_millis(1);
        Held {
            replica: ReplicaId::from_parts(at, number),
            blob: BlobId::from_parts(at, number),
            state: ReplicaState::Live,
            charged,
            size: charged,
            wanted: 2,
            others: others.iter().map(|(backend, state)| (BackendId(*backend), *state)).collect(),
        }
    }

    #[test]
    fn n6_n128_what_is_moved_is_large_whole_and_not_there_yet() {
        let live = |backend| (backend, ReplicaState::Live);
        let all = vec![
            held(1, 10, &[live(2)]),
            held(2, 60, &[live(2)]),
            held(3, 30, &[live(2)]),
            held(4, 20, &[live(3)]),
            held(5, 20, &[]),
            held(6, 25, &[live(2), (3, ReplicaState::Suspect)]),
        ];
        let chosen = choose(all.clone(), BackendId(3), 75, 10);
        assert_eq!(chosen.iter().map(|held| held.charged).collect::<Vec<_>>(), [60, 10]);
        let chosen = choose(all, BackendId(3), 1000, 2);
        assert_eq!(chosen.iter().map(|held| held.charged).collect::<Vec<_>>(), [60, 30]);
    }
}
