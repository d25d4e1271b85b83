//! Reconcile: compares what a backend lists with what the ledger says of it.
//!
//! Bytes of ours that no row names are taken in, charged: as suspect replicas of blobs that are known
//! (`reclaim.rs` proves them), else into quarantine. Live replicas that are not there become suspect. What is not within our grammar of paths is not ours: it is not even looked at. A listing may be
//! stale, so nothing is judged by it alone: each find is looked up once more on the backend. And where the
//! backend's marker is not readable, the backend is missing, and nothing is judged at all.

use backend::{Entry, ErrorKind};
use catalog::{BackendId, KnownReplica, ReplicaRow, ReplicaState, Stray, StrayTimes, TakenIn};
use format::shipped::ShippedName;
use format::{INTERNAL_BUCKET, ReplicaName};
use runtime::mutation;
use types::{BucketName, ObjectKey, ReplicaId, Timestamp};

use crate::engine::{Engine, Place, Shared};
use crate::get::NOT_THERE;
use crate::seen::Seen;
use crate::standing::MarkerSeen;
use crate::{EngineError, Step};

/// Rows of the ledger that one step looks at.
const ROWS: u32 = 5_000;

/// One comparison of one backend, from its first page to the last row. It lives in memory: cut off, it begins anew.
#[derive(Debug)]
pub struct Reconciling {
    backend: BackendId,
    /// The epoch of the catalog.
    epoch: u64,
    began: Timestamp,
    seen: Seen,
    phase: Phase,
    /// What it has found so far.
    pub found: Found,
}

#[derive(Debug)]
enum Phase {
    /// Behind this cursor of the listing.
    Listing(Option<String>),
    /// Behind this row of the ledger.
    Rows(Option<ReplicaId>),
}

/// What a comparison has found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Paths that were listed.
    pub listed: u64,
    /// Of these, such as are not ours.
    pub foreign: u64,
    /// Bytes of ours without a row: in quarantine now.
    pub strays: u64,
    /// Such that are of a blob that is known: suspect replicas of it now.
    pub reclaimed: u64,
    /// Live replicas that are not there, or not as long as they should be: suspect now.
    pub vanished: u64,
    /// Rows of the ledger that were compared.
    pub rows: u64,
}

impl Engine {
    /// Begins to compare a backend with the ledger.
    ///
    /// # Errors
    /// Where the catalog does not answer, or the backend is missing.
    pub async fn begin_reconcile(&self, backend: BackendId) -> Result<Reconciling, EngineError> {
        let shared = &self.shared;
        let place = shared.present_place(backend).await?;
        let epoch = shared.catalog.identity().await?.epoch;
        let totals = shared.catalog.totals().await?;
        let live = totals.backends.iter().find(|known| known.backend == place.id);
        let began = shared.now_lasting();
        // Each run errs about others: its time is chance enough.
        let seen = Seen::for_about(live.map_or(0, |known| known.replicas_live), began.as_millis());
        let (phase, found) = (Phase::Listing(None), Found::default());
        Ok(Reconciling { backend, epoch, began, seen, phase, found })
    }

    /// Compares one more page.
    ///
    /// # Errors
    /// As [`Self::begin_reconcile`]; the same page may be asked for again.
    pub async fn reconcile_step(&self, run: &mut Reconciling) -> Result<Step, EngineError> {
        let shared = &self.shared;
        match &run.phase {
            Phase::Listing(cursor) => {
                let place = shared.present_place(run.backend).await?;
                let page = place.maintenance.list(place.grammar.prefix(), cursor.as_deref()).await;
                let page = page.map_err(|error| EngineError::Unavailable(error.to_string()))?;
                shared.judge_listed(run, place, &page.entries).await?;
                run.phase = match page.next {
                    Some(cursor) => Phase::Listing(Some(cursor)),
                    None => Phase::Rows(None),
                };
                Ok(Step::MoreWork)
            }
            Phase::Rows(after) => {
                let rows = shared.catalog.replicas(*after, ROWS).await?;
                let last = rows.last().map(|row| row.replica);
                shared.judge_rows(run, &rows).await?;
                if rows.len() < usize::try_from(ROWS).unwrap_or(usize::MAX) {
                    return Ok(Step::Idle);
                }
                run.phase = Phase::Rows(last);
                Ok(Step::MoreWork)
            }
        }
    }
}

