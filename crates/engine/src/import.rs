//! Import: objects that lie on a backend since before we knew of them become ours, where they lie.
//!
//! Each is read once, whole: from then on its blocks are proved like those of any other, and whoever writes over it
//! behind our back is found out instead of served. It is charged in the transaction that makes it an object. A run is
//! cut off anywhere without harm: what was imported is skipped by the next one.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use backend::{BackendError, Entry, ErrorKind, Stat};
use catalog::{CatalogError, Client, Import, ObjectHeaders, ObjectState, Refusal, Want};
use format::{BlockHasher, PathGrammar};
use futures::{StreamExt, stream};
use runtime::mutation;
use types::{ETag, Md5, ObjectKey, ReplicaPath};

use crate::digest::Digests;
use crate::engine::{Engine, Place, Shared};
use crate::recent::Forgetting;
use crate::stats::ImportDecision;
use crate::{Bucket, EngineError};

/// Objects imported in one step, and at once.
const STEP: usize = 8;
const AT_ONCE: usize = 4;
/// What every path of ours has as a folder that holds a catalog's own files.
const RESERVED: &str = ".s3-orchestrator/";

/// What is to be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportJob {
    /// The backend.
    pub backend: catalog::BackendId,
    /// The bucket that the objects come to be in; their paths are their keys.
    pub bucket: Bucket,
    /// What their paths begin with.
    pub prefix: String,
    /// Only look.
    pub dry_run: bool,
}

/// What an import has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportCounts {
    /// Paths that were listed.
    pub listed: u64,
    /// Objects imported, or to be imported where it only looks.
    pub imported: u64,
    /// Their bytes.
    pub imported_bytes: u64,
    /// Paths that were imported before.
    pub known: u64,
    /// Paths whose key is an object already.
    pub taken: u64,
    /// Paths of an orchestrator, this one or another.
    pub ours: u64,
    /// Objects that are too large, or whose path is no key.
    pub unfit: u64,
    /// Objects that could not be read, or changed meanwhile.
    pub failed: u64,
    /// Requests sent for all this, or to be sent where it only looks. Reading costs as much egress as there are bytes.
    pub requests: u64,
    /// Why the last of those that failed did so.
    pub last_error: Option<String>,
}

/// A run, under way or at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportRun {
    /// What was asked for.
    pub job: ImportJob,
    /// What it has come to.
    pub counts: ImportCounts,
    /// Whether it is over.
    pub done: bool,
    /// Why it is over before its time.
    pub error: Option<String>,
}

/// The one run that there is, and where it stands.
#[derive(Debug, Default)]
pub(crate) struct Imports {
    running: Mutex<Option<Running>>,
}

#[derive(Debug, Clone)]
struct Running {
    /// Tells it from those before.
    number: u64,
    run: ImportRun,
    /// Where the next page of the listing starts; `None` behind the last.
    cursor: Option<Option<String>>,
    /// What was listed and is to be imported.
    queue: VecDeque<(ReplicaPath, ObjectKey)>,
}

impl Imports {
    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of one path.
enum Outcome {
    Imported(u64),
    Taken,
    Known,
    Unfit,
    Failed(String),
}

impl Engine {
    /// Takes on an import; the worker goes on with it. Says no while another one is under way.
    #[must_use]
    pub fn begin_import(&self, job: ImportJob) -> bool {
        let mut running = self.shared.imports.lock();
        if running.as_ref().is_some_and(|running| !running.run.done) {
            return false;
        }
        let run = ImportRun { job, counts: ImportCounts::default(), done: false, error: None };
        let number = running.as_ref().map_or(0, |before| before.number + 1);
        *running = Some(Running { number, run, cursor: Some(None), queue: VecDeque::new() });
        true
    }

    /// Ends the import that is under way, where one is. What was imported stays so.
    pub fn end_import(&self, why: &str) {
        if let Some(running) = self.shared.imports.lock().as_mut().filter(|running| !running.run.done) {
            running.run.done = true;
            running.run.error = Some(why.to_owned());
        }
    }

    /// The last import, or the one under way.
    #[must_use]
    pub fn import_run(&self) -> Option<ImportRun> {
        self.shared.imports.lock().as_ref().map(|running| running.run.clone())
    }

