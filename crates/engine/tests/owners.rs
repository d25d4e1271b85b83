//! The property of limits: several owners on one catalog, crashes, clocks that are set, periods that change,
//! and a provider that counts by the true time. Whatever happens in whatever order, it never counts more in a
//! period than the limit.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backend::{Allowance, Cover, Needs, Operation};
use catalog::Catalog;
use catalog::sqlite::{Options, Sqlite};
use engine::{BackendLimits, FlushSettings, Grants};
use runtime::{Chance, Clock, Ids, Instant};
use types::{BackendName, BootId, LimitKind, Schedule, Timestamp, Traffic};

const DAY_MS: u64 = 24 * 3_600_000;
/// 2023-11-14 22:13:20 UTC.
const START_MS: u64 = 1_700_000_000_000;
const LIMITS: [u64; 3] = [60, 3_000, 3_000];
/// A clock may be wrong by so much from the start without harm.
const WRONG_MS: u64 = 50_000;
const SEEDS: u64 = 100;
const STEPS: u32 = 100;

struct Owner {
    boot: BootId,
    grants: Grants,
}

/// An attempt that has been sent and still passes bytes.
struct UnderWay {
    owner: BootId,
    cover: Cover,
    operation: Operation,
}

struct World {
    chance: Chance,
    catalog: Arc<dyn Catalog>,
    clock: Clock,
    ids: Ids,
    began: Instant,
    skew_ms: u64,
    owners: Vec<Owner>,
    under_way: Vec<UnderWay>,
    /// What the provider counts, by day.
    counted: BTreeMap<u64, [u64; 3]>,
}

/// Runs with time standing still but for what is advanced: the catalog's thread takes real time.
async fn frozen<T>(run: impl Future<Output = T>) -> T {
    let (end, wait) = std::sync::mpsc::channel::<()>();
    let held = runtime::spawn_blocking(move || wait.recv().is_err());
    let output = run.await;
    drop(end);
    let _ = held.await;
    output
}

impl World {
    async fn new(seed: u64) -> Self {
        let chance = Chance::seeded(seed);
        let clock = Clock::simulated(Timestamp::from_millis(START_MS));
        let ids = Ids::new(clock.clone(), chance.clone());
        let options = Options { clock: clock.clone(), ..Options::default() };
        let catalog: Arc<dyn Catalog> = Arc::new(Sqlite::in_memory_with(options).unwrap());
        let mut world = Self {
            chance,
            catalog,
            clock,
            ids,
            began: runtime::instant_now(),
            skew_ms: 0,
            owners: Vec::new(),
            under_way: Vec::new(),
            counted: BTreeMap::new(),
        };
        for _ in 0..3 {
            world.join().await;
        }
        world
    }

    /// A new owner. It begins with a clock that is about right: a wrong one cannot be told from that.
    async fn join(&mut self) {
        if self.skew_ms > WRONG_MS {
            self.skew_ms = 0;
            self.clock.set_skew_ms(0);
        }
        let boot = self.ids.boot();
        self.catalog.join(boot, self.clock.now()).await.unwrap();
        let limits = BackendLimits {
            limits: LIMITS.map(Some),
            schedule: Schedule::daily(0),
            ..BackendLimits::none(BackendName::parse("oci").unwrap())
        };
        let flush = FlushSettings::default();
        let grants = Grants::keep(Arc::clone(&self.catalog), boot, self.clock.clone(), vec![limits], flush);
        self.owners.push(Owner { boot, grants });
        // The clock is right now.
        self.attempt(self.owners.len() - 1).await;
    }

