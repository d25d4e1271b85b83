//! `writing` replicas that a request holds, and what becomes of them when it ends without a commit.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use catalog::{Fate, WriteOutcome};
use types::ReplicaId;

use crate::engine::Shared;

/// Fates that could not be told to the catalog yet. The reaper tells them.
///
/// Bounded by what is reserved: each entry is one `writing` replica.
#[derive(Debug, Default)]
pub(crate) struct Abandoned {
    fates: Mutex<Vec<Fate>>,
}

impl Abandoned {
    pub(crate) fn push(&self, fates: Vec<Fate>) {
        self.fates.lock().unwrap_or_else(PoisonError::into_inner).extend(fates);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fates.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(crate) fn take(&self) -> Vec<Fate> {
        std::mem::take(&mut *self.fates.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How far the writing of one replica has come. Shared with the put that is under way.
#[derive(Debug, Clone)]
pub(crate) struct Progress(Arc<AtomicU8>);

const RESERVED: u8 = 0;
const STARTED: u8 = 1;
const RELEASED: u8 = 2;

impl Progress {
    fn new() -> Self {
        Self(Arc::new(AtomicU8::new(RESERVED)))
    }

    /// A request may leave from now on.
    pub(crate) fn start(&self) {
        self.0.fetch_max(STARTED, Ordering::Relaxed);
    }

    /// The last byte is given out: the bytes may arrive whole from now on.
    pub(crate) fn release(&self) {
        self.0.fetch_max(RELEASED, Ordering::Relaxed);
    }
}

/// The `writing` replicas of one request. Dropped without [`Held::committed`], it gives them up.
pub(crate) struct Held {
    shared: Arc<Shared>,
    replicas: Vec<HeldReplica>,
}

struct HeldReplica {
    replica: ReplicaId,
    late_arrival: Duration,
    progress: Progress,
    outcome: Option<WriteOutcome>,
}

impl Held {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), replicas: Vec::new() }
    }

    /// Takes hold of a reserved replica.
    pub(crate) fn add(&mut self, replica: ReplicaId, late_arrival: Duration) -> Progress {
        let progress = Progress::new();
        self.replicas.push(HeldReplica { replica, late_arrival, progress: progress.clone(), outcome: None });
        progress
    }

    /// Notes what came of writing a replica.
    pub(crate) fn settle(&mut self, replica: ReplicaId, outcome: WriteOutcome) {
        if let Some(held) = self.replicas.iter_mut().find(|held| held.replica == replica) {
            held.outcome = Some(outcome);
        }
    }

    /// The fate of one replica as known now: of one still under way, what its end by force makes of it.
    pub(crate) fn fate(&self, replica: ReplicaId) -> Option<Fate> {
        self.replicas.iter().find(|held| held.replica == replica).map(|held| self.fate_of(held))
    }

    /// The outcome of a put that may have had its effect, or may still have it.
    pub(crate) fn unknown(&self, late_arrival: Duration) -> WriteOutcome {
        WriteOutcome::Doomed { arrives_until: Some(self.shared.clock.now().plus(late_arrival)) }
    }

    /// The catalog has taken over: nothing is to be given up any more.
    pub(crate) fn committed(mut self) {
        self.replicas.clear();
    }

    /// Gives all up now. Where the catalog does not answer, the reaper will tell it.
    pub(crate) async fn let_go(mut self) {
        let fates = self.take_fates();
        if fates.is_empty() {
            return;
        }
        match self.shared.catalog.let_go(self.shared.boot, fates.clone()).await {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%error, "could not give up {} reserved replicas, will try again", fates.len());
                self.shared.abandoned.push(fates);
            }
        }
        self.shared.reap.notify_one();
    }

    fn take_fates(&mut self) -> Vec<Fate> {
        let replicas = std::mem::take(&mut self.replicas);
        replicas.iter().map(|held| self.fate_of(held)).collect()
    }

    fn fate_of(&self, held: &HeldReplica) -> Fate {
        let outcome = held.outcome.clone().unwrap_or_else(|| match held.progress.0.load(Ordering::Relaxed) {
            RESERVED => WriteOutcome::Unsent,
            // Without its last byte the body cannot arrive whole.
            STARTED => WriteOutcome::Doomed { arrives_until: None },
            _ => self.unknown(held.late_arrival),
        });
        Fate { replica: held.replica, outcome }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let fates = self.take_fates();
        if !fates.is_empty() {
            self.shared.abandoned.push(fates);
            self.shared.reap.notify_one();
        }
    }
}
