//! The one table of the workers: when each steps, and what wakes it.

use std::time::Duration;

use engine::Engine;
use runtime::{Schedule, Supervisor};

use crate::{Reaper, Records, Release, Shipper};

/// How long what was doomed waits for more: one request to a backend deletes a thousand.
const GATHER_DOOMED: Duration = Duration::from_millis(50);
/// How often the reapers look without being woken. Whatever is due later they know by themselves.
const REAP_EVERY: Duration = Duration::from_secs(60);
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// How often the shipper looks whether there is something to ship.
const SHIP_EVERY: Duration = Duration::from_secs(1);

/// Starts all workers of an engine.
pub fn start(supervisor: &mut Supervisor, engine: &Engine) {
    let doomed = engine.doomed();

    let releases = engine.clone();
    let schedule = Schedule::every(REAP_EVERY).gathering(GATHER_DOOMED);
    doomed.wakes(&supervisor.add(schedule, move || Release::new(releases.clone())));

    for place in engine.places() {
        let (reaps, place) = (engine.clone(), place.clone());
        let schedule = Schedule::every(REAP_EVERY).gathering(GATHER_DOOMED);
        doomed.wakes(&supervisor.add(schedule, move || Reaper::new(reaps.clone(), &place)));
    }

    let forgets = engine.clone();
    supervisor.add(Schedule::every(FORGET_EVERY), move || Records::new(forgets.clone()));
}

/// Starts the worker that brings the journal to the backends, a file per `pace` at most.
pub fn start_shipper(supervisor: &mut Supervisor, engine: &Engine, pace: Duration) {
    let ships = engine.clone();
    supervisor.add(Schedule::every(SHIP_EVERY.max(pace)), move || Shipper::new(ships.clone(), pace));
}
