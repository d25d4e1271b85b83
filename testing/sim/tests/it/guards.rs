//! Guards of limits, breakers and reads without the catalog: what each is there for, and plans that come near them.

use runtime::Chance;
use sim::{Ask, BreakersPlan, Crash, Event, Fault, LimitsPlan, Op, Outage, Plan, Verb, WorkersPlan};
use types::{Schedule, Timestamp};

use crate::mutations::{Mutation, Sharpened};

/// The guards.
pub(crate) const GUARDS: &[Mutation] = &[
    (&["breaker.one-probe"], "one request finds out whether a backend is back"),
    (&["breaker.opens"], "what keeps failing is left alone"),
    (&["breaker.returns"], "what was left alone is tried again"),
    (&["breaker.shut"], "what is left alone gets no request"),
    (&["catalog.apart"], "reads go on where only writes fail"),
    (&["catalog.refusal"], "a refusal of the catalog is an answer"),
    (&["cover.moves-on"], "what is under way across a border is charged to the new period"),
    (&["get.extended"], "each slice of a download is covered before it is read"),
    (&["get.lead"], "a download that is cut short is charged for what may have been sent"),
    (&["grant.kept"], "clients leave a share to maintenance"),
    (&["grant.later"], "what was granted while a clock ran ahead counts"),
    (&["grant.paced"], "maintenance does not rob clients of the rest of a period"),
    (&["grant.room"], "no more is granted than there is"),
    (&["grant.spent"], "no more is granted ahead than was spent"),
    (&["hand.draw"], "what is not in hand is not spent"),
    (&["hand.emptied"], "what is handed back is not in hand any more"),
    (&["keeper.draws"], "nobody is covered by what was not granted"),
    (&["locate.unknown"], "only the catalog can say that there is nothing"),
    (&["meter.covered"], "each attempt is covered before it is sent"),
    (&["period.margin"], "near a border both periods are charged"),
    (&["period.trusted"], "where clocks have come apart, either may be right"),
    (&["permit.dropped"], "a client that goes away says nothing of a backend"),
    (&["present.until"], "a new period is noticed"),
    (&["purse.counts-until"], "who is told to slow down is told for how long"),
    (&["put.covered"], "an upload is covered beforehand"),
    (&["recent.between"], "a write that was answered late is remembered where nobody came behind it"),
    (&["recent.forget"], "a write that nobody knows the end of leaves nothing remembered"),
    (&["recent.latest"], "of two writes the later one is remembered"),
    (&["recent.marked"], "an answer from memory says so"),
    (&["recent.ticket"], "what was located before a write is not remembered after it"),
    (&["reap.limit-waits"], "a delete that no grant covers waits, whatever clock says until when"),
    (&["shut.waits"], "nobody is told to come again at once"),
    (&["shut.told"], "limits that are reached are told as such"),
    (&["verdict.limit"], "a limit of ours is not its backend's fault"),
];

/// What makes schedules come near them more often.
pub(crate) const SHARPENED: &[Sharpened] = &[
    ("cover.moves-on", with_slow_bodies_across_a_border),
    ("get.lead", with_readers_that_hang_up),
    ("grant.later", with_a_first_clock_that_is_ahead),
    ("grant.paced", with_little_for_maintenance),
    ("grant.spent", with_crashes_and_more_than_enough),
    ("hand.emptied", with_much_that_comes_back),
    ("period.margin", with_a_clock_that_is_behind_at_a_border),
    ("period.trusted", with_a_clock_that_is_set_across_a_border),
    ("permit.dropped", with_clients_that_leave),
    ("present.until", with_much_to_do_across_a_border),
    ("reap.limit-waits", with_a_clock_that_is_set_back),
    ("recent.between", with_outages_amid_writes),
    ("recent.forget", with_outages_amid_writes),
    ("recent.latest", with_outages_amid_writes),
    ("recent.ticket", with_outages_amid_writes),
    ("verdict.limit", with_limits_and_breakers),
];

/// Guards that no schedule misses, and why they stay.
pub(crate) const UNREACHED: &[(&str, &str)] = &[(
    "verdict.body",
    "a body that fails ends its uploads before a backend can say so; the drivers' suite has one that does",
)];

const MINUTE_MS: i64 = 60_000;

