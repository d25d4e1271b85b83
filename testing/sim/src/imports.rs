//! The section of a plan about imports: what lies on providers since before, what an operator makes objects of, and
//! what its owner does with it meanwhile.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use catalog::{BackendId, BucketId, Catalog, ListQuery, Listed, ReplicaRow, Want};
use engine::{ImportCounts, ImportJob};
use runtime::Chance;
use types::ETag;

use crate::client::key_of;
use crate::foreign::Tag;
use crate::history::{Condition, Effect, NEVER, Record, Told};
use crate::operator::process_of;
use crate::process::Process;
use crate::provider::Provider;
use crate::simulation::Site;
use crate::world::{World, locked};
use crate::{Deed, Fault, Law, Plan, body, expiring};

/// How often the worker looks whether there is something to import.
pub(crate) const IMPORT_EVERY: Duration = Duration::from_secs(1);
/// When all is well an import is done within this time.
const DONE_WITHIN: Duration = Duration::from_secs(30 * 60);
/// What imports may be told to begin with.
const PREFIXES: [&str; 3] = ["", "key", "key-"];
/// Of an orchestrator of somebody else.
const OF_OTHERS: &str = "elsewhere/.s3-orchestrator/marker/x";
/// Nobody among the clients.
const OWNER: usize = usize::MAX;

/// Imports, and what there is to import.
#[derive(Debug, Clone)]
pub struct ImportsPlan {
    /// What lies there from the beginning.
    pub foreign: Vec<ForeignPlan>,
    /// On which backends something of another orchestrator lies.
    pub others: Vec<usize>,
    /// What happens, and when, in milliseconds of the run.
    pub orders: Vec<(u64, ImportOrder)>,
}

/// An object that somebody put onto a provider.
#[derive(Debug, Clone, Copy)]
pub struct ForeignPlan {
    /// On which backend.
    pub at: usize,
    /// At the path that is this key.
    pub key: u8,
    /// Bytes.
    pub size: usize,
    /// How the provider tells it from others.
    pub tag: Tag,
}

/// Something about imports.
#[derive(Debug, Clone, Copy)]
pub enum ImportOrder {
    /// The operator asks for an import.
    Begin {
        /// Of which backend.
        at: usize,
        /// Of what begins with this, of a few that there are.
        prefix: usize,
    },
    /// The operator ends it.
    End,
    /// The owner of something puts something else in its place, whether or not it was imported.
    Replace(ForeignPlan),
    /// The owner removes it.
    Remove {
        /// From which backend.
        at: usize,
        /// Which.
        key: u8,
    },
}

/// Imports in one of four plans in which no catalog is lost: what is known of them then is of before.
pub(crate) fn draw(chance: &Chance, plan: &mut Plan) {
    if plan.catalogs.is_some() || chance.below(4) > 0 {
        return;
    }
    let calm = plan.is_calm();
    // Some keys are nobody's but theirs.
    plan.keys += 2;
    let backends = plan.backends.len() as u64;
    let draw = Draw { chance, keys: u64::from(plan.keys), backends };
    let begins = (0..1 + chance.below(3)).map(|_| (chance.below(5_000), draw.begin()));
    let mut orders: Vec<_> = begins.collect();
    if !calm {
        orders.extend((0..chance.below(2)).map(|_| (chance.below(6_000), ImportOrder::End)));
        orders.extend((0..chance.below(3)).map(|_| (chance.below(9_000), draw.betrayal())));
    }
    plan.imports = Some(ImportsPlan {
        foreign: (0..1 + chance.below(7)).map(|_| draw.foreign()).collect(),
        others: (0..plan.backends.len()).filter(|_| chance.below(3) == 0).collect(),
        orders,
    });
}

struct Draw<'a> {
    chance: &'a Chance,
    keys: u64,
    backends: u64,
}

impl Draw<'_> {
    fn at(&self) -> usize {
        usize::try_from(self.chance.below(self.backends)).expect("few")
    }

    fn key(&self) -> u8 {
        u8::try_from(self.chance.below(self.keys)).expect("few")
    }

    fn begin(&self) -> ImportOrder {
        let prefix = usize::try_from(self.chance.below(PREFIXES.len() as u64)).expect("few");
        ImportOrder::Begin { at: self.at(), prefix }
    }

    fn foreign(&self) -> ForeignPlan {
        let most = if self.chance.below(4) == 0 { 20_000 } else { 1_500 };
        let size = usize::try_from(self.chance.below(most)).expect("small");
        let tags = [Tag::Md5, Tag::Md5, Tag::LikeMd5, Tag::Other, Tag::Time];
        let tag = tags[usize::try_from(self.chance.below(5)).expect("few")];
        ForeignPlan { at: self.at(), key: self.key(), size, tag }
    }

    fn betrayal(&self) -> ImportOrder {
        if self.chance.below(3) == 0 {
            ImportOrder::Remove { at: self.at(), key: self.key() }
        } else {
            ImportOrder::Replace(self.foreign())
        }
    }
}

