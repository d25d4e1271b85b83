//! Outages of the catalog, and breakers: what stands around the catalog and the backends of a process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backend::{Backend, CircuitBreaker};
use catalog::{Around, Breakers, Catalog, CatalogError, Decorated, Verb};
use runtime::{Breaker, BreakerOptions, BreakerState, BreakerWatch, Chance, Transition};

use crate::gate::{Gate, Passing};
use crate::provider::Provider;
use crate::world::{World, locked};
use crate::{Fault, Law, Plan, Sign};

/// The breakers of a run.
#[derive(Debug, Clone)]
pub struct BreakersPlan {
    /// Failures in a row that open one.
    pub failures_max: u32,
    /// How long that of a backend stays open, in milliseconds.
    pub open_for_ms: u64,
    /// How long that of the catalog does.
    pub catalog_open_for_ms: u64,
    /// How long a request that finds out is waited for.
    pub probe_max_ms: u64,
}

/// A time in which the catalog does not answer.
#[derive(Debug, Clone)]
pub struct Outage {
    /// Whether reads fail.
    pub reads: bool,
    /// Whether writes do.
    pub writes: bool,
    /// From when, in milliseconds of the run.
    pub from_ms: u64,
    /// Until when.
    pub until_ms: u64,
}

impl Outage {
    fn fails(&self, writes: bool) -> bool {
        if writes { self.writes } else { self.reads }
    }
}

/// Draws breakers and outages for what is planned already.
pub(crate) fn draw(chance: &Chance, plan: &mut Plan) {
    let one_in = |number| chance.below(number) == 0;
    let calm = plan.is_calm();
    if one_in(3) {
        plan.breakers = Some(BreakersPlan {
            failures_max: 2 + u32::try_from(chance.below(3)).unwrap_or(0),
            open_for_ms: 1_000 + chance.below(12_000),
            catalog_open_for_ms: 500 + chance.below(5_000),
            probe_max_ms: 5_000 + chance.below(20_000),
        });
    }
    if calm || !one_in(4) {
        return;
    }
    for _ in 0..1 + chance.below(2) {
        let from_ms = chance.below(5_000);
        let until_ms = from_ms + 300 + chance.below(6_000);
        let (reads, writes) = match chance.below(4) {
            0 => (true, false),
            1 => (false, true),
            _ => (true, true),
        };
        plan.outages.push(Outage { reads, writes, from_ms, until_ms });
    }
}

/// What became of verbs, as the catalog itself knows it: reads and writes that were not answered since their
/// breaker closed.
#[derive(Debug, Default)]
struct CatalogSeen {
    failed: [AtomicU64; 2],
}

/// As the product guards its catalog, around one that is away at times.
pub(crate) fn guard_catalog(
    world: &Arc<World>,
    inner: Arc<dyn Catalog>,
    chance: &Chance,
) -> Arc<dyn Catalog> {
    let seen = Arc::new(CatalogSeen::default());
    let away = Away { world: Arc::clone(world), seen: Arc::clone(&seen) };
    let catalog: Arc<dyn Catalog> = Arc::new(Decorated::new(inner, away));
    let Some(plan) = &world.plan.breakers else { return catalog };
    let breaker = |name, writes| {
        let options = BreakerOptions {
            failures_max: plan.failures_max,
            open_for: Duration::from_millis(plan.catalog_open_for_ms),
            probe_max: Duration::from_millis(plan.probe_max_ms),
            refuses: true,
        };
        let watch = CatalogWatch { world: Arc::clone(world), seen: Arc::clone(&seen), writes };
        Breaker::new(name, options, chance.clone(), Arc::new(watch))
    };
    let breakers = Breakers { reads: breaker("reads", false), writes: breaker("writes", true) };
    Arc::new(catalog::CircuitBreaker::new(catalog, breakers))
}

/// Fails while an outage lasts.
struct Away {
    world: Arc<World>,
    seen: Arc<CatalogSeen>,
}

impl Around for Away {
    async fn around<T: Send>(
        &self,
        verb: Verb,
        run: impl Future<Output = Result<T, CatalogError>> + Send,
    ) -> Result<T, CatalogError> {
        let answer = if self.world.catalog_is_away(verb.writes) {
            runtime::simulation::point("catalog.away").await;
            self.world.count(Fault::CatalogAway);
            Err(CatalogError::Unavailable("nothing reaches it".to_owned()))
        } else {
            run.await
        };
        if let Err(CatalogError::Unavailable(_) | CatalogError::Unknown(_)) = &answer {
            let index = usize::from(verb.writes);
            self.seen.failed[index].fetch_add(1, Ordering::Relaxed);
            if !verb.writes {
                self.world.saw(Sign::CatalogReadFailed);
                self.world.read_failed_ms.store(self.world.now_ms(), Ordering::Relaxed);
            }
        }
        answer
    }
}

