//! Lifecycle: removes objects that have expired, one page of one rule at each step.

use async_trait::async_trait;
use engine::{Engine, ExpiryRule};
use runtime::{Step, Worker, WorkerError};
use types::ObjectKey;

/// See the module.
#[derive(Clone)]
pub struct Lifecycle {
    engine: Engine,
    rules: Vec<ExpiryRule>,
    batch: u32,
    rule: usize,
    after: Option<ObjectKey>,
}

impl Lifecycle {
    /// The one of this engine, by these rules.
    #[must_use]
    pub fn new(engine: Engine, rules: Vec<ExpiryRule>, batch: u32) -> Self {
        Self { engine, rules, batch, rule: 0, after: None }
    }
}

#[async_trait]
impl Worker for Lifecycle {
    fn name(&self) -> String {
        "lifecycle".to_owned()
    }

    async fn step(&mut self) -> Result<Step, WorkerError> {
        let Some(rule) = self.rules.get(self.rule) else {
            self.rule = 0;
            return Ok(Step::IDLE);
        };
        let page = self.engine.expire(rule, self.after.take(), self.batch).await?;
        self.after = page.next;
        if self.after.is_none() {
            self.rule += 1;
        }
        Ok(Step::more(page.removed.into()))
    }
}