/// What is known of imports in a run.
#[derive(Default)]
pub(crate) struct Imports {
    betrayed: AtomicBool,
    /// Backends whose last import ended before all was imported.
    cut_short: Mutex<BTreeSet<i64>>,
}

impl Imports {
    /// Whether anything was replaced or removed behind our back: what was imported of it cannot be read.
    pub(crate) fn betrayed(&self) -> bool {
        self.betrayed.load(Ordering::Relaxed)
    }
}

/// What lies there before anything runs.
pub(crate) fn furnish(world: &World, providers: &[Arc<Provider>]) {
    let Some(plan) = &world.plan.imports else { return };
    for foreign in &plan.foreign {
        place(world, providers, *foreign);
    }
    for at in &plan.others {
        providers[*at].place_foreign(OF_OTHERS, body::draw(90, 1), Tag::Md5);
    }
}

/// Its owner puts something there. Once it is imported, and where its key is free, it is what that key holds.
fn place(world: &World, providers: &[Arc<Provider>], foreign: ForeignPlan) {
    let number = world.next_number();
    let bytes = body::draw(foreign.size, world.plan.seed ^ (number << 32) ^ 0xf07e1);
    let path = key_of(foreign.key);
    let tag = providers[foreign.at].place_foreign(path.as_str(), bytes.clone(), foreign.tag);
    let etag = tag.map_or_else(|| ETag::of_md5(engine::md5_of(&bytes)), |tag| ETag::from_text(&tag));
    // Nothing is told to whom it belongs, and there is nothing but one of nothing.
    let content = world.learn(&etag, bytes);
    let call = 90_000_000 + u32::try_from(number).unwrap_or(0);
    let effect = Effect::Write { content, call, condition: Condition::Absent, told: Told::Nothing };
    world.record(Record { key: foreign.key, client: OWNER, invoke: number, answer: NEVER, effect });
}

/// The import that was begun last.
struct Begun {
    process: Arc<Process>,
    job: ImportJob,
    ended: bool,
    counted: ImportCounts,
}

/// Lets everything happen at its time.
pub(crate) async fn operate(site: Site) {
    let world = Arc::clone(site.world());
    let mut orders = world.plan.imports.as_ref().map(|plan| plan.orders.clone()).unwrap_or_default();
    orders.sort_by_key(|(at_ms, _)| *at_ms);
    let mut begun: Option<Begun> = None;
    for (at_ms, order) in orders {
        runtime::sleep(Duration::from_millis(at_ms.saturating_sub(world.now_ms()))).await;
        world.event(format_args!("imports: {order:?}"));
        match order {
            ImportOrder::Begin { at, prefix } => begin(&site, &mut begun, (at, PREFIXES[prefix])).await,
            ImportOrder::End => {
                if let Some(begun) = begun.as_mut().filter(|begun| !begun.process.is_dead()) {
                    begun.process.engine.end_import("enough");
                    begun.ended = true;
                }
            }
            ImportOrder::Replace(foreign) => betray(&site, &Betrayal::Replace(foreign)),
            ImportOrder::Remove { at, key } => betray(&site, &Betrayal::Remove(at, key)),
        }
        follow(&world, begun.as_mut());
    }
    // What goes on now is looked at until all is well.
    loop {
        follow(&world, begun.as_mut());
        runtime::sleep(Duration::from_millis(700)).await;
    }
}

async fn begin(site: &Site, begun: &mut Option<Begun>, (at, prefix): (usize, &str)) {
    let process = process_of(site).await;
    let backend = BackendId(site.providers()[at].number());
    let job =
        ImportJob { backend, bucket: process.bucket.clone(), prefix: prefix.to_owned(), dry_run: false };
    if process.engine.begin_import(job.clone()) {
        *begun = Some(Begun { process, job, ended: false, counted: ImportCounts::default() });
    }
}

/// Looks at how the import goes on, for as long as its process lives.
fn follow(world: &World, begun: Option<&mut Begun>) {
    let Some(begun) = begun.filter(|begun| !begun.process.is_dead()) else { return };
    let Some(run) = begun.process.engine.import_run() else { return };
    if run.job != begun.job || begun.ended && !run.done {
        let what =
            format!("an import that was ended goes on: {:?} below {:?}", run.job.backend, run.job.prefix);
        world.violate(Law::Imported, what);
        return;
    }
    tally(world, &begun.counted, &run.counts);
    begun.counted = run.counts;
}

fn tally(world: &World, before: &ImportCounts, now: &ImportCounts) {
    world.did(Deed::Imported, now.imported - before.imported);
    world.did(Deed::ImportKnown, now.known - before.known);
    world.did(Deed::ImportTaken, now.taken - before.taken);
    world.did(Deed::ImportFailed, now.failed - before.failed);
}

enum Betrayal {
    Replace(ForeignPlan),
    Remove(usize, u8),
}

