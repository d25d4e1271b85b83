//! The section of a plan about catalogs that are lost or go back, and what happens then: the operator rebuilds the catalog
//! from what lies on the providers, or puts the newest one back.
//!
//! The lost catalog is kept, unseen by the product: it is the truth with which the rebuilt one is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use catalog::sqlite::{MemoryFile, Options, Rebuild, Sqlite};
use catalog::{
    BackendId, BucketId, Client as Caller, Deployment, Identity, JournalLine, ListQuery, Listed, Object,
    ObjectHeaders, Objects, Precondition, Shipping, Strays, Want,
};
use engine::{Choices, Place, PutObject};
use format::PathGrammar;
use format::shipped;
use runtime::{Chance, Clock};
use types::{ChangeId, ObjectKey, ReplicaId, Timestamp, Traffic};

use crate::client::key_of;
use crate::history::{Condition, Effect, Record, Told};
use crate::limits::EPOCH_MS;
use crate::process::{self, Origin, Process, Start};
use crate::provider::Provider;
use crate::world::{World, locked};
use crate::{Deed, Fault, Law, body, decisions};

/// For how long a catalog that may be old is watched: it writes and deletes nothing.
const WATCHED: Duration = Duration::from_secs(90);
/// How often an operator begins a rebuild that meets what cannot be read at present.
const REBUILDS_MAX: u32 = 20;
/// The number of a process that nobody asks.
const UNASKED: u64 = runtime::simulation::NO_PROCESS;

/// What befalls the catalog.
#[derive(Debug, Clone)]
pub struct CatalogsPlan {
    /// Pause between two files that are shipped.
    pub pace_ms: u64,
    /// What happens, in the order of time.
    pub fates: Vec<CatalogFate>,
}

/// Something that befalls the catalog.
#[derive(Debug, Clone, Copy)]
pub struct CatalogFate {
    /// When, in milliseconds of the run.
    pub at_ms: u64,
    /// When the copy was made that is put in its place; `None`: it is lost.
    pub copied_ms: Option<u64>,
    /// Whether the operator finds the newest one again, after a copy was put in its place.
    pub found_again: bool,
}

impl CatalogsPlan {
    pub(crate) fn draw(chance: &Chance) -> Self {
        let mut at_ms = 0;
        let fate = |_| {
            let before = at_ms;
            at_ms += 1_500 + chance.below(6_000);
            CatalogFate {
                at_ms,
                copied_ms: (chance.below(2) == 0).then(|| before + chance.below(at_ms - before)),
                found_again: chance.below(2) == 0,
            }
        };
        let fates = (0..1 + chance.below(2)).map(fate).collect();
        Self { pace_ms: 100 + chance.below(1_500), fates }
    }
}

/// What waits to befall the catalog, and has.
#[derive(Default)]
pub(crate) struct Catalogs {
    copies: Mutex<BTreeMap<u64, MemoryFile>>,
    due: Mutex<Vec<CatalogFate>>,
}

impl Catalogs {
    /// What is due, once the process is dead.
    pub(crate) fn take_due(&self) -> Vec<CatalogFate> {
        std::mem::take(&mut *locked(&self.due))
    }
}