    /// Goes on with the import: lists a page, or imports some of what was listed. Gives how many objects it
    /// imported; `None` where there is nothing to go on with.
    ///
    /// # Errors
    /// Where the catalog or the backend does not answer: the same step may be asked for again.
    pub async fn import_step(&self) -> Result<Option<u64>, EngineError> {
        let shared = &self.shared;
        let running = shared.imports.lock().clone().filter(|running| !running.run.done);
        let Some(mut running) = running else { return Ok(None) };
        let job = running.run.job.clone();
        let place = shared.present_place(job.backend).await?;
        let before = running.run.counts.clone();
        let mut went = Ok(());
        if running.queue.is_empty() {
            shared.list_page(place, &job, &mut running).await?;
        } else {
            // What was imported before one failed is so.
            went = shared.import_some(place, &job, &mut running).await;
        }
        if running.queue.is_empty() && running.cursor.is_none() && !running.run.done {
            running.run.done = true;
            tracing::info!(backend.name = %place.name(), "an import is done: {:?}", running.run.counts);
        }
        shared.classify(&job, &before, &running.run.counts);
        let imported = running.run.counts.imported - before.imported;
        let mut slot = shared.imports.lock();
        // Unless it was ended meanwhile, and perhaps another one begun.
        let goes_on = |now: &Running| now.number == running.number && !now.run.done;
        if slot.as_ref().is_some_and(goes_on) || mutation::is_on("import.ended") {
            *slot = Some(running);
        }
        drop(slot);
        went.map(|()| Some(imported))
    }
}

impl Shared {
    /// Counts what a step did, for metrics. One that only looks does nothing.
    fn classify(&self, job: &ImportJob, before: &ImportCounts, after: &ImportCounts) {
        if job.dry_run {
            return;
        }
        let skipped = |counts: &ImportCounts| counts.known + counts.taken + counts.ours + counts.unfit;
        self.stats.import_classified(ImportDecision::Imported, after.imported - before.imported);
        self.stats.import_classified(ImportDecision::Skipped, skipped(after) - skipped(before));
        self.stats.import_classified(ImportDecision::Failed, after.failed - before.failed);
    }

    /// Lists a page, and finds out what of it is to be imported.
    async fn list_page(
        &self,
        place: &Place,
        job: &ImportJob,
        running: &mut Running,
    ) -> Result<(), EngineError> {
        let Some(cursor) = running.cursor.take() else { return Ok(()) };
        let page = place.maintenance.list(&job.prefix, cursor.as_deref()).await.map_err(unavailable)?;
        let counts = &mut running.run.counts;
        counts.requests += 1;
        counts.listed += page.entries.len() as u64;
        let (ours, foreign): (Vec<&Entry>, Vec<&Entry>) =
            page.entries.iter().partition(|entry| is_of_an_orchestrator(place, entry.path.as_str()));
        counts.ours += ours.len() as u64;
        let paths: Vec<ReplicaPath> = foreign.iter().map(|entry| entry.path.clone()).collect();
        let known = self.catalog.imports_at(place.id, &paths).await?;
        for (entry, known) in foreign.into_iter().zip(known) {
            let key = ObjectKey::parse(entry.path.as_str()).ok().filter(|_| self.fits(place, entry.size));
            match key {
                _ if known.is_some() => counts.known += 1,
                None => counts.unfit += 1,
                Some(key) if self.catalog.locate(job.bucket.id, &key, Want::State).await?.is_some() => {
                    counts.taken += 1;
                }
                Some(_) if job.dry_run => {
                    counts.imported += 1;
                    counts.imported_bytes += entry.size;
                    // It is looked at, read, and looked at again where its entity tag is no MD5.
                    counts.requests += 2;
                }
                Some(key) => running.queue.push_back((entry.path.clone(), key)),
            }
        }
        running.cursor = page.next.map(Some);
        Ok(())
    }

    /// Whether a replica of this size could be made anew on its backend, and be an object.
    fn fits(&self, place: &Place, size: u64) -> bool {
        let most = [place.object_bytes_max, self.settings.object_bytes_max];
        if mutation::is_on("import.fits") {
            return true;
        }
        size <= place.backend.profile().put_bytes_max && most.iter().flatten().all(|most| size <= *most)
    }

    /// Whether the quota of a backend has room for an object of this size now.
    async fn has_room(&self, place: &Place, size: u64) -> Result<bool, EngineError> {
        let Some(quota) = place.quota else { return Ok(true) };
        let charged = self.catalog.charged().await?;
        let used = charged.iter().find(|(id, ..)| *id == place.id).map_or(0, |(.., used)| *used);
        Ok(used.saturating_add(place.backend.profile().charge(size)) <= quota)
    }

