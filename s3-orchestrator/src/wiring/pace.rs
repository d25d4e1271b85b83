//! How often a segment of the journal is shipped.

use std::time::Duration;

use ::config::{Backend, Config, Period, Store, Strategy};

/// A directory costs nothing, an S3 request a little.
const DIRECTORY: Duration = Duration::from_secs(1);
const S3: Duration = Duration::from_mins(1);
/// One file costs a put, a listing that proves the catalog, and later its delete.
const REQUESTS_PER_FILE: u64 = 3;
/// One request in so many of a period may be for the journal.
const SHARE: u64 = 20;
/// What a crash left behind is kept no longer for a journal that is slower than this.
const PACE_MAX: Duration = Duration::from_hours(12);
const MONTH: Duration = Duration::from_hours(30 * 24);
const DAY: Duration = Duration::from_hours(24);

/// The pause between two files: the longest that one of the backends that take them needs.
pub(super) fn of(config: &Config) -> Duration {
    if !config.journal.interval.is_zero() {
        return config.journal.interval;
    }
    let taking = match config.routing_strategy {
        Strategy::Pack => 2,
        Strategy::Spread => config.backends.len(),
    };
    config.backends.iter().take(taking).map(of_backend).max().unwrap_or(S3)
}

/// For how long bytes that an earlier process was writing may still come to be something. It may be the process of whose
/// catalog this one is a copy: then it has shipped by the end of this what it committed, and is noticed by that.
pub(super) fn late_arrival(bound: Duration, pace: Duration) -> Duration {
    bound.max(pace.min(PACE_MAX) * 2)
}

fn of_backend(backend: &Backend) -> Duration {
    let least = match backend.store {
        Store::Directory(_) => DIRECTORY,
        Store::S3(_) => S3,
    };
    let period = match backend.limits_period {
        Period::Month => MONTH,
        Period::Day => DAY,
    };
    least.max(of_limit(backend.api_request_limit, period))
}

/// The pause at which 5 % of a period's requests last for the period; none where there is no limit.
fn of_limit(requests: u64, period: Duration) -> Duration {
    let files = requests / SHARE / REQUESTS_PER_FILE;
    match u32::try_from(files) {
        _ if requests == 0 => Duration::ZERO,
        Ok(0) => period,
        Ok(files) => period / files,
        Err(_) => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_crash_left_is_kept_until_a_copys_original_would_have_shipped() {
        let (minutes, bound) = (Duration::from_mins, Duration::from_mins(15));
        assert_eq!(late_arrival(bound, S3), bound);
        assert_eq!(late_arrival(bound, minutes(51)), minutes(102));
        assert_eq!(late_arrival(bound, MONTH), minutes(24 * 60));
    }

    #[test]
    fn a_free_tier_gives_a_segment_in_about_an_hour() {
        assert_eq!(of_limit(50_000, MONTH), MONTH / 833);
        assert_eq!(of_limit(50_000, MONTH).as_secs() / 60, 51);
        assert_eq!(of_limit(0, MONTH), Duration::ZERO, "no limit");
        assert_eq!(of_limit(1_000, DAY).as_secs() / 60, 90, "a day's requests are there again the next day");
        assert_eq!(of_limit(59, MONTH), MONTH, "one file costs more than its share");
        assert_eq!(of_limit(u64::MAX, MONTH), Duration::ZERO);
    }
}
