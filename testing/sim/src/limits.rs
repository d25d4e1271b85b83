//! Limits in a run: what backends allow per period, and what their providers count in their own, right time.
//!
//! The product is never asked what it spent. A provider counts each request when it comes, each byte of an upload
//! when it takes it, and each byte of a download when it may have sent it: as much as lies unread in buffers
//! ahead of what was read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use backend::{Direction, ErrorKind, MeterSink, Operation, Outcome};
use catalog::{Catalog, LimitKey, Limits};
use engine::{BackendLimits, EngineError, FlushSettings, Grants};
use runtime::{Chance, Clock};
use types::{BackendName, BootId, LimitKind, Schedule, Timestamp, Traffic};

use crate::process::Process;
use crate::provider::Provider;
use crate::world::{World, locked};
use crate::{Fault, Law, Plan, Sign};

/// When the simulated time begins where no period is to end soon.
pub(crate) const EPOCH_MS: u64 = 1_760_000_000_000;
/// A clock may be this wrong near a border without anything going over: less than the minute in which an attempt
/// is charged to both periods, by the time that it may take to arrive.
const SKEW_MAX_MS: i64 = 40_000;
/// A border that is further away does not come in a run.
const NEAR: Duration = Duration::from_secs(1_200);
/// What may be granted beyond what was used, in each life: for attempts that wait when the process is killed.
const WAITING_MAX: u64 = 40;
/// Longest wait that a client takes upon itself where it is told to slow down.
pub(crate) const PATIENCE: Duration = Duration::from_secs(420);

/// The limits of a run.
#[derive(Debug, Clone)]
pub struct LimitsPlan {
    /// When the run begins.
    pub begins_at: Timestamp,
    /// When limits start over.
    pub schedule: Schedule,
    /// Requests, egress and ingress of each backend.
    pub of: Vec<[Option<u64>; 3]>,
    /// Whether there is far more than can be used.
    pub generous: bool,
    /// The part of each, out of 1, that is kept for maintenance.
    pub maintenance_share: f64,
    /// Bytes of a download that may be sent and not be read.
    pub lead_bytes: u64,
    /// How often what was spent is written down, in milliseconds.
    pub flush_ms: u64,
    /// How long a slow client takes for a body, in milliseconds.
    pub slow_ms: u64,
    /// How wrong the first process's clock is.
    pub first_skew_ms: i64,
    /// When a process is stopped in order, in milliseconds of the run.
    pub restarts: Vec<u64>,
}

impl LimitsPlan {
    /// Draws limits for what is planned already, and puts right what their promise rests on.
    pub(crate) fn draw(chance: &Chance, plan: &mut Plan) {
        let one_in = |number| chance.below(number) == 0;
        if !one_in(3) {
            return;
        }
        let calm = plan.is_calm();
        let schedule = if one_in(2) {
            Schedule::daily(u8::try_from(chance.below(24)).unwrap_or(0))
        } else {
            Schedule::monthly(u8::try_from(1 + chance.below(28)).unwrap_or(1))
        };
        let border = schedule.span_at(Timestamp::from_millis(EPOCH_MS)).end;
        let before_ms = match chance.below(4) {
            0 => 7 * 3_600_000,
            1 => chance.below(20_000),
            2 => chance.below(80_000),
            _ => chance.below(200_000),
        };
        let generous = one_in(4);
        let limits = LimitsPlan {
            begins_at: border.minus(Duration::from_millis(before_ms)),
            schedule,
            of: plan.backends.iter().map(|_| limits_of_one(chance, generous)).collect(),
            generous,
            maintenance_share: if one_in(4) { 0.2 } else { 0.05 },
            lead_bytes: if one_in(3) { 0 } else { chance.below(9_000) },
            flush_ms: 1_000 + chance.below(30_000),
            slow_ms: 0,
            first_skew_ms: 0,
            restarts: (0..chance.below(3)).map(|_| chance.below(60_000)).collect(),
        };
        plan.limits = Some(limits);
        make_room_for_time(chance, plan, calm);
    }

