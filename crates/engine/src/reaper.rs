//! The reaper: deletes what is doomed, and gives its charge back when it is certainly gone.

use std::collections::BTreeMap;
use std::time::Duration;

use backend::{BackendError, ErrorKind};
use catalog::{BackendId, CatalogError, Doomed, Settled, SettledOutcome};
use futures::stream::{self, StreamExt};
use runtime::{Instant, mutation};
use types::{ReplicaPath, Timestamp};

use crate::engine::{Engine, Shared};

/// Replicas deleted on each backend in one step.
const BATCH: u32 = 1000;
/// Entries of manifests dissolved in one step.
const ENTRIES: u32 = 10_000;
/// Backends that are asked at once.
const BACKENDS_AT_ONCE: usize = 4;
/// How long it sleeps where nothing wakes it and nothing is due.
const IDLE: Duration = Duration::from_secs(60);
/// How soon it looks again at what is due but held by a reader.
const HELD_RETRY: Duration = Duration::from_millis(200);
/// How long it lets doomed replicas come together.
const GATHER: Duration = Duration::from_millis(50);
/// How often old records are forgotten.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);
/// Shortest and longest wait before a failed delete is tried again.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(3600);

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

impl Engine {
    /// Reaps until it is dropped: woken by what dooms, else when something is due.
    pub async fn run_reaper(&self) {
        let mut expired_at: Option<Instant> = None;
        loop {
            let reaped = self.reap_step().await;
            // Not only when there is nothing to reap: on a busy day that is never.
            if expired_at.is_none_or(|at| at.elapsed() >= EXPIRE_EVERY) {
                expired_at = Some(Instant::now());
                self.expire_all().await;
            }
            match reaped {
                Ok(Step::MoreWork) => {}
                Ok(Step::Idle) => self.wait_for_work().await,
                Err(error) => {
                    tracing::warn!(%error, "the reaper could not work, will try again");
                    runtime::sleep(RETRY_MIN).await;
                }
            }
        }
    }

    /// Forgets all old records, in steps that let others write in between: however many come in a minute,
    /// they do not pile up.
    async fn expire_all(&self) {
        loop {
            match self.expire_step().await {
                Ok(Step::MoreWork) => {}
                Ok(Step::Idle) => return,
                Err(error) => {
                    tracing::warn!(%error, "could not forget old records, will try again");
                    return;
                }
            }
        }
    }

    /// Waits until something new was doomed or given up, or something doomed is due.
    async fn wait_for_work(&self) {
        let shared = &self.shared;
        let seen = shared.catalog.horizon();
        let due = shared.catalog.next_doomed(&shared.backend_ids()).await.ok().flatten();
        let now = shared.steady.now();
        let pause = due.map_or(IDLE, |due| {
            let millis = due.as_millis().saturating_sub(now.as_millis());
            // What is due but held by a reader is looked at again soon, not at once.
            Duration::from_millis(millis).clamp(HELD_RETRY, IDLE)
        });
        let deadline = Instant::now() + pause;
        loop {
            tokio::select! {
                biased;
                () = shared.reap.notified() => {}
                () = runtime::sleep_until(deadline) => return,
            }
            if shared.catalog.horizon() != seen || !shared.abandoned.is_empty() {
                // Let more come together: one request to a backend deletes a thousand.
                runtime::sleep(GATHER).await;
                return;
            }
        }
    }

