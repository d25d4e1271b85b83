//! The section of a plan about the factor: when the operator writes another one into the configuration, and restarts one
//! process after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use runtime::Chance;

use crate::world::World;
use crate::{Fault, Plan};

/// What shipped files are kept on: two backends, or the only one.
const FILES_ON: usize = 2;

/// A change of the factor.
#[derive(Debug, Clone, Copy)]
pub struct FactorChange {
    /// When, in milliseconds of the run.
    pub at_ms: u64,
    /// Replicas wanted of each blob from then on.
    pub factor: u32,
    /// Pause before each process is restarted.
    pub pause_ms: u64,
}

/// The factor changes once or twice in one of four plans whose replicas are kept.
pub(crate) fn draw(chance: &Chance, plan: &mut Plan) {
    if plan.workers.linger_ms == 0 || chance.below(4) > 0 {
        return;
    }
    let most = plan.backends.len().min(3) as u64;
    let change = |_| FactorChange {
        at_ms: 300 + chance.below(12_000),
        factor: 1 + u32::try_from(chance.below(most)).expect("at most three"),
        pause_ms: chance.below(3_000),
    };
    plan.factors = (0..1 + chance.below(2)).map(change).collect();
    plan.factors.sort_by_key(|change| change.at_ms);
}

impl Plan {
    /// The lowest factor that there ever is.
    #[must_use]
    pub fn factor_min(&self) -> u32 {
        self.factors.iter().map(|change| change.factor).fold(self.factor, u32::min)
    }

    /// The highest one.
    #[must_use]
    pub fn factor_max(&self) -> u32 {
        self.factors.iter().map(|change| change.factor).fold(self.factor, u32::max)
    }
}

/// The factor in the configuration.
#[derive(Debug)]
pub(crate) struct Factor(AtomicU32);

impl Factor {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self(AtomicU32::new(plan.factor))
    }

    /// What a process that starts now reads.
    pub(crate) fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Replicas that a blob of clients wants, or a shipped file.
    pub(crate) fn wanted(&self, plan: &Plan, is_file: bool) -> u32 {
        if is_file { u32::try_from(plan.backends.len().min(FILES_ON)).unwrap_or(1) } else { self.now() }
    }
}

/// Changes it at its times.
pub(crate) async fn change(world: Arc<World>) {
    for FactorChange { at_ms, factor, pause_ms } in world.plan.factors.clone() {
        runtime::sleep(Duration::from_millis(at_ms.saturating_sub(world.now_ms()))).await;
        let before = world.factor.0.swap(factor, Ordering::Relaxed);
        world.event(format_args!("the factor is {factor} from the next start on"));
        for process in 1..=world.plan.processes() {
            world.end(process);
            runtime::sleep(Duration::from_millis(pause_ms)).await;
        }
        match factor.cmp(&before) {
            std::cmp::Ordering::Greater => world.count(Fault::FactorRaised),
            std::cmp::Ordering::Less => world.count(Fault::FactorLowered),
            std::cmp::Ordering::Equal => {}
        }
    }
}