    /// Whether a period may end within the run.
    pub(crate) fn ends_soon(&self) -> bool {
        self.begins_at.plus(NEAR) >= self.schedule.span_at(self.begins_at).end
    }

    /// What of a limit clients are never granted.
    fn kept(&self, limit: u64) -> u64 {
        #[expect(clippy::cast_precision_loss, reason = "a share is no exact number")]
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a limit fits")]
        let kept = (limit as f64 * self.maintenance_share).ceil() as u64;
        kept.min(limit / 2)
    }

    /// What maintenance may have had of a limit by then at most.
    fn paced(&self, limit: u64, at: Timestamp, plan: &Plan) -> u64 {
        let wrong = plan.crashes.iter().map(|crash| crash.skew_ms.unsigned_abs()).max().unwrap_or(0);
        let jumps = plan.events.iter().any(|event| event.fault == Fault::ClockJump);
        let wrong = wrong.max(self.first_skew_ms.unsigned_abs()).max(if jumps { 7_200_000 } else { 0 });
        let span = self.schedule.span_at(at);
        let whole = (span.end.as_millis() - span.start.as_millis()).max(1);
        let passed = (at.as_millis() + wrong + 10_000 - span.start.as_millis()).min(whole);
        let kept = self.kept(limit);
        let accrued = u128::from(limit - kept) * u128::from(passed) / u128::from(whole);
        kept + u64::try_from(accrued).unwrap_or(limit)
    }
}

fn limits_of_one(chance: &Chance, generous: bool) -> [Option<u64>; 3] {
    if generous {
        return [Some(100_000), Some(1 << 30), Some(1 << 30)];
    }
    let tight = [6 + chance.below(30), 5_000 + chance.below(70_000), 5_000 + chance.below(70_000)];
    let all = chance.below(4) == 0;
    let chosen = chance.below(4);
    let limit = |index: usize| (all || chosen == index as u64).then_some(tight[index]);
    [limit(0), limit(1), limit(2)]
}

/// Clients take their time where a period is to end, and clocks are as wrong as they may be.
fn make_room_for_time(chance: &Chance, plan: &mut Plan, calm: bool) {
    let Some(limits) = &mut plan.limits else { return };
    if calm {
        limits.restarts.clear();
    }
    if !limits.ends_soon() {
        return;
    }
    limits.slow_ms = chance.below(180_000);
    for op in plan.clients.iter_mut().flatten() {
        if chance.below(6) == 0 {
            op.think_ms += chance.below(70_000);
        }
    }
    for crash in &mut plan.crashes {
        crash.skew_ms = crash.skew_ms.clamp(-SKEW_MAX_MS, SKEW_MAX_MS);
    }
    if calm {
        return;
    }
    // One that runs ahead is counted against the period that it is in truth, once clocks are right.
    limits.first_skew_ms = match chance.below(6) {
        0 => i64::try_from(chance.below(3_600_000)).unwrap_or(0),
        1 => i64::try_from(chance.below(80_000)).unwrap_or(0) - SKEW_MAX_MS,
        _ => 0,
    };
}

/// What a provider has counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// By the beginning of a period: what clients used, and what maintenance did.
    periods: BTreeMap<Timestamp, [[u64; 3]; 2]>,
    /// Attempts that were covered, of all periods.
    attempts: u64,
}

impl Tally {
    fn used(&self, period: Timestamp) -> [[u64; 3]; 2] {
        self.periods.get(&period).copied().unwrap_or_default()
    }
}

impl Provider {
    fn limits(&self) -> [Option<u64>; 3] {
        let plan = self.world.plan.limits.as_ref();
        plan.and_then(|plan| plan.of.get(self.index)).copied().unwrap_or_default()
    }

