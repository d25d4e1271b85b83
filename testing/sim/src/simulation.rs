//! One run: the world is set up, clients do what they do, the process dies and comes back, and in the end, when all
//! is quiet, everything is judged.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use catalog::sqlite::{MemoryFile, Options};
use catalog::{Instances, Ledger, ReplicaState};
use engine::Engine;
use runtime::simulation::{self, Director, Pause};
use runtime::{Chance, Clock, Task};
use types::{BackendName, DeploymentId, Timestamp};

use crate::body::CHUNK_BYTES_MAX;
use crate::client::Client;
use crate::history::{self, Verdict};
use crate::laws::{self, Law, Violation};
use crate::process::{Origin, Process, Start};
use crate::provider::Provider;
use crate::world::{World, locked};
use crate::{
    Deed, Event, Fault, Plan, Sign, catalogs, expiring, factors, imports, instances, limits, operator,
    restored,
};

/// No client takes longer than this for all that it does.
const CLIENTS_END_WITHIN: Duration = Duration::from_secs(3 * 3600);
/// After the last fault a breaker that is open closes within this time, for one request that finds out is enough.
const ALL_IS_BACK_WITHIN: Duration = Duration::from_secs(20);
/// After the last fault it is quiet within this time: the longest wait between two deletes, twice.
const QUIET_WITHIN: Duration = Duration::from_secs(3 * 3600);

/// A run to be.
pub struct Simulation {
    world: Arc<World>,
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The hash of everything that happened: equal for equal runs.
    pub hash: u64,
    /// What was broken.
    pub violations: Vec<Violation>,
    /// How often each fault really happened.
    pub counts: BTreeMap<Fault, u64>,
    /// What workers and an operator did, and how often.
    pub deeds: BTreeMap<Deed, u64>,
    /// What limits, breakers and outages led to, and how often.
    pub signs: BTreeMap<Sign, u64>,
    /// Everything that happened, where it was asked for.
    pub lines: Vec<String>,
    /// Calls of clients that are in the history.
    pub calls: usize,
    /// Keys whose history was too long to be judged.
    pub unjudged: usize,
}

/// What outlives a process.
struct Ground {
    world: Arc<World>,
    origin: Mutex<Origin>,
    providers: Vec<Arc<Provider>>,
    /// By their number, less one.
    processes: Vec<Mutex<Option<Arc<Process>>>>,
}

/// The process that runs now.
#[derive(Clone)]
pub(crate) struct Site(Arc<Ground>);

impl Site {
    pub(crate) fn world(&self) -> &Arc<World> {
        &self.0.world
    }

    pub(crate) fn providers(&self) -> &[Arc<Provider>] {
        &self.0.providers
    }

    pub(crate) fn process(&self) -> Option<Arc<Process>> {
        let world = &self.0.world;
        let number = match world.plan.processes() {
            1 => 1,
            processes => 1 + world.chance.below(processes),
        };
        // Who asks for one that stands still finds another, in the end.
        let answers = |number: &u64| {
            !(world.is_killed(*number) || world.is_calm() && world.stopped.was_silent(*number))
        };
        self.0.slot(number).clone().filter(|_| answers(&number))
    }
}

/// Directs a thread as the world says.
struct Directed(Arc<World>);

impl Director for Directed {
    fn pause(&self, point: &'static str) -> Pause {
        self.0.pause(point)
    }

    fn refuses(&self) -> bool {
        self.happens(self.0.plan.catalog_refuses, Fault::CatalogUnavailable)
    }

    fn loses_answer(&self) -> bool {
        self.happens(self.0.plan.catalog_loses, Fault::CatalogAnswerLost)
    }

    fn is_stopped(&self, process: u64, waker: &Waker) -> bool {
        self.0.stopped.holds(process, waker)
    }
}

impl Directed {
    fn happens(&self, odds: u64, fault: Fault) -> bool {
        let world = &self.0;
        let process = simulation::process();
        let happens =
            odds > 0 && !world.is_calm() && !world.is_killed(process) && world.chance.below(1_000) < odds;
        if happens {
            world.count(fault);
        }
        happens
    }
}

