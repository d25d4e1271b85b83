//! Making a failing plan small: what can be left out while the same law is still broken is left out.

use crate::{Cut, Cuts, Fault, Law, Outcome, Plan};

/// Runs at most, for one plan.
const RUNS_MAX: usize = 400;

/// The smallest cuts found with which the plan of a seed still breaks this law. `run` carries a plan out.
pub fn shrink(seed: u64, law: Law, run: &mut dyn FnMut(Plan) -> Outcome) -> Cuts {
    let whole = Plan::new(seed, &Cuts::default());
    let mut shrinking = Shrinking { seed, law, run, runs: 0, cuts: Cuts::default() };
    for client in 0..whole.clients.len() {
        shrinking.try_cut(vec![Cut::Client(client)]);
    }
    for &fault in Fault::ALL {
        shrinking.try_cut(vec![Cut::Fault(fault)]);
    }
    for crash in 0..whole.crashes.len() {
        shrinking.try_cut(vec![Cut::Crash(crash)]);
    }
    for event in 0..whole.events.len() {
        shrinking.try_cut(vec![Cut::Event(event)]);
    }
    for order in 0..whole.workers.orders.len() {
        shrinking.try_cut(vec![Cut::Order(order)]);
    }
    for restart in 0..whole.limits.as_ref().map_or(0, |limits| limits.restarts.len()) {
        shrinking.try_cut(vec![Cut::Restart(restart)]);
    }
    for change in 0..whole.factors.len() {
        shrinking.try_cut(vec![Cut::Factor(change)]);
    }
    for outage in 0..whole.outages.len() {
        shrinking.try_cut(vec![Cut::Outage(outage)]);
    }
    for all in [Cut::Shuffle, Cut::Imports, Cut::Limits, Cut::Breakers, Cut::Expiry, Cut::Upkeep] {
        shrinking.try_cut(vec![all]);
    }
    for (client, ops) in whole.clients.iter().enumerate() {
        shrinking.halve(client, (0..ops.len()).collect());
    }
    shrinking.cuts
}

struct Shrinking<'a> {
    seed: u64,
    law: Law,
    run: &'a mut dyn FnMut(Plan) -> Outcome,
    runs: usize,
    cuts: Cuts,
}

impl Shrinking<'_> {
    fn try_cut(&mut self, cuts: Vec<Cut>) -> bool {
        if self.runs >= RUNS_MAX {
            return false;
        }
        self.runs += 1;
        let cuts = self.cuts.with(cuts);
        if cuts == self.cuts {
            return true;
        }
        let outcome = (self.run)(Plan::new(self.seed, &cuts));
        let fails = outcome.violations.iter().any(|violation| violation.law == self.law);
        if fails {
            self.cuts = cuts;
        }
        fails
    }

    /// Leaves out all of a client's operations that can be, in halves.
    fn halve(&mut self, client: usize, ops: Vec<usize>) {
        if ops.is_empty()
            || self.try_cut(ops.iter().map(|op| Cut::Op(client, *op)).collect())
            || ops.len() == 1
        {
            return;
        }
        let (first, second) = ops.split_at(ops.len() / 2);
        self.halve(client, first.to_vec());
        self.halve(client, second.to_vec());
    }
}
