//! When the daemon runs: cron expressions in UTC, or an interval.

use std::time::Duration;

use config::snapshot::Schedule;
use time::{Date, OffsetDateTime};
use types::Timestamp;

use crate::name::utc;

/// A sparse expression such as "29 February on a Monday" comes round within this many days.
const DAYS_MAX: u32 = 366 * 41;
const WORDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Minute, hour, day, month, weekday: a bit for each value that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Days and weekdays are both restricted: then either is enough, as everywhere in cron.
    either_day: bool,
}

impl Cron {
    /// Reads five fields, or a word such as `@daily`.
    ///
    /// # Errors
    /// Why it is no expression, or that it never comes round.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let fields = WORDS.iter().find(|(word, _)| *word == text).map_or(text, |(_, fields)| fields);
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err("is no cron expression: five fields are minute, hour, day, month, weekday".to_owned());
        };
        let weekdays = field(weekday, 0, 7, &WEEKDAYS, 0)?;
        let cron = Self {
            minutes: field(minute, 0, 59, &[], 0)?,
            hours: field(hour, 0, 23, &[], 0)?,
            days: field(day, 1, 31, &[], 0)?,
            months: field(month, 1, 12, &MONTHS, 1)?,
            // Sunday is 0 as well as 7.
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        let never = || format!("never comes: no month has such a day in `{text}`");
        cron.next_after(Timestamp::from_millis(0)).map(|_| cron).ok_or_else(never)
    }

    /// The first minute after this moment that it names.
    #[must_use]
    pub fn next_after(&self, moment: Timestamp) -> Option<Timestamp> {
        let start = utc(moment.plus(Duration::from_secs(60)));
        let first_minute = u64::from(start.hour()) * 60 + u64::from(start.minute());
        let mut date = start.date();
        for day in 0..DAYS_MAX {
            if self.has_day(date) {
                let from = if day == 0 { first_minute } else { 0 };
                if let Some(minute) = (from..1440).find(|minute| self.has_minute(*minute)) {
                    let midnight = OffsetDateTime::new_utc(date, time::Time::MIDNIGHT).unix_timestamp();
                    let seconds = u64::try_from(midnight).ok()? + minute * 60;
                    return Some(Timestamp::from_millis(seconds * 1000));
                }
            }
            date = date.next_day()?;
        }
        None
    }

    fn has_minute(&self, minute: u64) -> bool {
        has(self.hours, minute / 60) && has(self.minutes, minute % 60)
    }

    fn has_day(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().number_days_from_sunday());
        has(self.months, u8::from(date.month()))
            && if self.either_day { day || weekday } else { day && weekday }
    }
}

fn has(bits: u64, value: impl Into<u64>) -> bool {
    bits >> value.into() & 1 == 1
}

/// Reads one field: a list of `*`, values and ranges, each with a step behind `/` where it has one.
fn field(text: &str, least: u64, most: u64, names: &[&str], first: u64) -> Result<u64, String> {
    let wrong = || format!("is no cron expression: `{text}` is not of {least} to {most}");
    let value = |text: &str| {
        let name = names.iter().position(|name| text.eq_ignore_ascii_case(name));
        let value = name.map_or_else(|| text.parse().ok(), |at| Some(at as u64 + first));
        value.filter(|value| (least..=most).contains(value)).ok_or_else(wrong)
    };
    let mut bits = 0;
    for item in text.split(',') {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, step.parse().ok().filter(|step| *step > 0).ok_or_else(wrong)?),
            None => (item, 1),
        };
        let (low, high) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((low, high)) => (value(low)?, value(high)?),
            // `5/10` is from 5 on.
            None if item.contains('/') => (value(range)?, most),
            None => (value(range)?, value(range)?),
        };
        if low > high {
            return Err(wrong());
        }
        bits |= (low..=high)
            .step_by(usize::try_from(step).unwrap_or(usize::MAX))
            .fold(0, |bits, at| bits | 1 << at);
    }
    Ok(bits)
}

