//! The simulation is itself tested: each guard of the product is taken away, one at a time, and some seed has to
//! notice.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use sim::{
    Ask, CatalogFate, Command, Cuts, Event, ExpiryPlan, Fault, Order, PartPlan, Plan, UploadEnd, Verb,
    WorkersPlan,
};

use crate::running::{number, run, say};
use crate::{guards, import_guards, world_guards};

/// Schedules that are tried for each mutation. Most are caught within ten.
const SEEDS_MAX: u64 = 1_500;

/// Switches, and what they switch off.
pub(crate) type Mutation = (&'static [&'static str], &'static str);

/// The guards, and what each is there for. Switches that stand together are two lines of one defence: each alone
/// would hold.
const MUTATIONS: &[Mutation] = &[
    (&["abort.drops"], "an aborted upload lets go of its parts"),
    (&["acquit.one-per-backend"], "a backend has one live replica of a blob, acquitted ones included"),
    (&["beat.alive"], "who was declared dead learns it"),
    (&["blob.doomed"], "a blob that nothing references is doomed"),
    (&["boot.buries"], "what a dead process was writing is doomed"),
    (&["boot.late-arrival"], "what a dead process sent may still arrive"),
    (&["boot.waits-anew"], "nobody knows how wrong the last process's clock was"),
    (&["brake.counted"], "what workers doom is counted"),
    (&["brake.engaged"], "while the brake holds nothing is given out to be deleted"),
    (&["brake.journaled"], "that the brake holds is in the journal"),
    (&["budget.taken"], "bodies share one budget of memory"),
    (&["charge.charged"], "a reservation is charged"),
    (&["charge.draining"], "what drains takes nothing new"),
    (&["charge.quota"], "no reservation exceeds the quota"),
    (&["claim.due"], "nothing is deleted before its bytes can have arrived"),
    (&["claim.horizon"], "nothing is deleted that a reader may hold"),
    (&["commit.live", "write.enough"], "a blob is stored where it says"),
    (&["commit.precondition"], "a conditional put is decided in the commit"),
    (&["complete.precondition"], "a conditional completion is decided in the commit"),
    (&["complete.remembered"], "a completion that is repeated gets the same answer"),
    (&["copy.precondition"], "a conditional copy is decided in the commit"),
    (&["copy.source"], "a copy takes what its caller saw"),
    (&["counters.saved"], "numbers never repeat"),
    (&["declare.buries"], "what the dead were writing is doomed"),
    (&["delete.precondition"], "a conditional delete is decided in the commit"),
    (&["drain.journaled"], "a drain is in the journal"),
    (&["expire.unchanged"], "what was written since does not expire"),
    (&["freeze.deletes"], "what may be an old catalog deletes nothing"),
    (&["freeze.writes"], "an old catalog writes nothing"),
    (&["held.given-up"], "what a dropped request reserved is given up"),
    (&["held.released"], "a body whose last byte went out may arrive"),
    (&["held.unknown"], "what is unknown may arrive"),
    (&["horizon.published"], "readers and the reaper know what was doomed"),
    (&["intake.md5"], "a body is what its digest says"),
    (&["job.rolled-back"], "a refused transaction leaves nothing"),
    (&["journal.remembers"], "a repeated change happens once"),
    (&["lost.repeated"], "a lost answer is asked for again"),
    (&["move.counted"], "a blob counts the replicas that were made of it"),
    (&["move.one-per-backend"], "a backend has one live replica of a blob, made ones included"),
    (&["move.referenced"], "no replica is made of what nothing references"),
    (&["newest.marker", "newest.unknown"], "an old catalog finds out that it is one"),
    (&["newest.unknown"], "a file that the catalog did not write shows that it is old"),
    (&["owner.alive"], "the dead write nothing"),
    (&["part.drops"], "a part sent again lets go of the first"),
    (&["part.open"], "only an open upload takes parts"),
    (&["part.source"], "a part is copied from what its caller saw"),
    (&["quarantine.charged"], "what is in quarantine is charged"),
    (&["quarantine.journaled"], "how long what is in quarantine is kept is in the journal"),
    (&["quarantine.kept"], "what is in quarantine is kept"),
    (&["read.proved"], "no byte is given out unproved"),
    (&["reader.first"], "a reader registers before it locates"),
    (&["readers.counted"], "the reaper waits for readers"),
    (&["reap.abandoned"], "what was given up is told to the catalog"),
    (&["reap.answered"], "a charge falls only when the delete was answered"),
    (&["reap.frees"], "a delete that hides frees nothing"),
    (&["reap.others"], "the reaper waits for the readers of all instances"),
    (&["rebuild.brake"], "a brake that held holds in a rebuilt catalog"),
    (&["rebuild.drains"], "what drained drains in a rebuilt catalog"),
    (&["rebuild.one-per-backend"], "a rebuilt catalog has one live replica of a blob on a backend"),
    (&["rebuild.quarantine-kept"], "what is in quarantine is kept in a rebuilt catalog"),
    (&["rebuild.removes"], "what was deleted stays deleted"),
    (&["reconcile.confirmed"], "a stray is looked up before it is believed"),
    (&["reconcile.looked-up"], "a replica is looked up before it is missed"),
    (&["reconcile.marker", "suspect.marker"], "on a missing backend nothing is judged"),
    (&["repair.put-off"], "what cannot be repaired starves nobody"),
    (&["replace.drops"], "an overwrite lets go of what it replaced"),
    (&["reserve.repeated"], "a repeated reservation is given again"),
    (&["retire.counted"], "a blob counts the replicas that were retired"),
    (&["retire.recounted"], "a replica is retired where enough others are live"),
    (&["scrub.compared"], "a proof compares"),
    (&["settled.released"], "a charge falls with its row"),
    (&["ship.stored-first"], "what is marked as shipped was stored"),
    (&["sums.flushed"], "sums follow their rows"),
    (&["suspect.live"], "only a live replica becomes suspect"),
    (&["suspect.marker"], "where the marker is gone, the backend is missing"),
    (&["suspect.retired"], "a suspect replica goes once others stand in for it"),
    (&["suspect.superfluous"], "a suspect replica that is right and one too many goes"),
    (&["target.let-go"], "what was let go sends nothing more"),
    (&["target.took-all"], "a put is answered after its last byte"),
    (&["target.unknown"], "an unknown outcome is no failure"),
    (&["timeout.answer"], "no answer is waited for in vain"),
    (&["unsent.released"], "what never left gives its charge back"),
    (&["watch.whole-lease"], "nobody is dead before a whole lease"),
    (&["window.capacity"], "a body waits for room in its window"),
    (&["window.last-byte"], "the last byte is held back"),
    (&["work.steady"], "what was put off does not depend on the clock's being set"),
    (&["write.enough"], "a write is answered when enough replicas are stored"),
];

