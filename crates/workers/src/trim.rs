//! Trim: dooms replicas beyond what is wanted, on the backend that keeps them least gladly. Never below the
//! factor, and never one on a sound backend for one on a backend that is not.

use std::sync::Arc;

use async_trait::async_trait;
use engine::Engine;
use runtime::{Step, Worker, WorkerError};
use types::BlobId;

use crate::{Gone, Observer, RunStatus, Work};

/// Blobs looked at in one step.
const BATCH: u32 = 100;

/// See the module.
#[derive(Clone)]
pub struct Trim {
    engine: Engine,
    gone: Gone,
    observer: Arc<dyn Observer>,
    after: Option<BlobId>,
}

impl Trim {
    /// The one of this engine.
    #[must_use]
    pub fn new(engine: Engine, gone: Gone, observer: Arc<dyn Observer>) -> Self {
        Self { engine, gone, observer, after: None }
    }
}

#[async_trait]
impl Worker for Trim {
    fn name(&self) -> String {
        "trim".to_owned()
    }

    async fn step(&mut self) -> Result<Step, WorkerError> {
        let began = runtime::instant_now();
        let trimmed = self.engine.trim_step(self.after, BATCH, &(self.gone)()).await;
        let status = match &trimmed {
            Ok((removed, _)) => RunStatus::of(*removed, 0),
            Err(_) => RunStatus::Error,
        };
        self.observer.ran(Work::Trim, status, began.elapsed());
        let (removed, next) = trimmed?;
        self.after = next;
        Ok(if next.is_some() { Step::more(removed) } else { Step::finished(removed) })
    }
}
