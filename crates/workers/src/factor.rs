//! Factor: marks all blobs as wanting as many replicas as the configuration says, after it changed. Repair
//! and trimming do the rest.

use async_trait::async_trait;
use engine::Engine;
use runtime::{Step, Worker, WorkerError};

/// See the module.
#[derive(Clone)]
pub struct Factor {
    engine: Engine,
}

impl Factor {
    /// The one of this engine.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[async_trait]
impl Worker for Factor {
    fn name(&self) -> String {
        "factor".to_owned()
    }

    async fn step(&mut self) -> Result<Step, WorkerError> {
        let more = self.engine.mark_factor_step().await?;
        Ok(if more { Step::more(1) } else { Step::IDLE })
    }
}
