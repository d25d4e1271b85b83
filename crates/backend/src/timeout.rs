//! Deadlines: for answers, and for bodies that stop or crawl in either direction.
//!
//! Only a backend's own slowness counts. While an upload waits for its giver, or a download for its
//! reader, no clock runs: a client that dawdles is no fault of the backend.

#![warn(clippy::missing_trait_methods)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use runtime::{Instant, mutation};
use types::{BackendName, ByteRange, ReplicaPath};

use crate::{
    Backend, BackendError, Body, ByteStream, Deleted, Download, ErrorKind, ListPage, Operation, Profile,
    PutOptions, PutReceipt, Stat,
};

/// How long is too long.
#[derive(Debug, Clone)]
pub struct TimeoutOptions {
    /// Longest wait for the head of an answer; for a put, from its last byte on.
    pub answer: Duration,
    /// Longest wait for the next bytes of a body to come, or to be taken.
    pub stall: Duration,
    /// Least bytes per second of a body, over any `stall` of waiting. 0 switches it off.
    pub rate_bytes_min: u64,
}

impl Default for TimeoutOptions {
    fn default() -> Self {
        Self { answer: Duration::from_secs(30), stall: Duration::from_secs(20), rate_bytes_min: 1_024 }
    }
}

/// A backend that is not waited for in vain.
pub struct Timeout {
    inner: Arc<dyn Backend>,
    options: TimeoutOptions,
}

impl Timeout {
    /// Sets deadlines to this backend.
    pub fn new(inner: Arc<dyn Backend>, options: TimeoutOptions) -> Self {
        Self { inner, options }
    }

    fn error(&self, operation: Operation, kind: ErrorKind, message: &str) -> BackendError {
        BackendError::new(self.inner.name(), operation.as_str(), kind, message)
    }

    /// Waits for an answer. `kind` says what it means that there is none: nothing where the operation only
    /// looks, an unknown outcome where it changes something.
    async fn answer<T>(
        &self,
        operation: Operation,
        kind: ErrorKind,
        run: impl Future<Output = Result<T, BackendError>> + Send,
    ) -> Result<T, BackendError> {
        let patience = if mutation::is_on("timeout.answer") {
            Duration::from_secs(1 << 30)
        } else {
            self.options.answer
        };
        let Ok(answer) = runtime::timeout(patience, run).await else {
            return Err(self.error(operation, kind, &format!("no answer within {:?}", self.options.answer)));
        };
        answer
    }
}

/// Measures how fast bytes go while they are waited for.
#[derive(Debug, Default)]
struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Counts bytes for which somebody waited; true where they came too slowly.
    fn too_slow(&mut self, waited: Duration, bytes: u64, options: &TimeoutOptions) -> bool {
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < options.stall {
            return false;
        }
        let least = u128::from(options.rate_bytes_min) * self.waited.as_millis() / 1_000;
        let slow = u128::from(self.bytes) < least;
        *self = Self::default();
        slow
    }
}

/// How far an upload has come, as its body sees it.
#[derive(Debug)]
struct Upload {
    /// Since when the backend has what it asked for; `None` while the giver is waited for.
    backend_since: Option<Instant>,
    /// Bytes that the backend has had since it last asked for more.
    handed: u64,
    /// The whole body was taken.
    taken: bool,
    pace: Pace,
    crawls: bool,
}

impl Upload {
    /// When patience with the backend ends; `None` while it is not its turn.
    fn deadline(&self, options: &TimeoutOptions) -> Option<Instant> {
        let patience = if self.taken { options.answer } else { options.stall };
        self.backend_since.map(|since| since + patience)
    }

    /// The backend asks for more.
    fn asked(&mut self, options: &TimeoutOptions) {
        if let Some(since) = self.backend_since.take() {
            let handed = std::mem::take(&mut self.handed);
            self.crawls |= self.pace.too_slow(since.elapsed(), handed, options);
        }
    }