impl Simulation {
    /// Sets up what a plan says. `verbose` keeps every line of what happens.
    #[must_use]
    pub fn new(plan: Plan, verbose: bool) -> Self {
        Self { world: Arc::new(World::new(plan, verbose)) }
    }

    /// Who directs the thread that it runs on.
    #[must_use]
    pub fn director(&self) -> Rc<dyn Director> {
        Rc::new(Directed(Arc::clone(&self.world)))
    }

    /// Runs it, on a thread that is directed by [`Self::director`].
    pub async fn run(self) -> Outcome {
        let world = self.world;
        world.start();
        let ground = Arc::new(Ground::new(&world));
        imports::furnish(&world, &ground.providers);
        let site = Site(Arc::clone(&ground));
        let keep = |number| runtime::spawn(keep_alive(Arc::clone(&ground), number));
        let keepers: Vec<_> = (1..=world.plan.processes()).map(keep).collect();
        let stops = world.plan.instances.iter().flat_map(|plan| plan.stops.clone());
        let stops: Vec<_> =
            stops.map(|stop| runtime::spawn(instances::stop(Arc::clone(&world), stop))).collect();
        let events = runtime::spawn(events(Arc::clone(&ground)));
        let befalls = world.plan.catalogs.as_ref().map(|_| {
            let (of, world) = (Arc::clone(&ground), Arc::clone(&world));
            runtime::spawn(catalogs::happen(world, move || of.file()))
        });
        let operator = runtime::spawn(operator::operate(site.clone(), ground.providers.clone()));
        let expiring = world.plan.workers.expiry.iter().flat_map(|plan| {
            let write = |number| runtime::spawn(expiring::write(site.clone(), plan.clone(), number));
            (0..plan.pauses_ms.len()).map(write).collect::<Vec<_>>()
        });
        let imports = runtime::spawn(imports::operate(site.clone()));
        let factors = runtime::spawn(factors::change(Arc::clone(&world)));
        let restarts = runtime::spawn(restarts(Arc::clone(&ground)));
        let clients: Vec<Task<()>> = world
            .plan
            .clients
            .iter()
            .enumerate()
            .map(|(id, ops)| {
                let client = Client::new(site.clone(), id);
                let ops = ops.clone();
                runtime::spawn(async move { client.run(ops).await })
            })
            .chain(expiring)
            .collect();
        let all = futures::future::join_all(clients);
        if runtime::timeout(CLIENTS_END_WITHIN, all).await.is_err() {
            world.violate(Law::Answered, "a client is still waiting for an answer after hours");
        }
        runtime::sleep(Duration::from_millis(world.plan.workers.linger_ms)).await;
        if let Some(befalls) = befalls {
            let _ = befalls.await;
        }
        let _ = factors.await;
        drop((events, restarts, operator, imports));
        futures::future::join_all(stops).await;
        world.calm_down();
        // Who was killed at the very end is replaced too, and what was left alone is looked at again.
        runtime::sleep(ALL_IS_BACK_WITHIN).await;
        if world.plan.instances.is_some() || world.plan.catalogs.is_some() {
            // Those that were declared dead learn it, those that are dead are declared so, and what came late is old enough
            // to be judged.
            runtime::sleep(instances::LEASE * 4).await;
            world.stopped.all_know();
        }
        lift_limits(&ground, &site).await;
        drop(keepers);
        judge(&ground, &site).await;
        for number in 1..=world.plan.processes() {
            let process = ground.slot(number).take();
            if let Some(process) = process {
                process.kill();
            }
        }
        outcome(&world)
    }
}

fn outcome(world: &World) -> Outcome {
    let mut unjudged = 0;
    let histories = world.histories();
    for (key, records) in (0..world.plan.keys).flat_map(|key| histories.iter().map(move |all| (key, all))) {
        let of_key: Vec<_> = records.iter().filter(|record| record.key == key).cloned().collect();
        match history::judge(&of_key) {
            Verdict::Right => {}
            Verdict::Wrong(why) => world.violate(Law::OldOrNew, format!("key {key}: {why}")),
            Verdict::Unknown => unjudged += 1,
        }
    }
    let (hash, lines) = world.trace();
    Outcome {
        hash,
        violations: world.violations(),
        counts: world.counts(),
        deeds: world.deeds(),
        signs: world.signs(),
        lines,
        calls: histories.iter().map(Vec::len).sum(),
        unjudged,
    }
}

