//! Guards of the time that several instances share, and of a factor that changes: plans that come near them.

use sim::{CatalogsPlan, FactorChange, Fault, InstancesPlan, Plan, Stop, UpkeepPlan};

use crate::guards::{all_do, put, without_faults};
use crate::mutations::{Mutation, Sharpened};

/// The guards.
pub(crate) const GUARDS: &[Mutation] = &[
    (&["bury.remarks"], "what the dead wrote last gets the factor of the living"),
    (&["claim.agree"], "instances do not tell the time to the second"),
    (&["remark.files"], "a factor of clients is not that of the journal's files"),
    (&["time.at-once"], "an answer that took long tells no time"),
    (&["time.of-catalog"], "instances agree on the time, whatever their machines show"),
];

/// What makes schedules come near them more often.
pub(crate) const SHARPENED: &[Sharpened] = &[
    ("claim.agree", with_late_arrivals),
    ("bury.remarks", with_a_factor_that_changes_amid_writes),
    ("remark.files", with_a_factor_that_falls),
    ("time.at-once", with_instances_that_stand_still_as_they_join),
];

/// What one instance gave up arrives at the last moment, each of them deletes, and each learns the time when it is
/// almost too late.
fn with_late_arrivals(plan: &mut Plan) {
    without_faults(plan);
    (plan.limits, plan.breakers) = (None, None);
    (plan.factor, plan.ack_replicas, plan.shuffle) = (plan.factor.max(2), 1, 70);
    let upkeep = UpkeepPlan { batch: 4, interval_ms: 3_000, scrub_ms: None, gone_ms: 60_000 };
    (plan.workers.upkeep, plan.workers.linger_ms) = (Some(upkeep), 20_000);
    let seed = plan.seed;
    let stop = |instance| Stop { instance, at_ms: (seed * 7 + instance * 5) % 12, for_ms: 900 };
    let stops = (0..2).map(stop).collect();
    plan.instances = Some(InstancesPlan { number: 3, stops, skews_ms: vec![0; 3] });
    for backend in &mut plan.backends {
        (backend.late_ms, backend.hides, backend.put_bytes_max) = (5_000, false, 1 << 40);
        backend.odds.insert(Fault::PutArrivesLate, 400);
    }
    all_do(plan, 24, |_, op| op.verb = put(200));
}

fn with_instances_that_stand_still_as_they_join(plan: &mut Plan) {
    with_late_arrivals(plan);
    let seed = plan.seed;
    let stop = |instance| Stop { instance, at_ms: (seed * 7 + instance * 5) % 12, for_ms: 20_000 };
    let stops = (0..2).map(stop).collect();
    plan.instances = Some(InstancesPlan { number: 3, stops, skews_ms: vec![0; 3] });
    for backend in &mut plan.backends {
        backend.late_ms = 15_000;
    }
    all_do(plan, 24, |index, op| {
        op.think_ms = if index == 0 { 20_000 } else { op.seed % 900 };
        op.verb = put(200);
    });
}

/// One instance after the other learns of another factor, while all of them write.
fn with_a_factor_that_changes_amid_writes(plan: &mut Plan) {
    with_late_arrivals(plan);
    for backend in &mut plan.backends {
        backend.odds.clear();
    }
    plan.factor = 2;
    plan.factors = vec![FactorChange { at_ms: 2_000, factor: 1, pause_ms: 4_000 }];
    plan.workers.linger_ms = 60_000;
    all_do(plan, 20, |_, op| op.verb = put(200));
}

/// Files of the journal lie on two backends when clients are content with one.
fn with_a_factor_that_falls(plan: &mut Plan) {
    without_faults(plan);
    (plan.limits, plan.breakers) = (None, None);
    plan.factor = 2;
    plan.factors = vec![FactorChange { at_ms: 3_000, factor: 1, pause_ms: 0 }];
    let upkeep = UpkeepPlan { batch: 4, interval_ms: 1_000, scrub_ms: None, gone_ms: 60_000 };
    (plan.workers.upkeep, plan.workers.linger_ms) = (Some(upkeep), 10_000);
    plan.catalogs = Some(CatalogsPlan { pace_ms: 300, fates: Vec::new() });
    all_do(plan, 10, |_, op| op.verb = put(200));
}