    /// Forgets journal entries and settled uploads that nobody will ask for any more.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn expire_step(&self) -> Result<Step, CatalogError> {
        let more = self.shared.expire(self.shared.steady.now()).await?;
        Ok(if more { Step::MoreWork } else { Step::Idle })
    }

    /// One bounded, idempotent step.
    ///
    /// # Errors
    /// Where the catalog does not answer; a backend that does not is noted with its replicas.
    pub async fn reap_step(&self) -> Result<Step, CatalogError> {
        let shared = &self.shared;
        shared.tell_abandoned().await?;
        // First what dooms, then what is doomed.
        let change = shared.ids.change();
        let horizon = shared.oldest_read();
        let dissolving =
            shared.repeat(|| shared.catalog.dissolve_manifests(change, horizon, ENTRIES)).await?;
        let horizon = shared.oldest_read();
        let now = shared.steady.now();
        let mut doomed = Vec::new();
        for place in &shared.places {
            // Each backend by itself: many that one cannot delete leave room for those of the others.
            doomed.extend(shared.catalog.claim_doomed(&[place.id], horizon, now, BATCH).await?);
        }
        let found = !doomed.is_empty();
        if found {
            let settled = shared.delete_all(doomed).await;
            let change = shared.ids.change();
            shared.repeat(|| shared.catalog.settle_doomed(change, settled.clone())).await?;
        }
        Ok(if found || dissolving { Step::MoreWork } else { Step::Idle })
    }
}

impl Shared {
    /// The backends that can be deleted from: the catalog may know others that left the configuration.
    fn backend_ids(&self) -> Vec<BackendId> {
        self.places.iter().map(|place| place.id).collect()
    }

    /// The number behind which nothing may be deleted yet.
    fn oldest_read(&self) -> u64 {
        // In this order: a reader that registers in between notes no older number.
        let present = self.catalog.horizon();
        self.readers.oldest(present)
    }

    /// Tells the catalog what requests gave up while it did not answer.
    async fn tell_abandoned(&self) -> Result<(), CatalogError> {
        let fates = self.abandoned.all();
        if !fates.is_empty() && !mutation::is_on("reap.abandoned") {
            self.catalog.let_go(self.boot, fates.clone()).await?;
            self.abandoned.told(&fates);
        }
        Ok(())
    }

    async fn delete_all(&self, doomed: Vec<Doomed>) -> Vec<Settled> {
        let mut by_backend: BTreeMap<BackendId, Vec<Doomed>> = BTreeMap::new();
        for replica in doomed {
            by_backend.entry(replica.backend).or_default().push(replica);
        }
        let deletes = by_backend.into_values().map(|replicas| self.delete_on_one(replicas));
        let settled: Vec<Vec<Settled>> =
            stream::iter(deletes).buffer_unordered(BACKENDS_AT_ONCE).collect().await;
        settled.concat()
    }

    async fn delete_on_one(&self, replicas: Vec<Doomed>) -> Vec<Settled> {
        let Some((_, place)) = replicas.first().and_then(|first| self.place(first.backend)) else {
            return Vec::new();
        };
        if !place.backend.profile().delete_frees {
            let now = self.steady.now();
            return replicas.iter().map(|replica| failed(replica, FREES_NOTHING, now)).collect();
        }
        let paths: Vec<ReplicaPath> = replicas.iter().map(|replica| replica.path.clone()).collect();
        let answers = match &paths[..] {
            [path] => Ok(vec![place.backend.delete(path).await]),
            _ => place.backend.delete_many(&paths).await,
        };
        let now = self.steady.now();
        // The answer itself may have told.
        let frees = place.backend.profile().delete_frees || mutation::is_on("reap.frees");
        match answers {
            Ok(_) if !frees => replicas.iter().map(|replica| failed(replica, FREES_NOTHING, now)).collect(),
            Ok(answers) => {
                let mut answers = answers.into_iter();
                let unanswered = |replica| failed(replica, "the backend did not say what became of it", now);
                let settled = replicas.iter().map(|replica| match answers.next() {
                    Some(answer) => settle(replica, answer, now),
                    None => unanswered(replica),
                });
                settled.collect()
            }
            Err(error) => {
                tracing::warn!(%error, "could not delete {} doomed replicas", replicas.len());
                replicas.iter().map(|replica| failed(replica, &error.message, now)).collect()
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
        Err(error) => failed(replica, &error.message, now),
    }
}

fn failed(replica: &Doomed, error: &str, now: Timestamp) -> Settled {
    let wait = (RETRY_MIN * 2u32.saturating_pow(replica.attempts.min(12))).min(RETRY_MAX);
    let outcome = SettledOutcome::Failed { retry_at: now.plus(wait), error: error.to_owned() };
    Settled { replica: replica.replica, outcome }
}
