//! The section of a plan about several instances on one catalog: how many, and which of them stand still for a while, as
//! a process does that gets SIGSTOP, or whose machine is suspended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use catalog::{Around, CatalogError, Verb};
use engine::Engine;
use runtime::{Chance, Instant, Supervisor};
use workers::HeartOptions;

use crate::world::{World, locked};
use crate::{Deed, Fault, Law};

/// How instances tell each other that they live.
const BEAT_EVERY: Duration = Duration::from_secs(5);
/// Who is silent for so long is dead.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// So wrong the clock of a machine is at most: a time zone that was taken for another.
const SKEW_MAX_MS: u64 = 3 * 3_600_000;

/// Several instances.
#[derive(Debug, Clone)]
pub struct InstancesPlan {
    /// How many there are: two at least.
    pub number: u64,
    /// Which stand still, and when.
    pub stops: Vec<Stop>,
    /// How wrong the clock of each one's machine is, in milliseconds.
    pub skews_ms: Vec<i64>,
}

/// An instance stands still.
#[derive(Debug, Clone, Copy)]
pub struct Stop {
    /// Which.
    pub instance: u64,
    /// From when, in milliseconds of the run.
    pub at_ms: u64,
    /// For how long.
    pub for_ms: u64,
}

impl InstancesPlan {
    pub(crate) fn draw(chance: &Chance) -> Self {
        let number = 2 + chance.below(2);
        let stop = |_| Stop {
            instance: chance.below(number),
            at_ms: chance.below(8_000),
            // Most for longer than a lease.
            for_ms: if chance.below(3) == 0 { chance.below(20_000) } else { 28_000 + chance.below(60_000) },
        };
        Self { number, stops: (0..1 + chance.below(3)).map(stop).collect(), skews_ms: Vec::new() }
    }

    /// Clocks of machines that have nothing to do with each other.
    pub(crate) fn draw_skews(&mut self, chance: &Chance) {
        let skew = |_| match chance.below(3) {
            0 => 0,
            _ => i64::try_from(chance.below(2 * SKEW_MAX_MS)).expect("hours fit") - SKEW_MAX_MS.cast_signed(),
        };
        self.skews_ms = (0..self.number).map(skew).collect();
    }

    /// How wrong the first clock of this process is.
    pub(crate) fn skew_ms(&self, process: u64) -> i64 {
        let index = usize::try_from(process - 1).expect("few");
        self.skews_ms.get(index).copied().unwrap_or(0)
    }

    /// How long it takes until the last one goes on and is known to be dead.
    pub(crate) fn ends_ms(&self) -> u64 {
        self.stops.iter().map(|stop| stop.at_ms + stop.for_ms).max().unwrap_or(0)
    }
}

/// Which processes stand still, and which did for so long that others may take them for dead.
#[derive(Default)]
pub(crate) struct Stopped {
    now: Mutex<BTreeMap<u64, Vec<Waker>>>,
    silent: Mutex<BTreeSet<u64>>,
}

impl Stopped {
    /// Whether it stands still; it is woken when it goes on.
    pub(crate) fn holds(&self, process: u64, waker: &Waker) -> bool {
        let mut now = locked(&self.now);
        let Some(waiting) = now.get_mut(&process) else { return false };
        waiting.push(waker.clone());
        true
    }

    /// Whether others may have taken it for dead.
    pub(crate) fn was_silent(&self, process: u64) -> bool {
        locked(&self.silent).contains(&process)
    }

    /// Another process has its number from now on.
    pub(crate) fn forget(&self, process: u64) {
        locked(&self.silent).remove(&process);
        self.go_on(process);
    }

    /// Who is dead knows it by now.
    pub(crate) fn all_know(&self) {
        locked(&self.silent).clear();
    }

    fn stop(&self, process: u64) {
        locked(&self.now).entry(process).or_default();
    }

    fn go_on(&self, process: u64) {
        let waiting = locked(&self.now).remove(&process);
        waiting.into_iter().flatten().for_each(Waker::wake);
    }
}

/// A catalog that questions and answers take their time to reach.
pub(crate) struct Distant;

impl Around for Distant {
    async fn around<T: Send>(
        &self,
        _: Verb,
        run: impl Future<Output = Result<T, CatalogError>> + Send,
    ) -> Result<T, CatalogError> {
        runtime::simulation::point("catalog.question").await;
        let answer = run.await;
        runtime::simulation::point("catalog.answer").await;
        answer
    }
}

/// Lets an instance stand still when it is time.
pub(crate) async fn stop(world: Arc<World>, stop: Stop) {
    let process = stop.instance + 1;
    runtime::sleep(Duration::from_millis(stop.at_ms)).await;
    world.event(format_args!("instance {} stands still for {} ms", stop.instance, stop.for_ms));
    world.count(Fault::InstanceStopped);
    world.stopped.stop(process);
    let for_long = Duration::from_millis(stop.for_ms);
    // Its last heartbeat may have been some time before.
    if for_long + BEAT_EVERY * 3 >= LEASE {
        locked(&world.stopped.silent).insert(process);
    }
    runtime::sleep(for_long).await;
    world.event(format_args!("instance {} goes on", stop.instance));
    world.stopped.go_on(process);
}

/// Starts the worker by which an instance shows that it lives.
pub(crate) fn start_heart(
    supervisor: &mut Supervisor,
    engine: &Engine,
    world: &Arc<World>,
    (process, joined_at): (u64, Instant),
) {
    let world = Arc::clone(world);
    let on_death = move |silent_for: Duration| {
        world.event(format_args!("process {process} learns that it was declared dead"));
        if silent_for < LEASE {
            let what = format!("process {process} was declared dead {silent_for:?} after its last heartbeat");
            world.violate(Law::Lived, what);
        }
        world.did(Deed::ZombieReturned, 1);
        world.end(process);
    };
    let options =
        HeartOptions { interval: BEAT_EVERY, lease: LEASE, joined_at, on_death: Arc::new(on_death) };
    workers::start_heart(supervisor, engine, &options);
}