/// A day that begins so many milliseconds after a border of periods (before it, where negative).
fn limits(plan: &Plan, after_border_ms: i64, of: [Option<u64>; 3]) -> LimitsPlan {
    let schedule = Schedule::daily(3);
    let border = schedule.span_at(Timestamp::from_millis(1_760_000_000_000)).end;
    LimitsPlan {
        begins_at: Timestamp::from_millis(border.as_millis().saturating_add_signed(after_border_ms)),
        schedule,
        of: plan.backends.iter().map(|_| of).collect(),
        generous: false,
        maintenance_share: 0.05,
        lead_bytes: 4_000,
        flush_ms: 5_000,
        slow_ms: 0,
        first_skew_ms: 0,
        restarts: Vec::new(),
    }
}

pub(crate) fn without_faults(plan: &mut Plan) {
    // These guards are looked for with one process that serves, and nothing else that asks for requests.
    plan.workers = WorkersPlan { linger_ms: plan.workers.linger_ms, ..WorkersPlan::default() };
    (plan.instances, plan.catalogs, plan.imports) = (None, None, None);
    plan.factors.clear();
    for backend in &mut plan.backends {
        backend.odds.clear();
        backend.windows.clear();
        backend.quota = None;
    }
    plan.crashes.clear();
    plan.events.clear();
    plan.outages.clear();
    (plan.catalog_loses, plan.catalog_refuses) = (0, 0);
}

/// Every client does this, over and over.
pub(crate) fn all_do(plan: &mut Plan, times: usize, op: impl Fn(usize, &mut Op)) {
    for ops in &mut plan.clients {
        let seeds = Chance::seeded(ops.first().map_or(1, |op| op.seed));
        let Some(first) = ops.first().cloned() else { continue };
        *ops = (0..times)
            .map(|index| {
                let mut one = Op { seed: seeds.next_u64(), patience_ms: None, retries: 0, ..first.clone() };
                (one.think_ms, one.key) =
                    (seeds.below(200), u8::try_from(index % 2).unwrap_or(0) % plan.keys);
                op(index, &mut one);
                one
            })
            .collect();
    }
}

pub(crate) fn put(size: usize) -> Verb {
    Verb::Put { size, condition: Ask::None, flaw: None }
}

fn breakers() -> BreakersPlan {
    BreakersPlan { failures_max: 2, open_for_ms: 3_000, catalog_open_for_ms: 1_000, probe_max_ms: 20_000 }
}

fn with_slow_bodies_across_a_border(plan: &mut Plan) {
    without_faults(plan);
    let limits = limits(plan, -70_000, [None, None, Some(100_000)]);
    plan.limits = Some(LimitsPlan { slow_ms: 150_000, ..limits });
    (plan.spread, plan.factor, plan.ack_replicas) = (false, 1, 1);
    all_do(plan, 24, |index, op| {
        // Some begin before the border and go on long behind it, the others use up what is left there.
        (op.seed, op.think_ms) =
            if index == 0 { (op.seed / 7 * 7, 5_000) } else { (op.seed / 7 * 7 + 1, 30_000) };
        op.verb = put(if index == 0 { 40_000 } else { 9_000 });
    });
}

fn with_readers_that_hang_up(plan: &mut Plan) {
    without_faults(plan);
    let limits = limits(plan, 5 * MINUTE_MS, [None, Some(120_000), None]);
    plan.limits = Some(LimitsPlan { lead_bytes: 9_000, slow_ms: 20_000, ..limits });
    all_do(plan, 25, |index, op| {
        op.key = 0;
        op.verb = if index == 0 { put(20_000) } else { Verb::Get { whole: true } };
        if index > 0 {
            (op.think_ms, op.seed, op.patience_ms) = (2_000, op.seed / 5 * 5, Some(600));
        }
    });
}

fn with_a_first_clock_that_is_ahead(plan: &mut Plan) {
    without_faults(plan);
    let limits = limits(plan, -30 * MINUTE_MS, [Some(24), None, None]);
    plan.limits = Some(LimitsPlan { first_skew_ms: 40 * MINUTE_MS, restarts: vec![3_000], ..limits });
    all_do(plan, 30, |index, op| op.verb = if index % 3 == 2 { Verb::Get { whole: true } } else { put(50) });
}