    /// Imports some of what was listed. What a limit holds back stays in the queue.
    async fn import_some(
        &self,
        place: &Place,
        job: &ImportJob,
        running: &mut Running,
    ) -> Result<(), EngineError> {
        let some: Vec<_> = running.queue.iter().take(STEP).cloned().collect();
        let each = some.into_iter().map(|(path, key)| self.import_one(place, &job.bucket, path, key));
        let mut importing = stream::iter(each).buffered(AT_ONCE);
        while let Some((requests, outcome)) = importing.next().await {
            let counts = &mut running.run.counts;
            counts.requests += requests;
            match outcome {
                Ok(Outcome::Imported(bytes)) => {
                    counts.imported += 1;
                    counts.imported_bytes += bytes;
                }
                Ok(Outcome::Taken) => counts.taken += 1,
                Ok(Outcome::Known) => counts.known += 1,
                Ok(Outcome::Unfit) => counts.unfit += 1,
                Ok(Outcome::Failed(why)) => {
                    tracing::warn!(backend.name = %place.name(), why, "an object could not be imported");
                    counts.failed += 1;
                    counts.last_error = Some(why);
                }
                Err(EngineError::OutOfSpace { size }) => {
                    let why =
                        format!("the quota of backend {} has no room for {size} bytes more", place.name());
                    running.run.done = true;
                    running.run.error = Some(why);
                    break;
                }
                Err(error) => return Err(error),
            }
            running.queue.pop_front();
        }
        Ok(())
    }

    /// Reads an object once, and makes it ours. Gives how many requests that took too.
    async fn import_one(
        &self,
        place: &Place,
        bucket: &Bucket,
        path: ReplicaPath,
        key: ObjectKey,
    ) -> (u64, Result<Outcome, EngineError>) {
        let mut requests = 0;
        let found = match self.look_at(place, &path, &mut requests).await {
            Ok(found) => found,
            Err(Stopped::Here(why)) => return (requests, Ok(Outcome::Failed(format!("{path}: {why}")))),
            Err(Stopped::All(error)) => return (requests, Err(error)),
        };
        let Looked { stat, stamp, md5, blocks } = found;
        if !self.fits(place, stat.size) {
            return (requests, Ok(Outcome::Unfit));
        }
        let (size, blob) = (stat.size, self.ids.blob());
        let import = Import {
            change: self.ids.change(),
            backend: place.id,
            path,
            stamp,
            blob,
            replica: self.ids.replica(),
            charge: place.backend.profile().charge(size),
            quota: place.quota,
            bucket: bucket.id,
            key: key.clone(),
            state: self.state_of(stat, blob, md5),
            md5,
            blocks,
            wanted: self.settings.factor,
        };
        let forgetting = Forgetting::new(&self.recent, bucket.id, vec![key]);
        let outcome = match self.repeat(|| self.catalog.import(import.clone())).await {
            Ok(made) => {
                forgetting.wrote(&made.object, &[]);
                if self.settings.factor > 1 {
                    self.short.ring();
                }
                Ok(Outcome::Imported(size))
            }
            Err(CatalogError::Refused(Refusal::PreconditionFailed)) => Ok(Outcome::Taken),
            Err(CatalogError::Refused(Refusal::Changed(_))) => Ok(Outcome::Known),
            Err(error) => Err(error.into()),
        };
        (requests, outcome)
    }

    /// What the client of old put, as far as the provider tells.
    fn state_of(&self, stat: Stat, blob: types::BlobId, md5: Md5) -> ObjectState {
        let said = |name: &str| {
            let found = stat.headers.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone())
        };
        ObjectState {
            size: stat.size,
            // The provider's own: clients know it, also where it is no MD5.
            etag: stat.etag.as_deref().map_or_else(|| ETag::of_md5(md5), ETag::from_text),
            modified: stat.modified.unwrap_or_else(|| self.clock.now()),
            content: catalog::Content::Blob(blob),
            headers: ObjectHeaders {
                content_type: said("content-type"),
                content_encoding: said("content-encoding"),
                content_disposition: said("content-disposition"),
                content_language: said("content-language"),
                cache_control: said("cache-control"),
                expires: said("expires"),
                ..ObjectHeaders::default()
            },
            metadata: stat.metadata,
            tags: Vec::new(),
            checksums: catalog::Checksums::default(),
            client: Client::default(),
        }
    }