    /// Counts what it was asked for, sent or was sent.
    pub(crate) fn counts(&self, traffic: Traffic, kind: LimitKind, amount: u64) {
        let Some(plan) = &self.world.plan.limits else { return };
        if self.world.is_calm() || amount == 0 {
            return;
        }
        let now = self.world.true_now();
        let period = plan.schedule.span_at(now).start;
        let mut tally = locked(&self.tally);
        if !tally.periods.is_empty() && !tally.periods.contains_key(&period) {
            self.world.saw(Sign::PeriodChange);
            self.world.event(format_args!("{} counts a new period", self.name()));
        }
        let used = tally.periods.entry(period).or_default();
        used[traffic as usize][kind as usize] += amount;
        let used = [used[0][kind as usize], used[1][kind as usize]];
        drop(tally);
        let Some(limit) = self.limits()[kind as usize] else { return };
        self.judge_count(plan, kind, used, limit);
    }

    fn judge_count(&self, plan: &LimitsPlan, kind: LimitKind, [client, maintenance]: [u64; 2], limit: u64) {
        let (world, name, kind) = (&self.world, self.name(), kind.as_str());
        let for_clients = limit - plan.kept(limit);
        if client + maintenance > limit {
            let what = format!("{name} counts {} {kind}, its limit is {limit}", client + maintenance);
            world.violate(Law::NeverOver, what);
        }
        if client > for_clients {
            let what = format!("{name} counts {client} {kind} of clients, who may have {for_clients}");
            world.violate(Law::NeverOver, what);
        } else if client == for_clients {
            world.saw(Sign::LimitFull);
        }
        let paced = plan.paced(limit, world.true_now(), &world.plan);
        if maintenance > paced.max(plan.kept(limit)) {
            let what = format!("{name} counts {maintenance} {kind} of maintenance, which may have {paced}");
            world.violate(Law::NeverOver, what);
        }
    }

    /// Whether its limits let a client do this, whatever may be under way.
    fn is_open(&self, period: Timestamp) -> bool {
        let Some(plan) = &self.world.plan.limits else { return true };
        let used = locked(&self.tally).used(period);
        let clients = self.world.plan.clients.len() as u64;
        let under_way = [8 + 4 * clients, 160_000 * clients, 160_000 * clients];
        LimitKind::ALL.into_iter().all(|kind| {
            let index = kind as usize;
            self.limits()[index].is_none_or(|limit| {
                used[0][index] + used[1][index] + under_way[index] < limit - plan.kept(limit)
            })
        })
    }

    /// What was counted since the last time this was asked; for what a process had in hand when it died.
    fn requests_in(&self, period: Timestamp) -> u64 {
        let used = locked(&self.tally).used(period);
        used[0][0] + used[1][0]
    }
}

/// A download on its way: what of it was sent, for the reader or into buffers.
pub(crate) struct Egress {
    provider: Arc<Provider>,
    traffic: Traffic,
    length: u64,
    read: u64,
    sent: u64,
}

impl Egress {
    pub(crate) fn begin(provider: &Arc<Provider>, traffic: Traffic, length: u64) -> Self {
        let mut egress = Self { provider: Arc::clone(provider), traffic, length, read: 0, sent: 0 };
        egress.read(0);
        egress
    }

    /// So many bytes more were read.
    pub(crate) fn read(&mut self, bytes: u64) {
        let lead = self.provider.world.plan.limits.as_ref().map_or(0, |plan| plan.lead_bytes);
        self.read += bytes;
        let sent = (self.read + lead).min(self.length).max(self.sent);
        self.provider.counts(self.traffic, LimitKind::Egress, sent - self.sent);
        self.sent = sent;
    }
}

/// How long a slow client pauses before a piece of a body that comes in so many.
pub(crate) fn pause_ms(world: &World, pieces: usize) -> u64 {
    let slow_ms = world.plan.limits.as_ref().map_or(0, |plan| plan.slow_ms);
    2 * slow_ms / (pieces as u64 + 1)
}

/// Counts the attempts that were covered.
pub(crate) struct Attempts(pub(crate) Arc<Provider>);

impl MeterSink for Attempts {
    fn attempt(&self, _: &BackendName, _: Operation) {
        locked(&self.0.tally).attempts += 1;
    }

    fn outcome(&self, _: &BackendName, _: Operation, _: Outcome, _: Duration) {}

    fn bytes(&self, _: &BackendName, _: Direction, _: u64) {}

    fn broken(&self, _: &BackendName, _: ErrorKind) {}
}

