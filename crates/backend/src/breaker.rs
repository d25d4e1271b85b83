//! The circuit breaker: a backend that fails again and again is left alone for a while.
//!
//! It is the outermost decorator. What it sees is what is left after retries and deadlines, so a refusal of
//! its own is never repeated, and an operation counts once however many attempts it took. Only what tells of
//! the backend as a whole counts ([`ErrorKind::verdict`]): not what a client did, nor what befell one object,
//! nor an operation that its caller gave up.

#![warn(clippy::missing_trait_methods)]

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use runtime::{Breaker, Permit};
use types::{BackendName, ByteRange, ReplicaPath};

use crate::{
    Backend, BackendError, Body, ByteStream, Deleted, Download, ErrorKind, ListPage, Operation, Profile,
    PutOptions, PutReceipt, Stat, Verdict,
};

/// A backend that is left alone while it is gone.
pub struct CircuitBreaker {
    inner: Arc<dyn Backend>,
    breaker: Arc<Breaker>,
}

impl CircuitBreaker {
    /// Puts a breaker in front of this backend.
    pub fn new(inner: Arc<dyn Backend>, breaker: Arc<Breaker>) -> Self {
        Self { inner, breaker }
    }

    fn admit(&self, operation: Operation) -> Result<Permit, BackendError> {
        self.breaker.admit().map_err(|refused| {
            let message = format!("it failed again and again and is left alone for {:?}", refused.again_in);
            // Nothing was sent: whoever asked may turn to another backend.
            BackendError::new(self.inner.name(), operation.as_str(), ErrorKind::Unavailable, message)
        })
    }

    async fn run<T>(
        &self,
        operation: Operation,
        run: impl Future<Output = Result<T, BackendError>> + Send,
    ) -> Result<T, BackendError> {
        let permit = self.admit(operation)?;
        let answer = run.await;
        judge(permit, answer.as_ref().map_or_else(|error| error.kind.verdict(), |_| Verdict::Answered));
        answer
    }
}

fn judge(permit: Permit, verdict: Verdict) {
    match verdict {
        Verdict::Answered => permit.succeeded(),
        Verdict::Failed => permit.failed(),
        Verdict::Nothing => {}
    }
}

#[async_trait]
impl Backend for CircuitBreaker {
    fn name(&self) -> &BackendName {
        self.inner.name()
    }

    fn profile(&self) -> Profile {
        self.inner.profile()
    }

    fn breaker(&self) -> Option<&Arc<Breaker>> {
        Some(&self.breaker)
    }

    fn delete_requests(&self, paths: &[ReplicaPath]) -> u64 {
        self.inner.delete_requests(paths)
    }

    async fn put(
        &self,
        path: &ReplicaPath,
        body: Body,
        options: PutOptions,
    ) -> Result<PutReceipt, BackendError> {
        self.run(Operation::Put, self.inner.put(path, body, options)).await
    }

    /// The verdict is given by the body's end: a backend whose every download breaks off is not well.
    async fn get(&self, path: &ReplicaPath, range: Option<ByteRange>) -> Result<Download, BackendError> {
        let permit = self.admit(Operation::Get)?;
        match self.inner.get(path, range).await {
            Ok(download) if download.length == 0 => {
                permit.succeeded();
                Ok(download)
            }
            Ok(Download { length, total, stream }) => {
                let judged = Judged { given: stream, left: length, permit: Some(permit) };
                Ok(Download { length, total, stream: Box::pin(judged) })
            }
            Err(error) => {
                judge(permit, error.kind.verdict());
                Err(error)
            }
        }
    }

    async fn head(&self, path: &ReplicaPath) -> Result<Stat, BackendError> {
        self.run(Operation::Head, self.inner.head(path)).await
    }

    async fn delete(&self, path: &ReplicaPath) -> Result<(), BackendError> {
        self.run(Operation::Delete, self.inner.delete(path)).await
    }

    /// Where every single delete failed, the backend did.
    async fn delete_many(&self, paths: &[ReplicaPath]) -> Result<Vec<Deleted>, BackendError> {
        let permit = self.admit(Operation::DeleteMany)?;
        let answer = self.inner.delete_many(paths).await;
        judge(
            permit,
            match &answer {
                Ok(deleted) => verdict_of_many(deleted),
                Err(error) => error.kind.verdict(),
            },
        );
        answer
    }

    async fn list(&self, prefix: &str, cursor: Option<&str>) -> Result<ListPage, BackendError> {
        self.run(Operation::List, self.inner.list(prefix, cursor)).await
    }

    async fn copy(&self, from: &ReplicaPath, to: &ReplicaPath) -> Result<(), BackendError> {
        self.run(Operation::Copy, self.inner.copy(from, to)).await
    }
}

