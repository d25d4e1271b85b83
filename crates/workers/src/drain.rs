//! Drain: empties backends that the operator wants empty. What cannot be moved is tried again, less and less often;
//! where it left off is in the catalog, for it is what is still there.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use catalog::BackendId;
use engine::Engine;
use runtime::{Progress, Step, Worker, WorkerError};
use types::ReplicaId;

/// Rows of the ledger that one step looks at on each backend.
const ROWS: u32 = 2_000;
/// The pause behind a pass that moved nothing; it doubles with each further one.
const PAUSE_MIN: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// See the module.
#[derive(Clone)]
pub struct Drain {
    engine: Engine,
    passes: BTreeMap<BackendId, Pass>,
    progress: Option<Progress>,
}

/// One walk over what a backend holds.
#[derive(Debug, Clone, Copy)]
struct Pass {
    after: Option<ReplicaId>,
    moved: u64,
    pause: Duration,
}

impl Pass {
    const FIRST: Self = Self { after: None, moved: 0, pause: PAUSE_MIN };
}

impl Drain {
    /// The one of this engine.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self { engine, passes: BTreeMap::new(), progress: None }
    }

    /// One page of one backend; gives what was moved, what stays, and how soon to go on.
    async fn page(&mut self, backend: BackendId) -> Result<(u64, u64, Duration), WorkerError> {
        let mut pass = self.passes.get(&backend).copied().unwrap_or(Pass::FIRST);
        let page = self.engine.drain_page(backend, pass.after, ROWS).await?;
        (pass.after, pass.moved) = (page.next, pass.moved + page.moved);
        let mut pause = Duration::ZERO;
        if pass.after.is_none() {
            // All was looked at, and the backend is not empty: what is left is stuck, or being written.
            pause = if pass.moved > 0 { PAUSE_MIN } else { pass.pause };
            pass = Pass { pause: (pause * 2).min(PAUSE_MAX), ..Pass::FIRST };
        }
        self.passes.insert(backend, pass);
        Ok((page.moved, page.stuck, pause))
    }
}

#[async_trait]
impl Worker for Drain {
    fn name(&self) -> String {
        "drain".to_owned()
    }

    async fn step(&mut self) -> Result<Step, WorkerError> {
        let drains = self.engine.drains().await?;
        let left = |drain: &catalog::Drain| drain.left.live + drain.left.suspect;
        let total = drains.iter().map(|drain| drain.moved + left(drain)).sum();
        let moved = drains.iter().map(|drain| drain.moved).sum();
        let note = "replicas drained".to_owned();
        self.progress = (!drains.is_empty()).then_some(Progress { done: moved, total: Some(total), note });
        let active: Vec<BackendId> =
            drains.iter().filter(|drain| !drain.left.is_drained()).map(|drain| drain.backend).collect();
        for done in drains.iter().filter(|drain| drain.left.is_drained()) {
            if self.passes.remove(&done.backend).is_some() {
                tracing::info!(backend.name = %done.name, moved = done.moved, "the backend is drained");
            }
        }
        self.passes.retain(|backend, _| active.contains(backend));
        let (mut moved, mut stuck, mut pause) = (0, 0, PAUSE_MAX);
        for backend in &active {
            let page = self.page(*backend).await?;
            (moved, stuck, pause) = (moved + page.0, stuck + page.1, pause.min(page.2));
        }
        if active.is_empty() {
            return Ok(Step::IDLE);
        }
        let step = Step::more(moved).with_failed(stuck);
        Ok(if pause.is_zero() { step } else { step.due_after(pause) })
    }

    fn progress(&self) -> Option<Progress> {
        self.progress.clone()
    }
}
