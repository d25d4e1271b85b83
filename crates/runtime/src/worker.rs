//! What a worker is, and what an operator is told of it.

use std::time::Duration;

use async_trait::async_trait;
use types::Timestamp;

/// Why a step failed. Told to the operator as it is; the supervisor tries again by itself.
pub type WorkerError = Box<dyn std::error::Error + Send + Sync>;

/// Background work, cut into steps.
///
/// A step is bounded, idempotent and without input: it asks the catalog what is to be done, does so much
/// of it, and says how it went. It may be cut off at any await. It holds no loop, sleep, retry, lock or look
/// at the shutdown: the [`Supervisor`](crate::Supervisor) owns time.
#[async_trait]
pub trait Worker: Send + 'static {
    /// What operators call it: in the status, in triggers, as the label `service` of metrics. Where one
    /// backend has a worker of its own, `kind/backend`.
    fn name(&self) -> String;

    /// One step.
    ///
    /// # Errors
    /// Where nothing could be done at all (the catalog does not answer). What failed for one thing among
    /// many is counted in [`Step::failed`], noted with that thing, and tried again when it is due.
    async fn step(&mut self) -> Result<Step, WorkerError>;

    /// How far long work has come.
    fn progress(&self) -> Option<Progress> {
        None
    }
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Things that were done: replicas deleted, made, proved.
    pub done: u64,
    /// Things that failed and will be tried again.
    pub failed: u64,
    /// When the next step is due.
    pub next: Next,
}

/// When the next step is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// There may be more to do at once.
    Now,
    /// Nothing is due before this has passed, or a trigger comes.
    After(Duration),
    /// Nothing is due before the next interval, or a trigger.
    Idle,
}

impl Step {
    /// There was nothing to do.
    pub const IDLE: Self = Self { done: 0, failed: 0, next: Next::Idle };

    /// So many things were done, and there may be more.
    #[must_use]
    pub fn more(done: u64) -> Self {
        Self { done, failed: 0, next: Next::Now }
    }

    /// So many things were done, and these were all.
    #[must_use]
    pub fn finished(done: u64) -> Self {
        Self { done, failed: 0, next: Next::Idle }
    }

    /// The same, with so many failures.
    #[must_use]
    pub fn with_failed(self, failed: u64) -> Self {
        Self { failed, ..self }
    }

    /// The same, with more due after a while.
    #[must_use]
    pub fn due_after(self, pause: Duration) -> Self {
        Self { next: Next::After(pause), ..self }
    }
}

/// How far long work has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Things done.
    pub done: u64,
    /// Things in all, where that is known.
    pub total: Option<u64>,
    /// What the numbers count, for people.
    pub note: String,
}

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// It waits for its interval or a trigger.
    Waiting,
    /// A step is under way.
    Working,
    /// A step failed, and it waits before it tries again.
    BackingOff,
    /// The process ends.
    Stopped,
}

/// What an operator reads of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// What it is doing.
    pub activity: Activity,
    /// Steps that succeeded since the start of the process.
    pub steps_succeeded: u64,
    /// Steps that failed since then.
    pub steps_failed: u64,
    /// Steps that failed in a row, up to now.
    pub consecutive_failures: u64,
    /// Of the failed ones, those that panicked: the worker was made anew.
    pub restarts: u64,
    /// Things done since the start of the process.
    pub done: u64,
    /// Things that failed since then; each counts once per try.
    pub failed: u64,
    /// When a step last succeeded.
    pub last_success: Option<Timestamp>,
    /// When a step last failed.
    pub last_failure: Option<Timestamp>,
    /// Why it failed then.
    pub last_error: Option<String>,
    /// When the next step is due where nothing triggers one; `None` while one is under way.
    pub next_step: Option<Timestamp>,
    /// How far long work has come.
    pub progress: Option<Progress>,
}

impl Status {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            activity: Activity::Waiting,
            steps_succeeded: 0,
            steps_failed: 0,
            consecutive_failures: 0,
            restarts: 0,
            done: 0,
            failed: 0,
            last_success: None,
            last_failure: None,
            last_error: None,
            next_step: None,
            progress: None,
        }
    }
}

/// What a run on demand came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Steps made.
    pub steps: u32,
    /// Things done in them.
    pub done: u64,
    /// Things that failed in them.
    pub failed: u64,
    /// Why it ended.
    pub ended: Ended,
}

/// Why a run on demand ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// There is nothing left to do at present.
    Idle,
    /// It made as many steps as it was allowed.
    Bound,
    /// A step failed.
    Failed(String),
}
