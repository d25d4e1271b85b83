//! What stays: pure. A snapshot stays as long as one rule wants it.

use config::snapshot::Retention;
use time::OffsetDateTime;
use types::Timestamp;

use crate::name::utc;

/// Why each of these snapshots stays, in their order; one without a reason goes. They are of one line, newest first,
/// each with its time and whether it is verified.
///
/// With no rule everything stays. The newest verified one always does, and where none is verified, the newest.
#[must_use]
pub fn reasons(
    snapshots: &[(Timestamp, bool)],
    policy: &Retention,
    now: Timestamp,
) -> Vec<Vec<&'static str>> {
    debug_assert!(snapshots.is_sorted_by(|a, b| a.0 >= b.0), "newest first");
    let mut reasons = vec![Vec::new(); snapshots.len()];
    if is_empty(policy) {
        reasons.iter_mut().for_each(|reasons| reasons.push("no rule"));
        return reasons;
    }
    let verified = snapshots.iter().position(|(_, verified)| *verified);
    if let Some(reasons) = reasons.get_mut(verified.unwrap_or(0)) {
        reasons.push(if verified.is_some() { "last verified" } else { "newest" });
    }
    for (rule, count, period) in rules(policy) {
        let (mut left, mut last) = (count, None);
        for (at, (time, _)) in snapshots.iter().enumerate() {
            let this = period(*time, at);
            if left > 0 && last != Some(this) {
                reasons[at].push(rule);
                (left, last) = (left - 1, Some(this));
            }
        }
    }
    if let Some(within) = policy.within {
        let young = |time: Timestamp| time > now.minus(within);
        let young = snapshots.iter().zip(&mut reasons).filter(|((time, _), _)| young(*time));
        young.for_each(|(_, reasons)| reasons.push("within"));
    }
    reasons
}

/// Tells the period that a moment lies in by a number.
type Period = fn(Timestamp, usize) -> i64;

fn rules(policy: &Retention) -> [(&'static str, u32, Period); 6] {
    [
        ("last", policy.last, |_, at| i64::try_from(at).unwrap_or(i64::MAX)),
        ("hourly", policy.hourly, |time, _| utc(time).unix_timestamp() / 3600),
        ("daily", policy.daily, |time, _| day(time)),
        // Day 0 was a Thursday; weeks begin on Monday.
        ("weekly", policy.weekly, |time, _| (day(time) + 3) / 7),
        ("monthly", policy.monthly, |time, _| month(utc(time))),
        ("yearly", policy.yearly, |time, _| i64::from(utc(time).year())),
    ]
}

fn day(time: Timestamp) -> i64 {
    utc(time).unix_timestamp() / 86_400
}

fn month(date: OffsetDateTime) -> i64 {
    i64::from(date.year()) * 12 + i64::from(u8::from(date.month()))
}

fn is_empty(policy: &Retention) -> bool {
    policy.within.is_none() && rules(policy).iter().all(|(_, count, _)| *count == 0)
}
