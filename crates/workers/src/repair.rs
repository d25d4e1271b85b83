//! Repair: makes replicas for blobs that have fewer than they should, the most endangered first. A blob that
//! cannot be repaired waits longer each time and holds up no other.

use std::sync::Arc;

use async_trait::async_trait;
use engine::{Engine, RepairOptions};
use runtime::{Step, Worker, WorkerError};

use crate::{Gone, Observer, RunStatus, Work};

/// See the module.
#[derive(Clone)]
pub struct Repair {
    engine: Engine,
    options: RepairOptions,
    gone: Gone,
    observer: Arc<dyn Observer>,
}

impl Repair {
    /// The one of this engine.
    #[must_use]
    pub fn new(engine: Engine, options: RepairOptions, gone: Gone, observer: Arc<dyn Observer>) -> Self {
        Self { engine, options, gone, observer }
    }
}

#[async_trait]
impl Worker for Repair {
    fn name(&self) -> String {
        "repair".to_owned()
    }

    async fn step(&mut self) -> Result<Step, WorkerError> {
        let began = runtime::instant_now();
        let repaired = self.engine.repair_step(self.options, &(self.gone)()).await;
        let status = match &repaired {
            Ok(repaired) => RunStatus::of(repaired.made, repaired.failed),
            Err(_) => RunStatus::Error,
        };
        self.observer.ran(Work::Repair, status, began.elapsed());
        let repaired = repaired?;
        if repaired.looked_at > 0 {
            return Ok(Step::more(repaired.made).with_failed(repaired.failed));
        }
        Ok(repaired.next.map_or(Step::IDLE, |pause| Step::IDLE.due_after(pause)))
    }
}
