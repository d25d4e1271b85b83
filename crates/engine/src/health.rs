//! What recent requests told of the backends: which one to read from first.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use runtime::Instant;

/// A backend that failed is asked last for this long.
const DOUBT: Duration = Duration::from_secs(30);

/// What is known of each backend, learnt from real requests: nothing is probed.
#[derive(Debug)]
pub(crate) struct Health {
    places: Vec<Mutex<Known>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Known {
    failed_at: Option<Instant>,
    /// Moving average of the time to the first byte.
    latency: Duration,
}

impl Health {
    pub(crate) fn new(places: usize) -> Self {
        Self { places: (0..places).map(|_| Mutex::default()).collect() }
    }

    pub(crate) fn succeeded(&self, place: usize, took: Duration) {
        self.update(place, |known| {
            known.failed_at = None;
            known.latency = (known.latency * 7 + took) / 8;
        });
    }

    pub(crate) fn failed(&self, place: usize) {
        self.update(place, |known| known.failed_at = Some(Instant::now()));
    }

    /// It showed that it is back: there is no doubt any more.
    pub(crate) fn is_back(&self, place: usize) {
        self.update(place, |known| known.failed_at = None);
    }

    /// Smaller is better: doubtful ones last, then by latency in steps of 5 ms so that near equals keep
    /// their configured order.
    pub(crate) fn rank(&self, place: usize) -> (bool, u128) {
        let Some(known) = self.places.get(place) else { return (true, 0) };
        let known = *known.lock().unwrap_or_else(PoisonError::into_inner);
        let doubtful = known.failed_at.is_some_and(|at| at.elapsed() < DOUBT);
        (doubtful, known.latency.as_millis() / 5)
    }

    fn update(&self, place: usize, change: impl FnOnce(&mut Known)) {
        if let Some(known) = self.places.get(place) {
            change(&mut known.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}
