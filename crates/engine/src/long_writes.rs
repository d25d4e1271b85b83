//! A write that took long is told to its client once it is shipped, and nobody else has shipped meanwhile.
//!
//! Whoever has a copy of this catalog takes its writers for dead. He waits, ships that, and looks what others have
//! shipped, before he deletes what they were writing. What was written within that time is shipped by its end. What takes
//! longer is shipped first as well, and looked after: of two that ship and then look, one at least sees the other.
//! `docs/shipping.md` has the rules.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use catalog::CatalogError;
use runtime::{Bell, Instant};
use tokio::sync::watch;

use crate::EngineError;
use crate::engine::{Engine, Shared};

/// How long a write waits for its segment. Where no backend takes one, the client is not to pay for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The writes that wait for a segment.
#[derive(Debug, Default)]
pub(crate) struct LongWrites {
    /// What counts as long. Unset in a process that ships nothing.
    after: OnceLock<Duration>,
    waiting: AtomicUsize,
    /// How many segments were stored.
    segments: watch::Sender<u64>,
    bell: Bell,
}

impl LongWrites {
    /// A segment lies on the backends, and is marked so.
    pub(crate) fn segment_is_stored(&self) {
        self.segments.send_modify(|count| *count += 1);
    }
}

/// One that waits, until it is dropped.
struct Waiting<'a>(&'a LongWrites);

impl<'a> Waiting<'a> {
    fn new(writes: &'a LongWrites) -> Self {
        writes.waiting.fetch_add(1, Ordering::AcqRel);
        writes.bell.ring();
        Self(writes)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Engine {
    /// From now on a write that takes so long is acknowledged only once it is shipped: for a process that ships.
    pub fn ship_long_writes(&self, after: Duration) {
        // A second call changes nothing.
        let _ = self.shared.long_writes.after.set(after);
    }

    /// Whether a client waits for the next segment: it is stored at once.
    #[must_use]
    pub fn a_write_waits(&self) -> bool {
        self.shared.long_writes.waiting.load(Ordering::Acquire) > 0
    }

    /// Rings when a client waits for the next segment.
    #[must_use]
    pub fn segment_is_wanted(&self) -> &Bell {
        &self.shared.long_writes.bell
    }
}

impl Shared {
    /// A write that began then is committed: it may be told to its client when this returns.
    ///
    /// # Errors
    /// Where this catalog turns out not to be the newest, or nobody can say: the client must not rely on the write.
    pub(crate) async fn settle_long_write(&self, began: Instant) -> Result<(), EngineError> {
        let is_long = |after: &Duration| began.elapsed() >= *after;
        if !self.long_writes.after.get().is_some_and(is_long) {
            return Ok(());
        }
        let shipped = async {
            let _waiting = Waiting::new(&self.long_writes);
            self.all_is_shipped().await
        };
        match runtime::timeout(PATIENCE, shipped).await {
            Ok(shipped) => shipped?,
            Err(runtime::Elapsed) => {
                tracing::warn!(
                    "a write that took long is acknowledged, though no backend takes a segment of the journal"
                );
                return Ok(());
            }
        }
        if self.prove_newest(None).await? {
            return Ok(());
        }
        self.check_not_frozen()?;
        Err(EngineError::Unavailable("no backend can say whether this is the newest catalog".to_owned()))
    }

    /// Waits until what happened up to now is in segments.
    async fn all_is_shipped(&self) -> Result<(), CatalogError> {
        let mut segments = self.long_writes.segments.subscribe();
        let last = self.catalog.last_sequence().await?;
        loop {
            segments.borrow_and_update();
            let oldest = self.catalog.unshipped(1, 1).await?.lines.into_iter().next();
            if oldest.is_none_or(|line| line.seq > last) {
                return Ok(());
            }
            if segments.changed().await.is_err() {
                return Ok(());
            }
        }
    }
}
