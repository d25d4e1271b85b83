//! What workers have still to do: nothing, some time after the last fault.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use catalog::{BucketId, Catalog, ListQuery, Listed, ReplicaRow, ReplicaState, Want};
use types::{BlobId, Timestamp};

use crate::provider::Provider;
use crate::simulation::Site;
use crate::world::World;
use crate::{Deed, Law, Plan, expiring, imports, operator};

/// Within this time after the last fault everything is as it should be: the longest wait before a repair is tried
/// again, several times.
const RESTORED_WITHIN: Duration = Duration::from_secs(30 * 60);
/// For so long it is looked whether anything is deleted while the brake holds.
const BRAKE_WATCHED: Duration = Duration::from_secs(180);

/// Judges what workers did, once nothing goes wrong any more.
pub(crate) async fn judge(site: &Site, providers: &[Arc<Provider>], bucket: BucketId) {
    let world = site.world();
    operator::judge_drains(site, providers).await;
    judge_brake(site, providers).await;
    reconcile_all(site, providers).await;
    let waited = runtime::instant_now();
    let mut pause = Duration::from_secs(1);
    // What was written by a clock that was ahead is not compared before its time.
    let errors = clock_errors(&world.plan);
    let mut is_compared = errors.is_zero();
    let left = loop {
        if !is_compared && waited.elapsed() > errors {
            reconcile_all(site, providers).await;
            is_compared = true;
        }
        let process = operator::process_of(site).await;
        let left = unfinished(world, &*process.catalog, providers, bucket).await;
        let is_late = |left: &Left| {
            waited.elapsed() > if left.by_age { RESTORED_WITHIN + errors } else { RESTORED_WITHIN }
        };
        if left.is_empty() || left.iter().any(is_late) {
            break left;
        }
        world.event(format_args!("not yet: {}", left[0].what));
        runtime::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(60));
    };
    for Left { law, what, .. } in left {
        let minutes = waited.elapsed().as_secs() / 60;
        world.violate(law, format!("{what}, {minutes} minutes after the last fault"));
    }
    operator::judge_drains(site, providers).await;
    let rows = operator::process_of(site).await.catalog_rows().await.expect("the catalog answers");
    let is_empty = |number| {
        let kept = [ReplicaState::Live, ReplicaState::Suspect];
        !rows.iter().any(|row| row.backend.0 == number && kept.contains(&row.state))
    };
    let ended = providers
        .iter()
        .enumerate()
        .filter(|(index, provider)| world.asked.is_draining(*index) && is_empty(provider.number()));
    world.did(Deed::DrainEnded, ended.count() as u64);
}

/// How long a process may hold what another one wrote for something of the future, as far as both were started with a
/// clock that was wrong.
fn clock_errors(plan: &Plan) -> Duration {
    if plan.instances.is_some() {
        // Nobody looks at them.
        return Duration::ZERO;
    }
    let errors = plan.crashes.iter().map(|crash| crash.skew_ms.unsigned_abs());
    Duration::from_millis(errors.max().unwrap_or(0) * 2)
}

/// While the brake holds nothing is deleted, and it holds when more expired than was allowed.
async fn judge_brake(site: &Site, providers: &[Arc<Provider>]) {
    let world = site.world();
    let Some(settings) = world.plan.workers.brake() else { return };
    // What was given out before it held is deleted by now.
    runtime::sleep(BRAKE_WATCHED).await;
    let process = operator::process_of(site).await;
    process.tally();
    let state = process.engine.brake().await.expect("the catalog answers");
    let expired = world.deeds().get(&Deed::Expired).copied().unwrap_or(0);
    if state.engaged_at.is_none() {
        if expired > settings.floor {
            let what = format!("{expired} objects expired within an hour, and the brake does not hold");
            world.violate(Law::Brake, what);
        }
        return;
    }
    world.did(Deed::BrakeHeld, 1);
    let rows = process.catalog_rows().await.expect("the catalog answers");
    // What was doomed when it engaged was given out to nobody.
    if !rows.iter().any(|row| row.state == ReplicaState::Doomed) {
        world.violate(Law::Brake, "the brake holds, and all that was doomed is deleted");
    }
    let deletes = || providers.iter().map(|provider| provider.deletes()).sum::<u64>();
    let before = deletes();
    runtime::sleep(BRAKE_WATCHED).await;
    if deletes() > before {
        world.violate(Law::Brake, "something was deleted while the brake held");
    }
    process.engine.release_brake().await.expect("the catalog answers");
    world.did(Deed::BrakeReleased, 1);
}

