//! The brake of one node: so many unseals in a window, and no more. Pure.
//!
//! A vault that seals again and again may be sealed by somebody who defends it, or may be made to read its
//! keys by somebody who attacks it. Either way a person has to look, so a brake that holds is released only by
//! one (SIGHUP, or a restart).

use std::time::Duration;

use runtime::Instant;

#[derive(Debug, Clone)]
pub(crate) struct Brake {
    unseals_max: usize,
    window: Duration,
    unseals: Vec<Instant>,
    holds: bool,
}

impl Brake {
    pub(crate) fn new(unseals_max: usize, window: Duration) -> Self {
        Self { unseals_max, window, unseals: Vec::new(), holds: false }
    }

    /// Counts an unseal.
    pub(crate) fn count(&mut self, now: Instant) {
        self.unseals.retain(|then| now.duration_since(*then) < self.window);
        self.unseals.push(now);
    }

    /// Whether it holds, asked when another unseal is due.
    pub(crate) fn holds(&mut self, now: Instant) -> bool {
        self.unseals.retain(|then| now.duration_since(*then) < self.window);
        self.holds |= self.unseals.len() >= self.unseals_max;
        self.holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_holds_at_the_limit_and_until_a_person_comes() {
        let start = runtime::instant_now();
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        let mut brake = Brake::new(2, Duration::from_secs(3600));
        brake.count(at(0));
        assert!(!brake.holds(at(1)));
        // What is old does not count.
        brake.count(at(70));
        assert!(!brake.holds(at(71)));
        brake.count(at(80));
        assert!(brake.holds(at(81)));
        assert!(brake.holds(at(10_000)));
    }
}
