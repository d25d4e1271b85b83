//! `writing` replicas that a request holds, and what becomes of them when it ends without a commit.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use catalog::{CatalogError, Fate, Target, WriteOutcome};
use runtime::mutation;
use types::{BlobId, ReplicaId};

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

    pub(crate) fn number(&self) -> usize {
        self.fates.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// All of them. They stay until they are told: who tells them may be stopped halfway.
    pub(crate) fn all(&self) -> Vec<Fate> {
        self.fates.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The catalog knows these.
    pub(crate) fn told(&self, fates: &[Fate]) {
        let told: HashSet<ReplicaId> = fates.iter().map(|fate| fate.replica).collect();
        let mut left = self.fates.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|fate| !told.contains(&fate.replica));
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
    blob: BlobId,
    replica: ReplicaId,
    /// Whether the catalog said that it has it. Until then it may or may not.
    reserved: bool,
    late_arrival: Duration,
    progress: Progress,
    outcome: Option<WriteOutcome>,
}

impl Held {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), replicas: Vec::new() }
    }

    /// Takes hold of replicas that the catalog is about to be asked for. Before the question: who is dropped
    /// while it is answered, or loses the answer, does not know what was reserved.
    pub(crate) fn expect(&mut self, blob: BlobId, offered: &[Target]) {
        for target in offered {
            let Some((_, place)) = self.shared.place(target.backend) else { continue };
            self.replicas.push(HeldReplica {
                blob,
                replica: target.replica,
                reserved: false,
                late_arrival: place.backend.profile().late_arrival_bound,
                progress: Progress::new(),
                outcome: None,
            });
        }
    }

    /// Notes what the catalog answered. What it did not take is not held any more.
    pub(crate) fn reserved(
        &mut self,
        answer: Result<Vec<Target>, CatalogError>,
    ) -> Result<Vec<Target>, CatalogError> {
        let taken: &[Target] = match &answer {
            Ok(taken) => taken,
            // Nothing happened.
            Err(CatalogError::Refused(_) | CatalogError::Unavailable(_)) => &[],
            Err(CatalogError::Unknown(_) | CatalogError::Damaged(_)) => return answer,
        };
        self.replicas.retain_mut(|held| {
            held.reserved |= taken.iter().any(|target| target.replica == held.replica);
            held.reserved
        });
        answer
    }

    /// How far the writing of a reserved replica has come.
    pub(crate) fn progress(&self, replica: ReplicaId) -> Option<Progress> {
        self.replicas.iter().find(|held| held.replica == replica).map(|held| held.progress.clone())
    }

    /// Notes what came of writing a replica.
    pub(crate) fn settle(&mut self, replica: ReplicaId, outcome: WriteOutcome) {
        if let Some(held) = self.replicas.iter_mut().find(|held| held.replica == replica) {
            held.outcome = Some(outcome);
        }
    }

    /// The fates of a blob's replicas as known now, also of those that were perhaps reserved: of one still
    /// under way, what its end by force makes of it.
    pub(crate) fn fates_of(&self, blob: BlobId) -> Vec<Fate> {
        self.replicas.iter().filter(|held| held.blob == blob).map(|held| self.fate_of(held)).collect()
    }

    /// The outcome of a put that may have had its effect, or may still have it.
    pub(crate) fn unknown(&self, late_arrival: Duration) -> WriteOutcome {
        if mutation::is_on("held.unknown") {
            return WriteOutcome::Doomed { arrives_until: None };
        }
        WriteOutcome::Doomed { arrives_until: Some(self.shared.steady.now().plus(late_arrival)) }
    }

    /// The catalog has taken over: nothing is to be given up any more.
    pub(crate) fn committed(mut self) {
        self.replicas.clear();
    }

    /// Gives all up now. Where the catalog does not answer, or nobody waits for it, the reaper will tell it.
    pub(crate) async fn let_go(mut self) {
        let fates = self.fates();
        if fates.is_empty() {
            return;
        }
        let number = fates.len();
        match self.shared.catalog.let_go(self.shared.boot, fates).await {
            Ok(()) => {
                self.replicas.clear();
                self.shared.reap.ring();
            }
            Err(error) => {
                tracing::warn!(%error, "could not give up {number} reserved replicas, will try again");
            }
        }
    }

    fn fates(&self) -> Vec<Fate> {
        self.replicas.iter().map(|held| self.fate_of(held)).collect()
    }

    fn fate_of(&self, held: &HeldReplica) -> Fate {
        let outcome = held.outcome.clone().unwrap_or_else(|| match held.progress.0.load(Ordering::Relaxed) {
            RESERVED => WriteOutcome::Unsent,
            // Without its last byte the body cannot arrive whole.
            RELEASED if mutation::is_on("held.released") => WriteOutcome::Doomed { arrives_until: None },
            STARTED => WriteOutcome::Doomed { arrives_until: None },
            _ => self.unknown(held.late_arrival),
        });
        Fate { replica: held.replica, outcome }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let fates = self.fates();
        if !fates.is_empty() && !mutation::is_on("held.given-up") {
            self.shared.abandoned.push(fates);
            self.shared.reap.ring();
        }
    }
}
