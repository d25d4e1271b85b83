//! Faults on purpose: what networks, disks and providers do on bad days, at the wish of a test.
//!
//! A plan is a script (the next get does this), a habit (every put does that) or chance (seeded). It is
//! shared with the test, which counts what was injected.

#![warn(clippy::missing_trait_methods)]

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use runtime::Chance;
use types::{BackendName, ByteRange, ReplicaPath};

use crate::{
    Backend, BackendError, Body, BodyError, ByteStream, Deleted, Download, ErrorKind, ListPage, Operation,
    Profile, PutOptions, PutReceipt, Stat,
};

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Fails in this way before it had any effect: `Unavailable`, `Throttled`, `OutOfSpace`, ...; `Corrupt`
    /// stands for a store that answered another range.
    Refuse(ErrorKind),
    /// Has its effect, but the answer is lost.
    AnswerLost,
    /// A put: takes the body, the answer is lost, and the bytes appear this much later.
    LateArrival(Duration),
    /// Never answers. A put takes no byte.
    Stall,
    /// An answer comes this much later; so does each chunk of a body.
    Slow(Duration),
    /// A put or get breaks off before this chunk of its body (the first is 0).
    BreakAtChunk(usize),
    /// A put or get stalls before this chunk of its body.
    StallAtChunk(usize),
    /// A download ends after this many bytes.
    Truncate {
        /// Bytes that still come.
        at: u64,
    },
    /// A download has one wrong bit in this byte; in its last byte, where it is shorter.
    FlipBit {
        /// Which byte of the answer.
        at: u64,
    },
}

impl Fault {
    /// The name by which it is counted.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuse(kind) => kind.as_str(),
            Self::AnswerLost => "answer_lost",
            Self::LateArrival(_) => "late_arrival",
            Self::Stall => "stall",
            Self::Slow(_) => "slow",
            Self::BreakAtChunk(_) => "break_at_chunk",
            Self::StallAtChunk(_) => "stall_at_chunk",
            Self::Truncate { .. } => "truncate",
            Self::FlipBit { .. } => "flip_bit",
        }
    }

    fn suits(self, operation: Operation) -> bool {
        match self {
            Self::Refuse(_) | Self::AnswerLost | Self::Stall | Self::Slow(_) => true,
            Self::LateArrival(_) => operation == Operation::Put,
            Self::BreakAtChunk(_) | Self::StallAtChunk(_) => {
                matches!(operation, Operation::Put | Operation::Get)
            }
            Self::Truncate { .. } | Self::FlipBit { .. } => operation == Operation::Get,
        }
    }
}

/// A plan of faults, shared between a test and the backends that it torments.
#[derive(Debug)]
pub struct Faults {
    plan: Mutex<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    script: HashMap<Operation, VecDeque<Fault>>,
    habits: HashMap<Operation, Fault>,
    odds: Vec<(Operation, Fault, f64)>,
    chance: Option<Chance>,
    injected: HashMap<(Operation, &'static str), u64>,
    late: u64,
}

impl Faults {
    /// A plan in which nothing goes wrong yet.
    #[must_use]
    pub fn none() -> Arc<Self> {
        Arc::new(Self { plan: Mutex::default() })
    }

    /// The next operations of this sort do these, in turn.
    ///
    /// # Panics
    /// Where such a fault cannot befall such an operation.
    pub fn script(&self, operation: Operation, faults: impl IntoIterator<Item = Fault>) {
        let faults: Vec<_> = faults.into_iter().inspect(|fault| expect_suits(*fault, operation)).collect();
        self.plan().script.entry(operation).or_default().extend(faults);
    }

    /// Every operation of this sort does this from now on, after what is scripted.
    ///
    /// # Panics
    /// As [`Faults::script`].
    pub fn always(&self, operation: Operation, fault: Fault) {
        expect_suits(fault, operation);
        self.plan().habits.insert(operation, fault);
    }

