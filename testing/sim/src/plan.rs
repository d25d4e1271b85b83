//! A plan: everything that a seed decides beforehand. Running it draws the rest from the same seed.

use std::collections::BTreeMap;

use runtime::Chance;

use crate::Fault;
use crate::catalogs::CatalogsPlan;
use crate::cuts::Cuts;
use crate::factors::{self, FactorChange};
use crate::imports::{self, ImportsPlan};
use crate::instances::InstancesPlan;
use crate::limits::LimitsPlan;
use crate::outage::{self, BreakersPlan, Outage};
use crate::workers::{self, WorkersPlan};

/// What happens in one run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed that it came from.
    pub seed: u64,
    /// The backends.
    pub backends: Vec<BackendPlan>,
    /// Replicas wanted of each blob.
    pub factor: u32,
    /// When that changes, in the order of time.
    pub factors: Vec<FactorChange>,
    /// Replicas that a write waits for.
    pub ack_replicas: u32,
    /// Whether blobs go to the least full backend.
    pub spread: bool,
    /// Window of a body, in bytes.
    pub window_bytes: u64,
    /// Budget of all bodies, in bytes.
    pub budget_bytes: u64,
    /// Keys that clients fight for.
    pub keys: u8,
    /// What each client does.
    pub clients: Vec<Vec<Op>>,
    /// At which await points the process is killed, counted from the last start.
    pub crashes: Vec<Crash>,
    /// What befalls stored bytes and clocks.
    pub events: Vec<Event>,
    /// In how many of a thousand transactions the answer is lost.
    pub catalog_loses: u64,
    /// In how many of a thousand transactions the catalog is not available.
    pub catalog_refuses: u64,
    /// How strongly tasks are shuffled: in how many of a hundred points one is held up.
    pub shuffle: u64,
    /// What workers do beside the reapers.
    pub workers: WorkersPlan,
    /// Several instances on one catalog, where there are.
    pub instances: Option<InstancesPlan>,
    /// What lies on providers since before, and is imported.
    pub imports: Option<ImportsPlan>,
    /// What befalls the catalog, where something does.
    pub catalogs: Option<CatalogsPlan>,
    /// What the backends allow per period, where anything is limited.
    pub limits: Option<LimitsPlan>,
    /// What is left alone once it is gone, where anything is.
    pub breakers: Option<BreakersPlan>,
    /// When the catalog does not answer.
    pub outages: Vec<Outage>,
}

/// One backend.
#[derive(Debug, Clone)]
pub struct BackendPlan {
    /// Bytes that may lie there.
    pub quota: Option<u64>,
    /// Largest put.
    pub put_bytes_max: u64,
    /// Every object is billed as at least this many bytes.
    pub billable_bytes_min: u64,
    /// Deletes only hide.
    pub hides: bool,
    /// For how long bytes may arrive late, in milliseconds.
    pub late_ms: u64,
    /// In how many of a thousand requests each fault happens.
    pub odds: BTreeMap<Fault, u64>,
    /// When it is gone or not mounted, in milliseconds of the run.
    pub windows: Vec<Window>,
}

/// A time in which a backend is away.
#[derive(Debug, Clone)]
pub struct Window {
    /// `Gone` or `Unmounted`.
    pub fault: Fault,
    /// From when.
    pub from_ms: u64,
    /// Until when.
    pub until_ms: u64,
}

/// The end of a process.
#[derive(Debug, Clone)]
pub struct Crash {
    /// After so many await points.
    pub after_points: u64,
    /// How long nothing runs.
    pub down_ms: u64,
    /// How wrong the next process's clock is.
    pub skew_ms: i64,
}

/// Something that happens at some time.
#[derive(Debug, Clone)]
pub struct Event {
    /// When, in milliseconds of the run.
    pub at_ms: u64,
    /// What: `Rot`, `Vanish` or `ClockJump`.
    pub fault: Fault,
    /// What it draws from.
    pub seed: u64,
}

/// What a client does.
#[derive(Debug, Clone)]
pub struct Op {
    /// Waits so long first.
    pub think_ms: u64,
    /// On which key.
    pub key: u8,
    /// Gives up after so long.
    pub patience_ms: Option<u64>,
    /// How often it tries again what got no answer.
    pub retries: u32,
    /// What it draws its bytes from.
    pub seed: u64,
    /// What it does.
    pub verb: Verb,
}

/// What a client asks for.
#[derive(Debug, Clone)]
pub enum Verb {
    /// Stores an object.
    Put {
        /// Bytes.
        size: usize,
        /// On which condition.
        condition: Ask,
        /// What is wrong with the body.
        flaw: Option<Fault>,
    },
    /// Reads, all or a range.
    Get {
        /// All of it, or a range that the seed chooses.
        whole: bool,
    },
    /// Looks.
    Head,
    /// Removes.
    Delete {
        /// On which condition.
        condition: Ask,
        /// A second key in the same request.
        also: Option<u8>,
    },
    /// Lists all.
    List,
    /// Copies from another key.
    Copy {
        /// From where.
        from: u8,
        /// Only the state that was seen last.
        as_seen: bool,
        /// On which condition.
        condition: Ask,
    },
    /// Changes the tags.
    Tag,
    /// A whole multipart upload.
    Multipart {
        /// The parts, in order.
        parts: Vec<PartPlan>,
        /// How it ends.
        end: UploadEnd,
        /// On which condition.
        condition: Ask,
    },
}

