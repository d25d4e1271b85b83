//! The section of a plan about workers: which run beside the reapers, and what an operator asks of them.

use std::sync::Arc;
use std::time::Duration;

use catalog::{BackendId, BrakeSettings};
use engine::{Engine, ExpiryRule, RepairOptions};
use runtime::{Chance, Schedule, Supervisor};
use workers::{Drain, Lifecycle, Observer, Quarantine, RunStatus, ScrubOptions, Upkeep, Work};

use crate::catalogs::CatalogsPlan;
use crate::instances::InstancesPlan;
use crate::provider::Provider;
use crate::{Ask, BackendPlan, Fault, Op, Plan, Verb, Window, decisions, expiring};

/// What workers do in one run.
#[derive(Debug, Clone, Default)]
pub struct WorkersPlan {
    /// Repair, trimming and scrubbing, where they run.
    pub upkeep: Option<UpkeepPlan>,
    /// What an operator asks for.
    pub orders: Vec<Order>,
    /// Objects that expire.
    pub expiry: Option<ExpiryPlan>,
    /// Above how many dooms within an hour, those by clients included, the brake holds deletes, where it does.
    pub clients_brake: Option<u64>,
    /// For how long things go wrong when no client asks for anything any more.
    pub linger_ms: u64,
}

/// How replicas are kept.
#[derive(Debug, Clone, Copy)]
pub struct UpkeepPlan {
    /// Blobs repaired in one step, and at once.
    pub batch: u32,
    /// How often repair and trimming look without being woken.
    pub interval_ms: u64,
    /// Pause between two runs of scrubbing, where that runs.
    pub scrub_ms: Option<u64>,
    /// A backend that was away for so long counts as not having its replicas.
    pub gone_ms: u64,
}

/// Something that an operator asks for.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// When, in milliseconds of the run.
    pub at_ms: u64,
    /// What.
    pub command: Command,
}

/// What an operator can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// That a backend becomes empty.
    Drain(usize),
    /// That it does not, after all.
    CancelDrain(usize),
    /// That replicas are moved until backends are level, or the last ones empty.
    Rebalance {
        /// The last ones empty.
        pack: bool,
    },
    /// That a backend is compared with the ledger.
    Reconcile(usize),
    /// Nothing: somebody put bytes there that look like ours.
    Stray(usize),
}

/// Objects that expire, each written by one client.
#[derive(Debug, Clone)]
pub struct ExpiryPlan {
    /// How old they become.
    pub age_ms: u64,
    /// For each of them the pauses between its writes.
    pub pauses_ms: Vec<Vec<u64>>,
    /// Above how many dooms within an hour the brake holds deletes, where it does.
    pub brake_floor: Option<u64>,
    /// What bodies are drawn from.
    pub seed: u64,
}

/// Draws what workers do, how many instances there are, and what befalls the catalog. Limits, breakers and outages keep
/// workers from what they would do, so they are together in some of these plans only.
pub(crate) fn draw(seed: u64, plan: &mut Plan) {
    let held_up = plan.limits.is_some() || plan.breakers.is_some() || !plan.outages.is_empty();
    if held_up && Chance::seeded(seed ^ 0xb07d).below(3) > 0 {
        return;
    }
    let calm = plan.is_calm();
    let mut workers = WorkersPlan::draw(&Chance::seeded(seed ^ 0xe4b), calm, &mut plan.backends);
    if held_up {
        workers.make_do(plan.limits.is_some());
        plan.workers = workers;
        return;
    }
    plan.instances = workers.draw_instances(&Chance::seeded(seed ^ 0x1257), &mut plan.backends);
    if let Some(instances) = &mut plan.instances {
        instances.draw_skews(&Chance::seeded(seed ^ 0xc10c));
    }
    if plan.instances.is_none() {
        plan.catalogs = workers.draw_catalogs(&Chance::seeded(seed ^ 0xca7a), &mut plan.backends);
    }
    if plan.catalogs.is_some() {
        without_uploads(&mut plan.clients);
    }
    if plan.instances.is_none() && (workers.expiry.is_some() || plan.catalogs.is_some()) {
        // How old an object is can be said only where the clock is right: one process has no other.
        plan.crashes.iter_mut().for_each(|crash| crash.skew_ms = 0);
        plan.events.retain(|event| event.fault != Fault::ClockJump);
    }
    plan.workers = workers;
}

/// The history of a key that goes back knows nothing of uploads.
fn without_uploads(clients: &mut [Vec<Op>]) {
    for op in clients.iter_mut().flatten() {
        if matches!(op.verb, Verb::Multipart { .. }) {
            op.verb = Verb::Put { size: 700, condition: Ask::None, flaw: None };
        }
    }
}

