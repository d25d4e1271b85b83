//! The way to a provider that a process has, and all that goes wrong on it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backend::{
    Backend, BackendError, Body, ByteStream, Deleted, Download, Entry, ErrorKind, ListPage, Profile,
    PutOptions, PutReceipt, Stat,
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use types::{BackendName, ByteRange, LimitKind, ReplicaPath, Traffic};

use crate::limits::Egress;
use crate::provider::{Provider, listing};
use crate::world::{World, locked};
use crate::{Fault, Law};

/// Bytes in one chunk of a download.
const CHUNK_BYTES: usize = 1_900;

/// The way to a provider that one process has.
pub(crate) struct SimBackend {
    provider: Arc<Provider>,
    /// For whom it is used.
    traffic: Traffic,
}

const ANY: [Fault; 4] = [Fault::Slow, Fault::Refused, Fault::Throttled, Fault::Stalled];

impl SimBackend {
    pub(crate) fn new(provider: &Arc<Provider>, traffic: Traffic) -> Self {
        Self { provider: Arc::clone(provider), traffic }
    }

    fn error(&self, operation: &'static str, kind: ErrorKind, message: &str) -> BackendError {
        BackendError::new(self.provider.name(), operation, kind, message)
    }

    fn world(&self) -> &World {
        &self.provider.world
    }

    /// What may befall any request before it has an effect.
    async fn arrive(&self, operation: &'static str, kinds: &[Fault]) -> Result<Option<Fault>, BackendError> {
        runtime::simulation::point("backend.request").await;
        // Whatever becomes of it, it is on the bill.
        self.provider.counts(self.traffic, LimitKind::Requests, 1);
        if self.provider.away() == Some(Fault::Gone) {
            return Err(self.error(operation, ErrorKind::Unavailable, "nothing reaches it"));
        }
        let Some(fault) = self.provider.draw(&ANY).or_else(|| self.provider.draw(kinds)) else {
            return Ok(None);
        };
        self.world().event(format_args!("{} {operation}: {}", self.provider.name(), fault.as_str()));
        if ANY.contains(&fault) {
            self.world().count(fault);
        }
        match fault {
            Fault::Refused => Err(self.error(operation, ErrorKind::Unavailable, "refused")),
            Fault::Throttled => {
                Err(self.error(operation, ErrorKind::Throttled { retry_after: None }, "too many requests"))
            }
            Fault::Stalled => std::future::pending().await,
            Fault::Slow => {
                runtime::sleep(Duration::from_millis(self.world().chance.below(3_000))).await;
                Ok(Some(fault))
            }
            fault => Ok(Some(fault)),
        }
    }

    async fn take(&self, path: &str, mut body: Body, fault: Option<Fault>) -> Result<Sent, BackendError> {
        let mut sent = Sent {
            provider: Arc::clone(&self.provider),
            path: path.to_owned(),
            bytes: Vec::new(),
            whole: false,
            settled: false,
            process: runtime::simulation::process(),
            began_ms: self.provider.begins_put(),
        };
        let stops_at = self.world().chance.below(body.length.max(1));
        while let Some(chunk) = body.stream.next().await {
            let chunk = chunk.map_err(|error| {
                sent.settled = true;
                self.error("put", ErrorKind::BadBody, &error.to_string())
            })?;
            self.provider.counts(self.traffic, LimitKind::Ingress, chunk.len() as u64);
            sent.bytes.extend_from_slice(&chunk);
            drop(chunk);
            // It was told the length, and waits for no end behind the last byte.
            sent.whole = sent.bytes.len() as u64 == body.length;
            runtime::simulation::point("backend.chunk").await;
            let reached = sent.bytes.len() as u64 > stops_at && (sent.bytes.len() as u64) < body.length;
            match fault {
                Some(Fault::Slow) => {
                    runtime::sleep(Duration::from_millis(self.world().chance.below(400))).await;
                }
                Some(fault @ Fault::PutBreaks) if reached => {
                    self.world().count(fault);
                    return Err(self.error("put", ErrorKind::Unknown, "the connection broke"));
                }
                Some(fault @ Fault::PutStallsMidway) if reached => {
                    self.world().count(fault);
                    std::future::pending().await
                }
                Some(fault @ Fault::PutAnsweredEarly) if reached => {
                    self.world().count(fault);
                    sent.settled = true;
                    return Ok(sent);
                }
                _ => {}
            }
        }
        if sent.bytes.len() as u64 != body.length {
            return Err(self.error("put", ErrorKind::BadBody, "another length than announced"));
        }
        // An empty one has no chunk.
        sent.whole = true;
        Ok(sent)
    }