/// When the run after `last` (the beginning of the one before, if there was one) is due. `jitter` was drawn already.
#[must_use]
pub fn next_run(
    schedule: &Schedule,
    last: Option<Timestamp>,
    now: Timestamp,
    jitter: Duration,
) -> Option<Timestamp> {
    let due = match schedule.interval {
        // What was missed while nothing ran is made up for once.
        Some(interval) => Some(last.map_or(now, |last| last.plus(interval).max(now))),
        None => {
            let crons = schedule.cron.iter().filter_map(|text| Cron::parse(text).ok());
            crons.filter_map(|cron| cron.next_after(now)).min()
        }
    };
    due.map(|due| due.plus(jitter))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::name::print_time;

    fn at(text: &str) -> Timestamp {
        let name = crate::name::SnapshotName::parse("v", &format!("v-x-{text}-1.snap"));
        name.unwrap().time
    }

    fn check(cron: &str, after: &str, expected: &str) {
        let next = Cron::parse(cron).unwrap().next_after(at(after)).unwrap();
        assert_eq!(print_time(next), expected, "{cron} after {after}");
    }

    #[test]
    fn the_next_time_is_found() {
        check("0 0 * * *", "20261125T091710Z", "20261126T000000Z");
        check("@daily", "20261126T000000Z", "20261127T000000Z");
        check("*/15 * * * *", "20261125T091459Z", "20261125T091500Z");
        check("*/15 * * * *", "20261125T091500Z", "20261125T093000Z");
        check("5/20 8-9 * * *", "20261125T091710Z", "20261125T092500Z");
        check("30 4 1,15 * fri", "20261125T091710Z", "20261127T043000Z");
        check("0 12 * dec MON-WED", "20261125T091710Z", "20261201T120000Z");
        check("0 0 29 2 *", "20261125T091710Z", "20280229T000000Z");
        check("0 0 * * 7", "20261125T091710Z", "20261129T000000Z");
        check("0 0 * * 0", "20261125T091710Z", "20261129T000000Z");
        check("59 23 31 12 *", "20261231T235900Z", "20271231T235900Z");
        check("0 0 29 2 1", "20261125T091710Z", "20270201T000000Z");
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for bad in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "5-1 * * * *",
            "*/0 * * * *",
            "a * * * *",
            "@never",
            "-1 * * * *",
            "1- * * * *",
            "* * * foo *",
        ] {
            assert!(Cron::parse(bad).is_err(), "{bad}");
        }
        assert!(Cron::parse("0 0 31 2 *").unwrap_err().contains("never"));
        assert!(Cron::parse("0 0 30 feb *").unwrap_err().contains("never"));
    }

    #[test]
    fn an_interval_counts_from_the_beginning_and_makes_up_once() {
        let schedule =
            |interval| Schedule { cron: Vec::new(), interval: Some(interval), jitter: Duration::ZERO };
        let hourly = schedule(Duration::from_secs(3600));
        let (now, none) = (at("20261125T091710Z"), Duration::ZERO);
        assert_eq!(next_run(&hourly, None, now, none), Some(now));
        let before = now.minus(Duration::from_secs(600));
        assert_eq!(next_run(&hourly, Some(before), now, none), Some(now.plus(Duration::from_secs(3000))));
        let long_ago = now.minus(Duration::from_secs(90_000));
        assert_eq!(
            next_run(&hourly, Some(long_ago), now, Duration::from_secs(7)),
            Some(now.plus(Duration::from_secs(7)))
        );
    }

    #[test]
    fn several_expressions_are_united() {
        let cron = ["0 3 * * *", "0 1 * * *"].map(str::to_owned).to_vec();
        let schedule = Schedule { cron, interval: None, jitter: Duration::ZERO };
        let next = next_run(&schedule, None, at("20261125T020000Z"), Duration::ZERO);
        assert_eq!(next, Some(at("20261125T030000Z")));
    }

    proptest! {
        /// Against the slow way: minute by minute.
        #[test]
        fn no_minute_in_between_fits(minute in 0_u64..60, hour in 0_u64..24, day in 1_u64..29, start in 0_u64..4_000_000_000) {
            let cron = Cron::parse(&format!("{minute} {hour} {day} * *")).unwrap();
            let start = Timestamp::from_millis(start * 1000);
            let next = cron.next_after(start).unwrap();
            prop_assert!(next > start);
            let mut moment = start.as_secs() / 60 * 60 + 60;
            loop {
                let date = utc(Timestamp::from_millis(moment * 1000));
                if (u64::from(date.minute()), u64::from(date.hour()), u64::from(date.day())) == (minute, hour, day) {
                    break;
                }
                moment += 60;
            }
            prop_assert_eq!(next.as_secs(), moment);
        }

        #[test]
        fn nothing_makes_it_panic(text in "[0-9*/,@a-z -]{0,30}") {
            let _ = Cron::parse(&text);
        }
    }
}
