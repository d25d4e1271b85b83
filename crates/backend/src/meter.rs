//! The meter: counts every attempt, its outcome and its bytes.
//!
//! It is the innermost decorator: a retry further out is another attempt here, so that what is counted is
//! what a provider bills. What becomes of the counts is the sink's affair. Where there are limits, each
//! attempt is covered before it is sent, and its bytes before they pass (`docs/limits.md`).

#![warn(clippy::missing_trait_methods)]

mod passing;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use runtime::{Instant, mutation};
use types::{BackendName, ByteRange, LimitKind, ReplicaPath, Traffic};

use crate::{
    Allowance, Backend, BackendError, Body, Cover, Deleted, Download, ErrorKind, ListPage, Needs, Operation,
    Profile, PutOptions, PutReceipt, Stat,
};

/// Where counts go. Called on the path of every request: it must not wait.
pub trait MeterSink: Send + Sync + 'static {
    /// An attempt is about to be sent. Each attempt has one permit, and one [`MeterSink::outcome`].
    fn attempt(&self, backend: &BackendName, operation: Operation);

    /// An attempt ended; that of a get ends with the head of its answer.
    fn outcome(&self, backend: &BackendName, operation: Operation, outcome: Outcome, duration: Duration);

    /// Bytes passed, in the body of an upload or a download.
    fn bytes(&self, backend: &BackendName, direction: Direction, bytes: u64);

    /// A download broke off after its answer had begun well.
    fn broken(&self, backend: &BackendName, kind: ErrorKind);
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With success.
    Done,
    /// With an error.
    Failed(ErrorKind),
    /// Whoever waited for it went away.
    Dropped,
}

/// Which way bytes went, seen from the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Uploaded to it.
    In,
    /// Downloaded from it.
    Out,
}

/// A backend whose every attempt is counted.
pub struct Meter {
    inner: Arc<dyn Backend>,
    sink: Arc<dyn MeterSink>,
    covered: Option<(Arc<Allowance>, Traffic)>,
}

impl Meter {
    /// Counts what goes to and from this backend.
    pub fn new(inner: Arc<dyn Backend>, sink: Arc<dyn MeterSink>) -> Self {
        Self { inner, sink, covered: None }
    }

    /// Covers each attempt by this allowance, as this traffic.
    #[must_use]
    pub fn covered_by(mut self, allowance: Arc<Allowance>, traffic: Traffic) -> Self {
        self.covered = Some((allowance, traffic));
        self
    }

    /// Covers an attempt. The request counts as sent from here on: whoever is dropped behind this may have
    /// sent it.
    async fn cover(&self, operation: Operation, needs: Needs) -> Result<Option<Cover>, BackendError> {
        let covered = self.covered.as_ref().filter(|_| !mutation::is_on("meter.covered"));
        let Some((allowance, traffic)) = covered else { return Ok(None) };
        let mut cover = allowance.cover(*traffic, operation, needs).await?;
        cover.spend(Needs::requests(needs.of(LimitKind::Requests)));
        Ok(Some(cover))
    }

    /// Covers a request that carries no bytes to speak of.
    async fn request(&self, operation: Operation) -> Result<Attempt<'_>, BackendError> {
        self.cover(operation, Needs::REQUEST).await?;
        Ok(self.attempt(operation))
    }

    fn counter(&self) -> Counter {
        Counter { sink: Arc::clone(&self.sink), backend: self.inner.name().clone() }
    }

    fn attempt(&self, operation: Operation) -> Attempt<'_> {
        self.sink.attempt(self.inner.name(), operation);
        Attempt { meter: self, operation, started: runtime::instant_now(), outcome: Outcome::Dropped }
    }
}

/// Where the bytes of one attempt are counted.
#[derive(Clone)]
struct Counter {
    sink: Arc<dyn MeterSink>,
    backend: BackendName,
}