    /// The whole body was taken: what becomes of it.
    async fn finish(&self, mut sent: Sent, fault: Option<Fault>) -> Result<PutReceipt, BackendError> {
        let lost = |message| Err(self.error("put", ErrorKind::Unknown, message));
        runtime::simulation::point("backend.stored").await;
        let fault = fault.filter(|_| !self.world().is_calm());
        let kinds =
            [Fault::PutAnswerLost, Fault::PutArrivesLate, Fault::PutErrorInside, Fault::PutNeverAnswers];
        if let Some(fault) = fault.filter(|fault| kinds.contains(fault)) {
            self.world().count(fault);
        }
        match fault {
            Some(Fault::PutArrivesLate) => {
                sent.arrives_late();
                lost("an error, and the bytes are on their way")
            }
            Some(Fault::PutErrorInside) => {
                sent.settled = true;
                lost("an error inside the answer")
            }
            Some(Fault::PutNeverAnswers) => {
                // Its fate is that of a put that is dropped.
                std::future::pending().await
            }
            Some(Fault::PutAnswerLost) => {
                sent.arrives();
                lost("the answer was lost")
            }
            _ => {
                sent.arrives();
                runtime::simulation::point("backend.answer").await;
                Ok(PutReceipt::default())
            }
        }
    }

    fn find(&self, operation: &'static str, path: &ReplicaPath) -> Result<Bytes, BackendError> {
        let store = locked(&self.provider.store);
        let found = store.objects.get(path.as_str()).cloned();
        let deleted = store.deleted.contains_key(path.as_str());
        drop(store);
        // Whoever was taken for dead reads what nobody keeps for it any more; it is told that nothing is there.
        // So is an old catalog.
        let process = runtime::simulation::process();
        let may_be_dead =
            process == runtime::simulation::NO_PROCESS || self.world().stopped.was_silent(process);
        // Another instance may have imported and deleted what this one is just about to import.
        let imports = self.traffic == Traffic::Maintenance && self.world().plan.imports.is_some();
        let may_be_too_late = imports && self.world().plan.processes() > 1;
        if found.is_none() && deleted && operation == "get" && !may_be_dead && !may_be_too_late {
            let what = format!("{path} on {} is read and was deleted", self.provider.name());
            self.world().violate(Law::ReadersFirst, what);
        }
        found.ok_or_else(|| self.error(operation, ErrorKind::NotFound, "nothing lies there"))
    }

    /// The reader of this path will be given something wrong.
    fn doubt(&self, path: &ReplicaPath, fault: Fault) {
        self.world().count(fault);
        locked(&self.provider.store).doubtful.insert(path.as_str().to_owned());
    }

    /// The bytes of a download, with what goes wrong.
    fn download(
        &self,
        path: &ReplicaPath,
        mut bytes: Bytes,
        fault: Option<Fault>,
    ) -> ByteStream<BackendError> {
        let half = self.world().chance.below(bytes.len() as u64 + 1);
        let half = usize::try_from(half).unwrap_or(0);
        let mut end: Option<Result<Bytes, BackendError>> = None;
        match fault {
            Some(Fault::GetFlipped) if !bytes.is_empty() => {
                self.doubt(path, Fault::GetFlipped);
                let mut wrong = bytes.to_vec();
                wrong[half.min(bytes.len() - 1)] ^= 4;
                bytes = wrong.into();
            }
            Some(Fault::GetTruncated) if half < bytes.len() => {
                self.doubt(path, Fault::GetTruncated);
                bytes.truncate(half);
            }
            Some(Fault::GetBreaks) => {
                self.world().count(Fault::GetBreaks);
                bytes.truncate(half);
                end = Some(Err(self.error("get", ErrorKind::Unavailable, "the download broke")));
            }
            _ => {}
        }
        let slow = fault == Some(Fault::Slow);
        let egress = Egress::begin(&self.provider, self.traffic, bytes.len() as u64);
        let mut chunks = Vec::new();
        while !bytes.is_empty() {
            chunks.push(Ok(bytes.split_to(bytes.len().min(CHUNK_BYTES))));
        }
        let chunks = stream::iter(chunks.into_iter().chain(end));
        let sending = (chunks, egress, Arc::clone(&self.provider.world));
        Box::pin(stream::unfold(sending, move |(mut chunks, mut egress, world)| async move {
            let chunk = chunks.next().await?;
            let wait = if slow { world.chance.below(300) } else { 0 };
            runtime::simulation::point("backend.download").await;
            if wait > 0 {
                runtime::sleep(Duration::from_millis(wait)).await;
            }
            egress.read(chunk.as_ref().map_or(0, |bytes: &Bytes| bytes.len() as u64));
            Some((chunk, (chunks, egress, world)))
        }))
    }
}

