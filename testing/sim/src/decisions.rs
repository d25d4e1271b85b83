//! What is decided before a catalog is lost holds in the one that is rebuilt: drains, the brake, how long what is in
//! quarantine waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use catalog::sqlite::Sqlite;
use catalog::{Brake, Fleet, JournalLine, Strays};
use runtime::Chance;
use types::{ReplicaId, Timestamp};

use crate::provider::Provider;
use crate::world::World;
use crate::{Command, Deed, Law, Order};

/// So long at least what is in quarantine is kept after a rebuild.
const KEPT_AT_LEAST: Duration = Duration::from_hours(7 * 24);

/// What an operator asks for in a plan whose catalog is lost, and above how many dooms, by clients, the brake holds, where
/// it does.
pub(crate) fn draw(chance: &Chance, backends: usize) -> (Vec<Order>, Option<u64>) {
    let any = || usize::try_from(chance.below(backends as u64)).expect("few");
    let mut orders = Vec::new();
    if chance.below(3) > 0 {
        let (at_ms, drained) = (300 + chance.below(3_000), any());
        orders.push(Order { at_ms, command: Command::Drain(drained) });
        if chance.below(3) == 0 {
            let at_ms = at_ms + chance.below(6_000);
            orders.push(Order { at_ms, command: Command::CancelDrain(drained) });
        }
    }
    for _ in 0..chance.below(3) {
        let (at_ms, to) = (chance.below(3_000), any());
        orders.push(Order { at_ms, command: Command::Stray(to) });
        orders.push(Order { at_ms: at_ms + 100 + chance.below(2_000), command: Command::Reconcile(to) });
    }
    (orders, (chance.below(2) == 0).then(|| 1 + chance.below(3)))
}

/// What the last segment says of decisions is as the lost catalog had it.
pub(crate) async fn compare(
    world: &World,
    lost: &Sqlite,
    rebuilt: &Sqlite,
    newer: &[JournalLine],
    at: Timestamp,
) {
    let said = Said { world, newer };
    said.compare_drains(lost, rebuilt).await;
    said.compare_brakes(lost, rebuilt).await;
    said.compare_quarantines(lost, rebuilt, at).await;
}

/// From now on that is asked for which the rebuilt catalog knows.
pub(crate) async fn ask_anew(world: &World, rebuilt: &Sqlite, providers: &[Arc<Provider>], at: Timestamp) {
    let drains: BTreeSet<i64> = drains(rebuilt).await.into_keys().collect();
    let index = |number: &i64| providers.iter().position(|provider| provider.number() == *number);
    world.asked.begin_again(drains.iter().filter_map(index).collect(), at);
}

struct Said<'a> {
    world: &'a World,
    /// What no segment holds.
    newer: &'a [JournalLine],
}

impl Said<'_> {
    /// Whether no segment holds what was said of it last.
    fn is_newer(&self, of: &str) -> bool {
        self.newer.iter().any(|line| line.text.contains(of))
    }

    fn differs(&self, what: String) {
        self.world.violate(Law::ComesBack, format!("{what} after a rebuild"));
    }

    async fn compare_drains(&self, lost: &Sqlite, rebuilt: &Sqlite) {
        let (was, is) = (drains(lost).await, drains(rebuilt).await);
        let backends: BTreeSet<&i64> = was.keys().chain(is.keys()).collect();
        for backend in backends {
            // Backends have numbers of one digit here.
            if self.is_newer(&format!("\"drain\":{{\"backend\":{backend}")) {
                continue;
            }
            let (was, is) = (was.get(backend), is.get(backend));
            if was != is {
                self.differs(format!("backend {backend} drained since {was:?} and does since {is:?}"));
            }
            self.world.did(Deed::DrainCameBack, u64::from(was.is_some()));
        }
    }

    async fn compare_brakes(&self, lost: &Sqlite, rebuilt: &Sqlite) {
        let was = lost.brake().await.expect("a catalog in memory");
        let is = rebuilt.brake().await.expect("a catalog in memory");
        if self.is_newer("{\"brake\":") {
            return;
        }
        if (was.engaged_at, &was.why) != (is.engaged_at, &is.why) {
            self.differs(format!(
                "the brake held since {:?} and does since {:?}",
                was.engaged_at, is.engaged_at
            ));
        }
        self.world.did(Deed::BrakeCameBack, u64::from(was.engaged_at.is_some()));
    }

    async fn compare_quarantines(&self, lost: &Sqlite, rebuilt: &Sqlite, at: Timestamp) {
        let (was, is) = (quarantined(lost).await, quarantined(rebuilt).await);
        let replicas: BTreeSet<&ReplicaId> = was.keys().chain(is.keys()).collect();
        for replica in replicas {
            if self.is_newer(&replica.to_string()) {
                continue;
            }
            let expected = was.get(replica).map(|until| (*until).max(at.plus(KEPT_AT_LEAST)));
            let is = is.get(replica).copied();
            if is != expected {
                self.differs(format!(
                    "{replica} in quarantine should wait until {expected:?} and does until {is:?}"
                ));
            }
            self.world.did(Deed::QuarantineCameBack, u64::from(is.is_some()));
        }
    }
}

async fn drains(catalog: &Sqlite) -> BTreeMap<i64, Timestamp> {
    let drains = catalog.drains().await.expect("a catalog in memory").into_iter();
    drains.map(|drain| (drain.backend.0, drain.since)).collect()
}

/// Until when each waits. What was shipped and nobody needs is not looked at: a rebuild dooms it.
async fn quarantined(catalog: &Sqlite) -> BTreeMap<ReplicaId, Timestamp> {
    let rows = catalog.quarantined(None, 10_000).await.expect("a catalog in memory").into_iter();
    let waits = rows.filter(|row| !row.path.as_str().starts_with(".s3-orchestrator/"));
    waits.map(|row| (row.replica, row.until)).collect()
}