impl Counter {
    fn bytes(&self, direction: Direction, bytes: u64) {
        self.sink.bytes(&self.backend, direction, bytes);
    }

    fn broken(&self, kind: ErrorKind) {
        self.sink.broken(&self.backend, kind);
    }
}

/// An attempt under way. However it ends, its outcome is told once.
struct Attempt<'a> {
    meter: &'a Meter,
    operation: Operation,
    started: Instant,
    outcome: Outcome,
}

impl Attempt<'_> {
    fn end<T>(mut self, answer: Result<T, BackendError>) -> Result<T, BackendError> {
        self.outcome = match &answer {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Failed(error.kind),
        };
        answer
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let Meter { inner, sink, .. } = self.meter;
        sink.outcome(inner.name(), self.operation, self.outcome, self.started.elapsed());
    }
}

#[async_trait]
impl Backend for Meter {
    fn name(&self) -> &BackendName {
        self.inner.name()
    }

    fn profile(&self) -> Profile {
        self.inner.profile()
    }

    fn breaker(&self) -> Option<&Arc<runtime::Breaker>> {
        self.inner.breaker()
    }

    async fn put(
        &self,
        path: &ReplicaPath,
        body: Body,
        options: PutOptions,
    ) -> Result<PutReceipt, BackendError> {
        let sends = if mutation::is_on("put.covered") { 0 } else { body.length };
        let cover = self.cover(Operation::Put, Needs::put(sends)).await?;
        let attempt = self.attempt(Operation::Put);
        let counter = self.counter();
        let stream = match cover {
            Some(cover) => passing::upload(body.stream, cover, counter),
            None => passing::counted_upload(body.stream, counter),
        };
        attempt.end(self.inner.put(path, Body { length: body.length, stream }, options).await)
    }

    async fn get(&self, path: &ReplicaPath, range: Option<ByteRange>) -> Result<Download, BackendError> {
        let Some((allowance, _)) = &self.covered else {
            let download = self.attempt(Operation::Get).end(self.inner.get(path, range).await)?;
            let stream = passing::counted_download(download.stream, self.counter());
            return Ok(Download { stream, ..download });
        };
        let first = passing::first_slice(range.map(|range| range.length), allowance.lead());
        let cover = self.cover(Operation::Get, Needs::get(first)).await?;
        let mut passing = passing::Passing::new(cover, allowance.lead());
        let attempt = self.attempt(Operation::Get);
        match attempt.end(self.inner.get(path, range).await) {
            Ok(download) => {
                let stream = passing.download(download.stream, download.length, self.counter());
                Ok(Download { stream, ..download })
            }
            Err(error) => {
                passing.refused(&error);
                Err(error)
            }
        }
    }

    async fn head(&self, path: &ReplicaPath) -> Result<Stat, BackendError> {
        let attempt = self.request(Operation::Head).await?;
        attempt.end(self.inner.head(path).await)
    }

    async fn delete(&self, path: &ReplicaPath) -> Result<(), BackendError> {
        let attempt = self.request(Operation::Delete).await?;
        attempt.end(self.inner.delete(path).await)
    }

    async fn delete_many(&self, paths: &[ReplicaPath]) -> Result<Vec<Deleted>, BackendError> {
        self.cover(Operation::DeleteMany, Needs::requests(self.inner.delete_requests(paths))).await?;
        let attempt = self.attempt(Operation::DeleteMany);
        attempt.end(self.inner.delete_many(paths).await)
    }

    fn delete_requests(&self, paths: &[ReplicaPath]) -> u64 {
        self.inner.delete_requests(paths)
    }

    async fn list(&self, prefix: &str, cursor: Option<&str>) -> Result<ListPage, BackendError> {
        let attempt = self.request(Operation::List).await?;
        attempt.end(self.inner.list(prefix, cursor).await)
    }