/// Compares every backend with the ledger. What is found now was not looked for before, or was forgotten.
async fn reconcile_all(site: &Site, providers: &[Arc<Provider>]) {
    if site.world().plan.workers.upkeep.is_none() {
        return;
    }
    for provider in providers {
        if operator::reconcile(site, provider.number()).await.is_none() {
            let what =
                format!("{} cannot be compared with the ledger when all is well", provider.name_text());
            site.world().violate(Law::Strays, what);
        }
    }
}

/// Something that is not yet as it should be.
struct Left {
    law: Law,
    what: String,
    /// Whether it waits for something to be old enough.
    by_age: bool,
}

impl Left {
    fn new((law, what): (Law, String), by_age: bool) -> Self {
        Self { law, what, by_age }
    }
}

/// A blob that is referenced, with its replicas.
struct Blob {
    size: u64,
    wanted: u32,
    /// By backend.
    replicas: Vec<(usize, ReplicaState)>,
}

async fn unfinished(
    world: &World,
    catalog: &dyn Catalog,
    providers: &[Arc<Provider>],
    bucket: BucketId,
) -> Vec<Left> {
    let mut left = Vec::new();
    let (now, by_age) = (|line| Left::new(line, false), |line| Left::new(line, true));
    if let Some(upkeep) = world.plan.workers.upkeep {
        let found =
            catalog.to_prove(Timestamp::from_millis(u64::MAX), u32::MAX).await.expect("the catalog answers");
        let unproved = found.due.iter().map(|one| format!("{} was found and is not proved", one.path));
        left.extend(unproved.map(|what| by_age((Law::Restored, what))));
        let blobs = blobs(catalog, providers).await;
        let rooms = Rooms::of(world, catalog, providers).await;
        let readable = readable(catalog, providers).await;
        let files = files(catalog).await;
        for (id, blob) in blobs.iter().filter(|(id, _)| readable.contains(id)) {
            let is_file = files.contains(id);
            let wanted = world.factor.wanted(&world.plan, is_file);
            // Of files that a rebuild read, as many are wanted as it found.
            let is_read = is_file && world.deeds().contains_key(&Deed::Rebuilt);
            if blob.wanted != wanted && !is_read {
                let what = format!("blob {id} wants {} replicas, the configuration {wanted}", blob.wanted);
                left.push(now((Law::Restored, what)));
            }
            left.extend(rooms.lacks(*id, blob).into_iter().map(now));
            if upkeep.scrub_ms.is_some() {
                left.extend(rooms.doubts(*id, blob).map(by_age));
            }
        }
        left.extend(rotten(catalog, providers, upkeep.scrub_ms.is_some()).await.into_iter().map(by_age));
    }
    if world.plan.workers.expiry.is_some() {
        let prefix = expiring::PREFIX.to_owned();
        let query = ListQuery { bucket, prefix, delimiter: None, after: None, limit: 10 };
        if !catalog.list(&query).await.expect("the catalog answers").lines.is_empty() {
            left.push(now((Law::Expiry, "an object that is old enough has not expired".to_owned())));
        }
    }
    left
}

/// Blobs of shipped files.
async fn files(catalog: &dyn Catalog) -> BTreeSet<BlobId> {
    let bucket = BucketId::INTERNAL;
    let query = ListQuery { bucket, prefix: String::new(), delimiter: None, after: None, limit: 1_000 };
    let mut files = BTreeSet::new();
    for line in catalog.list(&query).await.expect("the catalog answers").lines {
        let Listed::Object(file) = line else { continue };
        let found = catalog.locate(bucket, &file.key, Want::Whole).await.expect("the catalog answers");
        files.extend(found.iter().flat_map(|found| found.pieces.iter().map(|piece| piece.blob)));
    }
    files
}

