//! Release: lets go of what nothing holds any more. Tells the catalog what requests gave up while it did
//! not answer, and dissolves manifests without references, whose blobs are doomed by that.

use async_trait::async_trait;
use engine::Engine;
use runtime::{Step, Worker, WorkerError};

/// See the module.
#[derive(Clone)]
pub struct Release {
    engine: Engine,
}

impl Release {
    /// The one of this engine.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[async_trait]
impl Worker for Release {
    fn name(&self) -> String {
        "release".to_owned()
    }

    async fn step(&mut self) -> Result<Step, WorkerError> {
        // Whoever reads the log learns within a minute that deletes are held.
        self.engine.brake().await?;
        Ok(match self.engine.release_step().await? {
            engine::Step::MoreWork => Step::more(1),
            engine::Step::Idle => Step::IDLE,
        })
    }
}