/// A mutation, and how its plan is made sharper.
pub(crate) type Sharpened = (&'static str, Sharpen);

/// Makes a plan sharper.
pub(crate) type Sharpen = fn(&mut Plan);

/// Mutations that few schedules come near, and what makes more of them do.
const SHARPENED: &[Sharpened] = &[
    ("budget.taken", with_large_bodies),
    ("copy.source", with_copies_of_what_changes),
    ("expire.unchanged", with_rewrites_of_what_expires),
    ("freeze.deletes", with_copies_of_quiet_catalogs),
    ("lost.repeated", with_lost_answers),
    ("part.open", with_lost_answers),
    ("part.source", with_parts_of_what_changes),
    ("reader.first", with_slow_reads_of_what_changes),
    ("rebuild.one-per-backend", with_files_that_rot),
    ("reconcile.looked-up", with_many_comparisons),
    ("retire.recounted", with_many_moves),
    ("scrub.compared", with_rot_that_stays),
    ("target.let-go", with_silent_and_slow_backends),
    ("window.last-byte", with_bad_bodies_on_silent_backends),
    ("work.steady", with_rot_that_stays),
];

/// What rots once clients are done is found by nobody but proofs, whatever clocks say.
fn with_rot_that_stays(plan: &mut Plan) {
    (plan.limits, plan.breakers, plan.instances, plan.catalogs) = (None, None, None, None);
    plan.outages.clear();
    (plan.workers.expiry, plan.workers.linger_ms) = (None, 30_000);
    if let Some(upkeep) = &mut plan.workers.upkeep {
        upkeep.scrub_ms = Some(3_000);
    }
    let event = |number: u64| Event {
        at_ms: 2_000 + number * 2_500,
        fault: if number % 3 == 1 { Fault::ClockJump } else { Fault::Rot },
        seed: plan.seed * 31 + number,
    };
    plan.events = (0..12).map(event).collect();
}

/// What was shipped is repaired where it lay, and the catalog is lost before the first one is deleted.
fn with_files_that_rot(plan: &mut Plan) {
    if let Some(catalogs) = &mut plan.catalogs {
        catalogs.pace_ms = 100;
        plan.workers.orders.clear();
        plan.workers.clients_brake = None;
        if let Some(upkeep) = &mut plan.workers.upkeep {
            upkeep.scrub_ms = Some(500);
        }
        let event = |number: u64| Event {
            at_ms: 200 + number * 300,
            fault: Fault::Rot,
            seed: plan.seed * 31 + number,
        };
        plan.events = (0..20).map(event).collect();
    }
}

/// Backends are compared with the ledger again and again while things change.
fn with_many_comparisons(plan: &mut Plan) {
    if plan.workers.upkeep.is_none() {
        return;
    }
    (plan.catalogs, plan.workers.clients_brake) = (None, None);
    let backends = plan.backends.len();
    let order = |number: usize| Order {
        at_ms: 300 + number as u64 * 211,
        command: Command::Reconcile(number % backends),
    };
    plan.workers.orders.extend((0..24).map(order));
}

/// Replicas are moved and trimmed at once.
fn with_many_moves(plan: &mut Plan) {
    if plan.workers.upkeep.is_none() {
        return;
    }
    (plan.catalogs, plan.workers.clients_brake) = (None, None);
    let backends = plan.backends.len();
    let order = |number: usize| Order {
        at_ms: 500 + number as u64 * 307,
        command: match number % 4 {
            0 => Command::Rebalance { pack: true },
            1 => Command::Drain(number / 4 % backends),
            2 => Command::Rebalance { pack: false },
            _ => Command::CancelDrain(number / 4 % backends),
        },
    };
    plan.workers.orders.extend((0..24).map(order));
}

fn with_large_bodies(plan: &mut Plan) {
    plan.budget_bytes = plan.window_bytes;
    for op in plan.clients.iter_mut().flatten() {
        (op.think_ms, op.patience_ms) = (0, None);
        op.verb = Verb::Put { size: 40_000, condition: Ask::None, flaw: None };
    }
}

fn with_rewrites_of_what_expires(plan: &mut Plan) {
    (plan.limits, plan.breakers, plan.instances, plan.catalogs) = (None, None, None, None);
    plan.outages.clear();
    plan.crashes.clear();
    plan.events.retain(|event| event.fault != Fault::ClockJump);
    plan.shuffle = 90;
    let pauses_ms =
        (0..8).map(|key| (0..8).map(|write| (plan.seed * 31 + key * 97 + write * 61) % 700).collect());
    plan.workers.expiry = Some(ExpiryPlan {
        age_ms: 2_000,
        pauses_ms: pauses_ms.collect(),
        brake_floor: None,
        seed: plan.seed,
    });
}

fn with_copies_of_what_changes(plan: &mut Plan) {
    for (index, op) in plan.clients.iter_mut().flatten().enumerate() {
        (op.think_ms, op.patience_ms, op.key) = (0, None, 0);
        op.verb = match index % 3 {
            0 => Verb::Put { size: 100, condition: Ask::None, flaw: None },
            1 => Verb::Head,
            _ => Verb::Copy { from: 0, as_seen: true, condition: Ask::None },
        };
    }
}

fn with_parts_of_what_changes(plan: &mut Plan) {
    for (index, op) in plan.clients.iter_mut().flatten().enumerate() {
        (op.think_ms, op.patience_ms, op.key) = (0, None, 0);
        op.verb = match index % 3 {
            0 => Verb::Put { size: 100, condition: Ask::None, flaw: None },
            1 => Verb::Head,
            _ => Verb::Multipart {
                parts: vec![PartPlan::Copy { from: 0 }],
                end: UploadEnd::Complete,
                condition: Ask::None,
            },
        };
    }
}

fn with_slow_reads_of_what_changes(plan: &mut Plan) {
    plan.crashes.clear();
    plan.shuffle = 90;
    for backend in &mut plan.backends {
        backend.windows.clear();
        backend.odds.clear();
        backend.odds.insert(Fault::Slow, 400);
    }
    for (index, op) in plan.clients.iter_mut().flatten().enumerate() {
        (op.think_ms, op.patience_ms, op.key) = (0, None, 0);
        op.verb = match index % 2 {
            0 => Verb::Put { size: 100, condition: Ask::None, flaw: None },
            _ => Verb::Get { whole: true },
        };
    }
}

fn with_lost_answers(plan: &mut Plan) {
    plan.catalog_loses = 150;
    plan.crashes.clear();
}

fn with_bad_bodies_on_silent_backends(plan: &mut Plan) {
    if plan.imports.take().is_some() {
        // The keys that were theirs.
        plan.keys -= 2;
    }
    // No upkeep, for a body that it repairs may be bad as well; then nothing either that only upkeep finds.
    plan.workers = WorkersPlan { linger_ms: plan.workers.linger_ms, ..WorkersPlan::default() };
    (plan.instances, plan.catalogs) = (None, None);
    plan.factors.clear();
    plan.crashes.clear();
    // A backend that is left alone takes no bad body either.
    (plan.limits, plan.breakers) = (None, None);
    plan.outages.clear();
    for backend in &mut plan.backends {
        backend.odds.insert(Fault::PutNeverAnswers, 400);
    }
    for op in plan.clients.iter_mut().flatten() {
        (op.patience_ms, op.seed) = (None, op.seed & !1);
        op.verb = Verb::Put { size: 30_000, condition: Ask::None, flaw: Some(Fault::BodyWrongDigest) };
    }
}

/// What is doomed and waits in a copy deletes nothing there for another reason: that something is not shipped yet.
fn with_copies_of_quiet_catalogs(plan: &mut Plan) {
    let Some(catalogs) = &mut plan.catalogs else { return };
    catalogs.pace_ms = 100;
    catalogs.fates = vec![CatalogFate { at_ms: 34_000, copied_ms: Some(28_000), found_again: true }];
    (plan.factor, plan.ack_replicas) = (2, 1);
    plan.workers = WorkersPlan::default();
    plan.events.clear();
    plan.crashes.clear();
    for backend in &mut plan.backends {
        (backend.odds, backend.late_ms) = ([(Fault::PutNeverAnswers, 200)].into(), 40_000);
        backend.windows.clear();
    }
    for ops in &mut plan.clients {
        for op in &mut *ops {
            (op.think_ms, op.patience_ms) = (10, None);
            op.verb = Verb::Put { size: 300, condition: Ask::None, flaw: None };
        }
        // By this the copy is an old one.
        if let Some(last) = ops.last_mut() {
            last.think_ms = 30_000;
        }
    }
}

fn with_silent_and_slow_backends(plan: &mut Plan) {
    with_bad_bodies_on_silent_backends(plan);
    (plan.factor, plan.ack_replicas) = (3, 1);
    for backend in &mut plan.backends {
        backend.odds = [(Fault::PutNeverAnswers, 300), (Fault::Slow, 500)].into();
        backend.windows.clear();
    }
    for op in plan.clients.iter_mut().flatten() {
        op.verb = Verb::Put { size: 30_000, condition: Ask::None, flaw: None };
    }
}

/// Guards that no schedule misses, and why they stay.
const UNREACHED: &[(&str, &str)] = &[
    (
        "boot.repairs-anew",
        "a clock would have to be far ahead while a repair is put off, in the last process but one",
    ),
    (
        "declare.beats",
        "between the look and the judgement a heartbeat would have to fall that came after a whole lease",
    ),
    ("lease.checked", "what one sends that may be dead ends in quarantine, as what it sent just before does"),
    ("move.reads-first", "nothing is waited for between the two"),
    ("move.took-all", "a repair would have to be answered early, which is rare"),
    (
        "watch.begins-anew",
        "without it instances that all stood still bury each other: that breaks no law, but serves nobody",
    ),
    (
        "dissolve.horizon",
        "it matters to readers of more than 64 pieces, and no client here makes such an object",
    ),
];

/// All guards.
fn all() -> impl Iterator<Item = &'static Mutation> {
    MUTATIONS.iter().chain(guards::GUARDS).chain(import_guards::GUARDS).chain(world_guards::GUARDS)
}

