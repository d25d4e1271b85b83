//! The table of fleet work: when each worker steps. Work that the configuration did not switch on is done when an
//! operator asks for it.

use std::sync::Arc;
use std::time::Duration;

use engine::{Balance, Engine, ExpiryRule};
use runtime::{Schedule, Supervisor};

use crate::{Drain, Importer, Lifecycle, Observer, Quarantine, Rebalance, Reconcile, Uploads};

/// How often it is looked whether something drains. Who starts a drain wakes the worker as well.
const DRAIN_EVERY: Duration = Duration::from_secs(60);
const EXPIRE_EVERY: Duration = Duration::from_secs(3600);
/// Work for which nothing but a trigger is due.
pub(crate) const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// The first run of work that is done every few hours comes within this time, or no process would ever do it that is
/// restarted sooner; but not at once, or one that crashes in a loop would do nothing else.
const FIRST_WITHIN: Duration = Duration::from_secs(600);

/// What fleet work the configuration asks for.
#[derive(Clone)]
pub struct FleetOptions {
    /// What rebalancing is to reach.
    pub balance: Balance,
    /// How often it is done; `None`: when asked for.
    pub rebalance_every: Option<Duration>,
    /// Which objects expire.
    pub expiry: Vec<ExpiryRule>,
    /// Objects looked at in one transaction.
    pub expiry_batch: u32,
    /// Uploads that nobody went on with for this long are aborted.
    pub upload_idle: Duration,
    /// How often backends are compared with the ledger; `None`: when asked for.
    pub reconcile_every: Option<Duration>,
    /// Who is told of runs.
    pub observer: Arc<dyn Observer>,
}

/// Starts the workers of fleet work.
pub fn start_fleet(supervisor: &mut Supervisor, engine: &Engine, options: &FleetOptions) {
    let drains = engine.clone();
    supervisor.add(Schedule::every(DRAIN_EVERY), move || Drain::new(drains.clone()));

    let (rebalances, with) = (engine.clone(), options.clone());
    let schedule = seldom(options.rebalance_every);
    supervisor
        .add(schedule, move || Rebalance::new(rebalances.clone(), with.balance, Arc::clone(&with.observer)));

    for place in engine.places() {
        let (compares, place) = (engine.clone(), place.clone());
        let schedule = seldom(options.reconcile_every);
        supervisor.add(schedule, move || Reconcile::new(compares.clone(), &place));
    }

    let imports = engine.clone();
    supervisor.add(seldom(None), move || Importer::new(imports.clone()));

    let judges = engine.clone();
    supervisor.add(Schedule::every(EXPIRE_EVERY), move || Quarantine::new(judges.clone()));

    let (aborts, idle) = (engine.clone(), options.upload_idle);
    supervisor.add(Schedule::every(EXPIRE_EVERY.min(idle)), move || Uploads::new(aborts.clone(), idle));

    if !options.expiry.is_empty() {
        let (expires, with) = (engine.clone(), options.clone());
        let make = move || {
            let observer = Arc::clone(&with.observer);
            Lifecycle::new(expires.clone(), with.expiry.clone(), with.expiry_batch, observer)
        };
        supervisor.add(Schedule::every(EXPIRE_EVERY), make);
    }
}

fn seldom(every: Option<Duration>) -> Schedule {
    let every = every.unwrap_or(NEVER);
    Schedule::every(every).first_within(if every == NEVER { NEVER } else { every.min(FIRST_WITHIN) })
}
