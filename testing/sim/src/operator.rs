//! The operator of a run: asks for what the plan says, and knows what has to come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use catalog::{BackendId, ReplicaState};
use engine::{Balance, EngineError, Strategy};
use format::PathGrammar;
use runtime::Worker;
use types::{BlobId, BucketName, ObjectKey, ReplicaId, Timestamp};
use workers::Rebalance;

use crate::limits::EPOCH_MS;
use crate::process::Process;
use crate::provider::Provider;
use crate::simulation::Site;
use crate::workers::Unobserved;
use crate::world::locked;
use crate::{Command, Deed, Law, body};

/// What was asked for, and is to be judged.
#[derive(Default)]
pub(crate) struct Asked {
    /// Backends that are to become empty, with the replicas that were known when that was told.
    drains: Mutex<BTreeMap<usize, BTreeSet<ReplicaId>>>,
    /// Strays, by backend and path.
    strays: Mutex<BTreeSet<(usize, String)>>,
    /// When the catalog was rebuilt last: what was written before may be found on a backend that drains now.
    rebuilt_at: Mutex<Timestamp>,
}

impl Asked {
    pub(crate) fn is_draining(&self, index: usize) -> bool {
        locked(&self.drains).contains_key(&index)
    }

    pub(crate) fn drains_any(&self) -> bool {
        !locked(&self.drains).is_empty()
    }

    /// Only these drain, as a rebuilt catalog says.
    pub(crate) fn begin_again(&self, draining: BTreeSet<usize>, at: Timestamp) {
        let mut drains = locked(&self.drains);
        drains.retain(|index, _| draining.contains(index));
        for index in draining {
            drains.entry(index).or_default();
        }
        *locked(&self.rebuilt_at) = at;
    }

    pub(crate) fn is_stray(&self, index: usize, path: &str) -> bool {
        locked(&self.strays).contains(&(index, path.to_owned()))
    }

    pub(crate) fn strays(&self) -> BTreeSet<(usize, String)> {
        locked(&self.strays).clone()
    }
}

/// Asks for everything at its time.
pub(crate) async fn operate(site: Site, providers: Vec<Arc<Provider>>) {
    let world = Arc::clone(site.world());
    let mut orders = world.plan.workers.orders.clone();
    orders.sort_by_key(|order| order.at_ms);
    for order in orders {
        let wait = order.at_ms.saturating_sub(world.now_ms());
        runtime::sleep(Duration::from_millis(wait)).await;
        world.event(format_args!("the operator asks: {:?}", order.command));
        match order.command {
            Command::Drain(index) => start_drain(&site, &providers, index).await,
            Command::CancelDrain(index) => cancel_drain(&site, &providers, index).await,
            Command::Rebalance { pack } => rebalance(&site, pack).await,
            Command::Reconcile(index) => drop(reconcile(&site, providers[index].number()).await),
            Command::Stray(index) => plant(&site, &providers, index),
        }
    }
}

/// The process that runs now, or the next one.
pub(crate) async fn process_of(site: &Site) -> Arc<Process> {
    loop {
        if let Some(process) = site.process() {
            return process;
        }
        runtime::sleep(Duration::from_millis(150)).await;
    }
}

async fn start_drain(site: &Site, providers: &[Arc<Provider>], index: usize) {
    for _ in 0..20 {
        let process = process_of(site).await;
        let (engine, backend) = (process.engine.clone(), BackendId(providers[index].number()));
        let started = process.request(async move {
            engine.start_drain(backend).await?;
            // Whatever comes to lie there from now on has no business there.
            let rows = engine.catalog().replicas(None, u32::MAX).await?;
            Ok::<_, EngineError>(rows.into_iter().map(|row| row.replica).collect())
        });
        if let Ok(Ok(known)) = started.await {
            locked(&site.world().asked.drains).insert(index, known);
            return;
        }
        runtime::sleep(Duration::from_millis(500)).await;
    }
}

async fn cancel_drain(site: &Site, providers: &[Arc<Provider>], index: usize) {
    // From the question on it may take new replicas.
    locked(&site.world().asked.drains).remove(&index);
    for _ in 0..20 {
        let process = process_of(site).await;
        let (engine, backend) = (process.engine.clone(), BackendId(providers[index].number()));
        if let Ok(Ok(_)) = process.request(async move { engine.cancel_drain(backend).await }).await {
            // A catalog that was rebuilt meanwhile may have said that it drains.
            locked(&site.world().asked.drains).remove(&index);
            site.world().did(Deed::DrainCancelled, 1);
            return;
        }
        runtime::sleep(Duration::from_millis(500)).await;
    }
}

async fn rebalance(site: &Site, pack: bool) {
    let process = process_of(site).await;
    let strategy = if pack { Strategy::Pack } else { Strategy::Spread };
    let balance = Balance { strategy, threshold: 0.02, batch: 20, concurrency: 2 };
    let mut worker = Rebalance::new(process.engine.clone(), balance, Arc::new(Unobserved));
    let _ = process.request(async move { worker.step().await.is_ok() }).await;
}

/// Compares a backend with the ledger; says what was found where that came to its end.
pub(crate) async fn reconcile(site: &Site, backend: i64) -> Option<engine::Found> {
    let process = process_of(site).await;
    let engine = process.engine.clone();
    let comparing = process.request(async move {
        let mut run = engine.begin_reconcile(BackendId(backend)).await?;
        while engine.reconcile_step(&mut run).await? == engine::Step::MoreWork {}
        Ok::<_, EngineError>(run.found)
    });
    let found = comparing.await.ok()?.ok()?;
    site.world().did(Deed::Reconciled, 1);
    Some(found)
}

/// Puts bytes where ours lie, as a catalog that is lost would have.
fn plant(site: &Site, providers: &[Arc<Provider>], index: usize) {
    let world = site.world();
    let long_ago = Timestamp::from_millis(EPOCH_MS - 10 * 3_600_000);
    let number = world.next_number();
    let replica = ReplicaId::from_parts(long_ago, u128::from(number));
    let blob = BlobId::from_parts(long_ago, u128::from(number));
    let bucket = BucketName::parse("bucket").expect("a name");
    let key = ObjectKey::parse(&format!("stray-{number}")).expect("a short key");
    let path = PathGrammar::new("").replica(&bucket, &key, blob, replica);
    providers[index].stray(path.as_str(), body::draw(700, number));
    locked(&world.asked.strays).insert((index, path.as_str().to_owned()));
}

/// What drains takes nothing new.
pub(crate) async fn judge_drains(site: &Site, providers: &[Arc<Provider>]) {
    let drains = locked(&site.world().asked.drains).clone();
    let rebuilt_at = *locked(&site.world().asked.rebuilt_at);
    let process = process_of(site).await;
    let Ok(rows) = process.catalog_rows().await else { return };
    for (index, known) in drains {
        let number = providers[index].number();
        let is_new = |row: &&catalog::ReplicaRow| {
            let is_known = known.contains(&row.replica) || row.replica.timestamp() < rebuilt_at;
            row.backend.0 == number && row.state != ReplicaState::Quarantined && !is_known
        };
        for row in rows.iter().filter(is_new) {
            let what = format!("backend {index} drains and was given {} in state {:?}", row.path, row.state);
            site.world().violate(Law::Emptied, what);
        }
    }
}
