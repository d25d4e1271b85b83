//! Which periods an attempt is charged to. Pure.

use std::time::Duration;

use backend::{BORDER_MARGIN, CLOCK_TOLERANCE, apart};
use runtime::{Instant, mutation};
use types::{Schedule, Span, Timestamp};

/// Time as the catalog tells it, beside time as it passed since it was first told.
#[derive(Debug)]
pub(super) struct Reckoning {
    schedule: Schedule,
    trusted: Option<(Timestamp, Instant)>,
}

/// The periods of a moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Periods {
    pub(super) spans: Vec<Span>,
    /// How long they stay these.
    pub(super) last: Duration,
}

impl Reckoning {
    pub(super) fn new(schedule: Schedule) -> Self {
        Self { schedule, trusted: None }
    }

    /// The periods now that the catalog tells this time.
    ///
    /// Where time has not passed as the catalog's clock says, somebody has set it, to the right time or to
    /// a wrong one. So both count, until they agree again.
    pub(super) fn periods(&mut self, told: Timestamp, now: Instant) -> Periods {
        let trusted = self.trusted.map_or(told, |(then, at)| then.plus(now.duration_since(at)));
        let agree = apart(trusted, told) <= CLOCK_TOLERANCE || mutation::is_on("period.trusted");
        let moments = if agree { vec![told] } else { vec![trusted, told] };
        let mut periods = Periods { spans: Vec::new(), last: Duration::MAX };
        for moment in moments {
            self.add(&mut periods, moment);
        }
        if apart(trusted, told) <= CLOCK_TOLERANCE {
            self.trusted = Some((told, now));
        }
        periods
    }

    fn add(&self, periods: &mut Periods, moment: Timestamp) {
        let margin = if mutation::is_on("period.margin") { Duration::ZERO } else { BORDER_MARGIN };
        let (before, after) = (moment.minus(margin), moment.plus(margin));
        let (first, last) = (self.schedule.span_at(before), self.schedule.span_at(after));
        for span in [first, last] {
            if !periods.spans.contains(&span) {
                periods.spans.push(span);
            }
        }
        // The one behind leaves a minute after its end; the next one joins a minute before its beginning.
        let until = |end: Timestamp, from: Timestamp| {
            Duration::from_millis(end.as_millis().saturating_sub(from.as_millis()))
        };
        periods.last = periods.last.min(until(first.end, before)).min(until(last.end, after));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;
    const DAY_MS: u64 = 24 * HOUR_MS;

    fn starts(periods: &Periods) -> Vec<u64> {
        periods.spans.iter().map(|span| span.start.as_millis() / DAY_MS).collect()
    }

    /// Told these times, so many milliseconds after each other; then the days that count are these.
    fn check(told: &[(u64, u64)], days: &[u64], last_ms: u64) {
        let mut reckoning = Reckoning::new(Schedule::daily(0));
        let start = runtime::instant_now();
        let mut periods = None;
        for (after, told) in told {
            let now = start + Duration::from_millis(*after);
            periods = Some(reckoning.periods(Timestamp::from_millis(*told), now));
        }
        let periods = periods.unwrap();
        assert_eq!((starts(&periods), periods.last), (days.to_vec(), Duration::from_millis(last_ms)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_period_as_a_rule_and_two_at_a_border() {
        check(&[(0, 5 * DAY_MS + HOUR_MS)], &[5], 23 * HOUR_MS - 60_000);
        check(&[(0, 6 * DAY_MS - 60_001)], &[5], 1);
        check(&[(0, 6 * DAY_MS - 60_000)], &[5, 6], 120_000);
        check(&[(0, 6 * DAY_MS + 59_999)], &[5, 6], 1);
        check(&[(0, 6 * DAY_MS + 60_000)], &[6], DAY_MS - 120_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_set_may_be_right_or_wrong() {
        let noon = 5 * DAY_MS + 12 * HOUR_MS;
        // Ahead by a day, and back by two.
        check(&[(0, noon), (1_000, noon + DAY_MS)], &[5, 6], 12 * HOUR_MS - 60_000 - 1_000);
        check(&[(0, noon), (1_000, noon - 2 * DAY_MS)], &[5, 3], 12 * HOUR_MS - 60_000 - 1_000);
        // Within the same day it does not matter, but is not forgotten.
        check(&[(0, noon), (1_000, noon + HOUR_MS)], &[5], 11 * HOUR_MS - 60_000);
        let told =
            [(0, noon), (1_000, noon + HOUR_MS), (12 * HOUR_MS - 90_000, noon + 13 * HOUR_MS - 90_000)];
        check(&told, &[5, 6], 30_000);
        // A second is what clocks are off anyway.
        check(&[(0, noon), (1_000, noon + 2_000)], &[5], 12 * HOUR_MS - 60_000 - 2_000);
    }

    #[tokio::test(start_paused = true)]
    async fn both_count_until_they_agree() {
        let noon = 5 * DAY_MS + 12 * HOUR_MS;
        let told = [(0, noon), (1_000, noon + DAY_MS), (HOUR_MS, noon + DAY_MS + HOUR_MS)];
        check(&told, &[5, 6], 11 * HOUR_MS - 60_000);
        // Put right again.
        let told = [(0, noon), (1_000, noon + DAY_MS), (HOUR_MS, noon + HOUR_MS)];
        check(&told, &[5], 11 * HOUR_MS - 60_000);
    }
}
