//! The world of one run: its time, its chance, what is known about it, and what went wrong.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use runtime::simulation::{NO_PROCESS, Pause};
use runtime::{Chance, Instant};
use tokio::sync::Notify;
use types::{ETag, Timestamp};

use crate::body::Ledger;
use crate::catalogs::Catalogs;
use crate::factors::Factor;
use crate::history::Record;
use crate::imports::Imports;
use crate::instances::Stopped;
use crate::limits::EPOCH_MS;
use crate::operator::Asked;
use crate::{Crash, Deed, Fault, Law, Plan, Sign, Violation};

/// Await points in one run, above which something runs in circles.
const POINTS_MAX: u64 = 5_000_000;
/// Violations that are kept; the rest is more of the same.
const VIOLATIONS_MAX: usize = 20;

/// What everything in a run shares.
pub(crate) struct World {
    pub(crate) plan: Plan,
    /// For all that is not the process's own chance.
    pub(crate) chance: Chance,
    started: Mutex<Option<Instant>>,
    /// Numbers calls and answers in the order in which they happen.
    sequence: AtomicU64,
    points: AtomicU64,
    crashes: Mutex<VecDeque<Crash>>,
    /// Processes that are killed and not buried yet, with how they ended.
    killed: Mutex<BTreeMap<u64, Crash>>,
    kill: BTreeMap<u64, Notify>,
    /// Processes that stand still.
    pub(crate) stopped: Stopped,
    /// The last end was a crash.
    pub(crate) crashed: AtomicBool,
    /// Processes that were started.
    pub(crate) lives: AtomicU64,
    /// When the catalog last failed a read; `u64::MAX` where it never did.
    pub(crate) read_failed_ms: AtomicU64,
    /// Nothing goes wrong any more, and nobody is held up.
    calm: AtomicBool,
    /// The same for a while.
    truce: AtomicBool,
    /// Replicas wanted of each blob.
    pub(crate) factor: Factor,
    /// What befalls the catalog.
    pub(crate) catalogs: Catalogs,
    /// At which records another history begins.
    eras: Mutex<Vec<usize>>,
    counts: Mutex<BTreeMap<Fault, u64>>,
    deeds: Mutex<BTreeMap<Deed, u64>>,
    /// What an operator asked for.
    pub(crate) asked: Asked,
    /// What is known of imports.
    pub(crate) imports: Imports,
    signs: Mutex<BTreeMap<Sign, u64>>,
    violations: Mutex<Vec<Violation>>,
    trace: Mutex<Trace>,
    /// What bears an entity tag. Bodies differ, so a tag tells the bytes.
    contents: Mutex<BTreeMap<String, Content>>,
    pub(crate) records: Mutex<Vec<Record>>,
    /// Uploads begun, by key.
    pub(crate) uploads: Mutex<BTreeMap<u8, u8>>,
    /// Bytes of bodies that are in memory.
    pub(crate) memory: std::sync::Arc<Ledger>,
}

#[derive(Debug, Clone)]
struct Content {
    number: u32,
    bytes: Bytes,
}

struct Trace {
    hash: u64,
    /// The lines, where somebody wants to read them.
    lines: Option<Vec<String>>,
}

impl World {
    pub(crate) fn new(plan: Plan, verbose: bool) -> Self {
        let crashes = plan.crashes.iter().cloned().collect();
        let kill = (1..=plan.processes()).map(|process| (process, Notify::new())).collect();
        Self {
            chance: Chance::seeded(plan.seed ^ 0x0077_0712),
            factor: Factor::new(&plan),
            plan,
            started: Mutex::default(),
            sequence: AtomicU64::new(1),
            points: AtomicU64::new(0),
            crashes: Mutex::new(crashes),
            killed: Mutex::default(),
            kill,
            stopped: Stopped::default(),
            crashed: AtomicBool::new(false),
            lives: AtomicU64::new(0),
            read_failed_ms: AtomicU64::new(u64::MAX),
            calm: AtomicBool::new(false),
            truce: AtomicBool::new(false),
            catalogs: Catalogs::default(),
            eras: Mutex::default(),
            counts: Mutex::default(),
            deeds: Mutex::default(),
            asked: Asked::default(),
            imports: Imports::default(),
            signs: Mutex::default(),
            violations: Mutex::default(),
            trace: Mutex::new(Trace { hash: 0xcbf2_9ce4_8422_2325, lines: verbose.then(Vec::new) }),
            contents: Mutex::default(),
            records: Mutex::default(),
            uploads: Mutex::default(),
            memory: std::sync::Arc::default(),
        }
    }