/// Lets everything happen at its time: the process dies of it.
pub(crate) async fn happen(world: Arc<World>, origin: impl Fn() -> Option<MemoryFile>) {
    let fates = world.plan.catalogs.iter().flat_map(|plan| plan.fates.clone());
    for fate in fates {
        if let Some(copied_ms) = fate.copied_ms {
            wait_until(&world, copied_ms).await;
            let Some(file) = origin() else { return };
            locked(&world.catalogs.copies).insert(fate.at_ms, file.copy().expect("there is memory"));
        }
        wait_until(&world, fate.at_ms).await;
        locked(&world.catalogs.due).push(fate);
        world.end(1);
        while !locked(&world.catalogs.due).is_empty() || world.is_killed(1) {
            runtime::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn wait_until(world: &World, at_ms: u64) {
    runtime::sleep(Duration::from_millis(at_ms.saturating_sub(world.now_ms()))).await;
}

/// Carries out what is due; gives the catalog that the next process finds.
pub(crate) async fn befall(
    world: &Arc<World>,
    newest: &MemoryFile,
    providers: &[Arc<Provider>],
    fate: CatalogFate,
) -> MemoryFile {
    // What an operator does is done while the providers answer; until then nothing runs.
    world.truce(true);
    let copy = locked(&world.catalogs.copies).remove(&fate.at_ms);
    let found = match copy {
        None => {
            world.count(Fault::CatalogLost);
            world.event(format_args!("the catalog is lost"));
            rebuild(world, newest, providers).await
        }
        Some(copy) => {
            world.count(Fault::CatalogRolledBack);
            world.event(format_args!("a copy of the catalog from before is put in its place"));
            let noticed = judge_old(world, copy, providers).await;
            if noticed && !fate.found_again {
                rebuild(world, newest, providers).await
            } else {
                newest.clone()
            }
        }
    };
    world.truce(false);
    found
}

/// A process on an old catalog writes nothing and deletes nothing, where a newer one has shipped since. Says whether
/// that was so.
async fn judge_old(world: &Arc<World>, copy: MemoryFile, providers: &[Arc<Provider>]) -> bool {
    let known = open(&copy);
    let epoch = known.identity().await.expect("a catalog in memory").epoch;
    let mut is_old = false;
    for file in providers.iter().flat_map(|provider| shipped_on(provider)) {
        let unknown = known.known_replicas(&[file.replica]).await.expect("a catalog in memory")[0].is_none();
        // Who replaced an older epoch is not told by what of it still arrives.
        is_old |= unknown && file.epoch >= epoch;
    }
    drop(known);
    if !is_old {
        return false;
    }
    let start = Start { number: UNASKED, life: 1_000 + world.next_number(), skew_ms: 0 };
    let touched = || providers.iter().map(|provider| provider.deletes() + provider.puts()).sum::<u64>();
    let before = touched();
    let guest = Arc::new(Process::start(world, &Origin::Own(copy), providers, start).await);
    if guest.engine.frozen().is_none() {
        world.violate(Law::ComesBack, "an old catalog was not noticed");
    }
    let stored = guest.request(put(world, &guest)).await;
    if matches!(stored, Ok(true)) {
        world.violate(Law::ComesBack, "an old catalog took a write");
    }
    runtime::sleep(WATCHED).await;
    guest.kill();
    if touched() > before {
        world.violate(Law::ComesBack, "an old catalog wrote or deleted something");
    }
    world.did(Deed::OldCatalogNoticed, 1);
    true
}

fn put(world: &Arc<World>, guest: &Process) -> impl Future<Output = bool> + use<> {
    let (engine, data) = (guest.engine.clone(), body::draw(100, world.next_number()));
    let request = PutObject {
        bucket: guest.bucket.clone(),
        key: ObjectKey::parse("unasked").expect("a short key"),
        body: body::incoming(world, &data, 1, None),
        headers: ObjectHeaders::default(),
        metadata: Vec::new(),
        tags: Vec::new(),
        precondition: Precondition::default(),
        client: Caller::default(),
    };
    async move { engine.put_object(request).await.is_ok() }
}

/// Makes a catalog of what lies on the providers, and compares it with the one that was lost.
async fn rebuild(world: &Arc<World>, lost: &MemoryFile, providers: &[Arc<Provider>]) -> MemoryFile {
    let places: Vec<Place> = providers
        .iter()
        .enumerate()
        .map(|(index, provider)| {
            let chance = Chance::seeded(world.plan.seed ^ index as u64);
            let id = BackendId(i64::try_from(index).expect("few") + 1);
            Place::new(
                id,
                process::decorated(provider, &chance, None, Traffic::Maintenance),
                PathGrammar::new(""),
            )
        })
        .collect();
    let found = engine::find(&places).await;
    let plan = engine::plan(&found, &Choices::default()).expect("all that was shipped is there");
    let identity = Identity { deployment: plan.deployment, epoch: plan.epoch };
    let rebuilt = MemoryFile::new(plan.deployment).expect("there is memory");
    let mut tries = 0;
    let (report, at) = loop {
        tries += 1;
        let making = Box::new(Rebuild::in_memory(&rebuilt, identity).expect("there is memory"));
        let now = Timestamp::from_millis(EPOCH_MS).plus(Duration::from_millis(world.now_ms()));
        match engine::rebuild(&places, &plan, making, now, |_, _, _| ()).await {
            Ok(report) => break (report, now),
            // The operator begins it again.
            Err(error) if tries < REBUILDS_MAX => world.event(format_args!("the rebuild stopped: {error}")),
            Err(error) => panic!("what was shipped can be read: {error}"),
        }
    };
    world.event(format_args!("the catalog was rebuilt: {} objects, epoch {}", report.objects, plan.epoch));
    for line in report.wrong {
        world.violate(Law::Books, format!("rebuilt: {line}"));
    }
    let catalog = open(&rebuilt);
    catalog.open_limits().await.expect("a catalog in memory");
    let objects = objects(&catalog).await;
    let lost = open(lost);
    if !was_overtaken(&lost, providers).await {
        let newer = not_shipped(&lost, last_shipped(providers)).await;
        compare(world, &lost, &objects, &newer).await;
        decisions::compare(world, &lost, &catalog, &newer, at).await;
    }
    begin_again(world, &objects);
    decisions::ask_anew(world, &catalog, providers, at).await;
    for provider in providers {
        provider.forgotten();
        let (deployment, backend) = (plan.deployment, provider.name().clone());
        let marker = format::Marker { deployment, backend, epoch: plan.epoch };
        provider.plant(&format!(".s3-orchestrator/{}", marker.path()));
    }
    world.did(Deed::Rebuilt, 1);
    rebuilt
}

fn open(file: &MemoryFile) -> Sqlite {
    let clock = Clock::simulated(Timestamp::from_millis(EPOCH_MS));
    file.open_with(Options { clock, ..Options::default() }).expect("a catalog in memory")
}

/// All objects of clients, by key.
async fn objects(catalog: &Sqlite) -> BTreeMap<String, Object> {
    let bucket: Vec<BucketId> =
        catalog.names().await.expect("a catalog in memory").buckets.into_iter().map(|(id, _)| id).collect();
    let Some(bucket) = bucket.first().copied() else { return BTreeMap::new() };
    let query = ListQuery { bucket, prefix: String::new(), delimiter: None, after: None, limit: 1_000 };
    let page = catalog.list(&query).await.expect("a catalog in memory");
    let mut objects = BTreeMap::new();
    for line in page.lines {
        let Listed::Object(listed) = line else { continue };
        let found = catalog.locate(bucket, &listed.key, Want::State).await.expect("a catalog in memory");
        objects.extend(found.map(|found| (listed.key.as_str().to_owned(), found.object)));
    }
    objects
}

/// A shipped file.
struct File {
    replica: ReplicaId,
    epoch: u64,
    bytes: bytes::Bytes,
}

/// Shipped files that lie on a provider.
fn shipped_on(provider: &Provider) -> Vec<File> {
    let grammar = PathGrammar::new("");
    let shipped = provider.stored().into_iter().filter_map(|(path, bytes)| {
        let name = grammar.parse(&path).filter(|_| path.starts_with(&grammar.reserved()))?;
        let (replica, (_, key)) = (name.replica, name.object?);
        let epoch = shipped::ShippedName::parse(key.as_str())?.epoch;
        Some(File { replica, epoch, bytes })
    });
    shipped.collect()
}

/// Whether a catalog was rebuilt from less than there is now, and shipped nothing of its own: then what arrived late of
/// the epoch before it is the newest that there is, and stands for the time before that rebuild.
async fn was_overtaken(lost: &Sqlite, providers: &[Arc<Provider>]) -> bool {
    let epoch = lost.identity().await.expect("a catalog in memory").epoch;
    let files: Vec<File> = providers.iter().flat_map(|provider| shipped_on(provider)).collect();
    let replicas: Vec<ReplicaId> = files.iter().map(|file| file.replica).collect();
    let known = lost.known_replicas(&replicas).await.expect("a catalog in memory");
    files.iter().all(|file| file.epoch < epoch) && known.iter().any(Option::is_none)
}

/// The number of the last change that lies on a provider.
fn last_shipped(providers: &[Arc<Provider>]) -> u64 {
    let files = providers.iter().flat_map(|provider| shipped_on(provider));
    files.filter_map(|file| Some(shipped::open(&file.bytes).ok()?.0.last)).max().unwrap_or(0)
}

/// What the lost catalog said behind the last change that lies on a provider.
async fn not_shipped(lost: &Sqlite, last: u64) -> Vec<JournalLine> {
    let unshipped = lost.unshipped(u32::MAX, u64::MAX).await.expect("a catalog in memory").lines;
    unshipped.into_iter().filter(|line| line.seq > last).collect()
}

/// What was shipped is there as it was, what was deleted is not, and nothing newer is visible.
async fn compare(world: &World, lost: &Sqlite, rebuilt: &BTreeMap<String, Object>, newer: &[JournalLine]) {
    let changes: BTreeSet<ChangeId> = newer.iter().map(|line| line.change).collect();
    let was = objects(lost).await;
    let keys: BTreeSet<&String> = was.keys().chain(rebuilt.keys()).collect();
    for key in keys {
        let (was, is) = (was.get(key), rebuilt.get(key));
        let quoted = format!("\"{key}\"");
        if newer.iter().any(|line| line.text.contains(&quoted)) {
            if is.is_some_and(|object| changes.contains(&object.change)) {
                world.violate(Law::ComesBack, format!("{key} shows a change that was not shipped"));
            }
            continue;
        }
        let state = |object: &Object| (object.change, object.revision, object.state.etag.clone());
        if was.map(state) != is.map(state) {
            let (was, is) = (was.map(state), is.map(state));
            world.violate(Law::ComesBack, format!("{key} was {was:?} and is {is:?} after a rebuild"));
        }
    }
}

/// From now on clients see a history that begins with what was rebuilt.
fn begin_again(world: &World, objects: &BTreeMap<String, Object>) {
    world.begin_era();
    for key in 0..world.plan.keys {
        let Some(object) = objects.get(key_of(key).as_str()) else { continue };
        let content = world.number_of(&object.state.etag);
        let invocation = object.state.client.invocation.as_deref();
        let call = invocation.and_then(|text| text.strip_prefix("call-")?.parse().ok()).unwrap_or(u32::MAX);
        let effect = Effect::Write { content, call, condition: Condition::None, told: Told::Done };
        let (invoke, answer) = (world.next_number(), world.next_number());
        world.record(Record { key, client: usize::MAX, invoke, answer, effect });
    }
}
