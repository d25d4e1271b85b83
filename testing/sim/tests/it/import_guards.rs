//! Guards of imports: what each is there for, and plans that come near them.

use sim::{Ask, Fault, ForeignPlan, ImportOrder, ImportsPlan, Op, Plan, Tag, Verb, Window};

use crate::guards::{all_do, put, without_faults};
use crate::mutations::{Mutation, Sharpened};

/// The guards.
pub(crate) const GUARDS: &[Mutation] = &[
    (&["import.charged"], "what is imported is charged, and only where there is room"),
    (&["import.ended"], "an import that was ended does not come back"),
    (&["import.fits"], "what could not be made anew is not imported"),
    (&["import.forgotten"], "what was imported and is gone is not known any more"),
    (&["import.free"], "an import takes no key that has an object"),
    (&["import.ours"], "what an orchestrator wrote is not imported"),
    (&["import.same"], "what is imported is what was read"),
    (&["import.twice"], "a wrong bit is not believed"),
    (&["import.whole"], "what is imported was read to its end"),
    (&["reap.as-imported"], "what was replaced behind our back is not deleted"),
    (&["reap.imported"], "what was imported is looked at before it is deleted"),
    (&["reap.imported-there"], "what was imported is gone only where its backend is not"),
];

/// What makes schedules come near them more often.
pub(crate) const SHARPENED: &[Sharpened] = &[
    ("import.free", with_writes_amid_imports),
    ("import.same", with_owners_that_replace_amid_imports),
    ("import.twice", with_wrong_bits),
    ("reap.as-imported", with_owners_that_replace_what_is_deleted),
    ("reap.imported", with_owners_that_replace_what_is_deleted),
    ("reap.imported-there", with_a_disk_that_is_away_amid_deletes),
];

/// Objects of others on the first backend, one for each key, imported at once; and nothing that goes wrong.
fn with_foreign_objects(plan: &mut Plan, tags: &[Tag]) {
    without_faults(plan);
    (plan.limits, plan.breakers) = (None, None);
    plan.keys = 6;
    let foreign = |key: u8| ForeignPlan {
        at: 0,
        key,
        size: 200 + usize::from(key) * 300,
        tag: tags[usize::from(key) % tags.len()],
    };
    plan.imports = Some(ImportsPlan {
        foreign: (0..plan.keys).map(foreign).collect(),
        others: Vec::new(),
        orders: vec![(0, ImportOrder::Begin { at: 0, prefix: 0 })],
    });
}

/// Every client does this to one key after the other, from some time on.
fn all_do_at(plan: &mut Plan, times: usize, at_ms: u64, op: impl Fn(usize, &mut Op)) {
    let keys = plan.keys;
    all_do(plan, times, |index, one| {
        one.think_ms = if index == 0 { at_ms + one.seed % 400 } else { one.seed % 60 };
        one.key = u8::try_from(one.seed % u64::from(keys)).expect("a key");
        op(index, one);
    });
}

fn slow(plan: &mut Plan, odds: u64) {
    for backend in &mut plan.backends {
        backend.odds.insert(Fault::Slow, odds);
    }
}

/// The owners replace everything, now and then between these times.
fn replacing(plan: &mut Plan, from_ms: u64, until_ms: u64, times: u64) {
    let (seed, keys) = (plan.seed, u64::from(plan.keys));
    let Some(imports) = &mut plan.imports else { return };
    for time in 0..times {
        let at_ms = from_ms + (seed * 131 + time * 977) % (until_ms - from_ms);
        let key = u8::try_from((seed + time) % keys).expect("a key");
        let tag = [Tag::Other, Tag::Time, Tag::LikeMd5][usize::from(key) % 3];
        // As long as what was there, so that nothing but its tag tells.
        let foreign = ForeignPlan { at: 0, key, size: 200 + usize::from(key) * 300, tag };
        imports.orders.push((at_ms, ImportOrder::Replace(foreign)));
    }
}

fn with_writes_amid_imports(plan: &mut Plan) {
    with_foreign_objects(plan, &[Tag::Md5]);
    slow(plan, 300);
    all_do_at(plan, 8, 300, |index, op| op.verb = put(50 + index));
}

fn with_owners_that_replace_amid_imports(plan: &mut Plan) {
    with_foreign_objects(plan, &[Tag::Other, Tag::Time, Tag::LikeMd5]);
    plan.workers.upkeep = None;
    slow(plan, 700);
    replacing(plan, 200, 6_000, 30);
    all_do_at(plan, 8, 2_000, |_, op| op.verb = Verb::Get { whole: true });
}

fn with_wrong_bits(plan: &mut Plan) {
    with_foreign_objects(plan, &[Tag::Md5]);
    plan.backends[0].odds.insert(Fault::GetFlipped, 500);
    all_do_at(plan, 2, 4_000, |_, op| op.verb = Verb::Get { whole: true });
}

fn with_owners_that_replace_what_is_deleted(plan: &mut Plan) {
    with_foreign_objects(plan, &[Tag::Md5]);
    slow(plan, 300);
    replacing(plan, 3_000, 9_000, 12);
    all_do_at(plan, 10, 3_000, |_, op| {
        op.think_ms += op.seed % 900;
        op.verb = Verb::Delete { condition: Ask::None, also: None };
    });
}

fn with_a_disk_that_is_away_amid_deletes(plan: &mut Plan) {
    with_foreign_objects(plan, &[Tag::Md5]);
    plan.workers.linger_ms = plan.workers.linger_ms.max(12_000);
    plan.backends[0].windows.push(Window { fault: Fault::Unmounted, from_ms: 4_000, until_ms: 11_000 });
    all_do_at(plan, 10, 3_800, |_, op| op.verb = Verb::Delete { condition: Ask::None, also: None });
}