impl Ground {
    fn new(world: &Arc<World>) -> Self {
        let deployment =
            DeploymentId::from_parts(Timestamp::from_millis(1), u128::from(world.plan.seed) << 1);
        let provider = |(index, plan): (usize, &crate::BackendPlan)| {
            let name = BackendName::parse(&format!("store-{index}")).unwrap();
            let marker = format::Marker { deployment, backend: name.clone(), epoch: 1 };
            let provider = Provider::new(world, name, (index, plan.clone()));
            provider.plant(&format!(".s3-orchestrator/{}", marker.path()));
            Arc::new(provider)
        };
        let file = MemoryFile::new(deployment).unwrap();
        let origin = match world.plan.instances {
            None => Origin::Own(file),
            Some(_) => {
                let options = Options { clock: Clock::simulated(world.true_now()), ..Options::default() };
                Origin::Shared(Arc::new(file.open_with(options).unwrap()))
            }
        };
        Self {
            world: Arc::clone(world),
            origin: Mutex::new(origin),
            providers: world.plan.backends.iter().enumerate().map(provider).collect(),
            processes: (0..world.plan.processes()).map(|_| Mutex::default()).collect(),
        }
    }

    async fn boot(&self, start: Start) {
        let Start { number, life, skew_ms } = start;
        let booting = {
            let origin = locked(&self.origin).clone();
            async move { Process::start(&self.world, &origin, &self.providers, start).await }
        };
        let process = simulation::belonging(number, booting).await;
        let which = if self.processes.len() > 1 { format!("{number}/{life}") } else { life.to_string() };
        self.world.event(format_args!("process {which} runs, its clock is {skew_ms} ms ahead"));
        *self.slot(number) = Some(Arc::new(process));
    }

    fn slot(&self, number: u64) -> MutexGuard<'_, Option<Arc<Process>>> {
        locked(&self.processes[usize::try_from(number - 1).expect("few")])
    }

    /// The file that the one process finds.
    fn file(&self) -> Option<MemoryFile> {
        match &*locked(&self.origin) {
            Origin::Own(file) => Some(file.clone()),
            Origin::Shared(_) => None,
        }
    }

    /// What befalls the catalog while nothing runs.
    async fn befall(&self) {
        for fate in self.world.catalogs.take_due() {
            let Some(file) = self.file() else { return };
            let found = catalogs::befall(&self.world, &file, &self.providers, fate).await;
            *locked(&self.origin) = Origin::Own(found);
        }
    }

    /// The process of this place in a row, where it runs, or another one.
    fn one_of(&self, seed: u64) -> Option<Arc<Process>> {
        let chosen = 1 + seed % self.world.plan.processes();
        let process = self.slot(chosen).clone();
        process.or_else(|| self.any())
    }

    /// A process that runs.
    fn any(&self) -> Option<Arc<Process>> {
        (1..=self.world.plan.processes()).find_map(|number| self.slot(number).clone())
    }
}

/// Starts a process, and whenever it was killed, buries it and starts the next.
async fn keep_alive(ground: Arc<Ground>, number: u64) {
    let world = &ground.world;
    let mut skew_ms = world.plan.limits.as_ref().map_or(0, |limits| limits.first_skew_ms);
    if let Some(instances) = &world.plan.instances {
        skew_ms = instances.skew_ms(number);
        if skew_ms != 0 {
            world.count(Fault::ClocksDiffer);
        }
    }
    for life in 0.. {
        let crash = tokio::select! {
            biased;
            () = ground.boot(Start { number, life, skew_ms }) => world.killed(number).await,
            // Killed while it started.
            crash = world.killed(number) => crash,
        };
        skew_ms = crash.skew_ms;
        if skew_ms != 0 {
            world.count(Fault::ClockSkew);
        }
        let process = ground.slot(number).take();
        if let Some(process) = process {
            process.kill();
        }
        // Time goes on only when all that was stopped is gone.
        runtime::sleep(Duration::from_millis(1 + crash.down_ms)).await;
        ground.befall().await;
        world.buried(number);
    }
}

