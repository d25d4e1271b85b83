//! Limits: what is counted, for whom, and over which time.

use crate::Timestamp;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitKind {
    /// Requests sent.
    Requests,
    /// Bytes of bodies that came from a backend.
    Egress,
    /// Bytes of bodies that went to a backend.
    Ingress,
}

impl LimitKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Requests, Self::Egress, Self::Ingress];

    /// The kind in metrics, logs and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "api_requests",
            Self::Egress => "egress_bytes",
            Self::Ingress => "ingress_bytes",
        }
    }
}

/// For whom a backend is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Traffic {
    /// Requests of clients.
    Client,
    /// Our own work: deletes, repair, moves, the journal.
    Maintenance,
}

impl Traffic {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Client, Self::Maintenance];
}

/// How often limits start over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// Each month, at the beginning of a day.
    Month,
    /// Each day, at the beginning of an hour.
    Day,
}

/// When limits start over, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    period: Period,
    anchor: u8,
}

/// A period as a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first moment.
    pub start: Timestamp,
    /// The first moment of the next one.
    pub end: Timestamp,
}

impl Schedule {
    /// Months of the calendar.
    pub const MONTHLY: Self = Self { period: Period::Month, anchor: 1 };

    /// Each month from this day on (1 to 28, so that every month has it).
    #[must_use]
    pub fn monthly(day: u8) -> Self {
        Self { period: Period::Month, anchor: day.clamp(1, 28) }
    }

    /// Each day from this hour on (0 to 23).
    #[must_use]
    pub fn daily(hour: u8) -> Self {
        Self { period: Period::Day, anchor: hour.min(23) }
    }

    /// The period that holds a moment.
    #[must_use]
    pub fn span_at(self, at: Timestamp) -> Span {
        let ms = i64::try_from(at.as_millis()).unwrap_or(i64::MAX / 2);
        let (start, end) = match self.period {
            Period::Day => {
                let shift = i64::from(self.anchor) * HOUR_MS;
                let start = (ms - shift).div_euclid(DAY_MS) * DAY_MS + shift;
                (start, start + DAY_MS)
            }
            Period::Month => {
                let (year, month, day) = civil(ms.div_euclid(DAY_MS));
                let months = year * 12 + month - i64::from(day < i64::from(self.anchor));
                (self.begins(months), self.begins(months + 1))
            }
        };
        Span { start: timestamp(start), end: timestamp(end) }
    }

    /// When the period of a month begins, counted in months since the year 0.
    fn begins(self, months: i64) -> i64 {
        days(months.div_euclid(12), months.rem_euclid(12), i64::from(self.anchor)) * DAY_MS
    }
}

fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// Days since 1970 of a date; months count from 0. Years are taken to begin in March, so that the day that
/// leap years add is their last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let in_year = (153 * month + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + in_year - 719_468
}

/// The date of so many days since 1970: year, month from 0, day from 1.
fn civil(since: i64) -> (i64, i64, i64) {
    let shifted = since + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let (year, month) = (year_of_era + era * 400, (from_march + 2) % 12);
    (year + i64::from(month < 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds of `2024-02-29 13:00`.
    fn at(text: &str) -> u64 {
        let (date, time) = text.split_once(' ').unwrap();
        let numbers: Vec<i64> = date.split('-').chain(time.split(':')).map(|n| n.parse().unwrap()).collect();
        let day = days(numbers[0], numbers[1] - 1, numbers[2]);
        u64::try_from(day * DAY_MS + numbers[3] * HOUR_MS + numbers[4] * 60_000).unwrap()
    }

    fn check(schedule: Schedule, moment: &str, start: &str, end: &str) {
        let span = schedule.span_at(Timestamp::from_millis(at(moment)));
        assert_eq!((span.start.as_millis(), span.end.as_millis()), (at(start), at(end)), "{moment}");
    }

    #[test]
    fn months_have_their_lengths() {
        check(Schedule::MONTHLY, "2024-02-29 13:00", "2024-02-01 00:00", "2024-03-01 00:00");
        check(Schedule::MONTHLY, "2023-02-28 23:59", "2023-02-01 00:00", "2023-03-01 00:00");
        check(Schedule::MONTHLY, "2024-12-31 23:59", "2024-12-01 00:00", "2025-01-01 00:00");
        check(Schedule::MONTHLY, "2025-01-01 00:00", "2025-01-01 00:00", "2025-02-01 00:00");
    }

    #[test]
    fn an_anchor_shifts_the_border() {
        check(Schedule::monthly(15), "2024-03-14 23:59", "2024-02-15 00:00", "2024-03-15 00:00");
        check(Schedule::monthly(15), "2024-03-15 00:00", "2024-03-15 00:00", "2024-04-15 00:00");
        check(Schedule::monthly(28), "2025-01-05 10:00", "2024-12-28 00:00", "2025-01-28 00:00");
        check(Schedule::daily(6), "2024-03-01 05:59", "2024-02-29 06:00", "2024-03-01 06:00");
        check(Schedule::daily(0), "2024-03-01 05:59", "2024-03-01 00:00", "2024-03-02 00:00");
    }

    #[test]
    fn known_days_are_where_they_should_be() {
        assert_eq!((days(1970, 0, 1), civil(0)), (0, (1970, 0, 1)));
        assert_eq!(at("2000-02-29 00:00"), 951_782_400_000);
        for day in -1000..200_000 {
            let (year, month, of_month) = civil(day);
            assert_eq!(days(year, month, of_month), day);
        }
    }

    #[test]
    fn periods_follow_each_other_without_a_gap() {
        for schedule in [Schedule::MONTHLY, Schedule::monthly(28), Schedule::daily(0), Schedule::daily(23)] {
            let mut span = schedule.span_at(Timestamp::from_millis(at("2019-11-05 01:00")));
            for _ in 0..100 {
                let next = schedule.span_at(span.end);
                assert_eq!(next.start, span.end);
                assert_eq!(schedule.span_at(Timestamp::from_millis(span.end.as_millis() - 1)), span);
                span = next;
            }
        }
    }
}
