//! Records: forgets journal entries and settled uploads that nobody will ask for any more.

use async_trait::async_trait;
use engine::Engine;
use runtime::{Step, Worker, WorkerError};

/// See the module.
#[derive(Clone)]
pub struct Records {
    engine: Engine,
}

impl Records {
    /// The one of this engine.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[async_trait]
impl Worker for Records {
    fn name(&self) -> String {
        "records".to_owned()
    }

    async fn step(&mut self) -> Result<Step, WorkerError> {
        Ok(match self.engine.expire_step().await? {
            engine::Step::MoreWork => Step::more(1),
            engine::Step::Idle => Step::IDLE,
        })
    }
}