impl World {
    /// Whether the catalog does not answer reads, or writes, now.
    pub(crate) fn catalog_is_away(&self, writes: bool) -> bool {
        let now = self.now_ms();
        let lasts =
            |outage: &Outage| outage.fails(writes) && (outage.from_ms..outage.until_ms).contains(&now);
        !self.is_calm() && self.plan.outages.iter().any(lasts)
    }

    /// Whether the catalog may count as gone to who begins to read then: a read was not answered shortly before it,
    /// or since.
    pub(crate) fn reads_may_be_degraded(&self, invoked_ms: u64) -> bool {
        let failed = self.read_failed_ms.load(Ordering::Relaxed);
        let open = self.plan.breakers.as_ref();
        let open_ms = open.map_or(5_000, |plan| 2 * plan.catalog_open_for_ms + plan.probe_max_ms);
        failed != u64::MAX && invoked_ms.saturating_sub(failed) <= open_ms
    }

    /// Whether no read was answered in this time.
    pub(crate) fn no_read_was_answered(&self, from_ms: u64, until_ms: u64) -> bool {
        let lasts = |outage: &Outage| outage.reads && outage.from_ms <= from_ms && until_ms < outage.until_ms;
        !self.is_calm() && self.plan.outages.iter().any(lasts)
    }
}

/// Judges the breakers of the catalog.
struct CatalogWatch {
    world: Arc<World>,
    seen: Arc<CatalogSeen>,
    writes: bool,
}

impl BreakerWatch for CatalogWatch {
    fn moved(&self, name: &str, transition: Transition) {
        self.world.event(format_args!("the catalog's breaker of {name} is {}", transition.to.as_str()));
        let failed = &self.seen.failed[usize::from(self.writes)];
        match (transition.from, transition.to) {
            (BreakerState::Closed, BreakerState::Open) => {
                self.world.saw(Sign::CatalogBreakerOpened);
                let (failed, plan) = (failed.load(Ordering::Relaxed), &self.world.plan.breakers);
                if plan.as_ref().is_some_and(|plan| failed < u64::from(plan.failures_max)) {
                    let what = format!("the catalog's breaker of {name} opened after {failed} failures");
                    self.world.violate(Law::Blameless, what);
                }
            }
            (_, BreakerState::Closed) => failed.store(0, Ordering::Relaxed),
            _ => {}
        }
    }
}

/// The breaker of one backend in one process, and what stands behind it.
pub(crate) struct Guard {
    world: Arc<World>,
    breaker: Arc<Breaker>,
    passing: Arc<Passing>,
}

impl Guard {
    pub(crate) fn new(world: &Arc<World>, provider: &Arc<Provider>, chance: &Chance) -> Option<Self> {
        let plan = world.plan.breakers.as_ref()?;
        let options = BreakerOptions {
            failures_max: plan.failures_max,
            open_for: Duration::from_millis(plan.open_for_ms),
            probe_max: Duration::from_millis(plan.probe_max_ms),
            refuses: true,
        };
        let passing = Arc::new(Passing::default());
        let watch = Watch {
            world: Arc::clone(world),
            provider: Arc::clone(provider),
            passing: Arc::clone(&passing),
            opened: Mutex::default(),
        };
        let breaker = Breaker::new(provider.name_text(), options, chance.clone(), Arc::new(watch));
        Some(Self { world: Arc::clone(world), breaker, passing })
    }

    /// The breaker outermost, and right behind it a gate that sees what it lets through.
    pub(crate) fn around(&self, inner: Arc<dyn Backend>) -> Arc<dyn Backend> {
        let gate = Gate::new(inner, &self.world, &self.breaker, &self.passing);
        Arc::new(CircuitBreaker::new(Arc::new(gate), Arc::clone(&self.breaker)))
    }
}

/// Judges the breaker of a backend.
struct Watch {
    world: Arc<World>,
    provider: Arc<Provider>,
    passing: Arc<Passing>,
    /// What its provider had done wrong when it was last closed.
    opened: Mutex<u64>,
}

impl BreakerWatch for Watch {
    fn moved(&self, name: &str, transition: Transition) {
        let world = &self.world;
        world.event(format_args!("the breaker of {name} is {}", transition.to.as_str()));
        self.passing.moved();
        match (transition.from, transition.to) {
            (BreakerState::Closed, BreakerState::Open) => {
                world.saw(Sign::BreakerOpened);
                let faults = self.provider.faults() - *locked(&self.opened);
                let enough = world.plan.breakers.as_ref().map_or(0, |plan| u64::from(plan.failures_max));
                if faults < enough && !self.provider.was_unmounted() {
                    let what = format!("the breaker of {name} opened after {faults} faults of its provider");
                    world.violate(Law::Blameless, what);
                }
            }
            (_, BreakerState::HalfOpen) => world.saw(Sign::BreakerProbed),
            (_, BreakerState::Closed) => {
                world.saw(Sign::BreakerClosed);
                *locked(&self.opened) = self.provider.faults();
            }
            _ => {}
        }
    }
}