/// A put on its way. Dropped with its whole body sent, it may have its effect all the same.
struct Sent {
    provider: Arc<Provider>,
    path: String,
    bytes: Vec<u8>,
    whole: bool,
    settled: bool,
    process: u64,
    began_ms: u64,
}

impl Sent {
    fn arrives(&mut self) {
        self.settled = true;
        self.provider.note_sender(&self.path, self.process);
        self.provider.store(&self.path, std::mem::take(&mut self.bytes).into());
    }

    fn arrives_late(&mut self) {
        self.settled = true;
        self.provider.note_sender(&self.path, self.process);
        self.provider.store_late(std::mem::take(&mut self.path), std::mem::take(&mut self.bytes).into());
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.provider.ends_put(self.began_ms);
        if self.settled || !self.whole {
            return;
        }
        match self.provider.world.chance.below(4) {
            0 => {}
            1 => {
                self.provider.world.count(Fault::PutDroppedStored);
                self.arrives();
            }
            _ => {
                self.provider.world.count(Fault::PutDroppedLate);
                self.arrives_late();
            }
        }
    }
}

#[async_trait]
impl Backend for SimBackend {
    fn name(&self) -> &BackendName {
        self.provider.name()
    }

    fn profile(&self) -> Profile {
        let plan = &self.provider.plan;
        Profile {
            put_bytes_max: plan.put_bytes_max,
            delete_frees: !locked(&self.provider.store).versions_seen,
            late_arrival_bound: Duration::from_millis(plan.late_ms),
            billable_bytes_min: plan.billable_bytes_min,
        }
    }

    async fn put(
        &self,
        path: &ReplicaPath,
        body: Body,
        _options: PutOptions,
    ) -> Result<PutReceipt, BackendError> {
        const KINDS: [Fault; 8] = [
            Fault::PutAnswerLost,
            Fault::PutArrivesLate,
            Fault::PutErrorInside,
            Fault::PutBreaks,
            Fault::PutStallsMidway,
            Fault::PutNeverAnswers,
            Fault::PutAnsweredEarly,
            Fault::PutFull,
        ];
        let fault = self.arrive("put", &KINDS).await?;
        if self.provider.away().is_some() {
            return Err(self.error("put", ErrorKind::Unavailable, "its disk is not mounted"));
        }
        if fault == Some(Fault::PutFull) {
            self.world().count(Fault::PutFull);
            return Err(self.error("put", ErrorKind::OutOfSpace, "it is full"));
        }
        if !locked(&self.provider.store).begun.insert(path.as_str().to_owned()) {
            let what = format!("{path} on {} gets a second put", self.provider.name());
            self.world().violate(Law::OnePut, what);
        }
        let sent = self.take(path.as_str(), body, fault).await?;
        if sent.settled {
            return Ok(PutReceipt::default());
        }
        self.finish(sent, fault).await
    }