impl Shared {
    /// A backend that is there: its marker is.
    pub(crate) async fn present_place(&self, backend: BackendId) -> Result<&Place, EngineError> {
        if !self.may_delete() {
            // What a newer catalog wrote would look like strays.
            let why = "this catalog is not proved to be the newest: nothing is compared with it";
            return Err(EngineError::Unavailable(why.to_owned()));
        }
        let missing = || EngineError::Internal(format!("there is no backend {}", backend.0));
        let (index, place) = self.place(backend).ok_or_else(missing)?;
        if self.marker(index).await == MarkerSeen::There || mutation::is_on("reconcile.marker") {
            return Ok(place);
        }
        let name = place.name();
        Err(EngineError::Unavailable(format!(
            "backend {name} is missing, for its marker is not readable: nothing on it is judged"
        )))
    }

    /// Puts strays among what was listed into quarantine.
    async fn judge_listed(
        &self,
        run: &mut Reconciling,
        place: &Place,
        entries: &[Entry],
    ) -> Result<(), EngineError> {
        let ours: Vec<_> = entries
            .iter()
            .filter_map(|entry| Some((entry, place.grammar.parse(entry.path.as_str())?)))
            .collect();
        let ids: Vec<ReplicaId> = ours.iter().map(|(_, name)| name.replica).collect();
        let known = self.catalog.known_replicas(&ids).await?;
        let mut strays = Vec::new();
        let reserved = place.grammar.reserved();
        for ((entry, name), known) in ours.iter().zip(known) {
            match known {
                Some(known) if known.backend == place.id && known.path == entry.path => {
                    let whole = is_whole(&known, entry);
                    run.seen.add_where(whole, name.replica);
                    // Its blob may have become known.
                    if known.state == ReplicaState::Quarantined {
                        strays.push(stray_of(entry, name));
                    }
                }
                // A copy of what lies elsewhere: somebody made it, and it is theirs.
                Some(_) => run.found.foreign += 1,
                // Of this epoch or a later one it may be all that is left of a newer catalog.
                None if entry.path.as_str().starts_with(&reserved) && !came_late(name, run.epoch) => {
                    run.found.foreign += 1;
                }
                None => {
                    let settled = self.is_settled(place, name.replica.timestamp(), run.began);
                    let stray = Stray { settled, ..stray_of(entry, name) };
                    strays.extend(self.confirm(place, stray).await?);
                }
            }
        }
        let taken = self.take_in(place, strays).await?;
        self.stats.took_in(taken.quarantined.into(), taken.replicas.into());
        run.found.strays += u64::from(taken.quarantined);
        run.found.reclaimed += u64::from(taken.replicas);
        run.found.listed += entries.len() as u64;
        run.found.foreign += (entries.len() - ours.len()) as u64;
        self.see_imports(run, place, entries).await?;
        Ok(())
    }

    /// What was imported lies where we would not have put it, and is no stranger.
    async fn see_imports(
        &self,
        run: &mut Reconciling,
        place: &Place,
        entries: &[Entry],
    ) -> Result<(), EngineError> {
        let foreign = entries.iter().filter(|entry| place.grammar.parse(entry.path.as_str()).is_none());
        let foreign: Vec<&Entry> = foreign.collect();
        let paths: Vec<_> = foreign.iter().map(|entry| entry.path.clone()).collect();
        if paths.is_empty() {
            return Ok(());
        }
        for (entry, known) in foreign.into_iter().zip(self.catalog.imports_at(place.id, &paths).await?) {
            let Some(known) = known else { continue };
            run.found.foreign -= 1;
            run.seen.add_where(known.size == entry.size, known.replica);
        }
        Ok(())
    }

    /// Whether nothing that began then can still be on its way.
    fn is_settled(&self, place: &Place, at: Timestamp, now: Timestamp) -> bool {
        at.plus(place.backend.profile().late_arrival_bound) < now
    }

