//! Scrub: proves so many replicas per interval, in rounds that come to each one. Deletes nothing: what is
//! wrong becomes suspect.

use std::time::Duration;

use async_trait::async_trait;
use engine::Engine;
use runtime::{Progress, Step, Worker, WorkerError};

/// Replicas proved in one step.
const PER_STEP: u32 = 10;

/// How much is proved, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrubOptions {
    /// Pause between two runs.
    pub interval: Duration,
    /// Replicas proved in one run.
    pub batch: u32,
    /// Age of a write or a proof from which on it is time for another.
    pub age_min: Duration,
}

/// See the module.
#[derive(Clone)]
pub struct Scrub {
    engine: Engine,
    options: ScrubOptions,
    /// Replicas looked at in this run, and since the start of the process.
    in_run: u32,
    looked_at: u64,
}

impl Scrub {
    /// The one of this engine.
    #[must_use]
    pub fn new(engine: Engine, options: ScrubOptions) -> Self {
        Self { engine, options, in_run: 0, looked_at: 0 }
    }
}

#[async_trait]
impl Worker for Scrub {
    fn name(&self) -> String {
        "scrub".to_owned()
    }

    async fn step(&mut self) -> Result<Step, WorkerError> {
        let limit = self.options.batch.saturating_sub(self.in_run).clamp(1, PER_STEP);
        let scrubbed = self.engine.scrub_step(limit, self.options.age_min).await?;
        let looked_at = scrubbed.proved + scrubbed.wrong + scrubbed.deferred;
        self.in_run = self.in_run.saturating_add(u32::try_from(looked_at).unwrap_or(u32::MAX));
        self.looked_at += looked_at;
        let step = Step::more(scrubbed.proved + scrubbed.wrong).with_failed(scrubbed.deferred);
        if scrubbed.round_ended || self.in_run >= self.options.batch {
            self.in_run = 0;
            return Ok(step.due_after(self.options.interval));
        }
        Ok(step)
    }

    fn progress(&self) -> Option<Progress> {
        let note = "replicas looked at since the start of the process".to_owned();
        Some(Progress { done: self.looked_at, total: None, note })
    }
}
