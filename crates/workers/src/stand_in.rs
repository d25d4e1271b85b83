//! Stand-in: makes other replicas for those that lie on backends which are gone. Walks over what each of them
//! held; nothing is doomed, so a backend that comes back still has its replicas, and those that are too many
//! are trimmed.

use async_trait::async_trait;
use catalog::BackendId;
use engine::{Engine, RepairOptions};
use runtime::{Progress, Step, Worker, WorkerError};
use types::ReplicaId;

use crate::Gone;

/// See the module.
#[derive(Clone)]
pub struct StandIn {
    engine: Engine,
    options: RepairOptions,
    gone: Gone,
    /// The walk under way.
    walk: Option<(BackendId, Option<ReplicaId>)>,
    /// Backends whose walk ended in this run.
    walked: Vec<BackendId>,
    made: u64,
}

impl StandIn {
    /// The one of this engine.
    #[must_use]
    pub fn new(engine: Engine, options: RepairOptions, gone: Gone) -> Self {
        Self { engine, options, gone, walk: None, walked: Vec::new(), made: 0 }
    }
}

#[async_trait]
impl Worker for StandIn {
    fn name(&self) -> String {
        "stand-in".to_owned()
    }

    async fn step(&mut self) -> Result<Step, WorkerError> {
        let gone = (self.gone)();
        // One that came back needs no further walk.
        let walk = self.walk.take().filter(|(backend, _)| gone.contains(backend));
        let unwalked = || gone.iter().find(|backend| !self.walked.contains(backend)).map(|id| (*id, None));
        let Some((backend, after)) = walk.or_else(unwalked) else {
            self.walked.clear();
            return Ok(Step::IDLE);
        };
        let (repaired, next) = self.engine.stand_in_step(backend, &gone, after, self.options).await?;
        self.made += repaired.made;
        match next {
            Some(next) => self.walk = Some((backend, Some(next))),
            None => self.walked.push(backend),
        }
        Ok(Step::more(repaired.made).with_failed(repaired.failed))
    }

    fn progress(&self) -> Option<Progress> {
        self.walk.as_ref()?;
        let note = "replicas that stand in for those on a backend that is gone".to_owned();
        Some(Progress { done: self.made, total: None, note })
    }
}
