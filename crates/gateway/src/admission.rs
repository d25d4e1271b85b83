//! How many requests are under way at once. A refused one is told so before its body is read.

use std::sync::Arc;
use std::time::Duration;

use runtime::Chance;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Fault, Outcome};

/// Limits of requests under way. 0 is unlimited.
#[derive(Debug, Clone)]
pub struct AdmissionOptions {
    /// All requests.
    pub requests_max: usize,
    /// Reads, within all requests.
    pub reads_max: usize,
    /// Writes, within all requests.
    pub writes_max: usize,
    /// From this share of a pool on, requests are refused at random, the more the fuller it is. 0 is off.
    pub shed_threshold: f64,
    /// How long a request waits for a place.
    pub wait: Duration,
}

impl Default for AdmissionOptions {
    fn default() -> Self {
        Self { requests_max: 1000, reads_max: 0, writes_max: 0, shed_threshold: 0.0, wait: Duration::ZERO }
    }
}

/// Why a request was not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// The client makes too many.
    RateLimited,
    /// All places are taken.
    Full,
    /// Refused at random, so that not all places get taken.
    Shed,
}

/// The places that a request holds until its answer's last byte: one of each pool that bounds it.
pub(crate) type Place = [Option<OwnedSemaphorePermit>; 2];

/// The pools.
pub(crate) struct Admission {
    all: Option<Pool>,
    reads: Option<Pool>,
    writes: Option<Pool>,
    shed_threshold: f64,
    wait: Duration,
    chance: Chance,
}

#[derive(Clone)]
struct Pool {
    places: Arc<Semaphore>,
    size: usize,
}

impl Pool {
    fn new(size: usize) -> Option<Self> {
        let size = size.min(Semaphore::MAX_PERMITS);
        (size > 0).then(|| Self { places: Arc::new(Semaphore::new(size)), size })
    }

    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
    fn share_taken(&self) -> f64 {
        1.0 - self.places.available_permits() as f64 / self.size as f64
    }
}

impl Admission {
    pub(crate) fn new(options: &AdmissionOptions, chance: Chance) -> Self {
        let all = Pool::new(options.requests_max);
        let (reads, writes) = (Pool::new(options.reads_max), Pool::new(options.writes_max));
        Self { all, reads, writes, shed_threshold: options.shed_threshold, wait: options.wait, chance }
    }

    /// Takes a place in each pool that bounds such a request.
    pub(crate) async fn enter(&self, write: bool) -> Result<Place, Rejection> {
        let own = if write { &self.writes } else { &self.reads };
        // The narrower pool first: who waits for it takes no place from others.
        let own = self.enter_pool(own.as_ref()).await?;
        Ok([own, self.enter_pool(self.all.as_ref()).await?])
    }

    async fn enter_pool(&self, pool: Option<&Pool>) -> Result<Option<OwnedSemaphorePermit>, Rejection> {
        let Some(pool) = pool else { return Ok(None) };
        if self.shed_threshold > 0.0 {
            let over = (pool.share_taken() - self.shed_threshold) / (1.0 - self.shed_threshold);
            if over > 0.0 && self.chance.happens(over) {
                return Err(Rejection::Shed);
            }
        }
        if let Ok(place) = Arc::clone(&pool.places).try_acquire_owned() {
            return Ok(Some(place));
        }
        if self.wait.is_zero() {
            return Err(Rejection::Full);
        }
        match runtime::timeout(self.wait, Arc::clone(&pool.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(Some(place)),
            _ => Err(Rejection::Full),
        }
    }
}

/// Memory for bodies that have to be read whole before anything is done.
pub(crate) struct Budget {
    kibibytes: Arc<Semaphore>,
    size: u32,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let size = u32::try_from(bytes >> 10).unwrap_or(u32::MAX >> 4).max(1);
        Self { kibibytes: Arc::new(Semaphore::new(size as usize)), size }
    }

    /// Sets memory aside, or refuses where that much is not free within five seconds.
    pub(crate) async fn take(&self, bytes: u64) -> Outcome<OwnedSemaphorePermit> {
        let wanted = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, self.size);
        let permits = Arc::clone(&self.kibibytes).acquire_many_owned(wanted);
        match runtime::timeout(Duration::from_secs(5), permits).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Fault::slow_down()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(options: AdmissionOptions) -> Admission {
        Admission::new(&options, Chance::seeded(1))
    }

    #[tokio::test]
    async fn each_bound_that_is_set_holds() {
        let shared = admission(AdmissionOptions { requests_max: 1, reads_max: 9, ..Default::default() });
        let place = shared.enter(true).await.unwrap();
        assert_eq!(shared.enter(false).await.unwrap_err(), Rejection::Full);
        drop(place);
        assert!(shared.enter(false).await.is_ok());

        let split = admission(AdmissionOptions { reads_max: 1, writes_max: 1, ..Default::default() });
        let _write = split.enter(true).await.unwrap();
        assert!(split.enter(false).await.is_ok());
        assert_eq!(split.enter(true).await.unwrap_err(), Rejection::Full);

        let all = AdmissionOptions { requests_max: 2, reads_max: 9, writes_max: 1, ..Default::default() };
        let all = admission(all);
        let _places = (all.enter(true).await.unwrap(), all.enter(false).await.unwrap());
        assert_eq!(all.enter(false).await.unwrap_err(), Rejection::Full);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_a_place_as_long_as_it_may() {
        let wait = Duration::from_millis(100);
        let admission = admission(AdmissionOptions { requests_max: 1, wait, ..Default::default() });
        let place = admission.enter(true).await.unwrap();
        assert_eq!(admission.enter(true).await.unwrap_err(), Rejection::Full);
        let (second, ()) = tokio::join!(admission.enter(true), async { drop(place) });
        assert!(second.is_ok());
    }

    #[tokio::test]
    async fn shedding_rises_with_the_share_taken() {
        let options = AdmissionOptions { requests_max: 100, shed_threshold: 0.5, ..Default::default() };
        let admission = admission(options);
        let mut places = Vec::new();
        let mut shed = 0;
        for _ in 0..1000 {
            match admission.enter(true).await {
                Ok(place) => places.push(place),
                Err(Rejection::Shed) => shed += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!(places.len() > 50, "nothing is shed below the threshold");
        assert!(shed > 0);
    }
}
