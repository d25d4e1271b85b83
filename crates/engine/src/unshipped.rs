//! What is doomed keeps its bytes until its doom is shipped. A catalog that is rebuilt names what the last segment
//! named: were the bytes of what was replaced, deleted or moved since gone already, it would name nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use catalog::CatalogError;

use crate::engine::{Engine, Shared};

/// How soon the reaper looks again at what waits for a segment, unless one wakes it.
pub(crate) const UNSHIPPED_RETRY: Duration = Duration::from_secs(5);

/// Up to which doom all is shipped.
#[derive(Debug)]
pub(crate) struct Dooms {
    /// The number of a doom; the largest number there is where nothing waits for segments.
    shipped: AtomicU64,
    mark: Mutex<Option<Mark>>,
}

/// A doom, and a change that came after it: when that is shipped, so is the doom.
#[derive(Debug, Clone, Copy)]
struct Mark {
    doom: u64,
    change: u64,
}

impl Default for Dooms {
    fn default() -> Self {
        Self { shipped: AtomicU64::new(u64::MAX), mark: Mutex::default() }
    }
}

impl Dooms {
    /// All up to this one are shipped; says whether that is news.
    fn note(&self, doom: u64) -> bool {
        let is_news = |known| (known != u64::MAX && known < doom).then_some(doom);
        self.shipped.fetch_update(Ordering::AcqRel, Ordering::Acquire, is_news).is_ok()
    }

    fn mark(&self) -> std::sync::MutexGuard<'_, Option<Mark>> {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// From now on nothing is deleted before the change that doomed it is shipped: for a process that ships.
    pub fn delete_nothing_unshipped(&self) {
        self.shared.dooms.shipped.store(0, Ordering::Release);
    }
}

impl Shared {
    /// The doom behind which nothing may be deleted, for it is not shipped.
    pub(crate) fn shipped_dooms(&self) -> u64 {
        self.dooms.shipped.load(Ordering::Acquire)
    }

    /// Whether the reaper waits for a segment.
    pub(crate) fn waits_for_segment(&self) -> bool {
        self.shipped_dooms() < self.catalog.horizon()
    }

    /// Looks whether everything is shipped, where the reaper waits for that.
    pub(crate) async fn look_for_unshipped(&self) -> Result<(), CatalogError> {
        if !self.waits_for_segment() {
            return Ok(());
        }
        // In this order: what is doomed in between is not counted.
        let doom = self.catalog.horizon();
        if self.catalog.unshipped(1, 1).await?.lines.is_empty() {
            self.dooms_are_shipped(doom);
        }
        Ok(())
    }

    /// A segment is about to be made: remembers where dooms stand, unless an earlier mark is still on its way.
    pub(crate) async fn mark_dooms(&self) -> Result<(), CatalogError> {
        if self.dooms.mark().is_some() {
            return Ok(());
        }
        // In this order: the change is no older than the doom.
        let doom = self.catalog.horizon();
        let change = self.catalog.last_sequence().await?;
        *self.dooms.mark() = Some(Mark { doom, change });
        Ok(())
    }

    /// Every change up to this one is shipped.
    pub(crate) fn changes_are_shipped(&self, last: u64) {
        let passed = self.dooms.mark().take_if(|mark| mark.change <= last);
        if let Some(mark) = passed {
            self.dooms_are_shipped(mark.doom);
        }
    }

    /// No backend has room for a segment. Deletes alone can make room, so they wait no longer.
    pub(crate) fn segments_have_no_room(&self) {
        self.dooms_are_shipped(self.catalog.horizon());
    }

    fn dooms_are_shipped(&self, doom: u64) {
        if self.dooms.note(doom) {
            self.reap.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_only_rises_and_only_where_something_waits() {
        let dooms = Dooms::default();
        assert!(!dooms.note(7), "nothing waits");
        dooms.shipped.store(0, Ordering::Release);
        assert_eq!([dooms.note(7), dooms.note(7), dooms.note(3), dooms.note(8)], [true, false, false, true]);
    }
}
