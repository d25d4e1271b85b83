//! The engine itself: what its verbs share.

use std::sync::Arc;

use backend::{Allowance, Backend};
use catalog::{BackendId, Catalog};
use format::PathGrammar;
use runtime::{Bell, Clock, Ids, mutation};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use types::{BackendName, BootId, Timestamp, Traffic};

use crate::held::Abandoned;
use crate::readers::Readers;
use crate::recent::Recent;
use crate::{EngineError, Settings};

/// Reserve, stream, commit, locate. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

/// What an engine is made of.
pub struct Parts {
    /// The truth.
    pub catalog: Arc<dyn Catalog>,
    /// The backends, in configuration order.
    pub places: Vec<Place>,
    /// This start of the process, already registered with the catalog.
    pub boot: BootId,
    /// How to place and write.
    pub settings: Settings,
    /// Time.
    pub clock: Clock,
    /// Identifiers.
    pub ids: Ids,
}

/// A backend as the engine uses it.
#[derive(Clone)]
pub struct Place {
    /// Its number in the catalog.
    pub id: BackendId,
    /// The driver with its decorators, for requests of clients.
    pub backend: Arc<dyn Backend>,
    /// The same for our own work, which draws on its own share of the limits.
    pub maintenance: Arc<dyn Backend>,
    /// What may still be done with it.
    pub allowance: Arc<Allowance>,
    /// How paths on it are made.
    pub grammar: PathGrammar,
    /// Bytes that may be charged to it; `None` is unlimited.
    pub quota: Option<u64>,
    /// Largest object that is placed on it, in bytes; `None` is unlimited.
    pub object_bytes_max: Option<u64>,
}

impl Place {
    /// A backend without limits.
    #[must_use]
    pub fn new(id: BackendId, backend: Arc<dyn Backend>, grammar: PathGrammar) -> Self {
        let maintenance = Arc::clone(&backend);
        let allowance = Arc::new(Allowance::unlimited(backend.name().clone()));
        Self { id, backend, maintenance, allowance, grammar, quota: None, object_bytes_max: None }
    }

    /// The driver with its decorators, for this traffic.
    #[must_use]
    pub fn through(&self, traffic: Traffic) -> &Arc<dyn Backend> {
        match traffic {
            Traffic::Client => &self.backend,
            Traffic::Maintenance => &self.maintenance,
        }
    }

    /// The operator's name for it.
    #[must_use]
    pub fn name(&self) -> &BackendName {
        self.backend.name()
    }
}

/// What an engine has in hand: nothing, when nothing is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occupancy {
    /// Bytes of the budget that bodies have taken.
    pub budget_bytes_taken: u64,
    /// Reads under way.
    pub readers: usize,
    /// Replicas that were given up and that the catalog does not know of yet.
    pub abandoned: usize,
}

pub(crate) struct Shared {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) places: Vec<Place>,
    pub(crate) boot: BootId,
    pub(crate) settings: Settings,
    /// The time that clients are told.
    pub(crate) clock: Clock,
    /// The time for what has to last: it does not jump.
    pub(crate) steady: Clock,
    pub(crate) ids: Ids,
    pub(crate) readers: Readers,
    pub(crate) recent: Recent,
    pub(crate) abandoned: Abandoned,
    pub(crate) hashers: crate::hashers::Hashers,
    pub(crate) health: crate::health::Health,
    pub(crate) frozen: crate::freeze::Frozen,
    pub(crate) lease: crate::liveness::Lease,
    pub(crate) dooms: crate::unshipped::Dooms,
    pub(crate) troubles: crate::drain::Troubles,
    pub(crate) stats: crate::stats::FleetStats,
    pub(crate) imports: crate::import::Imports,
    pub(crate) repairs: crate::upkeep::RepairStats,
    pub(crate) proofs: crate::upkeep::ProofStats,
    /// Something was doomed or given up.
    pub(crate) reap: Bell,
    /// A blob has fewer live replicas than it should.
    pub(crate) short: Bell,
    /// An instance died, and may have written with another factor.
    pub(crate) unmarked: Bell,
    budget: Arc<Semaphore>,
    budget_units: u64,
}

