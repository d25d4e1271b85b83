//! Reconcile: compares one backend with the ledger, a page at each step. Each backend has its own, so that one
//! that hangs or is missing keeps no other waiting. A comparison that is cut off begins anew with the next.

use async_trait::async_trait;
use catalog::BackendId;
use engine::{Engine, Place, Reconciling};
use runtime::{Progress, Step, Worker, WorkerError};

/// The one of one backend.
pub struct Reconcile {
    engine: Engine,
    backend: BackendId,
    name: String,
    run: Option<Reconciling>,
    progress: Option<Progress>,
}

impl Reconcile {
    /// The one of this place.
    #[must_use]
    pub fn new(engine: Engine, place: &Place) -> Self {
        let name = format!("reconcile/{}", place.name());
        Self { engine, backend: place.id, name, run: None, progress: None }
    }
}

#[async_trait]
impl Worker for Reconcile {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn step(&mut self) -> Result<Step, WorkerError> {
        let mut run = match self.run.take() {
            Some(run) => run,
            None => self.engine.begin_reconcile(self.backend).await?,
        };
        let before = run.found.listed;
        let more = self.engine.reconcile_step(&mut run).await?;
        let found = run.found;
        let note = format!(
            "paths listed and {} rows compared: {} strays, {} found of known blobs, {} vanished, {} not ours",
            found.rows, found.strays, found.reclaimed, found.vanished, found.foreign
        );
        self.progress = Some(Progress { done: found.listed, total: None, note: note.clone() });
        let listed = found.listed - before;
        if more == engine::Step::MoreWork {
            self.run = Some(run);
            return Ok(Step::more(listed));
        }
        tracing::info!(
            worker = self.name,
            listed = found.listed,
            "compared a backend with the ledger: {note}"
        );
        Ok(Step::finished(listed))
    }

    fn progress(&self) -> Option<Progress> {
        self.progress.clone()
    }
}
