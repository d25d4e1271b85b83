//! One life of the product's process: an engine with its workers on the catalog that the lives share.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backend::{Allowance, Backend, Meter, Retry, RetryOptions, Timeout, TimeoutOptions};
use catalog::sqlite::{MemoryFile, Options, Sqlite};
use catalog::{BackendSpec, Brake, Catalog, Decorated, Deployment, Instances, Ledger};
use engine::{Bucket, Engine, Grants, Parts, Place, Settings, Strategy};
use format::PathGrammar;
use futures::FutureExt;
use runtime::{Chance, Clock, Ids, Shutdown, Supervisor, Task, simulation};
use tokio::sync::oneshot;
use types::{BootId, BucketName, Traffic};

use crate::driver::SimBackend;
use crate::provider::{Provider, STALL_MS};
use crate::world::{World, locked};
use crate::{Deed, Law, Sign, imports, instances, limits, outage};

/// For how long a proof that this is the newest catalog serves deletes, at most until the next segment.
const PROOF_LASTS: Duration = Duration::from_secs(10);

/// A running process.
pub(crate) struct Process {
    world: Arc<World>,
    number: u64,
    pub(crate) boot: BootId,
    pub(crate) engine: Engine,
    pub(crate) catalog: Arc<Sqlite>,
    /// What it takes for the time.
    pub(crate) clock: Clock,
    /// The clock of its machine.
    pub(crate) machine: Clock,
    pub(crate) bucket: Bucket,
    requests: Mutex<BTreeMap<u64, Task<()>>>,
    next: AtomicU64,
    workers: Mutex<Option<Supervisor>>,
    tallied: Mutex<BTreeMap<Deed, u64>>,
    grants: Mutex<Option<Arc<Grants>>>,
}

/// Which start of which process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    /// The number of the process, from 1 on.
    pub(crate) number: u64,
    /// Numbers its starts.
    pub(crate) life: u64,
    /// How wrong its clock is.
    pub(crate) skew_ms: i64,
}

/// The catalog as processes find it.
#[derive(Clone)]
pub(crate) enum Origin {
    /// A file that one process owns.
    Own(MemoryFile),
    /// A server that several share.
    Shared(Arc<Sqlite>),
}

impl Origin {
    /// The catalog, and the time that a process on it tells. Who owns it has the time of its own machine; who shares
    /// it has the catalog's.
    async fn open(&self, machine: &Clock) -> (Arc<Sqlite>, Clock) {
        match self {
            Self::Own(file) => {
                let options = Options { clock: machine.clone(), ..Options::default() };
                (Arc::new(file.open_with(options).unwrap()), machine.clone())
            }
            Self::Shared(catalog) => {
                let server: Arc<dyn Catalog> = Arc::clone(catalog) as Arc<dyn Catalog>;
                let server = Decorated::new(server, instances::Distant);
                let clock = until_answered(|| engine::common_time(&server, machine)).await;
                (Arc::clone(catalog), clock)
            }
        }
    }
}

/// Nobody answered: the process is not there, or went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