/// Bytes behind one permit of the budget.
const BUDGET_UNIT: u64 = 4096;

impl Engine {
    /// Puts an engine together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { catalog, places, boot, settings, clock, ids } = parts;
        let units = (settings.memory_budget_bytes.max(settings.window_bytes) / BUDGET_UNIT).max(1);
        let units = usize::try_from(units).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self {
            shared: Arc::new(Shared {
                readers: Readers::new(settings.read_guard_max),
                recent: Recent::new(settings.remembered_bytes),
                abandoned: Abandoned::default(),
                hashers: crate::hashers::Hashers::default(),
                health: crate::health::Health::new(places.len()),
                frozen: crate::freeze::Frozen::default(),
                lease: crate::liveness::Lease::default(),
                dooms: crate::unshipped::Dooms::default(),
                troubles: crate::drain::Troubles::default(),
                stats: crate::stats::FleetStats::default(),
                imports: crate::import::Imports::default(),
                repairs: crate::upkeep::RepairStats::default(),
                proofs: crate::upkeep::ProofStats::default(),
                reap: Bell::default(),
                short: Bell::default(),
                unmarked: Bell::default(),
                budget: Arc::new(Semaphore::new(units)),
                budget_units: u64::try_from(units).unwrap_or(u64::MAX),
                catalog,
                places,
                boot,
                settings,
                steady: clock.steady(),
                clock,
                ids,
            }),
        }
    }

    /// The catalog behind the engine, for what only reads it.
    #[must_use]
    pub fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.shared.catalog
    }

    /// The backends, in configuration order.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.shared.places
    }

    /// What it has in hand now.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        let shared = &self.shared;
        let free = u64::try_from(shared.budget.available_permits()).unwrap_or(u64::MAX);
        Occupancy {
            budget_bytes_taken: shared.budget_units.saturating_sub(free) * BUDGET_UNIT,
            readers: shared.readers.number(),
            abandoned: shared.abandoned.number(),
        }
    }

    /// Rings when something was doomed or given up: there is work for the reapers.
    #[must_use]
    pub fn doomed(&self) -> &Bell {
        &self.shared.reap
    }

    /// Rings when a blob came to have fewer live replicas than it should: there is work for repair.
    #[must_use]
    pub fn short(&self) -> &Bell {
        &self.shared.short
    }

    /// Rings when blobs may be marked with another factor than that of the configuration.
    #[must_use]
    pub fn unmarked(&self) -> &Bell {
        &self.shared.unmarked
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }
}

impl Shared {
    /// Calls for repair where a blob that was just committed has fewer live replicas than it should.
    pub(crate) fn call_for_repair(&self, blobs: &[catalog::NewBlob]) {
        let is_live = |fate: &&catalog::Fate| matches!(fate.outcome, catalog::WriteOutcome::Live { .. });
        let is_short = |blob: &catalog::NewBlob| {
            blob.fates.iter().filter(is_live).count() < usize::try_from(blob.wanted).unwrap_or(usize::MAX)
        };
        if blobs.iter().any(is_short) {
            self.short.ring();
        }
    }

    /// Now, by the clock that does not jump: for what is put off, and for what has to be old enough.
    pub(crate) fn now_lasting(&self) -> Timestamp {
        if mutation::is_on("work.steady") { self.clock.now() } else { self.steady.now() }
    }

    pub(crate) fn place(&self, id: BackendId) -> Option<(usize, &Place)> {
        self.places.iter().enumerate().find(|(_, place)| place.id == id)
    }

    /// Waits until so many bytes of the budget are free. Given back when the permit is dropped.
    pub(crate) async fn take_budget(&self, bytes: u64) -> Result<OwnedSemaphorePermit, EngineError> {
        let all = self.settings.memory_budget_bytes.max(self.settings.window_bytes) / BUDGET_UNIT;
        let units = bytes.div_ceil(BUDGET_UNIT).clamp(1, all.max(1));
        let units =
            if mutation::is_on("budget.taken") { 0 } else { u32::try_from(units).unwrap_or(u32::MAX) };
        Arc::clone(&self.budget)
            .acquire_many_owned(units)
            .await
            .map_err(|_| EngineError::Internal("the byte budget was closed".to_owned()))
    }
}
