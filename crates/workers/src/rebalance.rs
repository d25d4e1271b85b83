//! Rebalance: moves replicas until the backends are as the strategy wants them, a batch at each step.

use async_trait::async_trait;
use engine::{Balance, Engine};
use runtime::{Step, Worker, WorkerError};

/// See the module.
#[derive(Clone)]
pub struct Rebalance {
    engine: Engine,
    balance: Balance,
}

impl Rebalance {
    /// The one of this engine, towards this balance.
    #[must_use]
    pub fn new(engine: Engine, balance: Balance) -> Self {
        Self { engine, balance }
    }
}

#[async_trait]
impl Worker for Rebalance {
    fn name(&self) -> String {
        "rebalance".to_owned()
    }

    async fn step(&mut self) -> Result<Step, WorkerError> {
        let done = self.engine.rebalance(self.balance).await?;
        Ok(Step::finished(done.moved).with_failed(done.failed))
    }
}