    fn true_ms(&self) -> u64 {
        START_MS + u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    fn count(&mut self, kind: LimitKind, amount: u64) {
        let day = self.true_ms() / DAY_MS;
        self.counted.entry(day).or_default()[kind as usize] += amount;
    }

    fn pick(&self, among: usize) -> usize {
        usize::try_from(self.chance.below(among as u64)).unwrap()
    }

    async fn step(&mut self) {
        match self.chance.below(20) {
            0..=9 => {
                for _ in 0..=self.chance.below(8) {
                    self.attempt(self.pick(self.owners.len())).await;
                }
            }
            10..=13 => self.go_on().await,
            14 | 15 => self.pass_time().await,
            16 | 17 => self.set_clock(),
            18 => self.crash().await,
            _ => self.stop().await,
        }
        for (day, counted) in &self.counted {
            let over = counted.iter().zip(LIMITS).any(|(counted, limit)| *counted > limit);
            assert!(!over, "day {day}: {counted:?} of {LIMITS:?}");
        }
    }

    async fn attempt(&mut self, owner: usize) {
        let bytes = self.chance.below(900);
        let (operation, needs) = match self.chance.below(3) {
            0 => (Operation::Head, Needs::REQUEST),
            1 => (Operation::Get, Needs::get(bytes)),
            _ => (Operation::Put, Needs::put(bytes)),
        };
        let traffic = if self.chance.happens(0.2) { Traffic::Maintenance } else { Traffic::Client };
        let (boot, allowance) = (self.owners[owner].boot, self.allowance(owner));
        let Ok(mut cover) = allowance.cover(traffic, operation, needs).await else { return };
        cover.spend(Needs::REQUEST);
        self.count(LimitKind::Requests, 1);
        let mut sent = UnderWay { owner: boot, cover, operation };
        if self.chance.happens(0.7) {
            self.pass(&mut sent).await;
        } else {
            self.under_way.push(sent);
        }
    }

    fn allowance(&self, owner: usize) -> Arc<Allowance> {
        Arc::clone(&self.owners[owner].grants.allowances()[0])
    }

    /// Some bytes pass; the rest goes back, or goes on later.
    async fn pass(&mut self, sent: &mut UnderWay) -> bool {
        if sent.cover.extend(sent.operation, Needs::default()).await.is_err() {
            return false;
        }
        for kind in [LimitKind::Egress, LimitKind::Ingress] {
            let passed = self.chance.below(sent.cover.left(kind) + 1);
            sent.cover.spend(Needs::only(kind, passed));
            self.count(kind, passed);
        }
        true
    }

    async fn go_on(&mut self) {
        if self.under_way.is_empty() {
            return;
        }
        let mut sent = self.under_way.swap_remove(self.pick(self.under_way.len()));
        if self.pass(&mut sent).await && self.chance.happens(0.5) {
            self.under_way.push(sent);
        }
    }

    async fn pass_time(&mut self) {
        let to_midnight = DAY_MS - self.true_ms() % DAY_MS;
        let passes = match self.chance.below(8) {
            0..=3 => self.chance.below(120_000),
            4 | 5 => to_midnight.saturating_sub(self.chance.below(70_000)),
            6 => to_midnight + self.chance.below(70_000),
            _ => self.chance.below(DAY_MS / 3),
        };
        tokio::time::advance(Duration::from_millis(passes)).await;
        // The keepers look at what became due.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    fn set_clock(&mut self) {
        self.skew_ms = match self.chance.below(6) {
            0 => 0,
            1 | 2 => self.chance.below(WRONG_MS),
            3 => 3_600_000,
            4 => DAY_MS,
            _ => 2 * DAY_MS,
        };
        let skew = i64::try_from(self.skew_ms).unwrap();
        self.clock.set_skew_ms(if self.chance.happens(0.5) { skew } else { -skew });
    }

    /// Gone from one moment to the next; another comes.
    async fn crash(&mut self) {
        let owner = self.owners.swap_remove(self.pick(self.owners.len()));
        self.under_way.retain(|sent| sent.owner != owner.boot);
        let living = self.catalog.living().await.unwrap();
        let beats = living.iter().find(|instance| instance.boot == owner.boot).unwrap().beats;
        if self.chance.happens(0.5) {
            assert!(self.catalog.declare_dead(owner.boot, beats, self.clock.now()).await.unwrap());
        }
        drop(owner);
        self.join().await;
    }

    /// An orderly end, in the middle of what is under way.
    async fn stop(&mut self) {
        let owner = self.owners.swap_remove(self.pick(self.owners.len()));
        owner.grants.stop().await;
        self.under_way.retain(|sent| sent.owner != owner.boot || self.chance.happens(0.5));
        self.join().await;
    }
}

/// `LIMITS_SEED` repeats a run.
#[tokio::test(start_paused = true)]
async fn no_schedule_of_crashes_and_clocks_overspends() {
    let chosen = std::env::var("LIMITS_SEED").ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = chosen.map_or(0..SEEDS, |seed| seed..seed + 1);
    let (mut days, mut full) = (0, 0);
    for seed in seeds {
        println!("LIMITS_SEED={seed}");
        let counted = frozen(async {
            let mut world = World::new(seed).await;
            for _ in 0..STEPS {
                world.step().await;
            }
            assert_eq!(world.catalog.audit().await.unwrap(), Vec::<String>::new());
            world.counted
        })
        .await;
        days += counted.len();
        full += counted.values().filter(|counted| counted[1] * 2 >= LIMITS[1]).count();
    }
    // It is not kept by refusing everything.
    println!("{full} of {days} days were used by half or more");
    assert!(chosen.is_some() || full * 10 > days);
}

/// What was covered before a border and passes behind it is charged on both sides.
#[tokio::test(start_paused = true)]
async fn what_is_under_way_over_a_border_is_charged_to_both() {
    frozen(async {
        let world = World::new(1).await;
        let limits = BackendLimits {
            limits: [Some(100), None, Some(1_000)],
            schedule: Schedule::daily(0),
            ..BackendLimits::none(BackendName::parse("free").unwrap())
        };
        let owner = &world.owners[0];
        let flush = FlushSettings::default();
        let catalog = Arc::clone(&world.catalog);
        let grants = Grants::keep(catalog, owner.boot, world.clock.clone(), vec![limits], flush);
        let allowance = &grants.allowances()[0];
        let put = async |bytes| allowance.cover(Traffic::Client, Operation::Put, Needs::put(bytes)).await;
        let mut slow = put(900).await.unwrap();
        slow.spend(Needs::put(100));
        assert!(put(51).await.is_err(), "50 of a thousand are kept for maintenance");
        tokio::time::advance(Duration::from_hours(24)).await;
        slow.extend(Operation::Put, Needs::default()).await.unwrap();
        assert!(put(151).await.is_err(), "800 are under way");
        let usage = grants.usage().await.unwrap();
        assert_eq!((usage[0].spent, usage[2].spent), (1, 800), "and so is the request");
        slow.spend(Needs::ingress(300));
        drop(slow);
        assert!(put(651).await.is_err());
        drop(put(650).await.unwrap());
        // The other way round: what does not fit into the new period does not go on.
        let mut slow = put(900).await.unwrap_err();
        assert!(matches!(slow.kind, backend::ErrorKind::LimitReached { .. }));
        let mut stalled = put(600).await.unwrap();
        tokio::time::advance(Duration::from_hours(24)).await;
        let _all = put(900).await.unwrap();
        slow = stalled.extend(Operation::Put, Needs::default()).await.unwrap_err();
        assert!(matches!(slow.kind, backend::ErrorKind::LimitReached { .. }));
    })
    .await;
}

/// A crash loop does not eat the month: each start asks for what it needs.
#[tokio::test(start_paused = true)]
async fn a_crash_loop_costs_what_it_uses() {
    frozen(async {
        let mut world = World::new(1).await;
        let limits = BackendLimits {
            limits: [Some(50_000), None, None],
            ..BackendLimits::none(BackendName::parse("free").unwrap())
        };
        for _ in 0..100 {
            let boot = world.ids.boot();
            world.catalog.begin_boot(boot, world.clock.now()).await.unwrap();
            let grants = Grants::keep(
                Arc::clone(&world.catalog),
                boot,
                world.clock.clone(),
                vec![limits.clone()],
                FlushSettings::default(),
            );
            let allowance = &grants.allowances()[0];
            for _ in 0..5 {
                let mut cover =
                    allowance.cover(Traffic::Client, Operation::Get, Needs::REQUEST).await.unwrap();
                cover.spend(Needs::REQUEST);
            }
        }
        world.owners.clear();
        let key = catalog::LimitKey {
            backend: BackendName::parse("free").unwrap(),
            kind: LimitKind::Requests,
            period: Schedule::MONTHLY.span_at(world.clock.now()).start,
        };
        let granted = world.catalog.usage(vec![key]).await.unwrap()[0].granted();
        // As much again as was used, at most.
        assert!((500..=1_000).contains(&granted), "{granted}");
    })
    .await;
}