fn verdict_of_many(deleted: &[Deleted]) -> Verdict {
    let verdict =
        |one: &Deleted| one.as_ref().map_or_else(|error| error.kind.verdict(), |()| Verdict::Answered);
    let verdicts: Vec<Verdict> = deleted.iter().map(verdict).collect();
    if verdicts.is_empty() || verdicts.contains(&Verdict::Answered) {
        Verdict::Answered
    } else if verdicts.contains(&Verdict::Failed) {
        Verdict::Failed
    } else {
        Verdict::Nothing
    }
}

/// A download whose end is the verdict. One that its reader leaves has none.
struct Judged {
    given: ByteStream<BackendError>,
    left: u64,
    /// Until the verdict is given: a download has one at most.
    permit: Option<Permit>,
}

impl Stream for Judged {
    type Item = Result<Bytes, BackendError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.given.as_mut().poll_next(cx);
        match &polled {
            Poll::Ready(Some(Ok(chunk))) => {
                self.left = self.left.saturating_sub(chunk.len() as u64);
                // Nobody asks again behind the last byte. A probe shows by its first bytes that the backend is
                // back: all others wait for it.
                let shown = self.left == 0 || self.permit.as_ref().is_some_and(Permit::is_probe);
                if shown && let Some(permit) = self.permit.take() {
                    permit.succeeded();
                }
            }
            Poll::Ready(Some(Err(error))) => {
                if let Some(permit) = self.permit.take() {
                    match error.kind {
                        // Our limit ended it, not the backend.
                        ErrorKind::LimitReached { .. } => judge(permit, error.kind.verdict()),
                        // Whatever it is called: what began well and broke off is the backend's fault.
                        _ => permit.failed(),
                    }
                }
            }
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.given.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::StreamExt;
    use runtime::{BreakerOptions, BreakerState, Chance, Unwatched};

    use super::*;
    use crate::{BodyError, Fault, FaultBackend, Faults, MemoryBackend, collect, suite};

    const OPEN_FOR: Duration = Duration::from_secs(100);

    fn guarded(failures_max: u32) -> (CircuitBreaker, Arc<Faults>) {
        let memory = MemoryBackend::new(BackendName::parse("m").unwrap());
        let faults = Faults::none();
        let faulty = FaultBackend::new(Arc::new(memory), faults.clone());
        let options = BreakerOptions { failures_max, open_for: OPEN_FOR, ..BreakerOptions::default() };
        let breaker = Breaker::new("m", options, Chance::seeded(1), Arc::new(Unwatched));
        (CircuitBreaker::new(Arc::new(faulty), breaker), faults)
    }

    fn path() -> ReplicaPath {
        ReplicaPath::parse("a").unwrap()
    }

    async fn put(backend: &CircuitBreaker, size: usize) -> Result<PutReceipt, BackendError> {
        let body = Body::from_bytes(Bytes::from(vec![7; size]));
        backend.put(&path(), body, PutOptions::default()).await
    }

    async fn get(backend: &CircuitBreaker) -> Result<usize, BackendError> {
        let download = backend.get(&path(), None).await?;
        Ok(collect(download.stream, 1 << 30).await?.unwrap().len())
    }

    /// Runs one operation; how it ended.
    async fn run(backend: &CircuitBreaker, operation: Operation) -> Result<(), ErrorKind> {
        let answer = match operation {
            Operation::Put => put(backend, 10).await.map(|_| ()),
            Operation::Get => get(backend).await.map(|_| ()),
            Operation::Head => backend.head(&path()).await.map(|_| ()),
            Operation::Delete => backend.delete(&path()).await,
            Operation::DeleteMany => backend.delete_many(&[path()]).await.map(|_| ()),
            Operation::List => backend.list("", None).await.map(|_| ()),
            Operation::Copy => backend.copy(&path(), &ReplicaPath::parse("b").unwrap()).await,
        };
        answer.map_err(|error| error.kind)
    }

    #[tokio::test]
    async fn passes_the_suite() {
        suite::run_all(async |_: &str| Arc::new(guarded(1).0) as Arc<dyn Backend>).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_tells_of_the_whole_backend_opens_it_and_nothing_else() {
        let throttled = ErrorKind::Throttled { retry_after: None };
        for (kind, opens) in [
            (ErrorKind::Unavailable, true),
            (ErrorKind::Unknown, true),
            (ErrorKind::Denied, true),
            (throttled, true),
            (ErrorKind::LimitReached { resets_at: types::Timestamp::from_millis(1) }, false),
            (ErrorKind::NotFound, false),
            (ErrorKind::OutOfSpace, false),
            (ErrorKind::BadBody, false),
            (ErrorKind::Corrupt, false),
            (ErrorKind::Unsupported, false),
            (ErrorKind::Refused, false),
        ] {
            for operation in Operation::ALL {
                let (backend, faults) = guarded(3);
                put(&backend, 10).await.unwrap();
                faults.always(operation, Fault::Refuse(kind));
                for _ in 0..10 {
                    run(&backend, operation).await.unwrap_err();
                }
                let expected = if opens { BreakerState::Open } else { BreakerState::Closed };
                assert_eq!(backend.breaker.state(), expected, "{operation:?} {kind:?}");
                assert_eq!(faults.injected_total(), if opens { 3 } else { 10 }, "{operation:?} {kind:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn open_it_refuses_at_once_and_one_request_finds_out() {
        let (backend, faults) = guarded(1);
        put(&backend, 10).await.unwrap();
        faults.always(Operation::Head, Fault::Refuse(ErrorKind::Unavailable));
        run(&backend, Operation::Head).await.unwrap_err();
        let refused = backend.list("", None).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Unavailable);
        assert!(refused.message.contains("left alone"), "{refused}");
        runtime::sleep(OPEN_FOR * 5 / 4).await;
        faults.script(Operation::List, [Fault::Slow(Duration::from_secs(1))]);
        // Ten at once: one is let through, and it closes the breaker.
        let all = futures::future::join_all((0..10).map(|_| backend.list("", None))).await;
        assert_eq!(all.iter().filter(|answer| answer.is_ok()).count(), 1);
        assert_eq!(backend.breaker.state(), BreakerState::Closed);
        assert_eq!(get(&backend).await.unwrap(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_download_that_breaks_off_counts_once() {
        for fault in [Fault::Truncate { at: 300_000 }, Fault::BreakAtChunk(1)] {
            let (backend, faults) = guarded(2);
            put(&backend, 1 << 20).await.unwrap();
            faults.always(Operation::Get, fault);
            get(&backend).await.unwrap_err();
            assert_eq!(backend.breaker.state(), BreakerState::Closed, "{fault:?} counts once");
            get(&backend).await.unwrap_err();
            assert_eq!(backend.breaker.state(), BreakerState::Open, "the head alone is no success");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_download_that_our_limit_ends_does_not_count() {
        let (backend, _) = guarded(1);
        let ends = |kind| {
            let error = BackendError::new(backend.name(), "get", kind, "in the midst");
            let given = Box::pin(futures::stream::iter([Ok(Bytes::from_static(b"123")), Err(error)]));
            Judged { given, left: 10, permit: Some(backend.admit(Operation::Get).unwrap()) }
        };
        let resets_at = types::Timestamp::from_millis(1);
        assert_eq!(ends(ErrorKind::LimitReached { resets_at }).count().await, 2);
        assert_eq!(backend.breaker.state(), BreakerState::Closed);
        assert_eq!(ends(ErrorKind::Refused).count().await, 2);
        assert_eq!(backend.breaker.state(), BreakerState::Open);
    }

    /// N79: bad ranges, bad bodies and clients that leave.
    #[tokio::test(start_paused = true)]
    async fn n79_clients_cannot_open_it() {
        let (backend, faults) = guarded(1);
        put(&backend, 1 << 20).await.unwrap();
        for _ in 0..1_000 {
            let chunks = [Ok(Bytes::from_static(b"123")), Err(BodyError("the client left".to_owned()))];
            let body = Body { length: 10, stream: Box::pin(futures::stream::iter(chunks)) };
            backend.put(&path(), body, PutOptions::default()).await.unwrap_err();
            let mut download = backend.get(&path(), None).await.unwrap();
            download.stream.next().await.unwrap().unwrap();
            drop(download);
            backend.get(&path(), Some(ByteRange::new(2 << 20, 5))).await.unwrap_err();
            backend.get(&ReplicaPath::parse("absent").unwrap(), None).await.unwrap_err();
        }
        faults.always(Operation::Head, Fault::Stall);
        for _ in 0..100 {
            runtime::timeout(Duration::from_millis(1), backend.head(&path())).await.unwrap_err();
        }
        assert_eq!(backend.breaker.state(), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_download_that_finds_out_lets_the_others_go_on() {
        let (backend, faults) = guarded(1);
        put(&backend, 1 << 20).await.unwrap();
        faults.script(Operation::List, [Fault::Refuse(ErrorKind::Unavailable)]);
        run(&backend, Operation::List).await.unwrap_err();
        runtime::sleep(OPEN_FOR * 5 / 4).await;
        let mut download = backend.get(&path(), None).await.unwrap();
        run(&backend, Operation::List).await.unwrap_err();
        download.stream.next().await.unwrap().unwrap();
        run(&backend, Operation::List).await.unwrap();
    }

    #[tokio::test]
    async fn many_deletes_fail_where_all_of_them_do() {
        let error = |kind| BackendError::new(&BackendName::parse("m").unwrap(), "delete", kind, "");
        let (failed, object) = (|| Err(error(ErrorKind::Unavailable)), || Err(error(ErrorKind::Refused)));
        assert_eq!(verdict_of_many(&[]), Verdict::Answered);
        assert_eq!(verdict_of_many(&[failed(), Ok(())]), Verdict::Answered);
        assert_eq!(verdict_of_many(&[failed(), object()]), Verdict::Failed);
        assert_eq!(verdict_of_many(&[object(), object()]), Verdict::Nothing);
    }
}
