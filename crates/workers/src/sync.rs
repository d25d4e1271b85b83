//! Importer: goes on with the import that an operator asked for, some objects at each step. Without one it does nothing.

use async_trait::async_trait;
use engine::Engine;
use runtime::{Progress, Step, Worker, WorkerError};

/// See the module.
#[derive(Clone)]
pub struct Importer {
    engine: Engine,
}

impl Importer {
    /// The one of this engine.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[async_trait]
impl Worker for Importer {
    fn name(&self) -> String {
        "sync".to_owned()
    }

    async fn step(&mut self) -> Result<Step, WorkerError> {
        Ok(self.engine.import_step().await?.map_or(Step::IDLE, Step::more))
    }

    fn progress(&self) -> Option<Progress> {
        let counts = self.engine.import_run()?.counts;
        let note = format!("objects imported of {} paths listed", counts.listed);
        Some(Progress { done: counts.imported, total: None, note })
    }
}