    /// The backend gets more, or learns that this was all.
    fn handed(&mut self, bytes: Option<u64>) {
        self.backend_since = Some(runtime::instant_now());
        match bytes {
            Some(bytes) => self.handed = bytes,
            None => self.taken = true,
        }
    }
}

type Shared = Arc<Mutex<Upload>>;

fn locked(upload: &Shared) -> MutexGuard<'_, Upload> {
    upload.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The body, telling how far it has come.
fn watched(mut given: ByteStream, length: u64, upload: Shared, options: TimeoutOptions) -> ByteStream {
    let mut taken = 0;
    Box::pin(stream::poll_fn(move |cx| {
        locked(&upload).asked(&options);
        let next = given.poll_next_unpin(cx);
        if let Poll::Ready(chunk) = &next {
            let bytes = chunk.as_ref().and_then(|chunk| chunk.as_ref().ok()).map(|chunk| chunk.len() as u64);
            taken += bytes.unwrap_or_default();
            let mut upload = locked(&upload);
            upload.handed(bytes);
            // Not every driver asks once more behind the last byte.
            upload.taken |= taken >= length;
        }
        next
    }))
}

#[async_trait]
impl Backend for Timeout {
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
        let upload = Arc::new(Mutex::new(Upload {
            backend_since: Some(runtime::instant_now()),
            handed: 0,
            taken: false,
            pace: Pace::default(),
            crawls: false,
        }));
        let stream = watched(body.stream, body.length, upload.clone(), self.options.clone());
        let put = self.inner.put(path, Body { length: body.length, stream }, options);
        let overdue = async {
            loop {
                let deadline = locked(&upload).deadline(&self.options);
                match deadline {
                    Some(deadline) if deadline <= runtime::instant_now() => return,
                    Some(deadline) => runtime::sleep_until(deadline).await,
                    // The giver's turn: looked at again before the backend's next turn can end.
                    None => runtime::sleep(self.options.stall.min(self.options.answer)).await,
                }
                if locked(&upload).crawls {
                    return;
                }
            }
        };
        // The head may have left at any time, so what is late is unknown, and nobody asks how far it came.
        tokio::select! {
            biased;
            answer = put => answer,
            () = overdue => {
                let message = if locked(&upload).taken { "no answer in time" } else { "the upload stalls" };
                Err(self.error(Operation::Put, ErrorKind::Unknown, message))
            }
        }
    }

    async fn get(&self, path: &ReplicaPath, range: Option<ByteRange>) -> Result<Download, BackendError> {
        let looked = self.answer(Operation::Get, ErrorKind::Unavailable, self.inner.get(path, range));
        let download = looked.await?;
        let slow = self.error(Operation::Get, ErrorKind::Unavailable, "the download stalls");
        let reading = Reading {
            given: download.stream,
            pace: Pace::default(),
            options: self.options.clone(),
            slow: Some(slow),
        };
        Ok(Download { stream: Box::pin(stream::unfold(reading, Reading::next)), ..download })
    }

    async fn head(&self, path: &ReplicaPath) -> Result<Stat, BackendError> {
        self.answer(Operation::Head, ErrorKind::Unavailable, self.inner.head(path)).await
    }

    async fn delete(&self, path: &ReplicaPath) -> Result<(), BackendError> {
        self.answer(Operation::Delete, ErrorKind::Unknown, self.inner.delete(path)).await
    }

    async fn delete_many(&self, paths: &[ReplicaPath]) -> Result<Vec<Deleted>, BackendError> {
        self.answer(Operation::DeleteMany, ErrorKind::Unknown, self.inner.delete_many(paths)).await
    }

    fn delete_requests(&self, paths: &[ReplicaPath]) -> u64 {
        self.inner.delete_requests(paths)
    }

    async fn list(&self, prefix: &str, cursor: Option<&str>) -> Result<ListPage, BackendError> {
        self.answer(Operation::List, ErrorKind::Unavailable, self.inner.list(prefix, cursor)).await
    }

    async fn copy(&self, from: &ReplicaPath, to: &ReplicaPath) -> Result<(), BackendError> {
        self.answer(Operation::Copy, ErrorKind::Unknown, self.inner.copy(from, to)).await
    }
}

