//! The reaper: deletes what is doomed, and gives its charge back when it is certainly gone.
//!
//! Each backend is reaped by itself, so that one that hangs or refuses holds up no other.

use std::time::Duration;

use backend::{BackendError, ErrorKind};
use catalog::{BackendId, CatalogError, Doomed, Settled, SettledOutcome};
use runtime::mutation;
use types::{ReplicaPath, Timestamp};

use crate::Place;
use crate::engine::{Engine, Shared};

/// Replicas deleted on a backend in one step: what one request can delete.
const BATCH: u32 = 1000;
/// Entries of manifests dissolved in one step.
const ENTRIES: u32 = 10_000;
/// How soon it looks again at what is due but held by a reader.
const HELD_RETRY: Duration = Duration::from_millis(200);
/// Shortest and longest wait before a failed delete is tried again.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(3600);
/// How soon a delete is tried again that no grant covered.
const LIMIT_RETRY: Duration = Duration::from_secs(600);

/// Why a replica stays charged where deletes only hide it.
const FREES_NOTHING: &str = "the backend keeps versions: a delete frees no bytes";

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There may be more to do at once.
    MoreWork,
    /// Nothing is due.
    Idle,
}

/// What reaping a backend came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Replicas that are gone.
    pub gone: u64,
    /// Replicas that could not be deleted. Each will be tried again when it is due.
    pub failed: u64,
}

impl Engine {
    /// Deletes doomed replicas on one backend: one bounded, idempotent step. None of them was doomed later
    /// than the oldest reader noted, none can still receive its bytes.
    ///
    /// # Errors
    /// Where the catalog does not answer; a backend that does not is noted with its replicas.
    pub async fn reap_on(&self, backend: BackendId) -> Result<Reaped, CatalogError> {
        let shared = &self.shared;
        let Some((_, place)) = shared.place(backend).filter(|_| shared.may_delete()) else {
            return Ok(Reaped::default());
        };
        let (horizon, now) = (shared.oldest_read().await?, shared.steady.now());
        let doomed = shared.catalog.claim_doomed(&[backend], horizon, now, BATCH).await?;
        if doomed.is_empty() {
            return Ok(Reaped::default());
        }
        let settled = shared.delete_on(place, &doomed).await;
        let change = shared.ids.change();
        shared.repeat(|| shared.catalog.settle_doomed(change, settled.clone())).await?;
        let is_gone = |settled: &&Settled| matches!(settled.outcome, SettledOutcome::Gone);
        let gone = settled.iter().filter(is_gone).count() as u64;
        Ok(Reaped { gone, failed: settled.len() as u64 - gone })
    }

    /// How long until a doomed replica on a backend is due, where there is one. What is due but held by a
    /// reader is looked at again soon, not at once.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn next_reap(&self, backend: BackendId) -> Result<Option<Duration>, CatalogError> {
        let due = self.shared.catalog.next_doomed(&[backend]).await?;
        let now = self.shared.steady.now();
        Ok(due.map(|due| {
            Duration::from_millis(due.as_millis().saturating_sub(now.as_millis())).max(HELD_RETRY)
        }))
    }

    /// Lets go of what nothing holds any more: tells the catalog what requests gave up while it did not
    /// answer, and goes on with dissolving manifests that nothing references.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn release_step(&self) -> Result<Step, CatalogError> {
        let shared = &self.shared;
        if shared.is_frozen() {
            return Ok(Step::Idle);
        }
        let told = shared.tell_abandoned().await?;
        let (change, horizon) = (shared.ids.change(), shared.oldest_read().await?);
        let seen = shared.catalog.horizon();
        let more = shared.repeat(|| shared.catalog.dissolve_manifests(change, horizon, ENTRIES)).await?;
        if told || shared.catalog.horizon() != seen {
            shared.reap.ring();
        }
        Ok(if more { Step::MoreWork } else { Step::Idle })
    }

    /// Forgets journal entries and settled uploads that nobody will ask for any more.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn expire_step(&self) -> Result<Step, CatalogError> {
        let more = self.shared.expire(self.shared.steady.now()).await?;
        Ok(if more { Step::MoreWork } else { Step::Idle })
    }

    /// One step of everything that ends bytes, one backend after the other: for a process without workers.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn reap_step(&self) -> Result<Step, CatalogError> {
        // First what dooms, then what is doomed.
        let mut step = self.release_step().await?;
        for place in &self.shared.places {
            if self.reap_on(place.id).await? != Reaped::default() {
                step = Step::MoreWork;
            }
        }
        Ok(step)
    }
}