    /// Each operation does these with their probabilities, decided by the given chance.
    ///
    /// # Panics
    /// As [`Faults::script`].
    pub fn at_random(&self, chance: Chance, odds: impl IntoIterator<Item = (Operation, Fault, f64)>) {
        let odds: Vec<_> =
            odds.into_iter().inspect(|(operation, fault, _)| expect_suits(*fault, *operation)).collect();
        let mut plan = self.plan();
        plan.chance = Some(chance);
        plan.odds = odds;
    }

    /// From now on nothing goes wrong. What is late still arrives.
    pub fn clear(&self) {
        let mut plan = self.plan();
        plan.script.clear();
        plan.habits.clear();
        plan.odds.clear();
    }

    /// How many faults of this name (see [`Fault::as_str`]) befell operations of this sort.
    #[must_use]
    pub fn injected(&self, operation: Operation, fault: &str) -> u64 {
        let plan = self.plan();
        let counts = plan.injected.iter().filter(|((at, name), _)| *at == operation && *name == fault);
        counts.map(|(_, count)| count).sum()
    }

    /// How many faults there were in all.
    #[must_use]
    pub fn injected_total(&self) -> u64 {
        self.plan().injected.values().sum()
    }

    /// Bodies that are still to arrive late.
    #[must_use]
    pub fn late_arrivals_pending(&self) -> u64 {
        self.plan().late
    }

    fn draw(&self, operation: Operation) -> Option<Fault> {
        let mut plan = self.plan();
        let scripted = plan.script.get_mut(&operation).and_then(VecDeque::pop_front);
        let fault =
            scripted.or_else(|| plan.habits.get(&operation).copied()).or_else(|| plan.roll(operation))?;
        *plan.injected.entry((operation, fault.as_str())).or_default() += 1;
        Some(fault)
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plan {
    fn roll(&self, operation: Operation) -> Option<Fault> {
        let chance = self.chance.as_ref()?;
        let mut odds = self.odds.iter().filter(|(at, ..)| *at == operation);
        odds.find(|(.., probability)| chance.happens(*probability)).map(|(_, fault, _)| *fault)
    }
}

fn expect_suits(fault: Fault, operation: Operation) {
    assert!(fault.suits(operation), "{fault:?} cannot befall a {}", operation.as_str());
}

/// A backend on which things go wrong as planned.
pub struct FaultBackend {
    inner: Arc<dyn Backend>,
    faults: Arc<Faults>,
}

impl FaultBackend {
    /// Torments this backend by this plan.
    pub fn new(inner: Arc<dyn Backend>, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }

    fn error(&self, operation: Operation, kind: ErrorKind) -> BackendError {
        BackendError::new(self.inner.name(), operation.as_str(), kind, "injected fault")
    }

    /// Lets an operation without a body run, with what goes wrong.
    async fn around<T>(
        &self,
        operation: Operation,
        run: impl Future<Output = Result<T, BackendError>> + Send,
    ) -> Result<T, BackendError> {
        match self.faults.draw(operation) {
            Some(Fault::Refuse(kind)) => return Err(self.error(operation, kind)),
            Some(Fault::AnswerLost) => {
                run.await?;
                return Err(self.error(operation, ErrorKind::Unknown));
            }
            Some(Fault::Stall) => std::future::pending().await,
            Some(Fault::Slow(wait)) => runtime::sleep(wait).await,
            _ => {}
        }
        run.await
    }

    /// Takes the body and forgets to say so; the bytes appear in a while.
    async fn put_late(
        &self,
        path: &ReplicaPath,
        body: Body,
        options: PutOptions,
        wait: Duration,
    ) -> Result<PutReceipt, BackendError> {
        let bad = |error: BodyError| {
            BackendError::new(self.inner.name(), "put", ErrorKind::BadBody, error.to_string())
        };
        let length = body.length;
        let mut stream = body.stream;
        let mut bytes = BytesMut::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(bad)?);
        }
        if bytes.len() as u64 != length {
            return Err(bad(BodyError(format!("{} bytes came, {length} were announced", bytes.len()))));
        }
        self.faults.plan().late += 1;
        let (inner, faults, path) = (self.inner.clone(), self.faults.clone(), path.clone());
        let arrive = async move {
            runtime::sleep(wait).await;
            if let Err(error) = inner.put(&path, Body::from_bytes(bytes.freeze()), options).await {
                tracing::debug!(%error, "what was late did not arrive");
            }
            faults.plan().late -= 1;
        };
        runtime::spawn(arrive).detach();
        Err(self.error(Operation::Put, ErrorKind::Unknown))
    }
}

#[async_trait]
impl Backend for FaultBackend {
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
        mut body: Body,
        options: PutOptions,
    ) -> Result<PutReceipt, BackendError> {
        let fault = self.faults.draw(Operation::Put);
        match fault {
            Some(Fault::Refuse(kind)) => return Err(self.error(Operation::Put, kind)),
            Some(Fault::LateArrival(wait)) => return self.put_late(path, body, options, wait).await,
            Some(Fault::Stall) => std::future::pending().await,
            Some(Fault::Slow(wait)) => body.stream = slowed(body.stream, wait),
            Some(Fault::StallAtChunk(chunk)) => {
                body.stream = Box::pin(body.stream.take(chunk).chain(stream::pending()));
            }
            Some(Fault::BreakAtChunk(chunk)) => {
                let broken = Err(BodyError("injected fault".to_owned()));
                body.stream = Box::pin(body.stream.take(chunk).chain(stream::iter([broken])));
            }
            _ => {}
        }
        let answer = self.inner.put(path, body, options).await;
        // A connection that broke leaves nothing, but we who sent cannot know that.
        let lost = matches!(fault, Some(Fault::AnswerLost | Fault::BreakAtChunk(_)));
        if lost { Err(self.error(Operation::Put, ErrorKind::Unknown)) } else { answer }
    }