/// How often expired objects are looked for.
pub(crate) const EXPIRE_EVERY: Duration = Duration::from_secs(3);

impl WorkersPlan {
    /// Draws the section for a plan with these backends, and gives them what it needs.
    pub(crate) fn draw(chance: &Chance, calm: bool, backends: &mut [BackendPlan]) -> Self {
        let draw = Draw { chance };
        let upkeep = (!draw.one_in(3)).then(|| draw.upkeep());
        if calm {
            return Self { upkeep, ..Self::default() };
        }
        let orders = if upkeep.is_some() && draw.one_in(2) { draw.orders(backends) } else { Vec::new() };
        let expiry = draw.one_in(6).then(|| draw.expiry());
        let linger_ms = if upkeep.is_some() { draw.below(40_000) } else { 0 };
        if upkeep.is_some() && draw.one_in(3) {
            let away = usize::try_from(draw.below(backends.len() as u64)).expect("few");
            let fault = if draw.one_in(2) { Fault::Gone } else { Fault::Unmounted };
            let from_ms = draw.below(4_000);
            let until_ms = from_ms + 5_000 + draw.below(30_000);
            backends[away].windows.push(Window { fault, from_ms, until_ms });
        }
        Self { upkeep, orders, expiry, clients_brake: None, linger_ms }
    }

    /// What they do where limits, breakers or outages hold them up.
    fn make_do(&mut self, limited: bool) {
        // Its age is told by a clock that may be wrong there.
        self.expiry = None;
        if let Some(upkeep) = self.upkeep.as_mut().filter(|_| limited) {
            // Who proves everything every few seconds has nothing left for anything else.
            upkeep.scrub_ms = upkeep.scrub_ms.map(|pause| pause.max(30_000));
        }
    }

    /// Several instances in one of six plans whose replicas are kept: what one of them leaves behind is found by
    /// comparing.
    pub(crate) fn draw_instances(
        &mut self,
        chance: &Chance,
        backends: &mut [BackendPlan],
    ) -> Option<InstancesPlan> {
        if self.linger_ms == 0 || chance.below(6) > 0 {
            return None;
        }
        let instances = InstancesPlan::draw(chance);
        if let Some(upkeep) = self.upkeep.as_mut().filter(|_| self.expiry.is_some()) {
            // Each instance proves everything again and again, for as long as the brake is watched too.
            upkeep.scrub_ms = upkeep.scrub_ms.map(|pause| pause.max(20_000));
        }
        self.orders.retain(|order| !matches!(order.command, Command::Rebalance { .. }));
        // What comes from the dead is charged only when it is found.
        backends.iter_mut().for_each(|backend| backend.quota = None);
        self.linger_ms = instances.ends_ms() + chance.below(60_000);
        Some(instances)
    }

    /// Something befalls the catalog in one of five plans whose replicas are kept.
    pub(crate) fn draw_catalogs(
        &mut self,
        chance: &Chance,
        backends: &mut [BackendPlan],
    ) -> Option<CatalogsPlan> {
        if self.linger_ms == 0 || chance.below(5) > 0 {
            return None;
        }
        let catalogs = CatalogsPlan::draw(chance);
        let count = backends.len();
        self.expiry = None;
        for backend in backends {
            backend.quota = None;
            // A catalog that comes back believes listings, and does not know of what they hide.
            backend.odds.remove(&Fault::ListStale);
            backend.hides = false;
        }
        self.linger_ms =
            catalogs.fates.iter().map(|fate| fate.at_ms).max().unwrap_or(0) + chance.below(20_000);
        (self.orders, self.clients_brake) = decisions::draw(chance, count);
        Some(catalogs)
    }

    /// Whether only reapers run.
    pub(crate) fn is_empty(&self) -> bool {
        self.upkeep.is_none() && self.orders.is_empty() && self.expiry.is_none()
    }

    /// Whether a backend is to become empty at some time.
    pub(crate) fn drains(&self) -> bool {
        self.orders.iter().any(|order| matches!(order.command, Command::Drain(_)))
    }

    /// Starts the workers of a process.
    pub(crate) fn start(
        &self,
        supervisor: &mut Supervisor,
        engine: &Engine,
        bucket: &engine::Bucket,
        providers: &[Arc<Provider>],
    ) {
        if let Some(upkeep) = self.upkeep {
            workers::start_upkeep(supervisor, engine, &upkeep.options(providers));
            let drains = engine.clone();
            supervisor.add(Schedule::every(EXPIRE_EVERY), move || Drain::new(drains.clone()));
            let judges = engine.clone();
            supervisor.add(Schedule::every(EXPIRE_EVERY), move || Quarantine::new(judges.clone()));
        }
        if let Some(expiry) = &self.expiry {
            let rule = ExpiryRule {
                bucket: bucket.clone(),
                prefix: expiring::PREFIX.to_owned(),
                tags: Vec::new(),
                age: Duration::from_millis(expiry.age_ms),
            };
            let expires = engine.clone();
            let make = move || Lifecycle::new(expires.clone(), vec![rule.clone()], 10, Arc::new(Unobserved));
            supervisor.add(Schedule::every(EXPIRE_EVERY), make);
        }
    }

