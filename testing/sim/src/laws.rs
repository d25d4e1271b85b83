//! The laws of a run, and the proof of what is left when all is quiet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use catalog::{BucketId, Catalog, ReplicaRow, ReplicaState};
use types::BlobId;

use crate::imports;
use crate::provider::Provider;
use crate::world::World;

/// What a run can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Law {
    /// What was acknowledged is there, byte for byte.
    Durable,
    /// Clients see one history of each key.
    OldOrNew,
    /// A path gets one put.
    OnePut,
    /// A provider never holds more than the quota.
    Quota,
    /// The ledger is what lies on the providers.
    NothingForgotten,
    /// What was begun or doomed comes to an end.
    Settled,
    /// Memory stays within its budget, and no queue is left over.
    Bounded,
    /// What is asked is answered in bounded time, and works when all is well.
    Answered,
    /// Nothing is deleted that a reader holds.
    ReadersFirst,
    /// A replica is doubted only with a reason.
    Suspicion,
    /// The catalog's books are right.
    Books,
    /// Every blob has as many sound replicas as it should, some time after the last fault.
    Restored,
    /// What drains takes nothing new and becomes empty.
    Emptied,
    /// What no row names is charged, kept, and never visible.
    Strays,
    /// Objects expire when they are old enough, and not before.
    Expiry,
    /// While the brake holds, nothing is deleted.
    Brake,
    /// A lost catalog comes back as it was shipped, and an old one does no harm.
    ComesBack,
    /// Nobody is declared dead whose heart beat within a lease, and whoever is learns it.
    Lived,
    /// A provider never counts more than its limits allow in a period.
    NeverOver,
    /// What is granted and not spent is no more than was spent: crashes do not eat the period.
    NothingLost,
    /// Nobody is told to slow down without need, nor for another time than is needed.
    Served,
    /// What lies on a provider since before is ours once it was imported, and nobody else's only until then.
    Imported,
    /// A breaker opens only where what it stands for failed.
    Blameless,
    /// What its breaker takes for gone is left alone, but for one request that finds out.
    LeftAlone,
    /// An answer from memory says so, is given only while the catalog does not answer, and is never that there is nothing.
    Degraded,
}

/// A law that was broken.
#[derive(Debug, Clone)]
pub struct Violation {
    /// Which.
    pub law: Law,
    /// How.
    pub what: String,
}

/// Judges what is left once nothing happens any more.
pub(crate) async fn judge_quiet(
    world: &World,
    catalog: &dyn Catalog,
    bucket: BucketId,
    providers: &[Arc<Provider>],
) {
    for line in catalog.audit().await.unwrap() {
        world.violate(Law::Books, line);
    }
    let rows = catalog.replicas(None, u32::MAX).await.unwrap();
    for (index, provider) in providers.iter().enumerate() {
        if world.plan.imports.is_some() {
            imports::judge(world, catalog, bucket, (provider, &rows)).await;
        }
        let of_this = rows.iter().filter(|row| row.backend.0 == provider.number());
        judge_ledger(world, provider, index, of_this.collect());
        judge_charge(world, catalog, (provider, index), &rows).await;
    }
    judge_waiting(world, catalog, providers, &rows).await;
}

/// What is in quarantine is of no blob that is known: all was compared in the end.
async fn judge_waiting(
    world: &World,
    catalog: &dyn Catalog,
    providers: &[Arc<Provider>],
    rows: &[ReplicaRow],
) {
    if world.plan.workers.upkeep.is_none() {
        return;
    }
    for row in rows.iter().filter(|row| row.state == ReplicaState::Quarantined) {
        let Some(source) = catalog.move_source(row.blob).await.unwrap() else { continue };
        let at = providers.iter().find(|provider| provider.number() == row.backend.0);
        let stored = at.and_then(|provider| provider.stored().get(row.path.as_str()).cloned());
        if stored.is_some_and(|bytes| bytes.len() as u64 == source.piece.blob_size) {
            let what = format!("{} is in quarantine, and of a blob that is known", row.path);
            world.violate(Law::Strays, what);
        }
    }
}