/// What befalls stored bytes and clocks, at its time.
async fn events(ground: Arc<Ground>) {
    let mut events: Vec<Event> = ground.world.plan.events.clone();
    events.sort_by_key(|event| event.at_ms);
    for event in events {
        let wait = event.at_ms.saturating_sub(ground.world.now_ms());
        runtime::sleep(Duration::from_millis(wait)).await;
        let Some(process) = ground.one_of(event.seed) else { continue };
        match event.fault {
            Fault::ClockJump => {
                let jump =
                    i64::try_from(Chance::seeded(event.seed).below(7_200_000)).unwrap_or(0) - 3_600_000;
                process.machine.set_skew_ms(jump);
                ground.world.count(Fault::ClockJump);
                ground.world.event(format_args!("the clock is {jump} ms ahead"));
            }
            fault => harm(&ground, &process, fault, event.seed).await,
        }
    }
}

/// Stops the process in order, at its times: what it has in hand is handed back.
async fn restarts(ground: Arc<Ground>) {
    let world = &ground.world;
    let mut times = world.plan.limits.as_ref().map(|limits| limits.restarts.clone()).unwrap_or_default();
    times.sort_unstable();
    for at_ms in times {
        runtime::sleep(Duration::from_millis(at_ms.saturating_sub(world.now_ms()))).await;
        let process = ground.any().filter(|_| !world.is_killed(1));
        let Some(process) = process else { continue };
        let stopping = limits::stop(world, &process, &ground.providers);
        if runtime::timeout(Duration::from_secs(10), stopping).await.is_ok() && !world.is_killed(1) {
            world.count(Fault::Restart);
            world.end(1);
        }
    }
}

/// The last process finds no limits in its configuration: what is left to be done and read may cost what it does. Where
/// they leave room for all that workers have to do, they stay.
async fn lift_limits(ground: &Ground, site: &Site) {
    let world = &ground.world;
    let Some(plan) = &world.plan.limits else { return };
    let Some(process) = site.process() else { return };
    limits::judge_grants(world, &*process.catalog, &ground.providers).await;
    if plan.generous && world.plan.workers.upkeep.is_some() {
        return;
    }
    world.end(1);
    runtime::sleep(Duration::from_secs(10)).await;
}

/// Harms one replica of a blob that has another one.
async fn harm(ground: &Ground, process: &Process, fault: Fault, seed: u64) {
    if ground.world.plan.workers.drains() && ground.providers.len() <= ground.world.plan.factor_max() as usize
    {
        // What is left then is not read before it counts.
        return;
    }
    let Ok(rows) = process.catalog.replicas(None, u32::MAX).await else { return };
    let intact = laws::intact_replicas(&rows, &ground.providers);
    // Of what has too many replicas, or will have, some go unread: one that is harmed has to leave as many as are kept.
    let live = |blob: &types::BlobId| {
        rows.iter().filter(|row| row.blob == *blob && row.state == ReplicaState::Live).count()
    };
    let is_spare = |(blob, replicas): &(types::BlobId, Vec<(usize, String)>)| {
        replicas.len() > 1 && live(blob) <= ground.world.plan.factor_min() as usize
    };
    let spare: Vec<_> = intact.into_iter().filter(is_spare).map(|(_, replicas)| replicas).collect();
    let chance = Chance::seeded(seed);
    if spare.is_empty() {
        return;
    }
    let blob = &spare[usize::try_from(chance.below(spare.len() as u64)).unwrap_or(0)];
    let (index, path) = &blob[usize::try_from(chance.below(blob.len() as u64)).unwrap_or(0)];
    ground.providers[*index].harm(path, fault, chance.next_u64());
}

