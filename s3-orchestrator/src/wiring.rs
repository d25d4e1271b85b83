//! The composition root: the one place that names concrete types.
//!
//! From a configuration to everything that serves: catalog, backends with their decorators, engine, gateway.

mod backends;
mod fleet;
mod limits;
mod pace;
pub(crate) mod rebuild;
mod s3;
mod standby;
mod upkeep;

pub(crate) use s3::trusted_proxies;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use ::config::{Backend as BackendConfig, Config};
use catalog::sqlite::{Options, Sqlite, WhenHeld};
use catalog::{BackendSpec, Breakers, Catalog, CatalogError, CircuitBreaker};
use engine::{Bucket, Engine, Grants, Parts, Settings, Strategy};
use gateway::Gateway;
use runtime::{Breaker, BreakerOptions, Chance, Clock, Ids, Shutdown, Supervisor, Task};
use types::{BackendName, BucketName};

use crate::memory;
use crate::metrics::Metrics;

/// Everything that serves.
pub(crate) struct House {
    /// Answers S3 requests.
    pub gateway: Gateway,
    /// Says whether it may still write.
    pub engine: Engine,
    /// What the admin API is about.
    pub admin: admin::House,
    /// Works in the background until it is dropped.
    pub background: Background,
    /// Know whether the catalog answers.
    pub catalog: Breakers,
}

/// What works in the background, and the file of the catalog that it works on.
pub(crate) struct Background {
    tasks: Vec<Task<()>>,
    grants: Arc<Grants>,
    supervisor: Option<Supervisor>,
    catalog: Arc<Sqlite>,
}

/// This catalog is not the newest of its deployment, or may not be: nothing is served from it. The text says
/// why, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Frozen(pub(crate) String);

/// Why there is no house. One line, for the operator.
pub(crate) type StartError = Box<dyn std::error::Error + Send + Sync>;

/// Puts it together. May wait, for as long as another process owns the catalog.
pub(crate) async fn build(
    config: &Config,
    metrics: &Metrics,
    shutdown: &Shutdown,
    level: Arc<dyn admin::LogLevel>,
) -> Result<House, StartError> {
    let clock = Clock::system();
    let chance = Chance::from_os();
    // A clock that is set may not let records expire before their time.
    let ids = Ids::new(clock.steady(), chance.clone());
    let file = open_catalog(config, &ids).await?;
    let (catalog, breakers) = guard(Arc::<Sqlite>::clone(&file), config, metrics, &chance);
    let identity = catalog.identity().await?;
    // Whatever is in the catalog was attached before it got there: see `attach` below.
    let known: HashSet<BackendName> = catalog.charged().await?.into_iter().map(|(_, name, _)| name).collect();
    // Before anything is sent: each request to a backend is covered by a grant, and that has an owner.
    let boot = ids.boot();
    catalog.begin_boot(boot, clock.now()).await?;
    let grants = Arc::new(limits::keep(config, &catalog, boot, &clock));
    metrics.usage.connect(Arc::clone(&grants));
    let opener = backends::Opener {
        identity,
        known,
        chance: chance.clone(),
        metrics: Arc::clone(&metrics.backends),
        breakers: Arc::clone(&metrics.breakers),
        patience: config.server.backend_timeout,
    };
    let opener = Arc::new(opener);
    opener.refuse_lost_catalog(config, grants.allowances()).await?;
    let (opened, tasks) = opener.open_all(config, grants.allowances()).await?;
    let specs = specs(config);
    let backend_ids = catalog.sync_backends(&specs).await?;
    let names: Vec<BucketName> = config.buckets.iter().map(|bucket| bucket.name.clone()).collect();
    let bucket_ids = catalog.sync_buckets(&names, clock.now()).await?;
    let buckets: Vec<Bucket> =
        names.into_iter().zip(&bucket_ids).map(|(name, id)| Bucket { id: *id, name }).collect();
    let places = backends::places(config, opened, backend_ids, grants.allowances());
    let settings = settings(config);
    tracing::info!(
        deployment = %identity.deployment,
        boot = %boot,
        backends = places.len(),
        buckets = bucket_ids.len(),
        memory_budget_bytes = settings.memory_budget_bytes,
        "this is {}", config.deployment
    );
    metrics.ledger.connect(Arc::clone(&catalog), quotas(config));
    let engine = Engine::new(Parts { catalog, places, boot, settings, clock: clock.clone(), ids });
    let pace = pace::of(config);
    engine.delete_nothing_before_proof(pace);
    engine.delete_nothing_unshipped();
    engine.prove_newest(None).await?;
    if let Some(reason) = engine.frozen() {
        return Err(Frozen(reason.to_string()).into());
    }
    metrics.journal.connect(engine.clone());
    let mut supervisor = Supervisor::new(clock.clone(), chance.clone(), shutdown.clone());
    workers::start(&mut supervisor, &engine);
    engine.set_brake(upkeep::brake(config)).await?;
    workers::start_upkeep(&mut supervisor, &engine, &upkeep::upkeep(config, &engine, &metrics.upkeep));
    metrics.upkeep.connect(engine.clone(), fleet::strategy(config));
    workers::start_shipper(&mut supervisor, &engine, pace);
    workers::start_fleet(&mut supervisor, &engine, &fleet::options(config, &buckets, &metrics.upkeep));
    metrics.fleet.connect(engine.clone(), fleet::strategy(config));
    metrics.workers.connect(supervisor.workers());
    let directory = s3::directory(config, bucket_ids, identity.deployment.timestamp())?;
    let observer = Arc::clone(&metrics.requests) as Arc<dyn gateway::Observer>;
    let admin = admin::House {
        engine: engine.clone(),
        grants: Arc::clone(&grants),
        workers: supervisor.workers(),
        buckets,
        level,
        clock: clock.clone(),
    };
    let gateway = Gateway::new(engine.clone(), directory, s3::options(config), (clock, chance), observer);
    let background = Background { tasks, supervisor: Some(supervisor), grants, catalog: file };
    Ok(House { gateway, engine, admin, background, catalog: breakers })
}