    /// The world's time begins.
    pub(crate) fn start(&self) {
        *locked(&self.started) = Some(runtime::instant_now());
    }

    /// Milliseconds since the beginning.
    pub(crate) fn now_ms(&self) -> u64 {
        let started = *locked(&self.started);
        started.map_or(0, |at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// The time that it is in truth.
    pub(crate) fn true_now(&self) -> Timestamp {
        let limits = self.plan.limits.as_ref();
        let epoch = limits.map_or(Timestamp::from_millis(EPOCH_MS), |limits| limits.begins_at);
        epoch.plus(Duration::from_millis(self.now_ms()))
    }

    /// The number of a call or an answer.
    pub(crate) fn next_number(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }

    /// Holds a point up, or kills the process there.
    pub(crate) fn pause(&self, point: &'static str) -> Pause {
        let points = self.points.fetch_add(1, Ordering::Relaxed) + 1;
        if points >= POINTS_MAX {
            self.gives_up(point);
        }
        let process = runtime::simulation::process();
        if self.is_killed(process) {
            return Pause::Forever;
        }
        if self.is_calm() {
            return Pause::None;
        }
        if process != NO_PROCESS && self.comes_to_an_end(process, point) {
            return Pause::Forever;
        }
        if self.chance.below(100) >= self.plan.shuffle {
            return Pause::None;
        }
        match self.chance.below(100) {
            0..60 => Pause::Turns(1 + u32::try_from(self.chance.below(4)).unwrap_or(0)),
            60..97 => Pause::Time(Duration::from_millis(self.chance.below(25))),
            _ => Pause::Time(Duration::from_millis(self.chance.below(1_500))),
        }
    }

    /// Something runs in circles: what happened last tells what.
    fn gives_up(&self, point: &str) -> ! {
        let (_, lines) = self.trace();
        let last = lines.len().saturating_sub(40);
        lines[last..].iter().for_each(|line| println!("{line}"));
        panic!("seed {}: something runs in circles, at {point}", self.plan.seed);
    }

    /// Counts towards the next crash.
    fn comes_to_an_end(&self, process: u64, point: &'static str) -> bool {
        let mut crashes = locked(&self.crashes);
        let Some(next) = crashes.front_mut() else { return false };
        next.after_points = next.after_points.saturating_sub(1);
        if next.after_points > 0 {
            return false;
        }
        let crash = crashes.pop_front().expect("it was there just now");
        drop(crashes);
        self.event(format_args!("process {process} is killed at {point}"));
        self.count(Fault::Crash);
        self.crashed.store(true, Ordering::Relaxed);
        self.ends(process, crash);
        true
    }

    /// A process ends by itself, in order, and is started again with the right time.
    pub(crate) fn end(&self, process: u64) {
        if !self.is_killed(process) {
            self.crashed.store(false, Ordering::Relaxed);
            self.event(format_args!("process {process} is stopped"));
            self.ends(process, Crash { after_points: 0, down_ms: 1, skew_ms: 0 });
        }
    }

    fn ends(&self, process: u64, how: Crash) {
        locked(&self.killed).insert(process, how);
        self.kill[&process].notify_one();
    }

    /// Waits for the end of a process; says how it ended.
    pub(crate) async fn killed(&self, process: u64) -> Crash {
        loop {
            self.kill[&process].notified().await;
            if let Some(how) = locked(&self.killed).get(&process) {
                return how.clone();
            }
        }
    }

    pub(crate) fn is_killed(&self, process: u64) -> bool {
        locked(&self.killed).contains_key(&process)
    }

    /// Everything of the dead process is gone.
    pub(crate) fn buried(&self, process: u64) {
        locked(&self.killed).remove(&process);
        self.stopped.forget(process);
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed) || self.truce.load(Ordering::Relaxed)
    }

    /// For a while all is well.
    pub(crate) fn truce(&self, holds: bool) {
        self.truce.store(holds, Ordering::Relaxed);
    }

    /// From now on another history is told.
    pub(crate) fn begin_era(&self) {
        let begins = locked(&self.records).len();
        locked(&self.eras).push(begins);
    }

    /// The records of each history, in their order.
    pub(crate) fn histories(&self) -> Vec<Vec<Record>> {
        let records = locked(&self.records).clone();
        let mut begins = vec![0];
        begins.extend(locked(&self.eras).iter().copied());
        begins.push(records.len());
        begins.windows(2).map(|era| records[era[0]..era[1]].to_vec()).collect()
    }

    /// From now on all is well.
    pub(crate) fn calm_down(&self) {
        self.event(format_args!("all is well from now on"));
        self.calm.store(true, Ordering::Relaxed);
    }

    /// A fault happened.
    pub(crate) fn count(&self, fault: Fault) {
        *locked(&self.counts).entry(fault).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> BTreeMap<Fault, u64> {
        locked(&self.counts).clone()
    }

    /// Workers or an operator did so much.
    pub(crate) fn did(&self, deed: Deed, times: u64) {
        if times > 0 {
            *locked(&self.deeds).entry(deed).or_default() += times;
        }
    }

    pub(crate) fn deeds(&self) -> BTreeMap<Deed, u64> {
        locked(&self.deeds).clone()
    }

    /// Limits, breakers or outages led to something.
    pub(crate) fn saw(&self, sign: Sign) {
        *locked(&self.signs).entry(sign).or_default() += 1;
    }

    pub(crate) fn signs(&self) -> BTreeMap<Sign, u64> {
        locked(&self.signs).clone()
    }

    /// A law was broken.
    pub(crate) fn violate(&self, law: Law, what: impl Into<String>) {
        let what = what.into();
        self.event(format_args!("BROKEN {law:?}: {what}"));
        let mut violations = locked(&self.violations);
        if violations.len() < VIOLATIONS_MAX {
            violations.push(Violation { law, what });
        }
    }

    pub(crate) fn violations(&self) -> Vec<Violation> {
        locked(&self.violations).clone()
    }

    /// Something happened: it belongs to the history that a seed has to repeat.
    pub(crate) fn event(&self, what: fmt::Arguments<'_>) {
        let now = self.now_ms();
        let line = format!("{now:>8} {what}");
        let mut trace = locked(&self.trace);
        for byte in line.bytes() {
            trace.hash = (trace.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(lines) = &mut trace.lines {
            lines.push(line);
        }
    }

    /// The hash of all that happened, and all that happened where it was asked for.
    pub(crate) fn trace(&self) -> (u64, Vec<String>) {
        let trace = locked(&self.trace);
        (trace.hash, trace.lines.clone().unwrap_or_default())
    }

    /// Notes what bears an entity tag; gives its number.
    pub(crate) fn learn(&self, etag: &ETag, bytes: Bytes) -> u32 {
        let mut contents = locked(&self.contents);
        let number = u32::try_from(contents.len()).unwrap_or(u32::MAX);
        contents.entry(etag.as_str().to_owned()).or_insert(Content { number, bytes }).number
    }

    /// The number of an entity tag that was given to a client.
    pub(crate) fn number_of(&self, etag: &ETag) -> u32 {
        let known = locked(&self.contents).get(etag.as_str()).map(|content| content.number);
        known.unwrap_or_else(|| {
            self.violate(Law::Durable, format!("an object has the entity tag {etag}, which nobody wrote"));
            self.learn(etag, Bytes::new())
        })
    }

    /// The bytes behind an entity tag.
    pub(crate) fn bytes_of(&self, etag: &ETag) -> Bytes {
        locked(&self.contents).get(etag.as_str()).map(|content| content.bytes.clone()).unwrap_or_default()
    }

    pub(crate) fn record(&self, record: Record) {
        self.event(format_args!("{record}"));
        locked(&self.records).push(record);
    }
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