/// Where a part comes from.
#[derive(Debug, Clone)]
pub enum PartPlan {
    /// From the client.
    Put {
        /// Bytes.
        size: usize,
        /// It is sent twice, with other bytes the first time.
        again: bool,
    },
    /// From an object.
    Copy {
        /// Which.
        from: u8,
    },
}

/// How an upload ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadEnd {
    /// Completed once.
    Complete,
    /// Completed twice, one after the other.
    CompleteTwice,
    /// Completed while a part is sent again.
    CompleteWhilePart,
    /// Completed twice at once, and a part sent afterwards.
    CompleteRace,
    /// Completed and aborted at once.
    CompleteAbortRace,
    /// Aborted.
    Abort,
    /// Left open.
    Leave,
}

/// A condition, in terms of what the client saw last of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// None.
    None,
    /// There is no object.
    Absent,
    /// It is what was seen.
    AsSeen,
    /// There is one.
    Present,
    /// It is not what was seen.
    NotAsSeen,
}

impl Plan {
    /// The plan of a seed, without what was cut.
    #[must_use]
    pub fn new(seed: u64, cuts: &Cuts) -> Self {
        let mut plan = Draw { chance: Chance::seeded(seed ^ 0x5eed) }.plan(seed);
        // Each from a chance of its own: what the others draw stays as it is.
        outage::draw(&Chance::seeded(seed ^ 0x0b4ea), &mut plan);
        LimitsPlan::draw(&Chance::seeded(seed ^ 0x11417), &mut plan);
        workers::draw(seed, &mut plan);
        factors::draw(&Chance::seeded(seed ^ 0xfac70), &mut plan);
        imports::draw(&Chance::seeded(seed ^ 0x1a907), &mut plan);
        cuts.apply(&mut plan);
        plan
    }

    /// Processes that run at once. They are numbered from 1 on.
    #[must_use]
    pub fn processes(&self) -> u64 {
        self.instances.as_ref().map_or(1, |instances| instances.number)
    }

    /// Whether nothing goes wrong in it.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        let backend = |backend: &BackendPlan| {
            backend.odds.is_empty() && backend.windows.is_empty() && backend.quota.is_none() && !backend.hides
        };
        self.backends.iter().all(backend)
            && self.crashes.is_empty()
            && self.events.is_empty()
            && self.catalog_loses == 0
            && self.catalog_refuses == 0
            && self.workers.orders.is_empty()
            && self.outages.is_empty()
    }

    /// Whether the catalog answers whatever it is asked, and whoever keeps the grants does.
    #[must_use]
    pub fn answers_always(&self) -> bool {
        self.catalog_loses == 0
            && self.catalog_refuses == 0
            && self.outages.is_empty()
            && self.limits.as_ref().is_none_or(|limits| limits.restarts.is_empty())
    }
}

/// Draws a plan.
struct Draw {
    chance: Chance,
}

impl Draw {
    fn plan(&self, seed: u64) -> Plan {
        let calm = self.one_in(12);
        let number = 2 + self.below(3);
        let factor = u32::try_from(1 + self.below(number.min(3))).expect("at most three");
        let ack_replicas = if self.one_in(4) { factor } else { 1 };
        let window_bytes = *self.pick(&[2048, 4096, 16_384]);
        let keys = u8::try_from(1 + self.below(4)).expect("at most four");
        let clients = 2 + self.below(4);
        let backends = (0..number).map(|_| self.backend(calm)).collect();
        let clients: Vec<Vec<Op>> = (0..clients).map(|_| self.client(keys)).collect();
        let (crashes, events) = if calm { (Vec::new(), Vec::new()) } else { (self.crashes(), self.events()) };
        Plan {
            seed,
            backends,
            factor,
            factors: Vec::new(),
            ack_replicas,
            spread: self.one_in(2),
            window_bytes,
            budget_bytes: window_bytes * (1 + self.below(4)),
            keys,
            clients,
            crashes,
            events,
            catalog_loses: if calm || !self.one_in(3) { 0 } else { 5 + self.below(60) },
            catalog_refuses: if calm || !self.one_in(6) { 0 } else { 5 + self.below(60) },
            shuffle: *self.pick(&[10, 40, 70]),
            workers: WorkersPlan::default(),
            instances: None,
            imports: None,
            catalogs: None,
            limits: None,
            breakers: None,
            outages: Vec::new(),
        }
    }

