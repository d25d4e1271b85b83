//! Retention over two years of simulated dates, and over arbitrary ones.

use std::collections::BTreeSet;
use std::time::Duration;

use config::snapshot::Retention;
use proptest::prelude::*;
use types::Timestamp;

use crate::name::{print_time, utc};
use crate::retention::reasons;

const HOUR: u64 = 3600;
const NONE: Retention =
    Retention { last: 0, hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0, within: None };

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

/// 2024-12-30T00:30:00Z, a Monday.
const START: u64 = 1_735_518_600;

/// What is left of these times (oldest first) after pruning.
fn prune(times: &[u64], policy: &Retention, now: u64) -> Vec<u64> {
    let newest_first: Vec<(Timestamp, bool)> = times.iter().rev().map(|time| (at(*time), true)).collect();
    let reasons = reasons(&newest_first, policy, at(now));
    let kept = newest_first.iter().zip(reasons).filter(|(_, reasons)| !reasons.is_empty());
    kept.map(|((time, _), _)| time.as_secs()).rev().collect()
}

/// Two years with a snapshot every hour, pruned after each: what is left is what the rules say, all the time.
#[test]
fn two_years_of_hours() {
    let policy = Retention { last: 3, hourly: 24, daily: 7, weekly: 5, monthly: 12, yearly: 3, within: None };
    let mut held: Vec<u64> = Vec::new();
    for hour in 0..2 * 366 * 24 {
        let now = START + hour * HOUR;
        held.push(now);
        held = prune(&held, &policy, now);
        assert!(held.len() <= 24 + 7 + 5 + 12 + 3, "{} are kept", held.len());
        // The newest of each of the last 24 hours: all of them.
        let hours: BTreeSet<u64> = held.iter().map(|time| time / HOUR).collect();
        for back in 0..24.min(hour + 1) {
            assert!(hours.contains(&(now / HOUR - back)), "{} hours before {}", back, print_time(at(now)));
        }
        let days: BTreeSet<u64> = held.iter().map(|time| time / 86_400).collect();
        for back in 0..7 {
            assert!(now / 86_400 < back + START / 86_400 || days.contains(&(now / 86_400 - back)));
        }
    }
    // 2025 and 2026 are over: the last snapshot of each of twelve months is there, and of each year.
    let texts: Vec<String> = held.iter().map(|time| print_time(at(*time))).collect();
    for expected in
        ["20241231T233000Z", "20251231T233000Z", "20260131T233000Z", "20260228T233000Z", "20261130T233000Z"]
    {
        assert!(texts.iter().any(|text| text == expected), "{expected} is not among {texts:?}");
    }
    let sundays = held.iter().filter(|time| utc(at(**time)).weekday() == time::Weekday::Sunday).count();
    assert!(sundays >= 4, "{texts:?}");
}

/// Two years with one snapshot a day and days on which it failed: a rule counts periods that have one.
#[test]
fn two_years_of_days_with_holes() {
    let policy = Retention { daily: 30, monthly: 24, ..NONE };
    let mut held: Vec<u64> = Vec::new();
    let mut taken = Vec::new();
    for day in 0..730 {
        if day % 5 == 3 || (200..260).contains(&day) {
            continue;
        }
        let now = START + day * 86_400;
        held.push(now);
        taken.push(now);
        held = prune(&held, &policy, now);
        let newest: Vec<u64> = taken.iter().rev().take(30).copied().collect();
        assert!(newest.iter().all(|time| held.contains(time)), "on day {day}");
    }
    let months: BTreeSet<(i32, u8)> =
        held.iter().map(|time| utc(at(*time))).map(|d| (d.year(), d.month().into())).collect();
    assert!(months.len() >= 23, "{months:?}");
}

#[test]
fn with_no_rule_everything_stays() {
    let times: Vec<u64> = (0..100).map(|i| START + i * HOUR).collect();
    assert_eq!(prune(&times, &NONE, START + 1_000_000), times);
}

#[test]
fn the_last_verified_one_stays_whatever_the_rules() {
    let policy = Retention { last: 1, ..NONE };
    let snapshots = [(at(500), false), (at(400), false), (at(300), true), (at(200), true)];
    let reasons = reasons(&snapshots, &policy, at(1_000_000_000));
    assert_eq!(reasons, [vec!["last"], vec![], vec!["last verified"], vec![]]);
}

fn policies() -> impl Strategy<Value = Retention> {
    (0_u32..5, 0_u32..30, 0_u32..10, 0_u32..6, 0_u32..14, 0_u32..4, prop::option::of(0_u64..90)).prop_map(
        |(last, hourly, daily, weekly, monthly, yearly, days)| Retention {
            last,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
            within: days.map(|days| Duration::from_secs(days * 86_400)),
        },
    )
}

proptest! {
    /// Whatever there is and whatever is wanted: the newest verified one stays, no rule keeps more than it counts, a
    /// second pruning removes nothing, and more generous rules keep no less.
    #[test]
    fn pruning_is_bounded_stable_and_monotonic(
        mut gaps in prop::collection::vec((0_u64..40 * 86_400, any::<bool>()), 0..60),
        policy in policies(),
    ) {
        let mut time = START;
        for (gap, _) in &mut gaps {
            time += *gap;
            *gap = time;
        }
        let now = at(time);
        let snapshots: Vec<(Timestamp, bool)> = gaps.iter().rev().map(|(time, verified)| (at(*time), *verified)).collect();
        let first = reasons(&snapshots, &policy, now);
        if let Some(newest) = snapshots.iter().position(|(_, verified)| *verified) {
            prop_assert!(!first[newest].is_empty());
        }
        prop_assert!(snapshots.is_empty() || first.iter().any(|reasons| !reasons.is_empty()));
        for (rule, count) in [("last", policy.last), ("hourly", policy.hourly), ("daily", policy.daily),
            ("weekly", policy.weekly), ("monthly", policy.monthly), ("yearly", policy.yearly)] {
            let kept = first.iter().filter(|reasons| reasons.contains(&rule)).count();
            prop_assert!(kept <= count as usize, "{rule} keeps {kept} of {count}");
        }
        let kept: Vec<_> = snapshots.iter().zip(&first).filter(|(_, reasons)| !reasons.is_empty()).map(|(s, _)| *s).collect();
        prop_assert!(reasons(&kept, &policy, now).iter().all(|reasons| !reasons.is_empty()), "a second pruning removes more");
        let more = Retention { daily: policy.daily + 3, ..policy };
        for (before, after) in first.iter().zip(reasons(&snapshots, &more, now)) {
            prop_assert!(before.contains(&"no rule") || before.is_empty() || !after.is_empty());
        }
    }
}