/// What makes a plan sharper for these switches.
fn sharpen(switches: &[&str]) -> Sharpen {
    let mut known = SHARPENED
        .iter()
        .chain(guards::SHARPENED)
        .chain(import_guards::SHARPENED)
        .chain(world_guards::SHARPENED);
    known.find(|(name, _)| switches.contains(name)).map_or(|_| (), |(_, sharpen)| *sharpen)
}

/// The mutation that `MUTATION` names, and what makes a plan sharper for it.
pub(crate) fn asked_for() -> Option<(&'static Mutation, Sharpen)> {
    let only = std::env::var("MUTATION").ok().filter(|name| !name.is_empty())?;
    let mutation = all().find(|(switches, _)| switches.contains(&only.as_str()))?;
    Some((mutation, sharpen(mutation.0)))
}

/// `MUTATION=name` tries one alone.
#[test]
fn each_mutation_is_caught() {
    let only = std::env::var("MUTATION").ok().filter(|name| !name.is_empty());
    let chosen: Vec<_> =
        all().filter(|(switches, _)| only.as_deref().is_none_or(|only| switches.contains(&only))).collect();
    let next = AtomicUsize::new(0);
    let lines = Mutex::new(Vec::new());
    if only.is_none() {
        std::panic::set_hook(Box::new(|_| ()));
    }
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, std::num::NonZero::get) {
            scope.spawn(|| {
                while let Some((switches, guard)) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let caught = catch(switches);
                    if let Some((seed, how)) = &caught {
                        say(format_args!("{:<28} {guard}: seed {seed}, {how}", switches.join(" + ")));
                    }
                    lines.lock().unwrap().push((switches.join(" + "), *guard, caught));
                }
            });
        }
    });
    drop(std::panic::take_hook());
    let mut lines = lines.into_inner().unwrap();
    lines.sort();
    let mut missed = Vec::new();
    for (name, guard, caught) in lines {
        if caught.is_none() {
            say(format_args!("{name:<28} {guard}: NOT CAUGHT by {SEEDS_MAX} seeds"));
            missed.push(name);
        }
    }
    assert!(missed.is_empty(), "without these guards all laws seem to hold: {missed:?}");
}

