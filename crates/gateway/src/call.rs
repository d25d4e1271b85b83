//! What is known of a request from its head on, shared by its layers.

use std::sync::{Mutex, OnceLock, PoisonError};

use engine::BodyFault;
use types::BackendName;

use crate::error::Fault;
use crate::operation::Operation;
use crate::query::Query;
use crate::target::Target;

/// A request, as far as its head tells.
pub(crate) struct Call {
    /// What is to be done.
    pub(crate) operation: Operation,
    /// To what.
    pub(crate) target: Target,
    /// The parameters.
    pub(crate) query: Query,
    /// `host`, as the client wrote it.
    pub(crate) host: Option<String>,
    /// Decoded bytes that the body is announced to have.
    pub(crate) length: Option<u64>,
    /// Why the body failed, for the layers between pass errors on as text only.
    pub(crate) body_fault: OnceLock<BodyFault>,
    note: Mutex<Note>,
}

/// What an operation leaves for the outer layer.
#[derive(Default)]
pub(crate) struct Note {
    /// Why it failed.
    pub(crate) fault: Option<Fault>,
    /// Where bytes went or came from.
    pub(crate) backends: Vec<BackendName>,
    /// The answer is what was known before the catalog was gone.
    pub(crate) degraded: bool,
    /// Who signed.
    pub(crate) access_key: Option<String>,
}

impl Call {
    pub(crate) fn new(operation: Operation, target: Target, query: Query) -> Self {
        Self {
            operation,
            target,
            query,
            host: None,
            length: None,
            body_fault: OnceLock::new(),
            note: Mutex::default(),
        }
    }

    /// Changes what is left for the outer layer.
    pub(crate) fn note(&self, change: impl FnOnce(&mut Note)) {
        change(&mut self.note.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What was left.
    pub(crate) fn take_note(&self) -> Note {
        std::mem::take(&mut *self.note.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