    /// Looks at a stray itself: a listing may be of a moment ago.
    async fn confirm(&self, place: &Place, stray: Stray) -> Result<Option<Stray>, EngineError> {
        let now = self.clock.now();
        match place.maintenance.head(&stray.path).await {
            _ if mutation::is_on("reconcile.confirmed") => Ok(Some(stray)),
            Ok(stat) => {
                let charge = place.backend.profile().charge(stat.size);
                // What came late is not yet what it will be.
                let came_late = stat.modified.is_some_and(|at| !self.is_settled(place, at, now));
                let settled = stray.settled && !came_late;
                Ok(Some(Stray { size: stat.size, charge, settled, ..stray }))
            }
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(EngineError::Unavailable(error.to_string())),
        }
    }

    async fn take_in(&self, place: &Place, strays: Vec<Stray>) -> Result<TakenIn, EngineError> {
        if strays.is_empty() {
            return Ok(TakenIn::default());
        }
        let (now, profile) = (self.now_lasting(), place.backend.profile());
        let times = StrayTimes {
            proved_from: now.plus(profile.late_arrival_bound),
            kept_until: now.plus(self.settings.quarantine_kept),
        };
        let change = self.ids.change();
        let take_in = || self.catalog.take_in(change, place.id, strays.clone(), times);
        let taken = self.repeat(take_in).await?;
        let example = strays[0].path.as_str();
        if taken.quarantined > 0 {
            tracing::warn!(
                backend.name = %place.name(),
                strays = taken.quarantined,
                example,
                "bytes that no row names are in quarantine: `admin quarantine list` shows them"
            );
        }
        if taken.replicas > 0 {
            tracing::info!(
                backend.name = %place.name(),
                replicas = taken.replicas,
                example,
                "replicas that no row named were found of blobs that are known: they are read last until they are proved"
            );
            self.short.ring();
        }
        Ok(taken)
    }

    /// Marks live replicas that were not listed, and are not there.
    async fn judge_rows(&self, run: &mut Reconciling, rows: &[ReplicaRow]) -> Result<(), EngineError> {
        let (index, place) = self.place(run.backend).expect("a run is of a backend that there is");
        let mine = rows.iter().filter(|row| row.backend == run.backend);
        for row in mine {
            run.found.rows += 1;
            let is_due = row.state == ReplicaState::Live && row.replica.timestamp() < run.began;
            if !is_due || run.seen.has(row.replica) {
                continue;
            }
            let why = match place.maintenance.head(&row.path).await {
                _ if mutation::is_on("reconcile.looked-up") => "was not listed".to_owned(),
                Ok(stat) => {
                    let known = self.catalog.known_replicas(&[row.replica]).await?;
                    let size = known.into_iter().flatten().next().map_or(stat.size, |known| known.size);
                    if size == stat.size {
                        continue;
                    }
                    format!("has {} bytes of the {size} that it should", stat.size)
                }
                Err(error) if error.kind == ErrorKind::NotFound => NOT_THERE.to_owned(),
                Err(error) => return Err(EngineError::Unavailable(error.to_string())),
            };
            // Where the marker is gone the backend is: that would be found by the next step otherwise.
            self.present_place(run.backend).await?;
            let at = catalog::ReplicaAt {
                replica: row.replica,
                backend: row.backend,
                path: row.path.clone(),
                state: row.state,
            };
            self.suspect(index, &at, &why).await;
            self.stats.vanished();
            run.found.vanished += 1;
        }
        Ok(())
    }
}

/// What was listed, as far as its path says; not looked at itself.
fn stray_of(entry: &Entry, name: &ReplicaName) -> Stray {
    let (replica, blob, path) = (name.replica, name.blob, entry.path.clone());
    Stray { replica, blob, path, size: entry.size, charge: 0, settled: false }
}

/// Whether it is a file that a lost catalog shipped. What was there when this one was rebuilt from it has a row, so it
/// came later: it counts as any other bytes of ours.
fn came_late(name: &ReplicaName, epoch: u64) -> bool {
    let shipped = |(bucket, key): &(BucketName, ObjectKey)| {
        let file = ShippedName::parse(key.as_str()).filter(|_| bucket.as_str() == INTERNAL_BUCKET);
        file.is_some_and(|file| file.epoch < epoch)
    };
    name.object.as_ref().is_some_and(shipped)
}

/// Whether a replica is as long as it should be, where it is live.
fn is_whole(known: &KnownReplica, entry: &Entry) -> bool {
    known.state != ReplicaState::Live || known.size == entry.size
}
