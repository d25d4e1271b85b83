//! Reclaim: proves replicas that were found on backends and are of blobs that the catalog knows. Nothing is doomed
//! because of one that is not proved.

use async_trait::async_trait;
use engine::Engine;
use runtime::{Step, Worker, WorkerError};

/// Replicas proved in one step: each is read whole.
const BATCH: u32 = 10;

/// See the module.
#[derive(Clone)]
pub struct Reclaim {
    engine: Engine,
}

impl Reclaim {
    /// The one of this engine.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[async_trait]
impl Worker for Reclaim {
    fn name(&self) -> String {
        "reclaim".to_owned()
    }

    async fn step(&mut self) -> Result<Step, WorkerError> {
        let reclaimed = self.engine.reclaim_step(BATCH).await?;
        if reclaimed.looked_at() > 0 {
            return Ok(Step::more(reclaimed.proved).with_failed(reclaimed.deferred));
        }
        Ok(reclaimed.next.map_or(Step::IDLE, |pause| Step::IDLE.due_after(pause)))
    }
}
