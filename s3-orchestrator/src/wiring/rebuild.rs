//! What a rebuild works on: the backends without a catalog, and a catalog in the making.

use std::sync::Arc;
use std::time::Duration;

use ::config::Config;
use catalog::sqlite::{Glance, Options, Rebuild, Sqlite};
use catalog::{BackendId, Catalog, Identity, Rebuilt};
use engine::{Engine, Found, Parts, Place, Plan, Settings, Step};
use format::shipped::ShippedName;
use runtime::{Chance, Clock, Ids};

use super::{StartError, backends};

/// Longer than any calendar: the catalog takes it for no time at all.
const FOR_EVER: Duration = Duration::MAX;

/// All backends, opened and not attached: nothing is marked, nothing is made.
pub(crate) async fn places(config: &Config) -> Result<Vec<Place>, StartError> {
    let mut opened: Vec<Arc<dyn backend::Backend>> = Vec::new();
    for backend in &config.backends {
        opened.push(backends::open_unattached(backend, config, &Chance::from_os()).await?);
    }
    // Their numbers are those that the entries name; nothing here needs them.
    let ids = (1..).map(BackendId).take(opened.len()).collect();
    Ok(backends::uncounted_places(config, opened, ids))
}

/// Reads all that a rebuild reads, and makes nothing.
pub(crate) async fn glance(
    places: &[Place],
    plan: &Plan,
    progress: impl FnMut(&ShippedName, usize, usize),
) -> Result<Rebuilt, StartError> {
    let now = Clock::system().now();
    Ok(engine::rebuild(places, plan, Box::new(Glance::default()), now, progress).await?)
}

/// Rebuilds the catalog that the configuration names.
pub(crate) async fn run(
    config: &Config,
    places: &[Place],
    plan: &Plan,
    confirm_limits: bool,
    progress: impl FnMut(&ShippedName, usize, usize),
) -> Result<(Rebuilt, Found), StartError> {
    let path = &config.database.path;
    let identity = Identity { deployment: plan.deployment, epoch: plan.epoch };
    let rebuild = Box::new(Rebuild::begin(path, identity, &plan.source()).await?);
    let rebuilt = engine::rebuild(places, plan, rebuild, Clock::system().now(), progress).await?;
    let catalog: Arc<dyn Catalog> = Arc::new(Sqlite::open(path, Options::default()).await?);
    if confirm_limits {
        catalog.open_limits().await?;
    }
    let found = take_in_strays(config, places, catalog).await?;
    Ok((rebuilt, found))
}

/// What lies on the backends and no row names: of blobs that the catalog knows it is replicas, once it is proved; all
/// else waits for the operator. What was acknowledged after the last segment is among it, and what never was.
async fn take_in_strays(
    config: &Config,
    places: &[Place],
    catalog: Arc<dyn Catalog>,
) -> Result<Found, StartError> {
    let (clock, chance) = (Clock::system(), Chance::from_os());
    let ids = Ids::new(clock.clone(), chance);
    let boot = ids.boot();
    catalog.begin_boot(boot, clock.now()).await?;
    let specs = super::specs(config);
    let backend_ids = catalog.sync_backends(&specs).await?;
    let places = places.iter().zip(backend_ids).map(|(place, id)| Place { id, ..place.clone() }).collect();
    // Only the operator ends this quarantine.
    let settings = Settings { quarantine_kept: FOR_EVER, ..super::settings(config) };
    let engine = Engine::new(Parts { catalog, places, boot, settings, clock, ids });
    let mut found = Found::default();
    for place in engine.places() {
        let mut run = match engine.begin_reconcile(place.id).await {
            Ok(run) => run,
            Err(error) => {
                eprintln!("backend {}: {error}; what lies there is looked at later", place.name());
                continue;
            }
        };
        while engine.reconcile_step(&mut run).await? == Step::MoreWork {}
        found.strays += run.found.strays;
        found.reclaimed += run.found.reclaimed;
    }
    Ok(found)
}
