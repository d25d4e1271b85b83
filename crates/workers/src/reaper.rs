//! Reaper: deletes what is doomed on one backend. Each backend has its own, so that one that hangs slows
//! no other. Never deletes what a reader may hold or what may still arrive.

use async_trait::async_trait;
use catalog::BackendId;
use engine::{Engine, Place, Reaped};
use runtime::{Step, Worker, WorkerError};

/// The reaper of one backend.
#[derive(Clone)]
pub struct Reaper {
    engine: Engine,
    backend: BackendId,
    name: String,
}

impl Reaper {
    /// The reaper of this place.
    #[must_use]
    pub fn new(engine: Engine, place: &Place) -> Self {
        Self { engine, backend: place.id, name: format!("reaper/{}", place.name()) }
    }
}

#[async_trait]
impl Worker for Reaper {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn step(&mut self) -> Result<Step, WorkerError> {
        let reaped = self.engine.reap_on(self.backend).await?;
        if reaped != Reaped::default() {
            return Ok(Step::more(reaped.gone).with_failed(reaped.failed));
        }
        let due = self.engine.next_reap(self.backend).await?;
        Ok(due.map_or(Step::IDLE, |pause| Step::IDLE.due_after(pause)))
    }
}