    async fn look_at(
        &self,
        place: &Place,
        path: &ReplicaPath,
        requests: &mut u64,
    ) -> Result<Looked, Stopped> {
        *requests += 1;
        let stat = place.maintenance.head(path).await?;
        let stamp =
            stamp_of(&stat).ok_or_else(|| Stopped::here("it has neither an entity tag nor a time"))?;
        // The ledger decides; this only saves a read that would be for nothing.
        if !self.has_room(place, stat.size).await.map_err(Stopped::All)? {
            return Err(Stopped::All(EngineError::OutOfSpace { size: stat.size }));
        }
        let (md5, blocks) = self.read_whole(place, path, stat.size, requests).await?;
        let said = stat.etag.as_deref().and_then(|etag| ETag::from_text(etag).md5());
        if said == Some(md5) {
            return Ok(Looked { stat, stamp, md5, blocks });
        }
        // What was read is what was looked at: its tag says so, or another look does.
        *requests += 1;
        let again = place.maintenance.head(path).await?;
        let is_same = (again.size, stamp_of(&again).as_ref()) == (stat.size, Some(&stamp));
        if !is_same && !mutation::is_on("import.same") {
            return Err(Stopped::here("it changed while it was read"));
        }
        // A tag that looks like an MD5 may be something else. Then it reads the same again; a wrong bit does not.
        if said.is_some() && !mutation::is_on("import.twice") {
            let (again, _) = self.read_whole(place, path, stat.size, requests).await?;
            if again != md5 {
                return Err(Stopped::here("it was read twice, and differed"));
            }
        }
        Ok(Looked { stat, stamp, md5, blocks })
    }

    /// Reads an object to its end. Gives the MD5 and the checksums of its blocks.
    async fn read_whole(
        &self,
        place: &Place,
        path: &ReplicaPath,
        size: u64,
        requests: &mut u64,
    ) -> Result<(Md5, Vec<u32>), Stopped> {
        *requests += 1;
        let download = place.maintenance.get(path, None).await?;
        if download.length != size {
            return Err(Stopped::here("it changed while it was read"));
        }
        let (mut digests, mut blocks) = (Digests::new(&self.hashers, size, []), BlockHasher::new());
        let (mut bytes, mut length) = (download.stream, 0);
        while let Some(chunk) = bytes.next().await {
            let chunk = chunk?;
            length += chunk.len() as u64;
            blocks.update(&chunk);
            digests.update(&chunk).await;
        }
        // Whatever a driver promises: the checksums are those of all bytes, for they are believed from now on.
        if length != size && !mutation::is_on("import.whole") {
            return Err(Stopped::here("it was not read to its end"));
        }
        let lost = || Stopped::All(EngineError::Internal("the thread of a digest was lost".to_owned()));
        let (md5, _) = digests.finish().await.ok_or_else(lost)?;
        Ok((md5, blocks.finish()))
    }
}

/// An object that was read.
struct Looked {
    stat: Stat,
    stamp: String,
    md5: Md5,
    blocks: Vec<u32>,
}

/// Why an object was not read.
enum Stopped {
    /// It is something about this one.
    Here(String),
    /// The others would fare no better at present.
    All(EngineError),
}

impl Stopped {
    fn here(why: &str) -> Self {
        Self::Here(why.to_owned())
    }
}

impl From<BackendError> for Stopped {
    fn from(error: BackendError) -> Self {
        match error.kind {
            ErrorKind::NotFound | ErrorKind::Corrupt | ErrorKind::Denied | ErrorKind::Refused => {
                Self::Here(error.to_string())
            }
            _ => Self::All(unavailable(error)),
        }
    }
}

fn unavailable(error: BackendError) -> EngineError {
    EngineError::Unavailable(error.to_string())
}

/// What tells an object from whatever else may come to lie at its path.
pub(crate) fn stamp_of(stat: &Stat) -> Option<String> {
    let modified = || Some(format!("modified:{}", stat.modified?.as_millis()));
    stat.etag.as_ref().map(|etag| format!("etag:{}", ETag::from_text(etag).as_str())).or_else(modified)
}

/// Whether a path is of this orchestrator or of another: of its grammar, whatever its prefix, or in its reserved
/// folder.
fn is_of_an_orchestrator(place: &Place, path: &str) -> bool {
    if mutation::is_on("import.ours") {
        return false;
    }
    let reserved = path.starts_with(RESERVED) || path.contains(&format!("/{RESERVED}"));
    let ends_like_one = || {
        let last = path.rsplit('/').next().unwrap_or(path);
        // The grammar without a prefix, with any bucket: the ending decides.
        PathGrammar::new("").parse(&format!("any/{last}")).is_some()
    };
    reserved || place.grammar.parse(path).is_some() || ends_like_one()
}

#[cfg(test)]
mod tests {
    use types::Timestamp;

    use super::*;

    #[test]
    fn a_stamp_is_the_entity_tag_or_else_the_time() {
        let stat = |etag: Option<&str>, modified| Stat {
            size: 1,
            etag: etag.map(str::to_owned),
            modified,
            metadata: Vec::new(),
            headers: Vec::new(),
        };
        let at = Some(Timestamp::from_millis(7));
        assert_eq!(stamp_of(&stat(Some("\"a-2\""), at)).as_deref(), Some("etag:a-2"));
        assert_eq!(stamp_of(&stat(None, at)).as_deref(), Some("modified:7"));
        assert_eq!(stamp_of(&stat(None, None)), None);
    }
}
