//! Retries: of everything but a put, and only as the kind of the error allows.
//!
//! A put is never repeated: its path gets one. A download is repeated only up to its answer; what breaks
//! later is the reader's to take elsewhere, at the same offset.

#![warn(clippy::missing_trait_methods)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use runtime::Chance;
use types::{BackendName, ByteRange, ReplicaPath};

use crate::{
    Backend, BackendError, Body, Deleted, Download, ListPage, Profile, PutOptions, PutReceipt, Reaction, Stat,
};

/// How often and how long.
#[derive(Debug, Clone)]
pub struct RetryOptions {
    /// Attempts in all.
    pub attempts_max: u32,
    /// Longest wait before the second attempt; doubles with each further one.
    pub wait_first: Duration,
    /// Longest wait before any attempt.
    pub wait_max: Duration,
    /// Longest wait that a backend may ask for. Where it asks for more, the error is passed on at once.
    pub retry_after_max: Duration,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            attempts_max: 3,
            wait_first: Duration::from_millis(100),
            wait_max: Duration::from_secs(2),
            retry_after_max: Duration::from_secs(5),
        }
    }
}

/// A backend whose failures are sometimes not the last word.
pub struct Retry {
    inner: Arc<dyn Backend>,
    options: RetryOptions,
    chance: Chance,
}

impl Retry {
    /// Repeats what fails at this backend.
    pub fn new(inner: Arc<dyn Backend>, options: RetryOptions, chance: Chance) -> Self {
        Self { inner, options, chance }
    }

    fn attempts(&self) -> Attempts<'_> {
        Attempts { retry: self, made: 1 }
    }
}

/// The attempts at one operation.
struct Attempts<'a> {
    retry: &'a Retry,
    made: u32,
}

impl Attempts<'_> {
    /// Waits until the next attempt is due.
    ///
    /// # Errors
    /// The attempt's own, where it was the last.
    async fn again(&mut self, error: BackendError) -> Result<(), BackendError> {
        let Some(wait) = self.wait_after(&error) else { return Err(error) };
        tracing::debug!(backend.name = %error.backend, %error, wait_ms = wait.as_millis(), "trying again");
        self.made += 1;
        runtime::sleep(wait).await;
        Ok(())
    }

    /// How long to wait after this error; `None` where there is no next attempt.
    fn wait_after(&self, error: &BackendError) -> Option<Duration> {
        let Retry { options, chance, .. } = self.retry;
        let Reaction::RetryAfter(asked) = error.kind.reaction() else { return None };
        if self.made >= options.attempts_max || asked.is_some_and(|asked| asked > options.retry_after_max) {
            return None;
        }
        let doubled = options.wait_first.saturating_mul(2_u32.saturating_pow(self.made - 1));
        let longest = u64::try_from(doubled.min(options.wait_max).as_micros()).unwrap_or(u64::MAX);
        // Spread over the upper half, so that those who failed together do not return together.
        let wait = Duration::from_micros(longest / 2 + chance.below(longest / 2 + 1));
        Some(asked.unwrap_or_default().max(wait))
    }
}

/// Runs an expression until it succeeds or its error is final.
macro_rules! repeat {
    ($self:ident, $attempt:expr) => {{
        let mut attempts = $self.attempts();
        loop {
            match $attempt.await {
                Ok(answer) => return Ok(answer),
                Err(error) => attempts.again(error).await?,
            }
        }
    }};
}

