//! The reaper: deletes what is doomed, and gives its charge back when it is certainly gone.
//!
//! Each backend is reaped by itself, so that one that hangs or refuses holds up no other.

use std::time::Duration;

use backend::{BackendError, ErrorKind};
use catalog::{BackendId, CatalogError, Doomed, Imported, Settled, SettledOutcome};
use runtime::mutation;
use types::{ReplicaPath, Timestamp};

use crate::Place;
use crate::common_time::AGREE_WITHIN;
use crate::engine::{Engine, Shared};
use crate::freeze::PROOF_RETRY;
use crate::import::stamp_of;
use crate::unshipped::UNSHIPPED_RETRY;

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
    /// than the oldest reader noted or than what is shipped, none can still receive its bytes, and this catalog is
    /// proved to be the newest.
    ///
    /// # Errors
    /// Where the catalog does not answer; a backend that does not is noted with its replicas.
    pub async fn reap_on(&self, backend: BackendId) -> Result<Reaped, CatalogError> {
        let shared = &self.shared;
        let Some((_, place)) = shared.place(backend).filter(|_| shared.may_delete()) else {
            return Ok(Reaped::default());
        };
        shared.look_for_unshipped().await?;
        let horizon = shared.oldest_read().await?.min(shared.shipped_dooms());
        let now = shared.now_for_all();
        let doomed = shared.catalog.claim_doomed(&[backend], horizon, now, BATCH).await?;
        // Only now, so that who deletes nothing asks nothing.
        if doomed.is_empty() || !shared.is_newest_still().await? {
            return Ok(Reaped::default());
        }
        let settled = shared.delete_all(place, doomed).await?;
        let change = shared.ids.change();
        shared.repeat(|| shared.catalog.settle_doomed(change, settled.clone())).await?;
        let is_gone = |settled: &&Settled| matches!(settled.outcome, SettledOutcome::Gone);
        let gone = settled.iter().filter(is_gone).count() as u64;
        Ok(Reaped { gone, failed: settled.len() as u64 - gone })
    }

    /// How long until a doomed replica on a backend is due, where there is one. What is due but held by a
    /// reader is looked at again soon, not at once; what waits for a segment, when that is stored.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn next_reap(&self, backend: BackendId) -> Result<Option<Duration>, CatalogError> {
        let due = self.shared.catalog.next_doomed(&[backend]).await?;
        let now = self.shared.now_for_all();
        let again = match () {
            () if self.shared.deletes_are_put_off() => PROOF_RETRY,
            () if self.shared.waits_for_segment() => UNSHIPPED_RETRY,
            () => HELD_RETRY,
        };
        Ok(due.map(|due| Duration::from_millis(due.as_millis().saturating_sub(now.as_millis())).max(again)))
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
    /// A moment that is past on every instance: what another one wrote down may be by a clock that is a little ahead
    /// of this one or behind it.
    fn now_for_all(&self) -> Timestamp {
        let now = self.steady.now();
        let exact = self.lease.is_alone() || mutation::is_on("claim.agree");
        if exact { now } else { now.minus(AGREE_WITHIN) }
    }

    /// The number behind which nothing may be deleted yet: here, and on every other instance that lives. One that
    /// has not told since something was doomed may still read it.
    async fn oldest_read(&self) -> Result<u64, CatalogError> {
        let here = self.oldest_read_here();
        if self.lease.is_alone() || mutation::is_on("reap.others") {
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

    /// Deletes what we wrote, many at once; and one by one what was imported, as far as it still is what it was.
    async fn delete_all(&self, place: &Place, doomed: Vec<Doomed>) -> Result<Vec<Settled>, CatalogError> {
        let (mut own, mut imported) = (Vec::new(), Vec::new());
        for replica in doomed {
            let is_named_by_us = place.grammar.parse(replica.path.as_str()).is_some();
            // A path of an older prefix is not of our grammar either.
            let is_ours = is_named_by_us || mutation::is_on("reap.imported");
            let known = if is_ours { None } else { self.catalog.import_of(replica.replica).await? };
            match known {
                Some(known) => imported.push((replica, known)),
                None => own.push(replica),
            }
        }
        let mut settled = if own.is_empty() { Vec::new() } else { self.delete_on(place, &own).await };
        for (replica, known) in &imported {
            settled.push(self.delete_imported(place, replica, known).await);
        }
        Ok(settled)
    }

    /// What lies at a path that we did not choose is deleted only while it is what was imported.
    async fn delete_imported(&self, place: &Place, doomed: &Doomed, known: &Imported) -> Settled {
        let now = self.steady.now();
        let gone = || Settled { replica: doomed.replica, outcome: SettledOutcome::Gone };
        let mut found = place.maintenance.head(&doomed.path).await;
        if found.as_ref().is_err_and(|error| error.kind == ErrorKind::NotFound) {
            // Where the marker is gone too, the backend is missing, and what it holds will be back.
            let is_there =
                self.present_place(place.id).await.is_ok() || mutation::is_on("reap.imported-there");
            if !is_there {
                return failed(doomed, "the backend is missing, for its marker is not readable", now);
            }
            // It may have come back between the two looks.
            found = place.maintenance.head(&doomed.path).await;
        }
        let found = match found {
            Ok(stat) => stat,
            Err(error) if error.kind == ErrorKind::NotFound => return gone(),
            Err(error) => return refused(doomed, &error, now),
        };
        let is_same = (found.size, stamp_of(&found).as_ref()) == (known.size, Some(&known.stamp));
        if !is_same && !mutation::is_on("reap.as-imported") {
            tracing::warn!(
                backend.name = %place.name(),
                path = %doomed.path,
                "what was imported was replaced behind our back: what lies there now is not ours, and stays"
            );
            return gone();
        }
        let mut settled = self.delete_on(place, std::slice::from_ref(doomed)).await;
        settled.pop().unwrap_or_else(|| failed(doomed, "the backend did not say what became of it", now))
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
    // The limit starts over by a clock that people set: it may be long ago by the one that only goes forward.
    let soonest = if mutation::is_on("reap.limit-waits") { now } else { now.plus(RETRY_MIN) };
    let retry_at = resets_at.clamp(soonest, now.plus(LIMIT_RETRY));
    let outcome = SettledOutcome::Failed { retry_at, error: error.message.clone() };
    Settled { replica: replica.replica, outcome }
}

fn failed(replica: &Doomed, error: &str, now: Timestamp) -> Settled {
    let wait = (RETRY_MIN * 2u32.saturating_pow(replica.attempts.min(12))).min(RETRY_MAX);
    let outcome = SettledOutcome::Failed { retry_at: now.plus(wait), error: error.to_owned() };
    Settled { replica: replica.replica, outcome }
}
