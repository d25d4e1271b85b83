//! Which readers are under way: the reaper deletes nothing that one of them may still read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runtime::{Instant, mutation};

/// The readers under way, by the horizon that each noted before it located.
#[derive(Debug, Clone)]
pub(crate) struct Readers {
    open: Arc<Mutex<Open>>,
    guard_max: Duration,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    readers: BTreeMap<u64, (u64, Instant)>,
}

/// One reader. It is under way until this is dropped.
#[derive(Debug)]
pub(crate) struct ReadGuard {
    readers: Readers,
    ticket: u64,
}

impl Readers {
    pub(crate) fn new(guard_max: Duration) -> Self {
        Self { open: Arc::default(), guard_max }
    }

    /// Registers a reader. `horizon` has to be read from the catalog before, and the object located after.
    pub(crate) fn enter(&self, horizon: u64) -> ReadGuard {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = open.next;
        open.next += 1;
        open.readers.insert(ticket, (horizon, Instant::now()));
        drop(open);
        ReadGuard { readers: self.clone(), ticket }
    }

    /// How many are under way.
    pub(crate) fn number(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).readers.len()
    }

    /// The oldest horizon of a reader that still counts; `present` where there is none. `present` has to be
    /// read from the catalog before this call.
    pub(crate) fn oldest(&self, present: u64) -> u64 {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let ignored = mutation::is_on("readers.counted");
        let counts = |(_, since): &&(u64, Instant)| since.elapsed() < self.guard_max && !ignored;
        open.readers
            .values()
            .filter(counts)
            .map(|(horizon, _)| *horizon)
            .min()
            .unwrap_or(present)
            .min(present)
    }
}

impl Drop for ReadGuard {
    fn drop(&mut self) {
        self.readers.open.lock().unwrap_or_else(PoisonError::into_inner).readers.remove(&self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_reader_holds_the_horizon_until_it_ends_or_is_too_old() {
        let readers = Readers::new(Duration::from_secs(900));
        assert_eq!(readers.oldest(7), 7);
        let old = readers.enter(3);
        let young = readers.enter(5);
        assert_eq!(readers.oldest(7), 3);
        drop(old);
        assert_eq!(readers.oldest(7), 5);
        runtime::sleep(Duration::from_secs(901)).await;
        assert_eq!(readers.oldest(9), 9);
        drop(young);
    }
}