/// A download under way.
struct Reading {
    given: ByteStream<BackendError>,
    pace: Pace,
    options: TimeoutOptions,
    /// Taken by the error that ends it.
    slow: Option<BackendError>,
}

impl Reading {
    async fn next(mut self) -> Option<(Result<bytes::Bytes, BackendError>, Self)> {
        self.slow.as_ref()?;
        let asked = runtime::instant_now();
        let chunk = match runtime::timeout(self.options.stall, self.given.next()).await {
            Ok(chunk) => chunk?,
            Err(runtime::Elapsed) => return self.give_up(),
        };
        let bytes = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        if self.pace.too_slow(asked.elapsed(), bytes, &self.options) && chunk.is_ok() {
            return self.give_up();
        }
        Some((chunk, self))
    }

    fn give_up(mut self) -> Option<(Result<bytes::Bytes, BackendError>, Self)> {
        // Lets go of the connection now, not when the reader has dealt with the error.
        self.given = Box::pin(stream::empty());
        let slow = self.slow.take()?;
        Some((Err(slow), self))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{BodyError, Fault, FaultBackend, Faults, MemoryBackend, collect, suite};

    const SECOND: Duration = Duration::from_secs(1);

    fn impatient() -> (Timeout, Arc<Faults>, Arc<MemoryBackend>) {
        let memory = Arc::new(MemoryBackend::new(BackendName::parse("m").unwrap()));
        let faults = Faults::none();
        let faulty = FaultBackend::new(memory.clone(), faults.clone());
        let options = TimeoutOptions { answer: SECOND * 30, stall: SECOND * 10, rate_bytes_min: 100 };
        (Timeout::new(Arc::new(faulty), options), faults, memory)
    }

    fn path() -> ReplicaPath {
        ReplicaPath::parse("a").unwrap()
    }

    /// A body of chunks that come one every `pause`.
    fn body(chunks: u32, chunk_bytes: u32, pause: Duration) -> Body {
        let given = stream::unfold(0, move |i| async move {
            runtime::sleep(pause).await;
            let chunk = Bytes::from(vec![1; chunk_bytes as usize]);
            (i < chunks).then_some((Ok::<_, BodyError>(chunk), i + 1))
        });
        Body { length: u64::from(chunks * chunk_bytes), stream: Box::pin(given) }
    }

    /// Puts a body; how it ended, and after how many seconds.
    async fn put(backend: &Timeout, body: Body) -> (Result<(), ErrorKind>, u64) {
        let begun = runtime::instant_now();
        let answer = backend.put(&path(), body, PutOptions::default()).await;
        (answer.map(|_| ()).map_err(|error| error.kind), begun.elapsed().as_secs())
    }

    async fn get(backend: &Timeout) -> (Result<usize, ErrorKind>, u64) {
        let begun = runtime::instant_now();
        let read = async {
            let download = backend.get(&path(), None).await?;
            Ok::<_, BackendError>(collect(download.stream, 1 << 30).await?.unwrap().len())
        };
        (read.await.map_err(|error| error.kind), begun.elapsed().as_secs())
    }

    #[tokio::test]
    async fn passes_the_suite() {
        suite::run_all(async |_: &str| Arc::new(impatient().0) as Arc<dyn Backend>).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_has_a_deadline() {
        let (backend, faults, _) = impatient();
        for operation in [Operation::Get, Operation::Head, Operation::List] {
            faults.always(operation, Fault::Stall);
        }
        for operation in [Operation::Delete, Operation::DeleteMany, Operation::Copy] {
            faults.always(operation, Fault::Stall);
        }
        let begun = runtime::instant_now();
        let kinds = [
            backend.get(&path(), None).await.unwrap_err().kind,
            backend.head(&path()).await.unwrap_err().kind,
            backend.list("", None).await.unwrap_err().kind,
            backend.delete(&path()).await.unwrap_err().kind,
            backend.delete_many(&[path()]).await.unwrap_err().kind,
            backend.copy(&path(), &path()).await.unwrap_err().kind,
        ];
        let (looks, changes) = ([ErrorKind::Unavailable; 3], [ErrorKind::Unknown; 3]);
        assert_eq!(kinds, [looks, changes].concat()[..]);
        assert_eq!(begun.elapsed().as_secs(), 6 * 30);
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_stalls_is_unknown() {
        let (backend, faults, memory) = impatient();
        faults.script(Operation::Put, [Fault::Stall]);
        assert_eq!(put(&backend, body(3, 10, SECOND)).await, (Err(ErrorKind::Unknown), 10));
        assert_eq!(memory.bytes_stored(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_takes_bytes_too_slowly_is_given_up() {
        let (backend, faults, _) = impatient();
        // 50 bytes every 5 seconds: never a stall, but 10 bytes a second.
        faults.script(Operation::Put, [Fault::Slow(SECOND * 5)]);
        let (answer, seconds) = put(&backend, body(100, 50, Duration::ZERO)).await;
        assert_eq!(answer, Err(ErrorKind::Unknown));
        assert!((10..30).contains(&seconds), "{seconds} seconds");
        // 1,000 bytes every 5 seconds are enough.
        faults.script(Operation::Put, [Fault::Slow(SECOND * 5)]);
        assert_eq!(put(&backend, body(10, 1_000, Duration::ZERO)).await, (Ok(()), 55));
    }

    #[tokio::test(start_paused = true)]
    async fn n46_a_giver_may_be_as_slow_as_it_likes() {
        let (backend, _, memory) = impatient();
        assert_eq!(put(&backend, body(3, 1, SECOND * 3_600)).await, (Ok(()), 4 * 3_600));
        assert_eq!(memory.bytes_stored(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_has_all_and_says_nothing_is_unknown() {
        let (backend, faults, _) = impatient();
        faults.script(Operation::Put, [Fault::StallAtChunk(3)]);
        assert_eq!(put(&backend, body(3, 10, Duration::ZERO)).await, (Err(ErrorKind::Unknown), 30));
    }

    #[tokio::test(start_paused = true)]
    async fn a_download_that_stalls_or_crawls_ends_in_an_error() {
        let (backend, faults, _) = impatient();
        // Chunks of a download from memory have 256 KiB.
        put(&backend, body(1, 1 << 20, Duration::ZERO)).await.0.unwrap();
        faults.script(
            Operation::Get,
            [Fault::StallAtChunk(2), Fault::Slow(SECOND * 9), Fault::Slow(SECOND * 11)],
        );
        assert_eq!(get(&backend).await, (Err(ErrorKind::Unavailable), 10));
        assert_eq!(get(&backend).await, (Ok(1 << 20), 45));
        assert_eq!(get(&backend).await, (Err(ErrorKind::Unavailable), 10));
        let (mut crawl, faults, _) = impatient();
        crawl.options.rate_bytes_min = 1 << 20;
        put(&crawl, body(1, 1 << 20, Duration::ZERO)).await.0.unwrap();
        faults.script(Operation::Get, [Fault::Slow(SECOND * 6)]);
        assert_eq!(get(&crawl).await, (Err(ErrorKind::Unavailable), 12));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_may_be_as_slow_as_it_likes() {
        let (backend, ..) = impatient();
        put(&backend, body(1, 1 << 20, Duration::ZERO)).await.0.unwrap();
        let mut download = backend.get(&path(), None).await.unwrap();
        while let Some(chunk) = download.stream.next().await {
            chunk.unwrap();
            runtime::sleep(SECOND * 3_600).await;
        }
    }
}
