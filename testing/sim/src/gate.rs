//! A gate right behind the breaker of a backend: sees what it lets through.
//!
//! Open, it lets nothing through; half-open, one at a time; and closed it does not stay when all that it let through
//! failed, again and again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use backend::{
    Backend, BackendError, Body, Deleted, Download, ListPage, Profile, PutOptions, PutReceipt, Stat, Verdict,
};
use futures::StreamExt;
use runtime::{Breaker, BreakerState, Instant};
use types::{BackendName, ByteRange, ReplicaPath};

use crate::Law;
use crate::world::{World, locked};

/// What has passed the gates of one breaker.
#[derive(Debug, Default)]
pub(crate) struct Passing(Mutex<Passed>);

#[derive(Debug, Default)]
struct Passed {
    /// Rises with each move of the breaker: what began before one is not judged behind it.
    turn: u64,
    /// When those began that find out.
    probes: Vec<Instant>,
    /// Failures in a row.
    failed: u32,
}

impl Passing {
    /// The breaker has moved.
    pub(crate) fn moved(&self) {
        let mut passed = locked(&self.0);
        *passed = Passed { turn: passed.turn + 1, ..Passed::default() };
    }
}

/// A backend behind a breaker.
pub(crate) struct Gate {
    inner: Arc<dyn Backend>,
    world: Arc<World>,
    breaker: Arc<Breaker>,
    passing: Arc<Passing>,
}

impl Gate {
    pub(crate) fn new(
        inner: Arc<dyn Backend>,
        world: &Arc<World>,
        breaker: &Arc<Breaker>,
        passing: &Arc<Passing>,
    ) -> Self {
        let (world, breaker, passing) = (Arc::clone(world), Arc::clone(breaker), Arc::clone(passing));
        Self { inner, world, breaker, passing }
    }

    fn enter(&self) -> Passage {
        let plan = self.world.plan.breakers.as_ref();
        let mut passed = locked(&self.passing.0);
        let mut probe = None;
        let mut wrong = None;
        match self.breaker.state() {
            BreakerState::Open => wrong = Some("was asked while it is to be left alone".to_owned()),
            BreakerState::HalfOpen => {
                let now = runtime::instant_now();
                let waited_for = plan.map_or(Duration::MAX, |plan| Duration::from_millis(plan.probe_max_ms));
                if passed.probes.iter().any(|since| now - *since < waited_for) {
                    wrong = Some("was asked by two at once that find out whether it is back".to_owned());
                }
                passed.probes.push(now);
                probe = Some(now);
            }
            BreakerState::Closed => {
                if plan.is_some_and(|plan| passed.failed >= plan.failures_max) {
                    wrong = Some(format!("failed {} times in a row and was asked again", passed.failed));
                }
            }
        }
        let turn = passed.turn;
        drop(passed);
        if let Some(wrong) = wrong {
            self.world.violate(Law::LeftAlone, format!("{} {wrong}", self.inner.name()));
        }
        Passage { passing: Arc::clone(&self.passing), turn, probe }
    }

    fn leave(&self, passage: &Passage, verdict: Verdict) {
        let mut passed = locked(&self.passing.0);
        if passed.turn != passage.turn {
            return;
        }
        match verdict {
            Verdict::Answered => passed.failed = 0,
            Verdict::Failed => passed.failed += 1,
            Verdict::Nothing => {}
        }
    }

    async fn pass<T>(
        &self,
        run: impl Future<Output = Result<T, BackendError>> + Send,
    ) -> Result<T, BackendError> {
        let passage = self.enter();
        let answer = run.await;
        self.leave(
            &passage,
            answer.as_ref().map_or_else(|error| error.kind.verdict(), |_| Verdict::Answered),
        );
        answer
    }
}

/// One that was let through, until it is answered or nobody waits for it.
struct Passage {
    passing: Arc<Passing>,
    turn: u64,
    probe: Option<Instant>,
}

impl Drop for Passage {
    fn drop(&mut self) {
        let Some(probe) = self.probe else { return };
        let mut passed = locked(&self.passing.0);
        if passed.turn == self.turn
            && let Some(at) = passed.probes.iter().position(|since| *since == probe)
        {
            passed.probes.remove(at);
        }
    }
}

#[async_trait]
impl Backend for Gate {
    fn name(&self) -> &BackendName {
        self.inner.name()
    }

    fn profile(&self) -> Profile {
        self.inner.profile()
    }

    async fn put(
        &self,
        path: &ReplicaPath,
        body: Body,
        options: PutOptions,
    ) -> Result<PutReceipt, BackendError> {
        self.pass(self.inner.put(path, body, options)).await
    }

    async fn get(&self, path: &ReplicaPath, range: Option<ByteRange>) -> Result<Download, BackendError> {
        let Download { length, total, stream } = self.pass(self.inner.get(path, range)).await?;
        // Its breaker may take what comes well for a success at any byte.
        let passing = Arc::clone(&self.passing);
        let stream = stream.inspect(move |chunk| {
            if chunk.is_ok() {
                locked(&passing.0).failed = 0;
            }
        });
        Ok(Download { length, total, stream: Box::pin(stream) })
    }

    async fn head(&self, path: &ReplicaPath) -> Result<Stat, BackendError> {
        self.pass(self.inner.head(path)).await
    }

    async fn delete(&self, path: &ReplicaPath) -> Result<(), BackendError> {
        self.pass(self.inner.delete(path)).await
    }

    async fn delete_many(&self, paths: &[ReplicaPath]) -> Result<Vec<Deleted>, BackendError> {
        self.pass(self.inner.delete_many(paths)).await
    }

    fn delete_requests(&self, paths: &[ReplicaPath]) -> u64 {
        self.inner.delete_requests(paths)
    }

    async fn list(&self, prefix: &str, cursor: Option<&str>) -> Result<ListPage, BackendError> {
        self.pass(self.inner.list(prefix, cursor)).await
    }

    async fn copy(&self, from: &ReplicaPath, to: &ReplicaPath) -> Result<(), BackendError> {
        self.pass(self.inner.copy(from, to)).await
    }
}
