//! Rebalance: moves replicas until the backends are as the strategy wants them, a batch at each step.

use std::sync::Arc;

use async_trait::async_trait;
use engine::{Balance, Engine};
use runtime::{Step, Worker, WorkerError};

use crate::{Observer, RunStatus, Work};

/// See the module.
#[derive(Clone)]
pub struct Rebalance {
    engine: Engine,
    balance: Balance,
    observer: Arc<dyn Observer>,
}

impl Rebalance {
    /// The one of this engine, towards this balance.
    #[must_use]
    pub fn new(engine: Engine, balance: Balance, observer: Arc<dyn Observer>) -> Self {
        Self { engine, balance, observer }
    }
}

#[async_trait]
impl Worker for Rebalance {
    fn name(&self) -> String {
        "rebalance".to_owned()
    }

    async fn step(&mut self) -> Result<Step, WorkerError> {
        let began = runtime::instant_now();
        let done = self.engine.rebalance(self.balance).await;
        let status = match &done {
            Ok(done) => RunStatus::of(done.moved, done.failed),
            Err(_) => RunStatus::Error,
        };
        self.observer.ran(Work::Rebalance, status, began.elapsed());
        let done = done?;
        Ok(Step::finished(done.moved).with_failed(done.failed))
    }
}
