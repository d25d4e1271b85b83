//! Proof ages: walks over all replicas now and then to see how long ago each was proved, a page at each step. An index
//! by that time would be paid for by every write.

use async_trait::async_trait;
use catalog::ProofAges as Ages;
use engine::Engine;
use runtime::{Step, Worker, WorkerError};

/// See the module.
#[derive(Clone)]
pub struct ProofAges {
    engine: Engine,
    so_far: Ages,
}

impl ProofAges {
    /// The one of this engine.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self { engine, so_far: Ages::default() }
    }
}

#[async_trait]
impl Worker for ProofAges {
    fn name(&self) -> String {
        "proof-ages".to_owned()
    }

    async fn step(&mut self) -> Result<Step, WorkerError> {
        let so_far = self.engine.proof_ages_step(self.so_far).await?;
        if so_far.next.is_some() {
            self.so_far = so_far;
            return Ok(Step::more(0));
        }
        self.so_far = Ages::default();
        Ok(Step::IDLE)
    }
}