    async fn get(&self, path: &ReplicaPath, range: Option<ByteRange>) -> Result<Download, BackendError> {
        const KINDS: [Fault; 5] = [
            Fault::GetBreaks,
            Fault::GetTruncated,
            Fault::GetFlipped,
            Fault::GetWrongLength,
            Fault::GetNotFound,
        ];
        let fault = self.arrive("get", &KINDS).await?;
        // What nothing vouches for is believed as it is read.
        let believed = self.traffic == Traffic::Maintenance && self.provider.is_unvouched(path.as_str());
        let fault = fault.filter(|fault| *fault != Fault::GetFlipped || !believed);
        if self.provider.away().is_some() {
            self.provider.is_back_soon(path);
            return Err(self.error("get", ErrorKind::NotFound, "nothing is mounted there"));
        }
        if fault == Some(Fault::GetNotFound) {
            self.doubt(path, Fault::GetNotFound);
            return Err(self.error("get", ErrorKind::NotFound, "a lie"));
        }
        let bytes = self.find("get", path)?;
        if self.traffic == Traffic::Maintenance {
            self.provider.was_read(path.as_str());
        }
        let total = bytes.len() as u64;
        let range = range.unwrap_or(ByteRange::whole(total));
        if range.end() > total {
            // The store is shorter than the row says: it was harmed, or another's.
            return Err(self.error("get", ErrorKind::Corrupt, "the range is not within the object"));
        }
        let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let mut part = bytes.slice(index(range.start)..index(range.end()));
        let mut length = range.length;
        if fault == Some(Fault::GetWrongLength) && length > 0 {
            self.doubt(path, Fault::GetWrongLength);
            length -= 1;
            part.truncate(index(length));
        }
        Ok(Download { length, total, stream: self.download(path, part, fault) })
    }

    async fn head(&self, path: &ReplicaPath) -> Result<Stat, BackendError> {
        self.arrive("head", &[]).await?;
        if self.provider.away().is_some() {
            self.provider.is_back_soon(path);
            return Err(self.error("head", ErrorKind::NotFound, "nothing is mounted there"));
        }
        let bytes = self.find("head", path)?;
        let foreign = self.provider.was_looked_at(path.as_str());
        Ok(Stat {
            size: bytes.len() as u64,
            etag: foreign
                .as_ref()
                .and_then(|foreign| foreign.etag.as_ref().map(|etag| format!("\"{etag}\""))),
            modified: foreign.map(|foreign| foreign.modified),
            metadata: Vec::new(),
            headers: Vec::new(),
        })
    }

    async fn delete(&self, path: &ReplicaPath) -> Result<(), BackendError> {
        let mut answers = self.delete_many(std::slice::from_ref(path)).await?;
        answers.pop().unwrap_or(Ok(()))
    }

    async fn delete_many(&self, paths: &[ReplicaPath]) -> Result<Vec<Deleted>, BackendError> {
        let fault = self.arrive("delete", &[Fault::DeleteAnswerLost, Fault::DeletePartly]).await?;
        if self.provider.away().is_some() {
            return Err(self.error("delete", ErrorKind::Unavailable, "its disk is not mounted"));
        }
        let mut answers = Vec::with_capacity(paths.len());
        for path in paths {
            if fault == Some(Fault::DeletePartly) && self.world().chance.below(2) == 0 {
                self.world().count(Fault::DeletePartly);
                answers.push(Err(self.error("delete", ErrorKind::Unavailable, "not this one")));
                continue;
            }
            self.world().event(format_args!("{} deletes {path}", self.provider.name()));
            self.provider.remove(path.as_str());
            answers.push(Ok(()));
        }
        runtime::simulation::point("backend.deleted").await;
        if fault == Some(Fault::DeleteAnswerLost) {
            self.world().count(Fault::DeleteAnswerLost);
            return Err(self.error("delete", ErrorKind::Unknown, "the answer was lost"));
        }
        Ok(answers)
    }

    async fn list(&self, prefix: &str, _cursor: Option<&str>) -> Result<ListPage, BackendError> {
        let fault = self.arrive("list", &[Fault::ListStale]).await?;
        if self.provider.away().is_some() {
            return Ok(ListPage::default());
        }
        let store = locked(&self.provider.store);
        let mut entries =
            if fault == Some(Fault::ListStale) { store.before.clone() } else { listing(&store) };
        // A marker is old enough to be in every listing.
        if fault == Some(Fault::ListStale) {
            self.world().count(Fault::ListStale);
            let known: Vec<_> = entries.iter().map(|entry| entry.path.clone()).collect();
            let marker = |entry: &Entry| entry.path.as_str().starts_with('.') && !known.contains(&entry.path);
            entries.extend(listing(&store).into_iter().filter(marker));
        }
        entries.retain(|entry| entry.path.as_str().starts_with(prefix));
        Ok(ListPage { entries, next: None })
    }

    async fn copy(&self, _from: &ReplicaPath, _to: &ReplicaPath) -> Result<(), BackendError> {
        Err(self.error("copy", ErrorKind::Unsupported, "nobody copies within a provider"))
    }
}
