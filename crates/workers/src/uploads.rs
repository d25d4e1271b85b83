//! Uploads: aborts multipart uploads that nobody goes on with.

use std::time::Duration;

use async_trait::async_trait;
use engine::Engine;
use runtime::{Step, Worker, WorkerError};

/// Uploads aborted in one step.
const BATCH: u32 = 100;

/// See the module.
#[derive(Clone)]
pub struct Uploads {
    engine: Engine,
    idle: Duration,
}

impl Uploads {
    /// The one of this engine: aborts what nobody went on with for this long.
    #[must_use]
    pub fn new(engine: Engine, idle: Duration) -> Self {
        Self { engine, idle }
    }
}

#[async_trait]
impl Worker for Uploads {
    fn name(&self) -> String {
        "uploads".to_owned()
    }

    async fn step(&mut self) -> Result<Step, WorkerError> {
        let (aborted, more) = self.engine.abort_stale_uploads(self.idle, BATCH).await?;
        Ok(if more { Step::more(aborted) } else { Step::finished(aborted) })
    }
}
