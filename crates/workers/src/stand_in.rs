//! Stand-in: makes other replicas for those that lie on backends which are gone. Walks over what each of them
//! held; nothing is doomed, so a backend that comes back still has its replicas, and those that are too many
//! are trimmed.
//!
//! A walk that could not make any of what is missing is followed by the next one later and later, or at once where
//! something has changed: another backend is gone, one is back or has room, a replica was lost. Nothing of this is
//! kept: a restart walks once more.

use std::time::Duration;

use async_trait::async_trait;
use catalog::BackendId;
use engine::{Engine, Footing, RepairOptions, StoodIn};
use runtime::{Instant, Progress, Step, Worker, WorkerError, instant_now};
use types::ReplicaId;

use crate::Gone;

/// The longest pause behind a walk.
const PAUSE_MAX: Duration = Duration::from_hours(1);

/// See the module.
#[derive(Clone)]
pub struct StandIn {
    engine: Engine,
    options: RepairOptions,
    gone: Gone,
    /// How often it looks, and the pause behind a walk that made some.
    every: Duration,
    /// The pause behind the next walk in vain.
    pause: Duration,
    /// As of the last step.
    footing: Footing,
    /// The walk under way.
    walk: Option<Walk>,
    /// Not before this.
    next: Option<Instant>,
    made: u64,
}

/// A walk over what the backends held that were gone when it began.
#[derive(Debug, Clone, Default)]
struct Walk {
    left: Vec<BackendId>,
    after: Option<ReplicaId>,
    sum: StoodIn,
    /// More can be done than when it began.
    outdated: bool,
}

impl Walk {
    /// Takes the backend to go on with; one that came back needs no further walk.
    fn at(&mut self, gone: &[BackendId]) -> Option<BackendId> {
        while let Some(last) = self.left.last() {
            if gone.contains(last) {
                return Some(*last);
            }
            self.left_behind();
        }
        None
    }

    fn left_behind(&mut self) {
        self.left.pop();
        self.after = None;
    }

    fn add(&mut self, step: StoodIn) {
        self.sum.made += step.made;
        self.sum.failed += step.failed;
        self.sum.nowhere += step.nowhere;
        self.sum.example = self.sum.example.take().or(step.example);
        self.after = step.next;
        if step.next.is_none() {
            self.left_behind();
        }
    }

    /// Whether some are missing, and none of them was made.
    fn was_in_vain(&self) -> bool {
        self.sum.made == 0 && self.sum.failed + self.sum.nowhere > 0
    }
}

impl StandIn {
    /// The one of this engine, which looks so often.
    #[must_use]
    pub fn new(engine: Engine, options: RepairOptions, gone: Gone, every: Duration) -> Self {
        let footing = Footing::default();
        Self { engine, options, gone, every, pause: every, footing, walk: None, next: None, made: 0 }
    }

    /// Looks where it stands: what has changed for the better is reason for a walk.
    async fn look(&mut self, gone: Vec<BackendId>) -> Result<(), WorkerError> {
        let footing = self.engine.footing(gone).await?;
        if footing.promises_more_than(&self.footing) {
            (self.pause, self.next) = (self.every, None);
            if let Some(walk) = &mut self.walk {
                walk.outdated = true;
            }
        }
        let helpless = |footing: &Footing| !footing.gone().is_empty() && !footing.has_takers();
        if helpless(&footing) && !helpless(&self.footing) {
            tracing::warn!(
                gone = footing.gone().len(),
                "replicas on backends that are gone cannot be made elsewhere: no other backend takes any"
            );
        }
        self.footing = footing;
        Ok(())
    }

    /// The end of a walk: says once what it came to, and when the next one is.
    fn rest(&mut self, walk: &Walk) {
        let mut pause = self.every;
        if walk.was_in_vain() && !walk.outdated {
            pause = self.pause;
            self.pause = (self.pause * 2).min(PAUSE_MAX.max(self.every));
        } else {
            self.pause = self.every;
        }
        self.next = (!walk.outdated).then(|| instant_now() + pause);
        let StoodIn { made, failed, nowhere, example, .. } = &walk.sum;
        if failed + nowhere > 0 {
            tracing::warn!(
                made,
                failed,
                nowhere,
                example = example.as_deref(),
                "not all replicas on backends that are gone could be made elsewhere, trying again in {pause:?} or when something has changed"
            );
        } else if *made > 0 {
            tracing::info!(made, "made what lies on backends that are gone elsewhere");
        }
    }

    /// Waits for the next walk, or for the next look.
    fn idle(&self, until: Option<Instant>) -> Step {
        let left = until.map(|until| until.saturating_duration_since(instant_now()));
        left.map_or(Step::IDLE, |left| Step::IDLE.due_after(left.min(self.every)))
    }
}

#[async_trait]
impl Worker for StandIn {
    fn name(&self) -> String {
        "stand-in".to_owned()
    }

    async fn step(&mut self) -> Result<Step, WorkerError> {
        let gone = (self.gone)();
        if gone.is_empty() {
            (self.footing, self.walk, self.next, self.pause) = (Footing::default(), None, None, self.every);
            return Ok(Step::IDLE);
        }
        self.look(gone).await?;
        if self.walk.is_none() {
            let is_due = self.next.is_none_or(|next| instant_now() >= next);
            if !is_due || !self.footing.has_takers() {
                return Ok(self.idle(self.next));
            }
            let left = self.footing.gone().iter().rev().copied().collect();
            self.walk = Some(Walk { left, ..Walk::default() });
        }
        let mut walk = self.walk.take().unwrap_or_default();
        let Some(backend) = walk.at(self.footing.gone()) else {
            self.rest(&walk);
            return Ok(Step::more(0));
        };
        let stepped = self.engine.stand_in_step(backend, &self.footing, walk.after, self.options).await;
        let (made, failed) = stepped.as_ref().map_or((0, 0), |step| (step.made, step.failed + step.nowhere));
        self.made += made;
        let stepped = stepped.map(|step| walk.add(step));
        self.walk = Some(walk);
        stepped?;
        Ok(Step::more(made).with_failed(failed))
    }

    fn progress(&self) -> Option<Progress> {
        self.walk.as_ref()?;
        let note = "replicas that stand in for those on a backend that is gone".to_owned();
        Some(Progress { done: self.made, total: None, note })
    }
}