    /// From when on too much is doomed.
    pub(crate) fn brake(&self) -> Option<BrakeSettings> {
        if let Some(floor) = self.clients_brake {
            return Some(BrakeSettings { share_ppm: 1, floor, clients: true });
        }
        let floor = self.expiry.as_ref()?.brake_floor?;
        Some(BrakeSettings { share_ppm: 1, floor, clients: false })
    }
}

impl UpkeepPlan {
    fn options(self, providers: &[Arc<Provider>]) -> Upkeep {
        let providers = providers.to_vec();
        let gone = move || {
            let gone = providers.iter().filter(|provider| provider.is_gone(self.gone_ms));
            gone.map(|provider| BackendId(provider.number())).collect()
        };
        Upkeep {
            repair: RepairOptions { batch: self.batch, at_once: 1 + self.batch as usize / 2 },
            interval: Duration::from_millis(self.interval_ms),
            scrub: ScrubOptions {
                interval: Duration::from_millis(self.scrub_ms.unwrap_or(1_000)),
                batch: 40,
                age_min: Duration::ZERO,
            },
            scrubs: self.scrub_ms.is_some(),
            gone: Arc::new(gone),
            observer: Arc::new(Unobserved),
        }
    }
}

/// Nobody is told of runs: what came of them is judged.
pub(crate) struct Unobserved;

impl Observer for Unobserved {
    fn ran(&self, _: Work, _: RunStatus, _: Duration) {}
}

struct Draw<'a> {
    chance: &'a Chance,
}

impl Draw<'_> {
    fn upkeep(&self) -> UpkeepPlan {
        UpkeepPlan {
            batch: 1 + u32::try_from(self.below(6)).expect("at most five"),
            interval_ms: 1_000 + self.below(10_000),
            scrub_ms: (!self.one_in(4)).then(|| 3_000 + self.below(20_000)),
            gone_ms: 500 + self.below(4_000),
        }
    }

    fn orders(&self, backends: &mut [BackendPlan]) -> Vec<Order> {
        let mut orders = Vec::new();
        let any = || usize::try_from(self.below(backends.len() as u64)).expect("few");
        if !self.one_in(3) {
            let (at_ms, drained) = (500 + self.below(20_000), any());
            orders.push(Order { at_ms, command: Command::Drain(drained) });
            if self.one_in(4) {
                let at_ms = at_ms + self.below(8_000);
                orders.push(Order { at_ms, command: Command::CancelDrain(drained) });
            }
        }
        for _ in 0..self.below(3) {
            let to = any();
            if backends[to].quota.is_none() {
                orders.push(Order { at_ms: self.below(6_000), command: Command::Stray(to) });
            }
            orders.push(Order { at_ms: self.below(20_000), command: Command::Reconcile(to) });
        }
        if self.one_in(3) {
            for _ in 0..2 + self.below(4) {
                let command = Command::Rebalance { pack: self.one_in(2) };
                orders.push(Order { at_ms: 500 + self.below(20_000), command });
            }
            let strays = |index| orders.iter().any(|order| order.command == Command::Stray(index));
            // Only what has a quota has a share of it.
            for (index, backend) in backends.iter_mut().enumerate() {
                if backend.quota.is_none() && !strays(index) {
                    backend.quota = Some(60_000 + self.below(200_000));
                }
            }
        }
        orders
    }

    fn expiry(&self) -> ExpiryPlan {
        let age_ms = 2_000 + self.below(10_000);
        let pause = |_| if self.one_in(2) { self.below(age_ms) } else { age_ms + self.below(4_000) };
        let pauses = |_| (0..1 + self.below(3)).map(pause).collect();
        ExpiryPlan {
            age_ms,
            pauses_ms: (0..1 + self.below(5)).map(pauses).collect(),
            brake_floor: self.one_in(2).then(|| 1 + self.below(2)),
            seed: self.chance.next_u64(),
        }
    }

    fn below(&self, bound: u64) -> u64 {
        self.chance.below(bound)
    }

    fn one_in(&self, number: u64) -> bool {
        self.chance.below(number) == 0
    }
}
