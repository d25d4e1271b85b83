//! Time: the wall clock, and waiting.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use types::Timestamp;

/// A point on the clock that only goes forward. Follows tokio's paused clock in a simulation.
pub type Instant = tokio::time::Instant;

/// A wait was longer than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

/// The wall clock. Cheap to clone; all clones tell the same time.
#[derive(Debug, Clone)]
pub struct Clock {
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    System,
    /// Starts at a fixed time and follows tokio's clock; a simulated one can be set wrong on purpose.
    Virtual {
        start: Timestamp,
        origin: Instant,
        skew_ms: Arc<AtomicI64>,
    },
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self { source: Source::System }
    }

    /// A clock that starts at `start` and advances with tokio's (paused) clock.
    #[must_use]
    pub fn simulated(start: Timestamp) -> Self {
        Self { source: Source::Virtual { start, origin: Instant::now(), skew_ms: Arc::default() } }
    }

    /// The present time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.source {
            Source::System => {
                let since = std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    // A clock before 1970 is a dead battery: the start of time is as good as any answer.
                    .unwrap_or_default();
                Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
            }
            Source::Virtual { start, origin, skew_ms } => {
                let now = start.plus(origin.elapsed());
                let skew = skew_ms.load(Ordering::Relaxed);
                Timestamp::from_millis(now.as_millis().saturating_add_signed(skew))
            }
        }
    }

    /// A clock that tells the same time now, and from here on never jumps: it only follows the one that goes forward.
    /// For what has to last, where the wall clock may be set.
    #[must_use]
    pub fn steady(&self) -> Self {
        Self::simulated(self.now())
    }

    /// A clock that tells this time now, and from here on only follows the one that goes forward.
    #[must_use]
    pub fn starting_at(now: Timestamp) -> Self {
        Self::simulated(now)
    }

    /// Sets a simulated clock ahead (or back) of true time. Does nothing to the system's.
    pub fn set_skew_ms(&self, skew: i64) {
        if let Source::Virtual { skew_ms, .. } = &self.source {
            skew_ms.store(skew, Ordering::Relaxed);
        }
    }
}

/// The present moment of the clock that only goes forward.
#[must_use]
pub fn instant_now() -> Instant {
    Instant::now()
}

/// Waits.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Waits until the given moment.
pub async fn sleep_until(moment: Instant) {
    tokio::time::sleep_until(moment).await;
}

/// Waits for the future, but no longer than `limit`.
///
/// # Errors
/// [`Elapsed`] if the limit passed first; the future is then dropped.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    tokio::time::timeout(limit, future).await.map_err(|_| Elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_simulated_clock_follows_the_paused_one() {
        let clock = Clock::simulated(Timestamp::from_millis(1_000));
        sleep(Duration::from_secs(3600)).await;
        assert_eq!(clock.now().as_millis(), 1_000 + 3_600_000);
        clock.set_skew_ms(-500);
        assert_eq!(clock.now().as_millis(), 3_600_500);
    }

    #[tokio::test(start_paused = true)]
    async fn a_steady_clock_does_not_jump() {
        let clock = Clock::simulated(Timestamp::from_millis(1_000));
        let steady = clock.steady();
        clock.set_skew_ms(3_600_000);
        sleep(Duration::from_secs(1)).await;
        assert_eq!((steady.now().as_millis(), clock.now().as_millis()), (2_000, 3_602_000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_has_an_end() {
        let never = std::future::pending::<()>();
        assert_eq!(timeout(Duration::from_secs(5), never).await, Err(Elapsed));
    }
}