/// Waits until nothing happens any more, and judges what is left.
async fn judge(ground: &Ground, site: &Site) {
    let world = &ground.world;
    let Some(process) = site.process() else {
        world.violate(Law::Answered, "no process runs in the end");
        return;
    };
    imports::finish(site, &ground.providers).await;
    if !world.plan.workers.is_empty() {
        wait_until_quiet(ground, &process).await;
        restored::judge(site, &ground.providers, process.bucket.id).await;
    }
    wait_until_quiet(ground, &process).await;
    let reader = Client::new(site.clone(), world.plan.clients.len());
    reader.read_all_in_the_end().await;
    replicas_are_alike(ground, &process).await;
    laws::judge_quiet(world, &*process.catalog, process.bucket.id, &ground.providers).await;
    for number in 1..=world.plan.processes() {
        let process = ground.slot(number).clone();
        if let Some(process) = process {
            judge_life(world, &process).await;
            judge_memory(world, &process.engine).await;
        }
    }
}

async fn wait_until_quiet(ground: &Ground, process: &Process) {
    let waited = runtime::instant_now();
    let mut pause = Duration::from_secs(2);
    while waited.elapsed() < QUIET_WITHIN {
        let rows = process.catalog.replicas(None, u32::MAX).await.unwrap();
        let hides = |number: i64| ground.providers.iter().any(|p| p.number() == number && p.hides());
        let settled = |row: &catalog::ReplicaRow| match row.state {
            ReplicaState::Doomed => hides(row.backend.0),
            state => state != ReplicaState::Writing,
        };
        let arriving: u64 = ground.providers.iter().map(|provider| provider.arriving()).sum();
        if arriving == 0 && rows.iter().all(settled) {
            return;
        }
        runtime::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(600));
    }
}

/// All replicas of a blob hold the same bytes, but for those that were harmed.
async fn replicas_are_alike(ground: &Ground, process: &Process) {
    let rows = process.catalog.replicas(None, u32::MAX).await.unwrap();
    for (blob, replicas) in laws::intact_replicas(&rows, &ground.providers) {
        let bytes_of = |(index, path): &(usize, String)| -> Bytes {
            ground.providers[*index].stored().get(path).cloned().unwrap_or_default()
        };
        let first = bytes_of(&replicas[0]);
        for replica in &replicas[1..] {
            let what = format!("replica {} of blob {blob}", replica.1);
            laws::same_bytes(&ground.world, &what, &first, &bytes_of(replica));
        }
    }
}

/// Whoever runs in the end is alive: one that was declared dead has learnt it.
async fn judge_life(world: &World, process: &Process) {
    let living = process.catalog.living().await.unwrap();
    if !living.iter().any(|instance| instance.boot == process.boot) {
        world.violate(Law::Lived, "a process goes on that was declared dead long ago");
    }
}

/// What was in memory at most, and what is left there.
async fn judge_memory(world: &World, engine: &Engine) {
    let plan = &world.plan;
    let budget = plan.budget_bytes.max(plan.window_bytes) * plan.processes();
    // Each client may have one chunk on its way that no window has taken yet.
    let allowed = budget + plan.clients.len() as u64 * 2 * CHUNK_BYTES_MAX;
    let most = world.memory.most();
    if most > allowed {
        let what = format!("{most} bytes of bodies were in memory, the budget allows {allowed}");
        world.violate(Law::Bounded, what);
    }
    let held = world.memory.held();
    if held > 0 {
        world.violate(Law::Bounded, format!("{held} bytes of bodies are in memory and nobody sends any"));
    }
    let mut left = engine.occupancy();
    let is_idle =
        |left: &engine::Occupancy| left.budget_bytes_taken == 0 && left.readers == 0 && left.abandoned == 0;
    for _ in 0..60 {
        // A worker may be proving something right now.
        if !is_idle(&left) {
            runtime::sleep(Duration::from_secs(1)).await;
            left = engine.occupancy();
        }
    }
    if !is_idle(&left) {
        world.violate(Law::Bounded, format!("with nothing to do, this is left over: {left:?}"));
    }
}