    async fn copy(&self, from: &ReplicaPath, to: &ReplicaPath) -> Result<(), BackendError> {
        let attempt = self.request(Operation::Copy).await?;
        attempt.end(self.inner.copy(from, to).await)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::TryStreamExt;

    use super::*;
    use crate::{BodyError, Fault, FaultBackend, Faults, MemoryBackend, suite};

    /// Writes down everything as text.
    #[derive(Default)]
    struct Written(Mutex<Vec<String>>);

    impl Written {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock().unwrap())
        }

        fn add(&self, line: String) {
            self.0.lock().unwrap().push(line);
        }
    }

    impl MeterSink for Written {
        fn attempt(&self, _: &BackendName, operation: Operation) {
            self.add(format!("{} sent", operation.as_str()));
        }

        fn outcome(&self, _: &BackendName, operation: Operation, outcome: Outcome, duration: Duration) {
            self.add(format!("{} {outcome:?} after {} s", operation.as_str(), duration.as_secs()));
        }

        fn bytes(&self, _: &BackendName, direction: Direction, bytes: u64) {
            self.add(format!("{bytes} {direction:?}"));
        }

        fn broken(&self, _: &BackendName, kind: ErrorKind) {
            self.add(format!("broken {kind:?}"));
        }
    }

    fn metered() -> (Meter, Arc<Faults>, Arc<Written>) {
        let memory = MemoryBackend::new(BackendName::parse("m").unwrap());
        let faults = Faults::none();
        let faulty = FaultBackend::new(Arc::new(memory), faults.clone());
        let sink = Arc::new(Written::default());
        (Meter::new(Arc::new(faulty), sink.clone()), faults, sink)
    }

    fn path() -> ReplicaPath {
        ReplicaPath::parse("a").unwrap()
    }

    fn body() -> Body {
        let chunks = [b"1234".as_slice(), b"567"].map(|chunk| Ok::<_, BodyError>(chunk.into()));
        Body { length: 7, stream: Box::pin(futures::stream::iter(chunks)) }
    }

    #[tokio::test]
    async fn passes_the_suite() {
        suite::run_all(async |_: &str| Arc::new(metered().0) as Arc<dyn Backend>).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_is_counted_with_its_bytes_outcome_and_duration() {
        let (meter, faults, sink) = metered();
        faults.script(Operation::Put, [Fault::Slow(Duration::from_secs(2))]);
        meter.put(&path(), body(), PutOptions::default()).await.unwrap();
        // Two chunks and the end, two seconds each.
        assert_eq!(sink.take(), ["put sent", "4 In", "3 In", "put Done after 6 s"]);
        meter.get(&path(), None).await.unwrap().stream.try_for_each(async |_| Ok(())).await.unwrap();
        assert_eq!(sink.take(), ["get sent", "get Done after 0 s", "7 Out"]);
        let missing = ReplicaPath::parse("missing").unwrap();
        meter.head(&missing).await.unwrap_err();
        assert_eq!(sink.take(), ["head sent", "head Failed(NotFound) after 0 s"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_nobody_waits_for_has_an_outcome_too() {
        let (meter, faults, sink) = metered();
        faults.script(Operation::List, [Fault::Stall]);
        runtime::timeout(Duration::from_secs(3), meter.list("", None)).await.unwrap_err();
        assert_eq!(sink.take(), ["list sent", "list Dropped after 3 s"]);
    }

    #[tokio::test]
    async fn a_download_that_breaks_is_counted_up_to_there() {
        let (meter, faults, sink) = metered();
        meter.put(&path(), body(), PutOptions::default()).await.unwrap();
        sink.take();
        faults.script(Operation::Get, [Fault::Truncate { at: 5 }]);
        let download = meter.get(&path(), None).await.unwrap();
        download.stream.try_for_each(async |_| Ok(())).await.unwrap_err();
        assert_eq!(sink.take(), ["get sent", "get Done after 0 s", "5 Out", "broken Corrupt"]);
    }
}