    fn backend(&self, calm: bool) -> BackendPlan {
        let mut odds = BTreeMap::new();
        let mut windows = Vec::new();
        if !calm {
            // Few kinds at a time, but these often: what happens together is drawn anew with each seed.
            for &fault in Fault::OF_REQUESTS {
                // Listings are rare, and so are the reasons to ask for one.
                let often = if fault == Fault::ListStale { 2 } else { 5 };
                if self.one_in(often) {
                    odds.insert(fault, 10 + self.below(if often == 2 { 900 } else { 200 }));
                }
            }
            if self.one_in(6) {
                let fault = *self.pick(&[Fault::Gone, Fault::Unmounted]);
                let from_ms = self.below(4_000);
                windows.push(Window { fault, from_ms, until_ms: from_ms + 200 + self.below(8_000) });
            }
        }
        BackendPlan {
            quota: (!calm && self.one_in(3)).then(|| *self.pick(&[6_000, 20_000, 80_000])),
            put_bytes_max: if self.one_in(4) { 3_000 + self.below(20_000) } else { 1 << 40 },
            billable_bytes_min: if self.one_in(5) { 500 } else { 0 },
            hides: !calm && self.one_in(30),
            late_ms: 5_000 + self.below(60_000),
            odds,
            windows,
        }
    }

    fn crashes(&self) -> Vec<Crash> {
        let number = if self.one_in(2) { 1 + self.below(4) } else { 0 };
        let crash = |_| {
            let skew = if self.one_in(4) { 1 + self.below(3_600_000) } else { 0 };
            let skew_ms = i64::try_from(skew).expect("an hour fits");
            Crash {
                after_points: 5 + self.below(700),
                down_ms: 1 + self.below(3_000),
                skew_ms: if self.one_in(2) { skew_ms } else { -skew_ms },
            }
        };
        (0..number).map(crash).collect()
    }

    fn events(&self) -> Vec<Event> {
        let number = if self.one_in(3) { 1 + self.below(3) } else { 0 };
        let event = |_| Event {
            at_ms: self.below(6_000),
            fault: *self.pick(&[Fault::Rot, Fault::Vanish, Fault::ClockJump]),
            seed: self.chance.next_u64(),
        };
        (0..number).map(event).collect()
    }

    fn client(&self, keys: u8) -> Vec<Op> {
        (0..4 + self.below(10)).map(|_| self.op(keys)).collect()
    }

    fn op(&self, keys: u8) -> Op {
        let verb = match self.below(100) {
            0..32 => Verb::Put { size: self.size(), condition: self.ask(), flaw: self.flaw() },
            32..52 => Verb::Get { whole: self.one_in(2) },
            52..57 => Verb::Head,
            57..69 => Verb::Delete { condition: self.ask(), also: self.one_in(5).then(|| self.key(keys)) },
            69..75 => Verb::List,
            75..84 => {
                let as_seen = self.one_in(3);
                let condition = if !as_seen && self.one_in(4) { Ask::Absent } else { Ask::None };
                Verb::Copy { from: self.key(keys), as_seen, condition }
            }
            84..88 => Verb::Tag,
            _ => self.multipart(keys),
        };
        Op {
            think_ms: if self.one_in(3) { self.below(1_500) } else { self.below(30) },
            key: self.key(keys),
            patience_ms: self.one_in(8).then(|| 1 + self.below(if self.one_in(2) { 50 } else { 8_000 })),
            retries: u32::try_from(self.below(3)).expect("at most two"),
            seed: self.chance.next_u64(),
            verb,
        }
    }

    fn multipart(&self, keys: u8) -> Verb {
        let part = |_| {
            if self.one_in(4) {
                PartPlan::Copy { from: self.key(keys) }
            } else {
                PartPlan::Put { size: self.size(), again: self.one_in(5) }
            }
        };
        let ends = [
            UploadEnd::Complete,
            UploadEnd::CompleteTwice,
            UploadEnd::CompleteWhilePart,
            UploadEnd::CompleteRace,
            UploadEnd::CompleteAbortRace,
            UploadEnd::Abort,
            UploadEnd::Leave,
        ];
        let condition = if self.one_in(5) { Ask::Absent } else { Ask::None };
        let parts = (0..1 + self.below(3)).map(part).collect();
        Verb::Multipart { parts, end: *self.pick(&ends), condition }
    }

    fn size(&self) -> usize {
        let most = match self.below(20) {
            0 => return 0,
            1..8 => 500,
            8..14 => 3_000,
            14..19 => 12_000,
            // More than one block, rarely: bytes cost time.
            _ => 150_000,
        };
        usize::try_from(1 + self.below(most)).expect("a small number")
    }

    fn flaw(&self) -> Option<Fault> {
        let flaws = [Fault::BodyBreaks, Fault::BodyShort, Fault::BodyWrongDigest];
        self.one_in(10).then(|| *self.pick(&flaws))
    }

    fn ask(&self) -> Ask {
        let asks = [Ask::Absent, Ask::AsSeen, Ask::Present, Ask::NotAsSeen];
        if self.one_in(3) { *self.pick(&asks) } else { Ask::None }
    }

    fn key(&self, keys: u8) -> u8 {
        u8::try_from(self.below(u64::from(keys))).expect("there are few keys")
    }

    fn below(&self, bound: u64) -> u64 {
        self.chance.below(bound)
    }

    fn one_in(&self, number: u64) -> bool {
        self.chance.below(number) == 0
    }

    fn pick<'a, T>(&self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.chance.below(from.len() as u64)).expect("an index fits")]
    }
}
