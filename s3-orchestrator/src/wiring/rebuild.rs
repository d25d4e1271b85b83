//! What a rebuild works on: the backends without a catalog, and a catalog in the making.

use std::sync::Arc;

use ::config::Config;
use catalog::sqlite::{Options, Rebuild, Sqlite};
use catalog::{BackendId, Identity, Rebuilt, Shipping};
use engine::{Place, Plan};
use format::shipped::ShippedName;
use runtime::{Chance, Clock};

use super::{StartError, backends};

/// All backends, opened and not attached: nothing is marked, nothing is made.
pub(crate) async fn places(config: &Config) -> Result<Vec<Place>, StartError> {
    let mut opened: Vec<Arc<dyn backend::Backend>> = Vec::new();
    for backend in &config.backends {
        opened.push(backends::open_unattached(backend, config, &Chance::from_os()).await?);
    }
    // Their numbers are those that the entries name; nothing here needs them.
    let ids = (1..).map(BackendId).take(opened.len()).collect();
    Ok(backends::places(config, opened, ids))
}

/// Rebuilds the catalog that the configuration names.
pub(crate) async fn run(
    config: &Config,
    places: &[Place],
    plan: &Plan,
    confirm_limits: bool,
    progress: impl FnMut(&ShippedName, usize, usize),
) -> Result<Rebuilt, StartError> {
    let path = &config.database.path;
    let identity = Identity { deployment: plan.deployment, epoch: plan.epoch };
    let rebuild = Box::new(Rebuild::begin(path, identity, &plan.source()).await?);
    let rebuilt = engine::rebuild(places, plan, rebuild, Clock::system().now(), progress).await?;
    if confirm_limits {
        Sqlite::open(path, Options::default()).await?.open_limits().await?;
    }
    Ok(rebuilt)
}
