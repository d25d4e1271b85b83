//! Running plans, many at a time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sim::{Cuts, Deed, Fault, Outcome, Plan, Sign, Simulation};

/// Prints a line whatever the test harness makes of the output of tests that pass.
pub(crate) fn say(line: std::fmt::Arguments<'_>) {
    use std::io::Write;
    // Nobody may be listening.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// A number that the environment gives.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().filter(|text| !text.is_empty()).map(|text| text.parse().unwrap())
}

/// Whether a plan has all the sections that `ONLY` names, one or several joined by `+`.
fn is_asked_for(plan: &Plan) -> bool {
    let only = std::env::var("ONLY").unwrap_or_default();
    let has = |section: &str| match section {
        "breakers" => plan.breakers.is_some(),
        "catalogs" => plan.catalogs.is_some(),
        "factors" => !plan.factors.is_empty(),
        "expiry" => plan.workers.expiry.is_some(),
        "imports" => plan.imports.is_some(),
        "instances" => plan.instances.is_some(),
        "limits" => plan.limits.is_some(),
        "outages" => !plan.outages.is_empty(),
        "upkeep" => plan.workers.upkeep.is_some(),
        section => panic!("plans have no section {section}"),
    };
    only.split('+').filter(|section| !section.is_empty()).all(has)
}

/// Carries a plan out, on this thread.
pub(crate) fn run(plan: Plan, verbose: bool) -> Outcome {
    let simulation = Simulation::new(plan, verbose);
    runtime::simulation::run(simulation.director(), simulation.run())
}

/// What many runs came to.
#[derive(Default)]
pub(crate) struct Sum {
    pub(crate) runs: u64,
    pub(crate) calls: u64,
    pub(crate) unjudged: u64,
    pub(crate) counts: BTreeMap<Fault, u64>,
    pub(crate) deeds: BTreeMap<Deed, u64>,
    pub(crate) signs: BTreeMap<Sign, u64>,
    /// Seeds that failed, with what they broke.
    pub(crate) failed: Vec<(u64, Outcome)>,
}

/// Runs the plans of these seeds on all processors; stops after some failures.
pub(crate) fn run_all(seeds: std::ops::Range<u64>, failures_max: usize) -> Sum {
    let next = AtomicU64::new(seeds.start);
    let sum = Mutex::new(Sum::default());
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || sum.lock().unwrap().failed.len() >= failures_max {
                        return;
                    }
                    let plan = Plan::new(seed, &Cuts::default());
                    if !is_asked_for(&plan) {
                        continue;
                    }
                    let outcome = run(plan, false);
                    sum.lock().unwrap().add(seed, outcome);
                }
            });
        }
    });
    sum.into_inner().unwrap()
}

impl Sum {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.runs += 1;
        self.calls += outcome.calls as u64;
        self.unjudged += outcome.unjudged as u64;
        for (fault, count) in &outcome.counts {
            *self.counts.entry(*fault).or_default() += count;
        }
        for (deed, count) in &outcome.deeds {
            *self.deeds.entry(*deed).or_default() += count;
        }
        for (sign, count) in &outcome.signs {
            *self.signs.entry(*sign).or_default() += count;
        }
        if !outcome.violations.is_empty() {
            self.failed.push((seed, outcome));
        }
    }
}
