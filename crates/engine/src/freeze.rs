//! A catalog that may not be the newest of its deployment deletes nothing and writes nothing.
//!
//! Who the newest is may change at any time: a copy is started, or another catalog is rebuilt elsewhere. So a proof
//! serves the deletes of one segment, and no longer than it is said to last; the next delete asks again, and who
//! deletes nothing asks nobody.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use catalog::CatalogError;
use runtime::{Instant, mutation};
use types::BackendName;

use crate::engine::{Engine, Shared};

/// How soon it is asked again where no backend could say.
pub(crate) const PROOF_RETRY: Duration = Duration::from_secs(30);

/// What is known of this catalog's being the newest.
#[derive(Debug, Default)]
pub(crate) struct Frozen {
    /// Why nothing is written or deleted any more. Set once: only a restart that finds no reason thaws.
    reason: OnceLock<Arc<str>>,
    /// Nothing is deleted before the proof.
    unproved: AtomicBool,
    /// What deletes need; `None` in a process that proves nothing.
    proof: Mutex<Option<Proof>>,
    /// One looks, and whoever wants to know as well waits for that.
    looking: tokio::sync::Mutex<()>,
}

/// The last proof.
#[derive(Debug)]
struct Proof {
    /// For how long one serves.
    lasts: Duration,
    /// When it was asked for, unless a segment was stored since.
    made_at: Option<Instant>,
    /// Segments that were stored.
    segments: u64,
    /// When no backend could say.
    failed_at: Option<Instant>,
    /// Where the last segment lies, and by that those of whoever has a copy; before the first, it may be anywhere.
    journal: Option<Vec<BackendName>>,
}

/// When a proof was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AskedAt {
    at: Instant,
    segments: u64,
}

/// What is to be done before a delete.
enum Needs {
    Nothing,
    /// Nobody could say a moment ago.
    Patience,
    /// To ask these, or all.
    Proof(Option<Vec<BackendName>>),
}

impl Proof {
    fn needs(&self) -> Needs {
        let is_within = |at: Option<Instant>, time| at.is_some_and(|at| at.elapsed() < time);
        if is_within(self.made_at, self.lasts) {
            return Needs::Nothing;
        }
        if is_within(self.failed_at, PROOF_RETRY) {
            return Needs::Patience;
        }
        Needs::Proof(self.journal.clone())
    }

    /// Says whether deletes were put off until now.
    fn note(&mut self, asked: AskedAt, proved: bool) -> bool {
        let waited = self.failed_at.take().is_some();
        if !proved {
            self.failed_at = Some(runtime::instant_now());
        } else if asked.segments == self.segments {
            self.made_at = Some(asked.at);
        }
        waited
    }
}

impl Engine {
    /// From now on nothing is written and nothing is deleted. The first reason stands.
    pub fn freeze(&self, reason: &str) {
        self.shared.freeze(reason);
    }

    /// Nothing is deleted until [`Engine::prove_newest`] has proved this catalog, and later nothing for which the last
    /// proof is from before the last segment, or older than it `lasts`: then it is proved anew.
    pub fn delete_nothing_before_proof(&self, lasts: Duration) {
        let frozen = &self.shared.frozen;
        frozen.unproved.store(true, Ordering::Release);
        *frozen.proof() = Some(Proof { lasts, made_at: None, segments: 0, failed_at: None, journal: None });
    }

    /// Why nothing is written or deleted, where that is so.
    #[must_use]
    pub fn frozen(&self) -> Option<Arc<str>> {
        self.shared.frozen.reason.get().cloned()
    }
}

impl Frozen {
    fn proof(&self) -> MutexGuard<'_, Option<Proof>> {
        self.proof.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn needs(&self) -> Needs {
        self.proof().as_ref().map_or(Needs::Nothing, Proof::needs)
    }
}

impl Shared {
    pub(crate) fn freeze(&self, reason: &str) {
        if self.frozen.reason.set(reason.into()).is_ok() {
            tracing::error!("frozen, nothing is written or deleted from now on: {reason}");
        }
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.reason.get().is_some()
    }

    /// Whether bytes may be deleted: not while this catalog may be an old one.
    pub(crate) fn may_delete(&self) -> bool {
        let proved = !self.is_frozen() && !self.frozen.unproved.load(Ordering::Acquire);
        proved || mutation::is_on("freeze.deletes")
    }

    /// The same just before a delete: where the last proof does not serve any more, it is made anew.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub(crate) async fn is_newest_still(&self) -> Result<bool, CatalogError> {
        let _one = self.frozen.looking.lock().await;
        let proved = match self.frozen.needs() {
            Needs::Nothing => !self.is_frozen(),
            Needs::Patience => false,
            Needs::Proof(on) => self.prove_newest(on.as_deref()).await?,
        };
        Ok(proved || mutation::is_on("freeze.deletes"))
    }

    /// Whether no delete can come of anything now, and for a while.
    pub(crate) fn deletes_are_put_off(&self) -> bool {
        !self.may_delete() || matches!(self.frozen.needs(), Needs::Patience)
    }

    /// A proof is asked for: what is stored from now on, it may not see.
    pub(crate) fn asks_for_proof(&self) -> AskedAt {
        let segments = self.frozen.proof().as_ref().map_or(0, |proof| proof.segments);
        AskedAt { at: runtime::instant_now(), segments }
    }

    /// What was asked says that this is the newest catalog, or nobody could say.
    pub(crate) fn note_proof(&self, asked: AskedAt, proved: bool) {
        let waited = self.frozen.proof().as_mut().is_some_and(|proof| proof.note(asked, proved));
        if proved && (self.frozen.unproved.swap(false, Ordering::AcqRel) || waited) {
            self.reap.ring();
        }
    }

    /// A segment lies there: whoever has a copy of this catalog may have shipped as well.
    pub(crate) fn proof_is_over(&self, journal: &[BackendName]) {
        if let Some(proof) = self.frozen.proof().as_mut() {
            proof.segments += 1;
            (proof.made_at, proof.journal) = (None, Some(journal.to_vec()));
        }
    }

    /// Refuses what would change the catalog.
    pub(crate) fn check_not_frozen(&self) -> Result<(), CatalogError> {
        match self.frozen.reason.get() {
            None => Ok(()),
            Some(_) if mutation::is_on("freeze.writes") => Ok(()),
            Some(reason) => Err(CatalogError::Unavailable(format!("nothing is written: {reason}"))),
        }
    }
}