/// Keeps the grants of a process, where there are limits still.
pub(crate) fn keep(
    world: &World,
    providers: &[Arc<Provider>],
    catalog: Arc<dyn Catalog>,
    (boot, clock): (BootId, &Clock),
) -> Option<Grants> {
    let plan = world.plan.limits.as_ref().filter(|_| !world.is_calm())?;
    let of = |provider: &Arc<Provider>| BackendLimits {
        limits: provider.limits(),
        schedule: plan.schedule,
        maintenance_share: plan.maintenance_share,
        lead_bytes: plan.lead_bytes,
        ..BackendLimits::none(provider.name().clone())
    };
    let flush = FlushSettings { interval: Duration::from_millis(plan.flush_ms), near: None };
    Some(Grants::keep(catalog, boot, clock.clone(), providers.iter().map(of).collect(), flush))
}

/// Waits until the keeper knows what time it is: a start that nobody tells goes on asking.
pub(crate) async fn learn_the_time(grants: Option<&Grants>) {
    let Some(grants) = grants else { return };
    while grants.usage().await.is_none() {
        runtime::sleep(Duration::from_millis(100)).await;
    }
}

/// A client was told that limits are reached: whether that was right, and how long it waits.
pub(crate) fn judge_refusal(
    world: &World,
    providers: &[Arc<Provider>],
    process: &Process,
    retry_after: Duration,
) -> Duration {
    let Some(plan) = world.plan.limits.as_ref().filter(|_| !world.is_calm()) else {
        world.violate(Law::Served, "nothing is limited, and a client was told to slow down");
        return Duration::ZERO;
    };
    let told = || format!("a client was told to slow down for {retry_after:?}");
    if retry_after.is_zero() {
        world.violate(Law::Served, format!("{}, which is to ask again at once", told()));
    }
    // Where the catalog does not answer, nobody can tell.
    if retry_after <= Duration::from_secs(1) && !retry_after.is_zero() {
        world.saw(Sign::CannotTell);
        // Soon after a border, or where clocks are set, a second is all that is left.
        let since = world.true_now().as_millis() - plan.schedule.span_at(world.true_now()).start.as_millis();
        let jumps = world.plan.events.iter().any(|event| event.fault == Fault::ClockJump);
        if world.plan.answers_always() && since > 120_000 && !jumps {
            world.violate(Law::Served, format!("{}, and the catalog answers", told()));
        }
        return retry_after;
    }
    world.saw(Sign::SlowDown);
    if plan.generous {
        world.violate(Law::Served, format!("{}, and there is more than all clients can use", told()));
    }
    judge_time(world, plan, process, retry_after);
    judge_need(world, plan, providers);
    if retry_after <= PATIENCE { retry_after } else { Duration::ZERO }
}

/// What is told is when a period ends that counts still.
fn judge_time(world: &World, plan: &LimitsPlan, process: &Process, retry_after: Duration) {
    let jumps = world.plan.events.iter().any(|event| event.fault == Fault::ClockJump);
    if jumps {
        return;
    }
    let then = process.clock.now().plus(retry_after);
    let near = |moment: Timestamp| {
        let span = plan.schedule.span_at(moment);
        let (since, until) =
            (moment.as_millis() - span.start.as_millis(), span.end.as_millis() - moment.as_millis());
        since.min(until)
    };
    if near(then) > 70_000 {
        world.violate(
            Law::Served,
            format!("a client was told to come again in {retry_after:?}: no period ends then"),
        );
    }
}

/// Where every backend has room for everything that may be under way, nobody is refused.
fn judge_need(world: &World, plan: &LimitsPlan, providers: &[Arc<Provider>]) {
    let now = world.true_now();
    let (before, after) = (
        plan.schedule.span_at(now.minus(Duration::from_secs(200))),
        plan.schedule.span_at(now.plus(Duration::from_secs(200))),
    );
    let certain = world.plan.is_calm() && before == after;
    if certain && providers.iter().all(|provider| provider.is_open(before.start)) {
        world.violate(Law::Served, "a client was told to slow down, and no limit is near its end");
    }
}

