//! The phases of a process's end.

use tokio::sync::watch;

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Everything serves.
    Running,
    /// No longer ready, still serving: load balancers look away.
    NotReady,
    /// No new requests; those under way may finish.
    Draining,
    /// Everything stops now.
    Stopped,
}

/// Tells everyone in which phase the process is. Clones share it.
#[derive(Debug, Clone)]
pub struct Shutdown {
    phase: watch::Sender<Phase>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// Starts in [`Phase::Running`].
    #[must_use]
    pub fn new() -> Self {
        Self { phase: watch::Sender::new(Phase::Running) }
    }

    /// The present phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Moves on to a later phase; an earlier one is ignored.
    pub fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let later = to > *phase;
            *phase = (*phase).max(to);
            later
        });
    }

    /// Waits until the phase is `phase` or later.
    pub async fn reached(&self, phase: Phase) {
        let mut watcher = self.phase.subscribe();
        watcher.wait_for(|now| *now >= phase).await.expect("self holds the sender for as long as this waits");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_only_go_forward() {
        let shutdown = Shutdown::new();
        shutdown.advance(Phase::Draining);
        shutdown.advance(Phase::NotReady);
        assert_eq!(shutdown.phase(), Phase::Draining);
        shutdown.reached(Phase::NotReady).await;
    }
}