impl Process {
    /// Starts on what the one before left.
    pub(crate) async fn start(
        world: &Arc<World>,
        origin: &Origin,
        providers: &[Arc<Provider>],
        start: Start,
    ) -> Self {
        let Start { number, life, skew_ms } = start;
        world.lives.fetch_add(1, Ordering::Relaxed);
        let machine = Clock::simulated(world.true_now());
        machine.set_skew_ms(skew_ms);
        let seed = world.plan.seed.wrapping_mul(0x9e37_79b9);
        let chance = Chance::seeded(seed ^ (life << 40) ^ (number.wrapping_sub(1) << 56));
        let (catalog, clock) = origin.open(&machine).await;
        let ids = Ids::new(clock.steady(), chance.clone());
        limits::note_rest(world, &*catalog, providers).await;
        let boot = ids.boot();
        // A start goes on until the catalog answers.
        let specs: Vec<BackendSpec> = world.plan.backends.iter().zip(providers).map(spec).collect();
        let backend_ids = until_answered(|| catalog.sync_backends(&specs)).await;
        let joined_at = runtime::instant_now();
        match origin {
            Origin::Own(_) => until_answered(|| catalog.begin_boot(boot, clock.now())).await,
            Origin::Shared(_) => until_answered(|| catalog.join(boot, clock.now())).await,
        }
        let name = [BucketName::parse("bucket").unwrap()];
        let buckets = until_answered(|| catalog.sync_buckets(&name, clock.now())).await;
        let [name] = name;
        let guarded = outage::guard_catalog(world, Arc::clone(&catalog) as Arc<dyn Catalog>, &chance);
        let grants = limits::keep(world, providers, Arc::clone(&guarded), (boot, &clock)).map(Arc::new);
        limits::learn_the_time(grants.as_deref()).await;
        let place = |(provider, id): (&Arc<Provider>, catalog::BackendId)| {
            provider.set_number(id.0);
            let allowance = grants.as_ref().and_then(|grants| grants.allowances().get(provider.index));
            place(world, provider, id, (allowance, &chance))
        };
        let places: Vec<Place> = providers.iter().zip(backend_ids).map(place).collect();
        if grants.is_some() {
            look_at_markers(&places).await;
        }
        let engine = Engine::new(Parts {
            catalog: guarded,
            places,
            boot,
            settings: settings(world),
            clock: clock.clone(),
            ids,
        });
        let mut supervisor = Supervisor::new(clock.clone(), chance, Shutdown::new());
        if let Some(catalogs) = &world.plan.catalogs {
            engine.delete_nothing_before_proof(PROOF_LASTS);
            engine.delete_nothing_unshipped();
            // Where nobody answers now, the shipper asks again.
            let _ = engine.prove_newest(None).await;
            workers::start_shipper(&mut supervisor, &engine, Duration::from_millis(catalogs.pace_ms));
        }
        workers::start(&mut supervisor, &engine);
        if matches!(origin, Origin::Shared(_)) {
            instances::start_heart(&mut supervisor, &engine, world, (number, joined_at));
        }
        let bucket = Bucket { id: buckets[0], name };
        world.plan.workers.start(&mut supervisor, &engine, &bucket, providers);
        if world.plan.imports.is_some() {
            let imports = engine.clone();
            let every = runtime::Schedule::every(imports::IMPORT_EVERY);
            supervisor.add(every, move || workers::Importer::new(imports.clone()));
        }
        if let Some(brake) = world.plan.workers.brake() {
            until_answered(|| catalog.set_brake(brake)).await;
        }
        Self {
            world: Arc::clone(world),
            number,
            boot,
            engine,
            catalog,
            clock,
            machine,
            bucket,
            tallied: Mutex::default(),
            requests: Mutex::default(),
            next: AtomicU64::new(0),
            workers: Mutex::new(Some(supervisor)),
            grants: Mutex::new(grants),
        }
    }

    /// What it may still do with its backends, where that is limited.
    pub(crate) fn grants(&self) -> Option<Arc<Grants>> {
        locked(&self.grants).clone()
    }

    /// Lets a request run in the process. Dropping this is a client that goes away; when the process dies first,
    /// nobody answers.
    pub(crate) async fn request<T, F>(self: &Arc<Self>, work: F) -> Result<T, Broken>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let world = Arc::clone(&self.world);
        let work = async move {
            match AssertUnwindSafe(work).catch_unwind().await {
                // The client may be gone.
                Ok(answer) => drop(reply.send(answer)),
                Err(_) => world.violate(Law::Answered, "a request panicked"),
            }
        };
        let task = runtime::spawn(simulation::belonging(self.number, work));
        locked(&self.requests).insert(number, task);
        let _connection = Connection { process: Arc::clone(self), number };
        answer.await.map_err(|_| Broken)
    }

    /// All rows of the ledger.
    pub(crate) async fn catalog_rows(&self) -> Result<Vec<catalog::ReplicaRow>, catalog::CatalogError> {
        self.catalog.replicas(None, u32::MAX).await
    }

    /// Writes down what its workers did since the last time.
    pub(crate) fn tally(&self) {
        let (upkeep, fleet) = (self.engine.upkeep(), self.engine.fleet_counts());
        let now = [
            (Deed::Repaired, upkeep.made - upkeep.stood_in),
            (Deed::StoodIn, upkeep.stood_in),
            (Deed::RepairPutOff, upkeep.failed),
            (Deed::Trimmed, upkeep.trimmed),
            (Deed::Scrubbed, upkeep.scrubbed),
            (Deed::ScrubFound, upkeep.scrub_errors),
            (Deed::Drained, fleet.drain_moved),
            (Deed::Rebalanced, fleet.rebalance_moved),
            (Deed::StrayQuarantined, fleet.strays),
            (Deed::Reclaimed, fleet.reclaimed),
            (Deed::VanishedFound, fleet.vanished),
            (Deed::Expired, fleet.expired),
            (Deed::DeclaredDead, fleet.buried),
        ];
        let mut tallied = locked(&self.tallied);
        for (deed, times) in now {
            let before = tallied.insert(deed, times).unwrap_or(0);
            self.world.did(deed, times - before);
            if deed == Deed::Repaired && times > before {
                self.saw_repairs();
            }
        }
    }

    /// Notes that it repaired although something held it up.
    fn saw_repairs(&self) {
        if locked(&self.grants).is_some() {
            self.world.saw(Sign::RepairedWithinLimits);
        }
        if self.world.plan.breakers.is_some() {
            self.world.saw(Sign::RepairedBehindBreakers);
        }
    }

    /// Whether it was ended, or is about to be.
    pub(crate) fn is_dead(&self) -> bool {
        self.world.is_killed(self.number) || locked(&self.workers).is_none()
    }

    /// Ends everything where it stands.
    pub(crate) fn kill(&self) {
        self.tally();
        let requests = std::mem::take(&mut *locked(&self.requests));
        let workers = locked(&self.workers).take();
        let grants = locked(&self.grants).take();
        drop((requests, workers, grants));
    }
}

