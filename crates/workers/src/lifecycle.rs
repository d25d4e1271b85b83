//! Lifecycle: removes objects that have expired, one page of one rule at each step.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine::{Engine, ExpiryRule};
use runtime::{Step, Worker, WorkerError};
use types::ObjectKey;

use crate::{Observer, RunStatus, Work};

/// See the module.
#[derive(Clone)]
pub struct Lifecycle {
    engine: Engine,
    rules: Vec<ExpiryRule>,
    batch: u32,
    rule: usize,
    after: Option<ObjectKey>,
    observer: Arc<dyn Observer>,
    /// What this run did so far, and how long that took.
    removed: u64,
    took: Duration,
}

impl Lifecycle {
    /// The one of this engine, by these rules.
    #[must_use]
    pub fn new(engine: Engine, rules: Vec<ExpiryRule>, batch: u32, observer: Arc<dyn Observer>) -> Self {
        Self { engine, rules, batch, rule: 0, after: None, observer, removed: 0, took: Duration::ZERO }
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
            self.observer.ran(Work::Lifecycle, RunStatus::of(self.removed, 0), self.took);
            (self.removed, self.took) = (0, Duration::ZERO);
            return Ok(Step::IDLE);
        };
        let began = runtime::instant_now();
        let page = self.engine.expire(rule, self.after.take(), self.batch).await;
        self.took += began.elapsed();
        let page = page.inspect_err(|_| self.observer.ran(Work::Lifecycle, RunStatus::Error, self.took))?;
        self.removed += u64::from(page.removed);
        self.after = page.next;
        if self.after.is_none() {
            self.rule += 1;
        }
        Ok(Step::more(page.removed.into()))
    }
}