async fn blobs(catalog: &dyn Catalog, providers: &[Arc<Provider>]) -> BTreeMap<BlobId, Blob> {
    let mut blobs: BTreeMap<BlobId, Blob> = BTreeMap::new();
    for (index, provider) in providers.iter().enumerate() {
        let mut after = None;
        loop {
            let backend = catalog::BackendId(provider.number());
            let page = catalog.held(backend, after, u32::MAX).await.expect("the catalog answers");
            for held in page.held {
                let new = || Blob { size: held.size, wanted: held.wanted, replicas: Vec::new() };
                blobs.entry(held.blob).or_insert_with(new).replicas.push((index, held.state));
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    blobs
}

/// What each backend could still take.
struct Rooms {
    drains: Vec<bool>,
    free: Vec<u64>,
    put_bytes_max: Vec<u64>,
    billable_bytes_min: Vec<u64>,
}

impl Rooms {
    async fn of(world: &World, catalog: &dyn Catalog, providers: &[Arc<Provider>]) -> Self {
        let charged = catalog.charged().await.expect("the catalog answers");
        let free = |provider: &Arc<Provider>| {
            let charged = charged.iter().find(|(id, ..)| id.0 == provider.number()).map_or(0, |(.., n)| *n);
            provider.quota().map_or(u64::MAX, |quota| quota.saturating_sub(charged))
        };
        let plans = &world.plan.backends;
        Self {
            drains: (0..providers.len()).map(|index| world.asked.is_draining(index)).collect(),
            free: providers.iter().map(free).collect(),
            put_bytes_max: plans.iter().map(|plan| plan.put_bytes_max).collect(),
            billable_bytes_min: plans.iter().map(|plan| plan.billable_bytes_min).collect(),
        }
    }

    fn takes(&self, index: usize, size: u64) -> bool {
        let charge = size.max(self.billable_bytes_min[index]);
        !self.drains[index] && size <= self.put_bytes_max[index] && charge <= self.free[index]
    }

    /// What a blob still lacks, or has too much of.
    fn lacks(&self, id: BlobId, blob: &Blob) -> Vec<(Law, String)> {
        let live: Vec<usize> = blob
            .replicas
            .iter()
            .filter(|(_, state)| *state == ReplicaState::Live)
            .map(|(at, _)| *at)
            .collect();
        let sound = live.iter().filter(|at| !self.drains[**at]).count();
        let wanted = usize::try_from(blob.wanted).unwrap_or(usize::MAX);
        let taker = (0..self.free.len()).find(|at| !live.contains(at) && self.takes(*at, blob.size));
        let mut lacks = Vec::new();
        if sound < wanted
            && let Some(taker) = taker
        {
            lacks.push((
                Law::Restored,
                format!("blob {id} has {sound} live replicas of {wanted} and backend {taker} would take one"),
            ));
        }
        if sound > wanted {
            lacks.push((Law::Restored, format!("blob {id} has {sound} live replicas, {wanted} are wanted")));
        }
        let left = self.drains.iter().filter(|drains| !**drains).count();
        for (at, _) in &blob.replicas {
            if self.drains[*at] && sound >= wanted.min(left).max(1) {
                lacks.push((Law::Emptied, format!("blob {id} is still on backend {at}, which drains")));
            }
        }
        lacks
    }

    /// What a round of proofs should have settled.
    fn doubts(&self, id: BlobId, blob: &Blob) -> Option<(Law, String)> {
        let live =
            blob.replicas.iter().filter(|(at, state)| *state == ReplicaState::Live && !self.drains[*at]);
        let enough = live.count() >= usize::try_from(blob.wanted).unwrap_or(usize::MAX);
        let (at, _) = blob.replicas.iter().find(|(_, state)| *state == ReplicaState::Suspect)?;
        let what = format!("blob {id} has all it wants and a suspect replica on backend {at}");
        enough.then_some((Law::Restored, what))
    }
}

/// Blobs of which something is left to make a replica of. After a rebuild others may be named as well: the bytes were
/// deleted under the catalog that was lost.
async fn readable(catalog: &dyn Catalog, providers: &[Arc<Provider>]) -> BTreeSet<BlobId> {
    let rows = catalog.replicas(None, u32::MAX).await.expect("the catalog answers");
    let mut readable = BTreeSet::new();
    let kept = |row: &&ReplicaRow| [ReplicaState::Live, ReplicaState::Suspect].contains(&row.state);
    for row in rows.iter().filter(kept) {
        let at = providers.iter().find(|provider| provider.number() == row.backend.0);
        let path = row.path.as_str();
        if let Some(provider) = at.filter(|provider| provider.stored().contains_key(path))
            && (!provider.is_foreign(path) || imports::is_as_imported(catalog, provider, row).await)
        {
            readable.insert(row.blob);
        }
    }
    readable
}

/// Live replicas whose bytes are not what was written: a round of proofs finds them, a comparison only those that are
/// gone.
async fn rotten(catalog: &dyn Catalog, providers: &[Arc<Provider>], proved: bool) -> Vec<(Law, String)> {
    let rows = catalog.replicas(None, u32::MAX).await.expect("the catalog answers");
    let mut rotten = Vec::new();
    for row in rows.iter().filter(|row| row.state == ReplicaState::Live) {
        let at = providers.iter().find(|provider| provider.number() == row.backend.0);
        let path = row.path.as_str();
        let wrong = |provider: &&Arc<Provider>| {
            provider.was_harmed(path) && (proved || !provider.stored().contains_key(path))
        };
        // What was replaced behind our back may have been imported anew.
        if let Some(provider) = at.filter(wrong)
            && !(provider.is_replaced(path) && imports::is_as_imported(catalog, provider, row).await)
        {
            rotten.push((Law::Restored, format!("{path} was harmed and counts as live")));
        }
    }
    rotten
}