/// A client's connection: the request ends with it.
struct Connection {
    process: Arc<Process>,
    number: u64,
}

impl Drop for Connection {
    fn drop(&mut self) {
        let task = locked(&self.process.requests).remove(&self.number);
        drop(task);
    }
}

fn spec((plan, provider): (&crate::BackendPlan, &Arc<Provider>)) -> BackendSpec {
    BackendSpec { name: provider.name().clone(), late_arrival_ms: plan.late_ms }
}

/// A backend as the engine uses it: requests of clients and our own draw on shares of their own, behind one breaker.
fn place(
    world: &Arc<World>,
    provider: &Arc<Provider>,
    id: catalog::BackendId,
    (allowance, chance): (Option<&Arc<Allowance>>, &Chance),
) -> Place {
    let guard = outage::Guard::new(world, provider, chance);
    let backend = |traffic| {
        let inner = decorated(provider, chance, allowance, traffic);
        guard.as_ref().map_or(Arc::clone(&inner), |guard| guard.around(inner))
    };
    let place = Place::new(id, backend(Traffic::Client), PathGrammar::new(""));
    Place {
        quota: provider.quota(),
        maintenance: backend(Traffic::Maintenance),
        allowance: allowance.map_or_else(|| Arc::clone(&place.allowance), Arc::clone),
        ..place
    }
}

/// As the product decorates its drivers, with times of a small world.
pub(crate) fn decorated(
    provider: &Arc<Provider>,
    chance: &Chance,
    allowance: Option<&Arc<Allowance>>,
    traffic: Traffic,
) -> Arc<dyn Backend> {
    let mut driver: Arc<dyn Backend> = Arc::new(SimBackend::new(provider, traffic));
    if let Some(allowance) = allowance {
        let meter = Meter::new(driver, Arc::new(limits::Attempts(Arc::clone(provider))));
        driver = Arc::new(meter.covered_by(Arc::clone(allowance), traffic));
    }
    let options =
        TimeoutOptions { answer: Duration::from_secs(4), stall: Duration::from_secs(4), rate_bytes_min: 0 };
    let bounded = Arc::new(Timeout::new(driver, options));
    Arc::new(Retry::new(bounded, RetryOptions::default(), chance.clone()))
}

/// A start looks whether its backends are there, and goes on whatever they say: it knew them before.
async fn look_at_markers(places: &[Place]) {
    let looks = places.iter().map(|place| place.maintenance.list(".s3-orchestrator/marker/", None));
    drop(futures::future::join_all(looks).await);
}

fn settings(world: &World) -> Settings {
    let plan = &world.plan;
    Settings {
        strategy: if plan.spread { Strategy::Spread } else { Strategy::Pack },
        factor: world.factor.now(),
        ack_replicas: plan.ack_replicas.min(world.factor.now()),
        window_bytes: plan.window_bytes,
        memory_budget_bytes: plan.budget_bytes,
        stall_timeout: Duration::from_millis(STALL_MS),
        part_bytes_min: 1,
        ..Settings::default()
    }
}

/// Asks again while the answer gets lost.
async fn until_answered<T, F>(mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, catalog::CatalogError>>,
{
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(catalog::CatalogError::Unknown(_) | catalog::CatalogError::Unavailable(_)) => {}
            Err(error) => panic!("a process cannot start: {error}"),
        }
    }
}