/// The first seed that notices, and what it noticed.
fn catch(switches: &'static [&'static str]) -> Option<(u64, String)> {
    let sharpen = sharpen(switches);
    (1..=SEEDS_MAX).find_map(|seed| {
        let mut plan = Plan::new(seed, &Cuts::default());
        sharpen(&mut plan);
        let whole = plan.clone();
        let ran = catch_unwind(AssertUnwindSafe(|| runtime::mutation::with(switches, || run(plan, false))));
        let how = match ran {
            Ok(outcome) => {
                let violation = outcome.violations.first()?;
                let what: String = violation.what.chars().take(90).collect();
                format!("{:?}: {}", violation.law, what.replace('\n', " "))
            }
            Err(_) => "a panic".to_owned(),
        };
        // It is the guard that is missed: with it, the same schedule holds.
        let held = run(whole, false).violations;
        assert!(held.is_empty(), "seed {seed}, made sharper for {switches:?}, breaks laws: {held:?}");
        Some((seed, how))
    })
}

/// A sharper schedule searches for what the guard in place lets through, too.
#[test]
fn sharper_plans_break_no_law() {
    let seeds = number("SEEDS").map_or(60, |seeds| seeds / 100).max(1);
    let only = asked_for();
    let is_asked_for = |name: &str| only.is_none_or(|((switches, _), _)| switches.contains(&name));
    let known = SHARPENED
        .iter()
        .chain(guards::SHARPENED)
        .chain(import_guards::SHARPENED)
        .chain(world_guards::SHARPENED);
    let sharpened: Vec<_> = known.filter(|(name, _)| is_asked_for(name)).collect();
    let next = AtomicUsize::new(0);
    let broken = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, std::num::NonZero::get) {
            scope.spawn(|| {
                while let Some((name, sharpen)) = sharpened.get(next.fetch_add(1, Ordering::Relaxed)) {
                    for seed in 1..=seeds {
                        let mut plan = Plan::new(seed, &Cuts::default());
                        sharpen(&mut plan);
                        if let Some(violation) = run(plan, false).violations.first() {
                            let what = format!("make sim SEED={seed} MUTATION={name} KEPT=1: {violation:?}");
                            broken.lock().unwrap().push(what);
                        }
                    }
                }
            });
        }
    });
    let broken = broken.into_inner().unwrap();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_list_names_every_mutation_in_the_code_and_no_other() {
    let mut in_code = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned();
    for folder in ["crates", "s3-orchestrator"] {
        for file in rust_files(&root.join(folder)) {
            if file.ends_with("runtime/src/mutation.rs") {
                continue;
            }
            let text = fs::read_to_string(file).unwrap();
            let names = text.split("mutation::is_on(\"").skip(1).filter_map(|rest| rest.split('"').next());
            in_code.extend(names.map(str::to_owned));
        }
    }
    let listed: BTreeSet<String> = all()
        .flat_map(|(switches, _)| switches.iter())
        .chain(UNREACHED.iter().chain(guards::UNREACHED).map(|(name, _)| name))
        .map(|name| (*name).to_owned())
        .collect();
    assert_eq!(in_code, listed);
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