/// Whoever put something there does with it what he likes.
fn betray(site: &Site, betrayal: &Betrayal) {
    let world = site.world();
    match betrayal {
        Betrayal::Replace(foreign) => {
            if site.providers()[foreign.at].is_foreign(key_of(foreign.key).as_str()) {
                world.imports.betrayed.store(true, Ordering::Relaxed);
                world.count(Fault::ForeignReplaced);
            }
            place(world, site.providers(), *foreign);
        }
        Betrayal::Remove(at, key) => {
            if site.providers()[*at].remove_foreign(key_of(*key).as_str()) {
                world.imports.betrayed.store(true, Ordering::Relaxed);
                world.count(Fault::ForeignRemoved);
            }
        }
    }
}

/// When all is well, everything is imported.
pub(crate) async fn finish(site: &Site, providers: &[Arc<Provider>]) {
    let world = site.world();
    if world.plan.imports.is_none() {
        return;
    }
    for (at, provider) in providers.iter().enumerate() {
        if import_all(site, at).await.is_none() {
            let what = format!("an import of {} is not done when all is well", provider.name_text());
            world.violate(Law::Imported, what);
        }
    }
}

/// Imports all that is left on a backend.
async fn import_all(site: &Site, at: usize) -> Option<()> {
    let world = site.world();
    let waited = runtime::instant_now();
    let mut begun = None;
    loop {
        if waited.elapsed() > DONE_WITHIN {
            return None;
        }
        if begun.as_ref().is_none_or(|begun: &Begun| begun.process.is_dead()) {
            begin(site, &mut begun, (at, PREFIXES[0])).await;
        }
        runtime::sleep(IMPORT_EVERY).await;
        let Some(begun) = &begun else { continue };
        let run = begun.process.engine.import_run()?;
        if run.done {
            tally(world, &ImportCounts::default(), &run.counts);
            if run.error.is_some() {
                locked(&world.imports.cut_short).insert(begun.job.backend.0);
            }
            return Some(());
        }
    }
}

/// Whether a row is of what lies at its path now, where that is not of our making.
pub(crate) async fn is_as_imported(catalog: &dyn Catalog, provider: &Provider, row: &ReplicaRow) -> bool {
    let Some((size, stamp)) = provider.stamp_of(row.path.as_str()) else { return false };
    let known = catalog.import_of(row.replica).await.expect("the catalog answers");
    known.is_some_and(|known| (known.size, known.stamp) == (size, stamp))
}

/// What a backend has to be charged for of what was not of our making, and what it is charged for in vain.
pub(crate) async fn billed(catalog: &dyn Catalog, provider: &Provider, rows: &[ReplicaRow]) -> (u64, u64) {
    let (mut right, mut in_vain) = (0, 0);
    for row in rows.iter().filter(|row| row.backend.0 == provider.number()) {
        // Paths of ours are nobody else's.
        if !row.path.as_str().starts_with("key-") {
            continue;
        }
        match provider.stored().get(row.path.as_str()) {
            Some(bytes) if is_as_imported(catalog, provider, row).await => right += provider.bill(bytes),
            _ => in_vain += row.charged,
        }
    }
    (right, in_vain)
}

/// What lies there is imported where it can be, and nothing else is.
pub(crate) async fn judge(
    world: &World,
    catalog: &dyn Catalog,
    bucket: BucketId,
    (provider, rows): (&Provider, &[ReplicaRow]),
) {
    let name = provider.name_text();
    let row_of =
        |path: &str| rows.iter().find(|row| row.backend.0 == provider.number() && row.path.as_str() == path);
    for (path, bytes) in provider.foreign() {
        let fits = bytes.len() as u64 <= provider.plan.put_bytes_max;
        match row_of(&path) {
            // One that was imported may have been replaced since by one that does not fit.
            Some(row) if path == OF_OTHERS || !fits && is_as_imported(catalog, provider, row).await => {
                world.violate(Law::Imported, format!("{path} on {name} was imported, and is not fit to be"));
            }
            // What was imported may have been replaced since.
            Some(_) => {}
            None if path == OF_OTHERS || !fits => {}
            None if locked(&world.imports.cut_short).contains(&provider.number()) => {}
            None => {
                let key = types::ObjectKey::parse(&path).expect("a short key");
                if catalog.locate(bucket, &key, Want::State).await.expect("the catalog answers").is_none() {
                    let what =
                        format!("{path} lies on {name}, no object has its name, and it was not imported");
                    world.violate(Law::Imported, what);
                }
            }
        }
    }
    let charged = catalog.charged().await.expect("the catalog answers");
    let charged = charged.iter().find(|(id, ..)| id.0 == provider.number()).map_or(0, |(.., bytes)| *bytes);
    if provider.quota().is_some_and(|quota| charged > quota) {
        let what = format!("{name} is charged for {charged} bytes, its quota is {:?}", provider.quota());
        world.violate(Law::Quota, what);
    }
    let query = ListQuery { bucket, prefix: String::new(), delimiter: None, after: None, limit: 1_000 };
    for line in catalog.list(&query).await.expect("the catalog answers").lines {
        let Listed::Object(object) = line else { continue };
        let key = object.key.as_str();
        if !(key.starts_with("key-") || key.starts_with(expiring::PREFIX)) {
            world.violate(Law::Imported, format!("there is an object {key}, which nobody may have made"));
        }
    }
}