/// The rows of a backend are what lies there.
fn judge_ledger(world: &World, provider: &Provider, index: usize, rows: Vec<&ReplicaRow>) {
    let name = provider.name_text();
    let stored = provider.stored();
    // What a rebuild found beside a live one is right and one too many, and goes only once all that is wanted is live:
    // where a backend drains that may be never.
    let is_beside = |row: &&&ReplicaRow| {
        row.state == ReplicaState::Live && world.plan.catalogs.is_some() && world.asked.drains_any()
    };
    let may_wait: BTreeSet<BlobId> = rows.iter().filter(is_beside).map(|row| row.blob).collect();
    let mut named = BTreeSet::new();
    for row in rows {
        named.insert(row.path.as_str().to_owned());
        let there = stored.contains_key(row.path.as_str());
        match row.state {
            ReplicaState::Live if !there && !provider.was_harmed(row.path.as_str()) => world.violate(
                Law::Durable,
                format!("replica {} is live and nothing lies at {} on {name}", row.replica, row.path),
            ),
            ReplicaState::Suspect
                if !provider.was_doubtful(row.path.as_str()) && !may_wait.contains(&row.blob) =>
            {
                world.violate(
                    Law::Suspicion,
                    format!("replica {} at {} on {name} is suspect for no reason", row.replica, row.path),
                );
            }
            ReplicaState::Live | ReplicaState::Suspect => {}
            ReplicaState::Quarantined
                if there
                    && (world.asked.is_stray(index, row.path.as_str())
                        || provider.came_from_the_dead(row.path.as_str())
                        || world.plan.catalogs.is_some()) => {}
            ReplicaState::Quarantined => world.violate(
                Law::Strays,
                format!("{} on {name} is in quarantine, and it is no stray or not there", row.path),
            ),
            // Where deletes free nothing, a doomed replica stays charged until the operator acts.
            ReplicaState::Doomed if provider.hides() => {}
            state => world.violate(
                Law::Settled,
                format!("replica {} at {} on {name} is {state:?} for ever", row.replica, row.path),
            ),
        }
    }
    for (at, path) in world.asked.strays().into_iter().filter(|(at, _)| *at == index) {
        if !stored.contains_key(&path) {
            world.violate(Law::Strays, format!("{path} on backend {at} was no operator's to delete"));
        }
    }
    for path in stored.keys().filter(|path| !path.starts_with(".s3-orchestrator/")) {
        if !named.contains(path.as_str()) && !provider.is_foreign(path) {
            world.violate(Law::NothingForgotten, format!("{path} lies on {name} and no row names it"));
        }
    }
}

/// A backend is charged for what it bills, no less.
async fn judge_charge(
    world: &World,
    catalog: &dyn Catalog,
    (provider, index): (&Provider, usize),
    rows: &[ReplicaRow],
) {
    let charged = catalog.charged().await.unwrap();
    let charged = charged.iter().find(|(id, ..)| id.0 == provider.number()).map_or(0, |(.., bytes)| *bytes);
    let (imported, in_vain) = imports::billed(catalog, provider, rows).await;
    let billed = provider.billed() - unknown_files(world, catalog, provider).await + imported;
    let lost = provider.harmed_bytes() + unreadable_bytes(world, catalog, provider).await + in_vain;
    if charged < billed {
        world.violate(
            Law::Quota,
            format!("backend {index} bills {billed} bytes and is charged for {charged}"),
        );
    } else if charged > billed + lost && !provider.hides() {
        let what = format!("backend {index} is charged for {charged} bytes and bills {billed}");
        world.violate(Law::Settled, what);
    }
}

/// What is charged for replicas of which a rebuilt catalog was told, and that the lost one had deleted since.
async fn unreadable_bytes(world: &World, catalog: &dyn Catalog, provider: &Provider) -> u64 {
    if world.plan.catalogs.is_none() {
        return 0;
    }
    let (rows, stored) = (catalog.replicas(None, u32::MAX).await.unwrap(), provider.stored());
    let is_gone = |row: &&ReplicaRow| {
        let kept = [ReplicaState::Live, ReplicaState::Suspect].contains(&row.state);
        kept && row.backend.0 == provider.number() && !stored.contains_key(row.path.as_str())
    };
    rows.iter().filter(is_gone).map(|row| row.charged).sum()
}

/// What a catalog that was lost shipped and came late: the next one finds it when it compares the backend with the ledger,
/// and counts it from then on.
async fn unknown_files(world: &World, catalog: &dyn Catalog, provider: &Provider) -> u64 {
    if world.plan.catalogs.is_none() || world.plan.workers.upkeep.is_some() {
        return 0;
    }
    let rows = catalog.replicas(None, u32::MAX).await.unwrap();
    let known: BTreeSet<&str> = rows.iter().map(|row| row.path.as_str()).collect();
    let stored = provider.stored();
    let unknown = stored.iter().filter(|(path, bytes)| {
        path.starts_with(".s3-orchestrator/") && !bytes.is_empty() && !known.contains(path.as_str())
    });
    unknown.map(|(_, bytes)| provider.bill(bytes)).sum()
}

/// Which replicas of a blob are intact, for those that do harm: the last one is nobody's to take.
pub(crate) fn intact_replicas(
    rows: &[ReplicaRow],
    providers: &[Arc<Provider>],
) -> BTreeMap<BlobId, Vec<(usize, String)>> {
    let mut intact: BTreeMap<BlobId, Vec<(usize, String)>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.state == ReplicaState::Live) {
        let Some(index) = providers.iter().position(|provider| provider.number() == row.backend.0) else {
            continue;
        };
        let path = row.path.as_str();
        if !providers[index].was_harmed(path) && providers[index].stored().contains_key(path) {
            intact.entry(row.blob).or_default().push((index, path.to_owned()));
        }
    }
    intact
}

/// What an object's bytes should be, and are.
pub(crate) fn same_bytes(world: &World, what: &str, expected: &Bytes, found: &Bytes) {
    if expected == found {
        return;
    }
    let differs = expected.iter().zip(found.iter()).position(|(a, b)| a != b);
    let at = differs.unwrap_or_else(|| expected.len().min(found.len()));
    world.violate(
        Law::Durable,
        format!("{what}: {} bytes instead of {}, different from byte {at} on", found.len(), expected.len()),
    );
}
