//! Quarantine: dooms strays for which nobody came.

use async_trait::async_trait;
use engine::Engine;
use runtime::{Step, Worker, WorkerError};

/// Strays doomed in one step.
const BATCH: u32 = 1_000;

/// See the module.
#[derive(Clone)]
pub struct Quarantine {
    engine: Engine,
}

impl Quarantine {
    /// The one of this engine.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[async_trait]
impl Worker for Quarantine {
    fn name(&self) -> String {
        "quarantine".to_owned()
    }

    async fn step(&mut self) -> Result<Step, WorkerError> {
        let doomed = self.engine.expire_quarantined(BATCH).await?;
        Ok(if doomed == BATCH { Step::more(doomed.into()) } else { Step::finished(doomed.into()) })
    }
}