    async fn get(&self, path: &ReplicaPath, range: Option<ByteRange>) -> Result<Download, BackendError> {
        let fault = self.faults.draw(Operation::Get);
        match fault {
            Some(Fault::Refuse(kind)) => return Err(self.error(Operation::Get, kind)),
            Some(Fault::AnswerLost) => return Err(self.error(Operation::Get, ErrorKind::Unavailable)),
            Some(Fault::Stall) => std::future::pending().await,
            _ => {}
        }
        let mut download = self.inner.get(path, range).await?;
        let failure = |kind| stream::iter([Err(self.error(Operation::Get, kind))]);
        let given = download.stream;
        download.stream = match fault {
            Some(Fault::Slow(wait)) => slowed(given, wait),
            Some(Fault::StallAtChunk(chunk)) => Box::pin(given.take(chunk).chain(stream::pending())),
            Some(Fault::BreakAtChunk(chunk)) => {
                Box::pin(given.take(chunk).chain(failure(ErrorKind::Unavailable)))
            }
            // Where nothing is cut off, nothing is wrong.
            Some(Fault::Truncate { at }) if at < download.length => {
                Box::pin(cut(given, at).chain(failure(ErrorKind::Corrupt)))
            }
            Some(Fault::FlipBit { at }) => flipped(given, at.min(download.length.saturating_sub(1))),
            _ => given,
        };
        Ok(download)
    }

    async fn head(&self, path: &ReplicaPath) -> Result<Stat, BackendError> {
        self.around(Operation::Head, self.inner.head(path)).await
    }

    async fn delete(&self, path: &ReplicaPath) -> Result<(), BackendError> {
        self.around(Operation::Delete, self.inner.delete(path)).await
    }

    async fn delete_many(&self, paths: &[ReplicaPath]) -> Result<Vec<Deleted>, BackendError> {
        self.around(Operation::DeleteMany, self.inner.delete_many(paths)).await
    }

    fn delete_requests(&self, paths: &[ReplicaPath]) -> u64 {
        self.inner.delete_requests(paths)
    }

    async fn list(&self, prefix: &str, cursor: Option<&str>) -> Result<ListPage, BackendError> {
        self.around(Operation::List, self.inner.list(prefix, cursor)).await
    }

    async fn copy(&self, from: &ReplicaPath, to: &ReplicaPath) -> Result<(), BackendError> {
        self.around(Operation::Copy, self.inner.copy(from, to)).await
    }
}

