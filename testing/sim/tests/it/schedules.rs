//! Thousands of schedules hold the laws; a seed replays exactly; everything that can go wrong did.

use std::fmt::Write;

use sim::{Cuts, Deed, Fault, Outcome, Plan, Sign, shrink};

use crate::mutations;
use crate::running::{number, run, run_all, say};

/// Schedules of every test run.
const SEEDS: u64 = 2_000;

/// `SEEDS=N` runs more, `ONLY=section` (or several, joined by `+`) of them those whose plan has that, `SEED=x` (with `CUTS=...`) one alone, told line by line.
#[test]
fn schedules_hold_the_laws() {
    if let Some(seed) = number("SEED") {
        return replay(seed);
    }
    let from = number("FROM").unwrap_or(1);
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let sum = run_all(from..from + seeds, 5);
    say(format_args!(
        "{} schedules with {} calls; {} histories were too long to be judged",
        sum.runs, sum.calls, sum.unjudged
    ));
    for fault in Fault::ALL {
        say(format_args!("  {:>9} x {}", sum.counts.get(fault).copied().unwrap_or(0), fault.as_str()));
    }
    for deed in Deed::ALL {
        say(format_args!("  {:>9} x {}", sum.deeds.get(deed).copied().unwrap_or(0), deed.as_str()));
    }
    for sign in Sign::ALL {
        say(format_args!("  {:>9} x {}", sum.signs.get(sign).copied().unwrap_or(0), sign.as_str()));
    }
    let mut report = String::new();
    for (seed, outcome) in &sum.failed {
        tell(&mut report, *seed, outcome);
    }
    assert!(sum.failed.is_empty(), "{report}");
    if std::env::var("ONLY").is_ok_and(|only| !only.is_empty()) {
        return;
    }
    assert!(sum.unjudged * 200 <= sum.runs, "too many histories cannot be judged");
    for fault in Fault::ALL {
        assert!(sum.counts.contains_key(fault), "{} never happened", fault.as_str());
    }
    for deed in Deed::ALL {
        assert!(sum.deeds.contains_key(deed), "{} never happened", deed.as_str());
    }
    for sign in Sign::ALL {
        assert!(sum.signs.contains_key(sign), "{} never happened", sign.as_str());
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 1..=40 {
        let plan = || Plan::new(seed, &Cuts::default());
        let (first, second) = (run(plan(), true), run(plan(), true));
        let differs = first.lines.iter().zip(&second.lines).find(|(a, b)| a != b);
        assert_eq!(differs, None, "seed {seed} went another way the second time");
        assert_eq!(first.hash, second.hash, "seed {seed}");
        assert!(!first.lines.is_empty());
    }
    let hash = |seed| run(Plan::new(seed, &Cuts::default()), false).hash;
    assert_ne!(hash(1), hash(2));
}

fn tell(report: &mut String, seed: u64, outcome: &Outcome) {
    writeln!(report, "\nseed {seed} breaks laws; look at it with `make sim SEED={seed}`:").unwrap();
    for violation in &outcome.violations {
        writeln!(report, "  {:?}: {}", violation.law, violation.what).unwrap();
    }
}

/// Tells one run line by line, with `MUTATION=name` as that mutation is tried (and `KEPT=1` with the guard in place); with `SHRINK=1`, first makes it as small as can be.
fn replay(seed: u64) {
    let mut cuts: Cuts = std::env::var("CUTS").unwrap_or_default().parse().unwrap();
    if number("SHRINK").is_some() {
        let outcome = run(Plan::new(seed, &cuts), false);
        let law = outcome.violations.first().expect("only what fails is made small").law;
        cuts = shrink(seed, law, &mut |plan| run(plan, false));
        println!("replay what is left with: make sim SEED={seed} CUTS={cuts}");
    }
    let mut plan = Plan::new(seed, &cuts);
    let mutation = mutations::asked_for();
    if let Some((_, sharpen)) = mutation {
        sharpen(&mut plan);
    }
    println!("{plan:#?}");
    if number("LOG").is_some() {
        let _ = tracing_subscriber::fmt()
            .without_time()
            .with_ansi(false)
            .with_max_level(tracing::Level::DEBUG)
            .try_init();
    }
    let mutation = mutation.filter(|_| number("KEPT").is_none());
    let switches = mutation.map_or(&[][..], |((switches, _), _)| *switches);
    let outcome = runtime::mutation::with(switches, || run(plan, true));
    for line in &outcome.lines {
        println!("{line}");
    }
    let mut report = String::new();
    tell(&mut report, seed, &outcome);
    assert!(outcome.violations.is_empty(), "{report}");
    println!("seed {seed} holds all laws");
}
