//! A catalog that may not be the newest of its deployment deletes nothing and writes nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use catalog::CatalogError;
use runtime::mutation;

use crate::engine::{Engine, Shared};

/// What is known of this catalog's being the newest.
#[derive(Debug, Default)]
pub(crate) struct Frozen {
    /// Why nothing is written or deleted any more. Set once: only a restart that finds no reason thaws.
    reason: OnceLock<Arc<str>>,
    /// Nothing is deleted before the proof.
    unproved: AtomicBool,
}

impl Engine {
    /// From now on nothing is written and nothing is deleted. The first reason stands.
    pub fn freeze(&self, reason: &str) {
        if self.shared.frozen.reason.set(reason.into()).is_ok() {
            tracing::error!("frozen, nothing is written or deleted from now on: {reason}");
        }
    }

    /// Nothing is deleted until [`Engine::prove_newest`] has proved this catalog.
    pub fn delete_nothing_before_proof(&self) {
        self.shared.frozen.unproved.store(true, Ordering::Release);
    }

    /// Why nothing is written or deleted, where that is so.
    #[must_use]
    pub fn frozen(&self) -> Option<Arc<str>> {
        self.shared.frozen.reason.get().cloned()
    }
}

impl Shared {
    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.reason.get().is_some()
    }

    /// Whether bytes may be deleted: not while this catalog may be an old one.
    pub(crate) fn may_delete(&self) -> bool {
        let proved = !self.is_frozen() && !self.frozen.unproved.load(Ordering::Acquire);
        proved || mutation::is_on("freeze.deletes")
    }

    pub(crate) fn is_proved(&self) {
        self.frozen.unproved.store(false, Ordering::Release);
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