/// Every chunk, and the end, comes later.
fn slowed<E: Send + 'static>(given: ByteStream<E>, wait: Duration) -> ByteStream<E> {
    Box::pin(stream::unfold(given, move |mut given| async move {
        runtime::sleep(wait).await;
        given.next().await.map(|chunk| (chunk, given))
    }))
}

/// The first bytes only.
fn cut<E: Send + 'static>(given: ByteStream<E>, bytes: u64) -> ByteStream<E> {
    Box::pin(stream::unfold((given, bytes), |(mut given, left)| async move {
        if left == 0 {
            return None;
        }
        let chunk = given.next().await?.map(|mut chunk| {
            chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            chunk
        });
        let left = left - chunk.as_ref().map_or(0, Bytes::len) as u64;
        Some((chunk, (given, left)))
    }))
}

/// All bytes, one of them wrong.
fn flipped<E: Send + 'static>(given: ByteStream<E>, at: u64) -> ByteStream<E> {
    Box::pin(given.scan(0_u64, move |offset, chunk| {
        let chunk = chunk.map(|chunk| {
            let begins = *offset;
            *offset += chunk.len() as u64;
            match usize::try_from(at.wrapping_sub(begins)) {
                Ok(index) if at >= begins && index < chunk.len() => {
                    let mut bytes = chunk.to_vec();
                    bytes[index] ^= 0x10;
                    bytes.into()
                }
                _ => chunk,
            }
        });
        std::future::ready(Some(chunk))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryBackend, collect, suite};

    const DATA: &[u8] = b"0123456789";

    fn faulty() -> (FaultBackend, Arc<MemoryBackend>, Arc<Faults>) {
        let memory = Arc::new(MemoryBackend::new(BackendName::parse("m").unwrap()));
        let faults = Faults::none();
        (FaultBackend::new(memory.clone(), faults.clone()), memory, faults)
    }

    fn path() -> ReplicaPath {
        ReplicaPath::parse("a").unwrap()
    }

    async fn put(backend: &FaultBackend) -> Result<(), ErrorKind> {
        let chunks: Vec<_> = DATA.chunks(3).map(|chunk| Ok(Bytes::from_static(chunk))).collect();
        let body = Body { length: 10, stream: Box::pin(stream::iter(chunks)) };
        backend.put(&path(), body, PutOptions::default()).await.map(|_| ()).map_err(|error| error.kind)
    }

    async fn get(backend: &FaultBackend) -> Result<Bytes, ErrorKind> {
        let download = backend.get(&path(), None).await.map_err(|error| error.kind)?;
        collect(download.stream, 100).await.map(Option::unwrap).map_err(|error| error.kind)
    }

    #[tokio::test]
    async fn passes_the_suite_while_nothing_goes_wrong() {
        suite::run_all(async |_: &str| Arc::new(faulty().0) as Arc<dyn Backend>).await;
    }

    async fn check_put(fault: Fault, kind: ErrorKind, stored: u64) {
        let (backend, memory, faults) = faulty();
        faults.script(Operation::Put, [fault]);
        assert_eq!(put(&backend).await, Err(kind), "{fault:?}");
        assert_eq!(memory.bytes_stored(), stored, "{fault:?}");
        assert_eq!(faults.injected(Operation::Put, fault.as_str()), 1);
        backend.delete(&path()).await.unwrap();
        assert_eq!(put(&backend).await, Ok(()), "{fault:?} was to happen once");
        assert_eq!(faults.injected_total(), 1);
    }

    #[tokio::test]
    async fn a_put_fails_as_planned() {
        let throttled = ErrorKind::Throttled { retry_after: Some(Duration::from_secs(9)) };
        for kind in [ErrorKind::Unavailable, ErrorKind::OutOfSpace, throttled] {
            check_put(Fault::Refuse(kind), kind, 0).await;
        }
        check_put(Fault::AnswerLost, ErrorKind::Unknown, 10).await;
        check_put(Fault::BreakAtChunk(2), ErrorKind::Unknown, 0).await;
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_arrive_late() {
        let (backend, memory, faults) = faulty();
        faults.script(Operation::Put, [Fault::LateArrival(Duration::from_secs(60))]);
        assert_eq!(put(&backend).await, Err(ErrorKind::Unknown));
        runtime::sleep(Duration::from_secs(59)).await;
        assert_eq!((memory.bytes_stored(), faults.late_arrivals_pending()), (0, 1));
        runtime::sleep(Duration::from_secs(2)).await;
        assert_eq!((memory.bytes_stored(), faults.late_arrivals_pending()), (10, 0));
    }

    async fn check_get(fault: Fault, expected: Result<&'static [u8], ErrorKind>) {
        let (backend, _, faults) = faulty();
        put(&backend).await.unwrap();
        faults.always(Operation::Get, fault);
        for _ in 0..2 {
            assert_eq!(get(&backend).await, expected.map(Bytes::from_static), "{fault:?}");
        }
        assert_eq!(faults.injected(Operation::Get, fault.as_str()), 2);
        faults.clear();
        assert_eq!(get(&backend).await.unwrap(), DATA);
    }

    #[tokio::test]
    async fn a_download_goes_wrong_as_planned() {
        check_get(Fault::Truncate { at: 4 }, Err(ErrorKind::Corrupt)).await;
        check_get(Fault::Truncate { at: 10 }, Ok(DATA)).await;
        check_get(Fault::FlipBit { at: 1 }, Ok(b"0!23456789")).await;
        check_get(Fault::FlipBit { at: 99 }, Ok(b"012345678)")).await;
        check_get(Fault::BreakAtChunk(0), Err(ErrorKind::Unavailable)).await;
        check_get(Fault::Refuse(ErrorKind::Corrupt), Err(ErrorKind::Corrupt)).await;
        check_get(Fault::AnswerLost, Err(ErrorKind::Unavailable)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_stalls_never_ends_and_what_is_slow_does() {
        let (backend, _, faults) = faulty();
        faults.script(
            Operation::Put,
            [Fault::Stall, Fault::StallAtChunk(1), Fault::Slow(Duration::from_secs(3))],
        );
        let hour = Duration::from_secs(3_600);
        assert!(runtime::timeout(hour, put(&backend)).await.is_err());
        assert!(runtime::timeout(hour, put(&backend)).await.is_err());
        let begun = runtime::instant_now();
        put(&backend).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::from_secs(15), "four chunks and the end");
        faults.script(Operation::Get, [Fault::Stall, Fault::StallAtChunk(0)]);
        assert!(runtime::timeout(hour, get(&backend)).await.is_err());
        assert!(runtime::timeout(hour, get(&backend)).await.is_err());
    }

    #[tokio::test]
    async fn a_lost_answer_to_a_delete_deletes() {
        let (backend, memory, faults) = faulty();
        put(&backend).await.unwrap();
        faults.script(Operation::Delete, [Fault::Refuse(ErrorKind::Unavailable), Fault::AnswerLost]);
        assert_eq!(backend.delete(&path()).await.unwrap_err().kind, ErrorKind::Unavailable);
        assert_eq!(memory.bytes_stored(), 10);
        assert_eq!(backend.delete(&path()).await.unwrap_err().kind, ErrorKind::Unknown);
        assert_eq!(memory.bytes_stored(), 0);
    }

    #[tokio::test]
    async fn one_seed_goes_wrong_in_one_way() {
        let run = async |seed| {
            let (backend, _, faults) = faulty();
            put(&backend).await.unwrap();
            let lost = (Operation::Get, Fault::Refuse(ErrorKind::Unavailable), 0.3);
            faults.at_random(Chance::seeded(seed), [lost]);
            let mut answers = Vec::new();
            for _ in 0..200 {
                answers.push(get(&backend).await.is_ok());
            }
            answers
        };
        let answers = run(1).await;
        assert_eq!(answers, run(1).await);
        assert_ne!(answers, run(2).await);
        let failed = answers.iter().filter(|ok| !**ok).count();
        assert!((30..90).contains(&failed), "{failed} of 200 at 30 %");
    }
}
