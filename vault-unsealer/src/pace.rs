//! When to look at a node again. Pure.

use std::time::Duration;

/// The pause before the next look, after so many failures in a row: doubled with each, up to the longest, and
/// by `jitter` (0.0 to 1.0) up to a fifth shorter or longer.
pub(crate) fn pause(usual: Duration, longest: Duration, failures: u32, jitter: f64) -> Duration {
    let longest = longest.max(usual);
    let doubled = usual.saturating_mul(1_u32.checked_shl(failures.min(20)).unwrap_or(u32::MAX));
    doubled.min(longest).mul_f64(0.8 + 0.4 * jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(failures: u32, jitter: f64, millis: u128) {
        let pause = pause(Duration::from_secs(10), Duration::from_secs(300), failures, jitter);
        assert_eq!(pause.as_millis(), millis);
    }

    #[test]
    fn failures_slow_down_to_a_bound() {
        check(0, 0.5, 10_000);
        check(0, 0.0, 8_000);
        check(0, 1.0, 12_000);
        check(1, 0.5, 20_000);
        check(4, 0.5, 160_000);
        check(5, 0.5, 300_000);
        check(4_000_000, 0.5, 300_000);
    }
}