/// Whether an error says that a limit is reached, and for how long.
pub(crate) fn refused_for<T>(answer: &Result<T, EngineError>) -> Option<Duration> {
    match answer {
        Err(EngineError::LimitReached { retry_after }) => Some(*retry_after),
        _ => None,
    }
}

/// What was granted, against what was used: a crash loop does not eat the period.
pub(crate) async fn judge_grants(world: &World, catalog: &dyn Catalog, providers: &[Arc<Provider>]) {
    let lives = world.lives.load(Ordering::Relaxed);
    let Some(plan) = &world.plan.limits else { return };
    for provider in providers {
        world.event(format_args!("{} has counted {:?}", provider.name(), locked(&provider.tally)));
        for period in periods(world, plan) {
            let keys = LimitKind::ALL.map(|kind| key(provider, kind, period));
            let usage = catalog.usage(keys.to_vec()).await.unwrap();
            for (kind, usage) in LimitKind::ALL.into_iter().zip(&usage) {
                let Some(limit) = provider.limits()[kind as usize] else { continue };
                if usage.granted() > limit {
                    let what = format!("{} of {limit} {} were granted", usage.granted(), kind.as_str());
                    world.violate(Law::NeverOver, what);
                }
            }
            // The least of what was used and what was not, for each of the two traffics of each life.
            let attempts = locked(&provider.tally).attempts;
            let allowed = 2 * attempts + lives * WAITING_MAX;
            if provider.limits()[0].is_some() && usage[0].granted() > allowed {
                let what = format!(
                    "{} requests of {} were granted to {lives} processes that made {attempts}",
                    usage[0].granted(),
                    provider.name()
                );
                world.violate(Law::NothingLost, what);
            }
        }
    }
}

/// Stops the grants of a process, and notes whether something was handed back.
pub(crate) async fn stop(world: &World, process: &Process, providers: &[Arc<Provider>]) {
    let Some(grants) = process.grants() else { return };
    let before = granted(world, process, providers).await;
    grants.stop().await;
    if granted(world, process, providers).await < before {
        world.saw(Sign::HandedBack);
    }
}

/// All requests that were granted in the present period.
async fn granted(world: &World, process: &Process, providers: &[Arc<Provider>]) -> u64 {
    let Some(plan) = &world.plan.limits else { return 0 };
    let period = plan.schedule.span_at(world.true_now()).start;
    let keys = providers.iter().map(|provider| key(provider, LimitKind::Requests, period)).collect();
    let usage = process.catalog.usage(keys).await.unwrap_or_default();
    usage.iter().map(catalog::Usage::granted).sum()
}

/// Notes whether a process that was killed left something in hand.
pub(crate) async fn note_rest(world: &World, catalog: &dyn Catalog, providers: &[Arc<Provider>]) {
    let Some(plan) = world.plan.limits.as_ref().filter(|_| world.crashed.swap(false, Ordering::Relaxed))
    else {
        return;
    };
    let period = plan.schedule.span_at(world.true_now()).start;
    for provider in providers.iter().filter(|provider| provider.limits()[0].is_some()) {
        let Ok(usage) = catalog.usage(vec![key(provider, LimitKind::Requests, period)]).await else { return };
        let used = provider.requests_in(period);
        if usage[0].granted() > used {
            world.saw(Sign::GrantLost);
        }
    }
}

fn key(provider: &Provider, kind: LimitKind, period: Timestamp) -> LimitKey {
    LimitKey { backend: provider.name().clone(), kind, period }
}

/// The periods that a run may have come by, however wrong its clocks.
fn periods(world: &World, plan: &LimitsPlan) -> Vec<Timestamp> {
    let first = plan.schedule.span_at(plan.begins_at.minus(Duration::from_secs(7_300)));
    let mut periods = vec![first];
    let last = world.true_now().plus(Duration::from_secs(7_300));
    while let Some(end) = periods.last().map(|span| span.end).filter(|end| *end < last) {
        periods.push(plan.schedule.span_at(end));
    }
    periods.into_iter().map(|span| span.start).collect()
}
