//! A catalog that may not be the newest of its deployment deletes nothing and writes nothing.

use std::sync::{Arc, OnceLock};

use catalog::CatalogError;

use crate::engine::{Engine, Shared};

/// Why nothing is written or deleted any more. Set once: only a restart that finds no reason thaws.
#[derive(Debug, Default)]
pub(crate) struct Frozen(OnceLock<Arc<str>>);

impl Engine {
    /// From now on nothing is written and nothing is deleted. The first reason stands.
    pub fn freeze(&self, reason: &str) {
        if self.shared.frozen.0.set(reason.into()).is_ok() {
            tracing::error!("frozen, nothing is written or deleted from now on: {reason}");
        }
    }

    /// Why nothing is written or deleted, where that is so.
    #[must_use]
    pub fn frozen(&self) -> Option<Arc<str>> {
        self.shared.frozen.0.get().cloned()
    }
}

impl Shared {
    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.0.get().is_some()
    }

    /// Refuses what would change the catalog.
    pub(crate) fn check_not_frozen(&self) -> Result<(), CatalogError> {
        match self.frozen.0.get() {
            None => Ok(()),
            Some(reason) => Err(CatalogError::Unavailable(format!("nothing is written: {reason}"))),
        }
    }
}