impl Background {
    /// Stops everything where it stands: each step is safe to be cut off. What was granted and is not spent
    /// is handed back.
    pub(crate) async fn stop(&mut self) {
        self.tasks.clear();
        self.supervisor = None;
        self.grants.stop().await;
    }

    /// Closes the catalog, whoever still holds it: its file alone has everything then.
    pub(crate) async fn close(self) -> Result<(), CatalogError> {
        self.catalog.close().await
    }
}

async fn open_catalog(config: &Config, ids: &Ids) -> Result<Arc<Sqlite>, StartError> {
    let options = Options { when_held: WhenHeld::Wait, deployment: ids.deployment(), ..Options::default() };
    Ok(Arc::new(Sqlite::open(&config.database.path, options).await?))
}

/// Leaves the catalog alone while it is gone.
fn guard(
    catalog: Arc<dyn Catalog>,
    config: &Config,
    metrics: &Metrics,
    chance: &Chance,
) -> (Arc<dyn Catalog>, Breakers) {
    let settings = &config.circuit_breaker;
    let breaker = |name| {
        let options = BreakerOptions {
            failures_max: settings.failure_threshold,
            open_for: settings.open_timeout,
            ..BreakerOptions::default()
        };
        let watch = Arc::clone(&metrics.breakers) as Arc<dyn runtime::BreakerWatch>;
        let breaker = Breaker::new(name, options, chance.clone(), watch);
        metrics.breakers.follow(&breaker);
        breaker
    };
    // The first name is the one that dashboards know.
    let breakers = Breakers { reads: breaker("database"), writes: breaker("database_writes") };
    metrics.degraded.watch(breakers.clone());
    (Arc::new(CircuitBreaker::new(catalog, breakers.clone())), breakers)
}

fn specs(config: &Config) -> Vec<BackendSpec> {
    let pace = pace::of(config);
    let spec = |backend: &BackendConfig| {
        let late_arrival = pace::late_arrival(backend.late_arrival_bound, pace);
        let late_arrival_ms = u64::try_from(late_arrival.as_millis()).unwrap_or(u64::MAX);
        BackendSpec { name: backend.name.clone(), late_arrival_ms }
    };
    config.backends.iter().map(spec).collect()
}

fn quotas(config: &Config) -> BTreeMap<BackendName, u64> {
    config.backends.iter().filter_map(|backend| Some((backend.name.clone(), backend.quota()?))).collect()
}

fn settings(config: &Config) -> Settings {
    let (server, resilience) = (&config.server, &config.circuit_breaker);
    let strategy = match config.routing_strategy {
        ::config::Strategy::Pack => Strategy::Pack,
        ::config::Strategy::Spread => Strategy::Spread,
    };
    let defaults = Settings::default();
    let enforced = config.write_path.multipart.enforce_min_part_size;
    Settings {
        strategy,
        factor: config.replication.factor,
        ack_replicas: config.write_path.ack_replicas,
        window_bytes: server.body_window.bytes(),
        memory_budget_bytes: memory::budget_bytes(server),
        stall_timeout: config.write_path.stall_timeout,
        part_bytes_min: if enforced { defaults.part_bytes_min } else { 0 },
        object_bytes_max: Some(server.max_object_size.bytes()),
        remembered_bytes: if resilience.degraded_reads_enabled { resilience.cache_size.bytes() } else { 0 },
        ..defaults
    }
}
