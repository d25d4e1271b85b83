//! How much to ask for, and when to hand it back. Pure.

use std::time::Duration;

use catalog::Terms;
use runtime::mutation;
use types::{Span, Timestamp};

/// A stock lasts so long, and lies idle so long before it is handed back.
const FAR_FROM_THE_END: Duration = Duration::from_secs(600);
const NEAR_THE_END: Duration = Duration::from_secs(60);
/// The end is near where less than this part of the limit is left.
const NEAR_PART: u64 = 5;
/// No stock is larger than this part of the limit.
const STOCK_PART: u64 = 128;
/// Nor than this part of what is left, so that several owners share the end.
const SHARE_PART: u64 = 16;

/// What an owner knows of a limit when it asks for more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outlook {
    pub(super) limit: u64,
    /// What may still be granted, as far as is known.
    pub(super) left: u64,
    /// What this owner has spent in the period.
    pub(super) spent: u64,
    /// What of that was spent since it last asked, and how long ago that was.
    pub(super) lately: (u64, Duration),
}

impl Outlook {
    /// How much to ask for ahead of what is needed now.
    ///
    /// Never more than was spent already: whoever crashes loses no more than it used.
    pub(super) fn ahead(&self) -> u64 {
        let (spent, time) = self.lately;
        let horizon = horizon(self.limit, self.left);
        let worth = u128::from(spent) * horizon.as_millis() / time.as_millis().max(1);
        let worth = u64::try_from(worth).unwrap_or(u64::MAX);
        let used = if mutation::is_on("grant.spent") { u64::MAX } else { self.spent };
        used.min(worth).min(self.limit / STOCK_PART).min(self.left / SHARE_PART)
    }
}

/// For how long a stock lasts, or lies idle before it is handed back.
pub(super) fn horizon(limit: u64, left: u64) -> Duration {
    if left > limit / NEAR_PART { FAR_FROM_THE_END } else { NEAR_THE_END }
}

/// Whether a period is so long over that nothing is charged to it any more, even by a clock that is off.
pub(super) fn is_over(span: Span, now: Timestamp) -> bool {
    now.minus(FAR_FROM_THE_END) > span.end
}

/// What a limit allows at a moment. `share` of it, a part of 1, is kept for maintenance.
pub(super) fn terms(limit: u64, share: f64, span: Span, now: Timestamp) -> Terms {
    #[expect(clippy::cast_precision_loss, reason = "a share is no exact number")]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a limit fits")]
    let kept = (limit as f64 * share).ceil() as u64;
    // Of a very small limit, clients get at least half.
    let kept = kept.min(limit / 2);
    let whole = span.end.as_millis().saturating_sub(span.start.as_millis()).max(1);
    let passed = now.as_millis().saturating_sub(span.start.as_millis()).min(whole);
    let pace = u128::from(limit - kept) * u128::from(passed) / u128::from(whole);
    let paced = kept.saturating_add(u64::try_from(pace).unwrap_or(u64::MAX));
    Terms { limit, kept, paced }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: Outlook =
        Outlook { limit: 1_000_000, left: 900_000, spent: 50_000, lately: (10, Duration::from_secs(60)) };

    fn check(outlook: Outlook, ahead: u64) {
        assert_eq!(outlook.ahead(), ahead, "{outlook:?}");
    }

    #[test]
    fn ten_minutes_worth_far_from_the_end_and_one_near_it() {
        check(FAR, 100);
        check(Outlook { left: 190_000, ..FAR }, 10);
        check(Outlook { lately: (20, Duration::from_secs(60)), ..FAR }, 200);
    }

    #[test]
    fn no_more_than_was_spent() {
        let busy = (1_000, Duration::from_secs(1));
        check(Outlook { spent: 0, lately: (0, Duration::ZERO), ..FAR }, 0);
        check(Outlook { spent: 1, lately: (1, Duration::ZERO), ..FAR }, 1);
        check(Outlook { spent: 700, lately: busy, ..FAR }, 700);
    }

    #[test]
    fn a_small_part_of_the_limit_and_of_what_is_left() {
        let busy = (100_000, Duration::from_secs(1));
        check(Outlook { lately: busy, ..FAR }, 7_812);
        check(Outlook { lately: busy, left: 1_600, ..FAR }, 100);
        check(Outlook { lately: busy, left: 15, ..FAR }, 0);
    }

    #[test]
    fn what_is_kept_and_what_has_accrued() {
        let span = Span { start: Timestamp::from_millis(1_000), end: Timestamp::from_millis(2_000) };
        let at = |ms| terms(1_000, 0.05, span, Timestamp::from_millis(ms));
        assert_eq!(at(1_000), Terms { limit: 1_000, kept: 50, paced: 50 });
        assert_eq!(at(1_500), Terms { limit: 1_000, kept: 50, paced: 525 });
        assert_eq!(at(9_000), Terms { limit: 1_000, kept: 50, paced: 1_000 });
        assert_eq!(at(0).paced, 50);
        let small = |limit| terms(limit, 0.05, span, Timestamp::from_millis(1_000)).kept;
        assert_eq!([0, 1, 2, 10, 21].map(small), [0, 0, 1, 1, 2]);
    }
}