impl Shared {
    /// The number behind which nothing may be deleted yet: here, and on every other instance that lives. One that
    /// has not told since something was doomed may still read it.
    async fn oldest_read(&self) -> Result<u64, CatalogError> {
        let here = self.oldest_read_here();
        if mutation::is_on("reap.others") {
            return Ok(here);
        }
        let living = self.catalog.living().await?;
        let others = living.iter().filter(|instance| instance.boot != self.boot);
        Ok(others.map(|instance| instance.oldest_read).fold(here, u64::min))
    }

    /// The same, for the readers of this instance.
    pub(crate) fn oldest_read_here(&self) -> u64 {
        // In this order: a reader that registers in between notes no older number.
        let present = self.catalog.horizon();
        self.readers.oldest(present)
    }

    /// Tells the catalog what requests gave up while it did not answer; says whether there was any.
    async fn tell_abandoned(&self) -> Result<bool, CatalogError> {
        let fates = self.abandoned.all();
        if fates.is_empty() || mutation::is_on("reap.abandoned") {
            return Ok(false);
        }
        self.catalog.let_go(self.boot, fates.clone()).await?;
        self.abandoned.told(&fates);
        Ok(true)
    }

    async fn delete_on(&self, place: &Place, doomed: &[Doomed]) -> Vec<Settled> {
        if !place.maintenance.profile().delete_frees {
            let now = self.steady.now();
            return doomed.iter().map(|replica| failed(replica, FREES_NOTHING, now)).collect();
        }
        let paths: Vec<ReplicaPath> = doomed.iter().map(|replica| replica.path.clone()).collect();
        let answers = match &paths[..] {
            [path] => Ok(vec![place.maintenance.delete(path).await]),
            _ => place.maintenance.delete_many(&paths).await,
        };
        let now = self.steady.now();
        // The answer itself may have told.
        let frees = place.maintenance.profile().delete_frees || mutation::is_on("reap.frees");
        match answers {
            Ok(_) if !frees => doomed.iter().map(|replica| failed(replica, FREES_NOTHING, now)).collect(),
            Ok(answers) => {
                let mut answers = answers.into_iter();
                let unanswered = |replica| failed(replica, "the backend did not say what became of it", now);
                let settled = doomed.iter().map(|replica| match answers.next() {
                    Some(answer) => settle(replica, answer, now),
                    None => unanswered(replica),
                });
                settled.collect()
            }
            Err(error) => {
                tracing::warn!(%error, "could not delete {} doomed replicas", doomed.len());
                doomed.iter().map(|replica| refused(replica, &error, now)).collect()
            }
        }
    }

    async fn expire(&self, now: Timestamp) -> Result<bool, CatalogError> {
        let uploads_before = now.minus(self.settings.completed_upload_kept);
        let journal_before = now.minus(self.settings.journal_kept);
        self.catalog.expire_records(uploads_before, journal_before, BATCH).await
    }
}

fn settle(replica: &Doomed, answer: Result<(), BackendError>, now: Timestamp) -> Settled {
    match answer {
        Err(_) if mutation::is_on("reap.answered") => {
            Settled { replica: replica.replica, outcome: SettledOutcome::Gone }
        }
        Ok(()) => Settled { replica: replica.replica, outcome: SettledOutcome::Gone },
        Err(error) if error.kind == ErrorKind::NotFound => {
            Settled { replica: replica.replica, outcome: SettledOutcome::Gone }
        }
        Err(error) => refused(replica, &error, now),
    }
}

/// A delete that no grant covers is tried again as soon as one may: what is left to maintenance grows as the
/// period passes.
fn refused(replica: &Doomed, error: &BackendError, now: Timestamp) -> Settled {
    let ErrorKind::LimitReached { resets_at } = error.kind else {
        return failed(replica, &error.message, now);
    };
    let retry_at = resets_at.min(now.plus(LIMIT_RETRY));
    let outcome = SettledOutcome::Failed { retry_at, error: error.message.clone() };
    Settled { replica: replica.replica, outcome }
}

fn failed(replica: &Doomed, error: &str, now: Timestamp) -> Settled {
    let wait = (RETRY_MIN * 2u32.saturating_pow(replica.attempts.min(12))).min(RETRY_MAX);
    let outcome = SettledOutcome::Failed { retry_at: now.plus(wait), error: error.to_owned() };
    Settled { replica: replica.replica, outcome }
}
