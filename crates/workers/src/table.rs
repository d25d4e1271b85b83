//! The one table of the workers: when each steps, and what wakes it.

use std::sync::Arc;
use std::time::Duration;

use engine::{Engine, RepairOptions};
use runtime::{Schedule, Supervisor};

use crate::fleet::NEVER;
use crate::{
    Factor, Gone, Heart, HeartOptions, Observer, ProofAges, Reaper, Reclaim, Records, Release, Repair, Scrub,
    ScrubOptions, Shipper, StandIn, Trim,
};

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

/// How long what came to be short waits for more.
const GATHER_SHORT: Duration = Duration::from_millis(500);
/// How often it is looked which backends are gone, at least.
const LOOK_WHO_IS_GONE_EVERY: Duration = Duration::from_secs(60);
/// A walk over ten million replicas takes some seconds of one core.
const LOOK_AT_PROOFS_EVERY: Duration = Duration::from_hours(6);
/// The factor changes with a restart only, and the first step comes at once, and when an instance died.
const MARK_EVERY: Duration = Duration::from_hours(24);

/// What keeps the replicas as they should be.
#[derive(Clone)]
pub struct Upkeep {
    /// How repair goes about it.
    pub repair: RepairOptions,
    /// How often repair and trimming look without being woken.
    pub interval: Duration,
    /// How replicas are proved.
    pub scrub: ScrubOptions,
    /// Whether they are by themselves. If not, an operator may ask for it.
    pub scrubs: bool,
    /// Which backends count as not having their replicas.
    pub gone: Gone,
    /// Who is told of runs.
    pub observer: Arc<dyn Observer>,
}

/// Starts the workers that keep the replicas of an engine as they should be.
pub fn start_upkeep(supervisor: &mut Supervisor, engine: &Engine, upkeep: &Upkeep) {
    let marks = engine.clone();
    let mark = supervisor.add(Schedule::every(MARK_EVERY), move || Factor::new(marks.clone()));
    engine.unmarked().wakes(&mark);

    let (repairs, with) = (engine.clone(), upkeep.clone());
    let schedule = Schedule::every(upkeep.interval).gathering(GATHER_SHORT);
    let repair = supervisor.add(schedule, move || {
        Repair::new(repairs.clone(), with.repair, Arc::clone(&with.gone), Arc::clone(&with.observer))
    });
    engine.short().wakes(&repair);

    let (stands, with) = (engine.clone(), upkeep.clone());
    let every = upkeep.interval.min(LOOK_WHO_IS_GONE_EVERY);
    supervisor.add(Schedule::every(every), move || {
        StandIn::new(stands.clone(), with.repair, Arc::clone(&with.gone), every)
    });

    let (trims, with) = (engine.clone(), upkeep.clone());
    supervisor.add(Schedule::every(upkeep.interval), move || {
        Trim::new(trims.clone(), Arc::clone(&with.gone), Arc::clone(&with.observer))
    });

    let reclaims = engine.clone();
    supervisor.add(Schedule::every(upkeep.interval), move || Reclaim::new(reclaims.clone()));

    let ages = engine.clone();
    supervisor.add(Schedule::every(LOOK_AT_PROOFS_EVERY), move || ProofAges::new(ages.clone()));

    let (scrubs, mut options) = (engine.clone(), upkeep.scrub);
    let mut schedule = Schedule::every(options.interval);
    if !upkeep.scrubs {
        options.interval = NEVER;
        schedule = Schedule::every(NEVER).first_within(NEVER);
    }
    supervisor.add(schedule, move || Scrub::new(scrubs.clone(), options));
}

/// Starts the worker by which one of several instances shows that it lives.
pub fn start_heart(supervisor: &mut Supervisor, engine: &Engine, options: &HeartOptions) {
    let (beats, options) = (engine.clone(), options.clone());
    supervisor.add(Schedule::every(options.interval), move || Heart::new(beats.clone(), options.clone()));
}

/// Starts the worker that brings the journal to the backends, a file per `pace` at most.
pub fn start_shipper(supervisor: &mut Supervisor, engine: &Engine, pace: Duration) {
    let ships = engine.clone();
    supervisor.add(Schedule::every(SHIP_EVERY.max(pace)), move || Shipper::new(ships.clone(), pace));
}