fn with_little_for_maintenance(plan: &mut Plan) {
    without_faults(plan);
    plan.limits = Some(limits(plan, 3 * MINUTE_MS, [Some(40), None, None]));
    all_do(plan, 14, |index, op| {
        op.think_ms = 500;
        op.verb = if index % 2 == 0 { put(50) } else { Verb::Delete { condition: Ask::None, also: None } };
    });
}

fn with_crashes_and_more_than_enough(plan: &mut Plan) {
    without_faults(plan);
    let limits = limits(plan, 5 * MINUTE_MS, [Some(1_000_000), None, None]);
    plan.limits = Some(LimitsPlan { generous: true, ..limits });
    plan.crashes = (0..6).map(|_| Crash { after_points: 150, down_ms: 5, skew_ms: 0 }).collect();
}

fn with_much_that_comes_back(plan: &mut Plan) {
    without_faults(plan);
    plan.limits = Some(limits(plan, 5 * MINUTE_MS, [None, None, Some(150_000)]));
    for backend in &mut plan.backends {
        backend.odds.insert(Fault::PutBreaks, 300);
    }
    all_do(plan, 16, |index, op| {
        op.think_ms = if index % 5 == 4 { 700_000 } else { 100 };
        op.verb = put(9_000);
    });
}

fn with_a_clock_that_is_behind_at_a_border(plan: &mut Plan) {
    without_faults(plan);
    let limits = limits(plan, -20_000, [Some(24), None, None]);
    plan.limits = Some(LimitsPlan { first_skew_ms: -40_000, ..limits });
    all_do(plan, 30, |_, op| (op.think_ms, op.verb) = (op.seed % 8_000, put(50)));
}

fn with_a_clock_that_is_set_across_a_border(plan: &mut Plan) {
    without_faults(plan);
    plan.limits = Some(limits(plan, 2 * MINUTE_MS, [Some(24), None, None]));
    plan.events = vec![Event { at_ms: 1_500, fault: Fault::ClockJump, seed: plan.seed }];
    all_do(plan, 30, |_, op| op.verb = put(50));
}

fn with_much_to_do_across_a_border(plan: &mut Plan) {
    without_faults(plan);
    plan.limits = Some(limits(plan, -90_000, [Some(30), None, None]));
    all_do(plan, 40, |_, op| (op.think_ms, op.verb) = (op.seed % 16_000, put(50)));
}

fn with_clients_that_leave(plan: &mut Plan) {
    without_faults(plan);
    plan.breakers = Some(breakers());
    plan.limits = None;
    all_do(plan, 20, |_, op| (op.patience_ms, op.verb) = (Some(1 + op.seed % 40), put(9_000)));
}

fn with_a_clock_that_is_set_back(plan: &mut Plan) {
    without_faults(plan);
    plan.limits = Some(limits(plan, -5 * MINUTE_MS, [Some(12), None, None]));
    plan.events = vec![Event { at_ms: 1_500, fault: Fault::ClockJump, seed: plan.seed }];
    all_do(plan, 14, |index, op| {
        op.think_ms = if index < 4 { 100 } else { 60_000 };
        op.verb = if index % 2 == 0 { put(50) } else { Verb::Delete { condition: Ask::None, also: None } };
    });
}

fn with_outages_amid_writes(plan: &mut Plan) {
    without_faults(plan);
    plan.limits = None;
    plan.catalog_loses = 100;
    plan.keys = 2;
    plan.outages = (0..6)
        .map(|number| Outage {
            reads: true,
            writes: number % 2 == 0,
            from_ms: 150 + number * 400,
            until_ms: 400 + number * 400,
        })
        .collect();
    all_do(plan, 24, |index, op| {
        op.think_ms = op.seed % 60;
        op.patience_ms = (op.seed % 5 == 0).then_some(1 + op.seed % 30);
        op.verb = match op.seed % 8 {
            0..3 => put(50 + index),
            3 => Verb::Delete { condition: Ask::None, also: None },
            _ => Verb::Head,
        };
    });
}

fn with_limits_and_breakers(plan: &mut Plan) {
    without_faults(plan);
    plan.breakers = Some(breakers());
    plan.limits = Some(limits(plan, 5 * MINUTE_MS, [Some(20), None, None]));
    all_do(plan, 25, |index, op| {
        op.verb = if index % 3 == 0 { put(50) } else { Verb::Get { whole: true } };
    });
}