#[async_trait]
impl Backend for Retry {
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
        self.inner.put(path, body, options).await
    }

    async fn get(&self, path: &ReplicaPath, range: Option<ByteRange>) -> Result<Download, BackendError> {
        repeat!(self, self.inner.get(path, range))
    }

    async fn head(&self, path: &ReplicaPath) -> Result<Stat, BackendError> {
        repeat!(self, self.inner.head(path))
    }

    async fn delete(&self, path: &ReplicaPath) -> Result<(), BackendError> {
        repeat!(self, self.inner.delete(path))
    }

    /// Repeats what failed whole; which single ones failed is the caller's to see.
    async fn delete_many(&self, paths: &[ReplicaPath]) -> Result<Vec<Deleted>, BackendError> {
        repeat!(self, self.inner.delete_many(paths))
    }

    fn delete_requests(&self, paths: &[ReplicaPath]) -> u64 {
        self.inner.delete_requests(paths)
    }

    async fn list(&self, prefix: &str, cursor: Option<&str>) -> Result<ListPage, BackendError> {
        repeat!(self, self.inner.list(prefix, cursor))
    }

    async fn copy(&self, from: &ReplicaPath, to: &ReplicaPath) -> Result<(), BackendError> {
        repeat!(self, self.inner.copy(from, to))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{ErrorKind, Fault, FaultBackend, Faults, MemoryBackend, Operation, collect, suite};

    const UNAVAILABLE: Fault = Fault::Refuse(ErrorKind::Unavailable);

    fn retrying() -> (Retry, Arc<Faults>) {
        let memory = MemoryBackend::new(BackendName::parse("m").unwrap());
        let faults = Faults::none();
        let faulty = FaultBackend::new(Arc::new(memory), faults.clone());
        (Retry::new(Arc::new(faulty), RetryOptions::default(), Chance::seeded(1)), faults)
    }

    fn path() -> ReplicaPath {
        ReplicaPath::parse("a").unwrap()
    }

    async fn put(backend: &Retry) -> Result<PutReceipt, BackendError> {
        backend.put(&path(), Body::from_bytes(Bytes::from_static(b"abc")), PutOptions::default()).await
    }

    /// Runs one operation; how it ended.
    async fn run(backend: &Retry, operation: Operation) -> Result<(), ErrorKind> {
        let other = ReplicaPath::parse("b").unwrap();
        let answer = match operation {
            Operation::Put => put(backend).await.map(|_| ()),
            Operation::Get => backend.get(&path(), None).await.map(|_| ()),
            Operation::Head => backend.head(&path()).await.map(|_| ()),
            Operation::Delete => backend.delete(&path()).await,
            Operation::DeleteMany => backend.delete_many(&[path()]).await.map(|_| ()),
            Operation::List => backend.list("", None).await.map(|_| ()),
            Operation::Copy => backend.copy(&path(), &other).await,
        };
        answer.map_err(|error| error.kind)
    }

    #[tokio::test]
    async fn passes_the_suite() {
        suite::run_all(async |_: &str| Arc::new(retrying().0) as Arc<dyn Backend>).await;
    }

    #[tokio::test(start_paused = true)]
    async fn everything_but_a_put_is_tried_again_and_not_for_ever() {
        for operation in Operation::ALL {
            let (backend, faults) = retrying();
            put(&backend).await.unwrap();
            faults.script(operation, [UNAVAILABLE; 2]);
            let expected = if operation == Operation::Put { Err(ErrorKind::Unavailable) } else { Ok(()) };
            assert_eq!(run(&backend, operation).await, expected, "{operation:?}");
            faults.clear();
            faults.always(operation, UNAVAILABLE);
            let before = faults.injected_total();
            assert_eq!(run(&backend, operation).await, Err(ErrorKind::Unavailable), "{operation:?}");
            let attempts = if operation == Operation::Put { 1 } else { 3 };
            assert_eq!(faults.injected_total() - before, attempts, "{operation:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_kind_of_the_error_decides() {
        for (kind, attempts) in [
            (ErrorKind::NotFound, 1),
            (ErrorKind::Denied, 1),
            (ErrorKind::OutOfSpace, 1),
            (ErrorKind::Unknown, 1),
            (ErrorKind::BadBody, 1),
            (ErrorKind::Unsupported, 1),
            (ErrorKind::Corrupt, 3),
            (ErrorKind::Throttled { retry_after: None }, 3),
            (ErrorKind::Throttled { retry_after: Some(Duration::from_secs(5)) }, 3),
            (ErrorKind::Throttled { retry_after: Some(Duration::from_secs(6)) }, 1),
        ] {
            let (backend, faults) = retrying();
            faults.always(Operation::Delete, Fault::Refuse(kind));
            assert_eq!(run(&backend, Operation::Delete).await, Err(kind));
            assert_eq!(faults.injected_total(), attempts, "{kind:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waits_double_have_a_bound_and_respect_what_was_asked_for() {
        let wait = async |faults: &[Fault]| {
            let (mut backend, plan) = retrying();
            backend.options.attempts_max = 10;
            plan.script(Operation::List, faults.iter().copied());
            let begun = runtime::instant_now();
            run(&backend, Operation::List).await.unwrap();
            begun.elapsed().as_millis()
        };
        let one = wait(&[UNAVAILABLE]).await;
        assert!((50..=101).contains(&one), "{one} ms");
        let two = wait(&[UNAVAILABLE; 2]).await;
        assert!((150..=302).contains(&two), "{two} ms");
        let eight = wait(&[UNAVAILABLE; 8]).await;
        // 100 + 200 + 400 + 800 + 1600, then 2000 each; half of it at least.
        assert!((4_550..=9_110).contains(&eight), "{eight} ms");
        let asked = ErrorKind::Throttled { retry_after: Some(Duration::from_secs(4)) };
        let asked = wait(&[Fault::Refuse(asked)]).await;
        assert!((4_000..4_010).contains(&asked), "{asked} ms");
    }

    #[tokio::test]
    async fn a_download_that_has_begun_is_not_begun_again() {
        let (backend, faults) = retrying();
        put(&backend).await.unwrap();
        faults.script(Operation::Get, [Fault::Truncate { at: 1 }]);
        let download = backend.get(&path(), None).await.unwrap();
        assert_eq!(collect(download.stream, 100).await.unwrap_err().kind, ErrorKind::Corrupt);
        assert_eq!(faults.injected_total(), 1);
    }
}
