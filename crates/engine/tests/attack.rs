//! Schedules that break a law where one guard is missing: requests dropped at every await, lost answers of
//! the catalog, backends that lie, absurd sizes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod lossy;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use backend::{
    Backend, BackendError, Body, Deleted, Download, Fault, FaultBackend, Faults, MemoryBackend, Operation,
    Profile, PutOptions, PutReceipt, Stat,
};
use catalog::Want;
use common::{House, Plan, body, bytes, key};
use engine::{CopyPart, EngineError, Expected, ReadConditions, Settings, Source};
use futures::StreamExt;
use lossy::lossy_catalog;
use types::{ByteRange, Md5, ReplicaPath};

fn copy_part(house: &House, name: &str, upload: types::UploadId, number: u32, range: (u64, u64)) -> CopyPart {
    CopyPart {
        source: Source {
            bucket: house.bucket.clone(),
            key: key(name),
            conditions: ReadConditions::default(),
        },
        range: Some(range),
        bucket: house.bucket.clone(),
        key: key("k"),
        upload,
        number,
    }
}

#[tokio::test]
async fn a_slice_ends_where_it_ends_and_not_at_its_block() {
    let settings = Settings { factor: 1, part_bytes_min: 1, ..Settings::default() };
    let house = House::build(Plan { settings, ..Plan::default() }).await;
    let (a, b) = (bytes(300_000, 20), bytes(300_000, 21));
    house.put("a", &a).await.unwrap();
    house.put("b", &b).await.unwrap();
    let upload = house.begin_upload("k").await;
    let p1 = house.engine.copy_part(copy_part(&house, "a", upload, 1, (10, 99))).await.unwrap();
    let p2 = house.engine.copy_part(copy_part(&house, "b", upload, 2, (70_000, 140_000))).await.unwrap();
    let p3 = house.engine.copy_part(copy_part(&house, "a", upload, 3, (65_530, 65_540))).await.unwrap();
    house.complete("k", upload, &[(1, &p1), (2, &p2), (3, &p3)]).await.unwrap();
    let whole = [&a[10..=99], &b[70_000..=140_000], &a[65_530..=65_540]].concat();
    assert!(house.get("k").await.unwrap() == whole);
    let range = Want::From { start: 80, last: Some(70_095) };
    assert!(house.get_want("k", range).await.unwrap() == whole[80..=70_095]);
    house.audit().await;
}

/// Polls a future at most so often, then drops it. Gives its output where it ended before.
async fn drop_at_poll<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

/// Drops a request at each of its awaits, at once or when the catalog had time to work: whatever it had
/// reserved goes back.
async fn check_dropped<F: Future>(house: &House, request: impl Fn() -> F) {
    for polls in 1..200 {
        let ended = drop_at_poll(polls, request()).await.is_some();
        house.delete("k").await;
        house.audit().await;
        let rows = house.catalog.replicas(None, 10).await.unwrap();
        assert!(rows.is_empty(), "dropped at poll {polls}: {rows:?}");
        if ended {
            return;
        }
    }
    panic!("the request does not end");
}

fn small_window(factor: u32) -> Settings {
    Settings { factor, window_bytes: 100_000, ..Settings::default() }
}

#[tokio::test]
async fn a_request_that_is_dropped_anywhere_gives_back_what_it_reserved() {
    for _ in 0..5 {
        for size in [10, 300_000] {
            let house = House::build(Plan { settings: small_window(2), ..Plan::default() }).await;
            check_dropped(&house, || house.put("k", &[7; 10])).await;
            let data = bytes(size, 1);
            check_dropped(&house, || house.engine.put_object(house.put_request("k", &data))).await;
            let wrong = || {
                let mut request = house.put_request("k", &data);
                request.body.expected = Expected { md5: Some(Md5([7; 16])), ..Expected::default() };
                house.engine.put_object(request)
            };
            check_dropped(&house, wrong).await;
        }
    }
}

#[tokio::test]
async fn a_request_dropped_while_it_reserves_or_lets_go_leaves_nothing_writing() {
    let house = House::build(Plan { settings: small_window(2), ..Plan::default() }).await;
    // Time passes between the last poll and the drop: the catalog answers, and nobody hears it.
    for polls in 1..40 {
        let data = bytes(300_000, 1);
        let mut request = house.put_request("k", &data);
        request.body.expected = Expected { md5: Some(Md5([7; 16])), ..Expected::default() };
        let mut put = Box::pin(house.engine.put_object(request));
        let mut ended = false;
        for _ in 0..polls {
            ended = futures::poll!(&mut put).is_ready();
            if ended {
                break;
            }
            // Whatever was queued before is done when this is.
            house.delete("nothing").await;
        }
        drop(put);
        house.audit().await;
        let rows = house.catalog.replicas(None, 10).await.unwrap();
        assert!(rows.is_empty(), "dropped at poll {polls}: {rows:?}");
        if ended {
            return;
        }
    }
}

/// A house whose catalog loses as many answers as the number says.
async fn lossy(settings: Settings, faults: Arc<Faults>) -> (House, Arc<AtomicU32>) {
    let lose = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&lose);
    let wrap_catalog = move |inner: Arc<catalog::sqlite::Sqlite>| lossy_catalog(inner, &counter);
    let wrap = move |index, store: Arc<MemoryBackend>| -> Arc<dyn Backend> {
        if index == 0 { Arc::new(FaultBackend::new(store, Arc::clone(&faults))) } else { store }
    };
    let plan = Plan {
        backends: 3,
        settings,
        wrap: Box::new(wrap),
        wrap_catalog: Box::new(wrap_catalog),
        ..Plan::default()
    };
    (House::build(plan).await, lose)
}

#[tokio::test]
async fn a_lost_answer_of_the_catalog_is_asked_for_again() {
    let (house, lose) = lossy(small_window(2), Faults::none()).await;
    for (round, size) in [(1, 10), (2, 300_000), (3, 10), (4, 300_000)] {
        let data = bytes(size, round);
        lose.store(2, Ordering::SeqCst);
        house.put("k", &data).await.unwrap();
        assert_eq!(house.get("k").await.unwrap(), data);
        lose.store(0, Ordering::SeqCst);
        house.audit().await;
    }
    lose.store(1, Ordering::SeqCst);
    assert!(house.delete("k").await, "the recorded answer is given again");
    house.audit().await;
    assert!(house.catalog.replicas(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_catalog_that_stays_silent_leaves_nothing_writing() {
    let (house, lose) = lossy(small_window(2), Faults::none()).await;
    lose.store(9, Ordering::SeqCst);
    assert!(matches!(house.put("k", &bytes(10, 1)).await, Err(EngineError::Unavailable(_))));
    lose.store(0, Ordering::SeqCst);
    house.audit().await;
    assert!(house.catalog.replicas(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_replacement_whose_reservation_was_not_answered_is_not_forgotten() {
    let faults = Faults::none();
    let (house, lose) = lossy(small_window(1), Arc::clone(&faults)).await;
    faults.always(Operation::Put, Fault::Refuse(backend::ErrorKind::OutOfSpace));
    let put = house.put("k", &[1; 10]);
    let mut put = Box::pin(put);
    // The first answer, that of the reservation, is heard.
    while house.catalog.replicas(None, 10).await.unwrap().is_empty() {
        // One that was over before it was seen is begun anew.
        if futures::poll!(&mut put).is_ready() {
            put = Box::pin(house.put("k", &[1; 10]));
        }
        house.catalog.audit().await.unwrap();
    }
    lose.store(8, Ordering::SeqCst);
    let _ = put.await;
    lose.store(0, Ordering::SeqCst);
    house.delete("k").await;
    house.audit().await;
    let rows = house.catalog.replicas(None, 10).await.unwrap();
    assert!(rows.is_empty(), "{rows:?}");
}

/// A backend that breaks its contract in one way.
struct Liar {
    inner: Arc<MemoryBackend>,
    lie: Lie,
}

#[derive(Clone, Copy, PartialEq)]
enum Lie {
    /// Says that it has all after the first chunk.
    AnswersEarly,
    /// Deletes hide and free nothing.
    KeepsVersions,
    /// Deletes many, and says nothing of the last.
    ForgetsTheLast,
}

#[async_trait::async_trait]
impl Backend for Liar {
    fn name(&self) -> &types::BackendName {
        self.inner.name()
    }
    fn profile(&self) -> Profile {
        Profile { delete_frees: self.lie != Lie::KeepsVersions, ..self.inner.profile() }
    }
    async fn put(
        &self,
        path: &ReplicaPath,
        mut body: Body,
        options: PutOptions,
    ) -> Result<PutReceipt, BackendError> {
        if self.lie == Lie::AnswersEarly {
            let first = body.stream.next().await.unwrap().unwrap();
            return self.inner.put(path, Body::from_bytes(first), options).await;
        }
        self.inner.put(path, body, options).await
    }
    async fn get(&self, path: &ReplicaPath, range: Option<ByteRange>) -> Result<Download, BackendError> {
        self.inner.get(path, range).await
    }
    async fn head(&self, path: &ReplicaPath) -> Result<Stat, BackendError> {
        self.inner.head(path).await
    }
    async fn delete(&self, path: &ReplicaPath) -> Result<(), BackendError> {
        self.inner.delete(path).await
    }
    async fn delete_many(&self, paths: &[ReplicaPath]) -> Result<Vec<Deleted>, BackendError> {
        let mut answers = self.inner.delete_many(paths).await?;
        if self.lie == Lie::ForgetsTheLast {
            answers.pop();
        }
        Ok(answers)
    }
    async fn list(&self, prefix: &str, cursor: Option<&str>) -> Result<backend::ListPage, BackendError> {
        self.inner.list(prefix, cursor).await
    }
    async fn copy(&self, from: &ReplicaPath, to: &ReplicaPath) -> Result<(), BackendError> {
        self.inner.copy(from, to).await
    }
}

/// A house whose first backend lies.
async fn lied_to(lie: Lie, settings: Settings) -> House {
    let wrap = move |index, inner: Arc<MemoryBackend>| -> Arc<dyn Backend> {
        if index == 0 { Arc::new(Liar { inner, lie }) } else { inner }
    };
    House::build(Plan { settings, wrap: Box::new(wrap), ..Plan::default() }).await
}

#[tokio::test]
async fn a_backend_that_has_not_taken_all_has_not_stored_it() {
    let house = lied_to(Lie::AnswersEarly, small_window(2)).await;
    let data = bytes(300_000, 1);
    house.put("k", &data).await.unwrap();
    assert_eq!(house.live().await, [0, 1]);
    assert_eq!(house.get("k").await.unwrap(), data);
    house.audit().await;
}

#[tokio::test]
async fn where_a_delete_frees_nothing_the_charge_stays() {
    let house = lied_to(Lie::KeepsVersions, small_window(1)).await;
    for name in ["a", "b"] {
        house.put(name, &bytes(1000, 1)).await.unwrap();
        house.delete(name).await;
    }
    house.reap().await;
    assert_eq!(house.catalog.totals().await.unwrap().backends[0].charged, 2000);
}

#[tokio::test]
async fn a_delete_without_an_answer_is_tried_again_later_and_not_at_once() {
    let house = lied_to(Lie::ForgetsTheLast, small_window(1)).await;
    for name in ["a", "b", "c"] {
        house.put(name, &bytes(1000, 1)).await.unwrap();
        house.delete(name).await;
    }
    assert_eq!(house.engine.reap_step().await.unwrap(), engine::Step::MoreWork);
    assert_eq!(house.catalog.totals().await.unwrap().backends[0].charged, 1000);
    assert_eq!(house.engine.reap_step().await.unwrap(), engine::Step::Idle);
}

#[tokio::test]
async fn an_absurd_length_disturbs_nobody_else() {
    let house = House::build(Plan { settings: small_window(1), ..Plan::default() }).await;
    house.put("before", &bytes(10, 1)).await.unwrap();
    for length in [u64::MAX, 1 << 63, (1 << 63) - 1, u64::MAX / 2 - 10] {
        let mut request = house.put_request("k", &[]);
        request.body.length = length;
        let first = body(&bytes(200_000, 1), 1000).stream;
        request.body.stream = Box::pin(first.chain(futures::stream::pending()));
        let mut absurd = Box::pin(house.engine.put_object(request));
        for _ in 0..10 {
            if let Poll::Ready(refused) = futures::poll!(&mut absurd) {
                assert!(matches!(refused, Err(EngineError::TooLarge { .. })), "{length}: {refused:?}");
                break;
            }
            house.catalog.audit().await.unwrap();
        }
        house.put("other", &bytes(10, 2)).await.unwrap();
        drop(absurd);
        house.audit().await;
    }
}

#[tokio::test]
async fn copies_of_copies_lie_in_a_bounded_number_of_pieces() {
    let settings = Settings { factor: 1, part_bytes_min: 1, ..Settings::default() };
    let house = House::build(Plan { settings, ..Plan::default() }).await;
    house.put("k", &[1; 10]).await.unwrap();
    let mut size = 10;
    // Each round makes eight times as many pieces: with the tenth the catalog would be busy for an hour.
    let refused = 'rounds: loop {
        assert!(size < 10 * 8_u64.pow(6), "a million pieces are a transaction that nobody waits for");
        let upload = house.begin_upload("k").await;
        let mut parts = Vec::new();
        for number in 1..=8 {
            match house.engine.copy_part(copy_part(&house, "k", upload, number, (0, size - 1))).await {
                Ok(part) => parts.push((number, part)),
                Err(error) => break 'rounds error,
            }
        }
        let listed: Vec<_> = parts.iter().map(|(number, part)| (*number, part)).collect();
        size = house.complete("k", upload, &listed).await.unwrap().size;
    };
    assert!(matches!(refused, EngineError::Completion(_)), "{refused:?}");
    assert_eq!(house.get_want("k", Want::Last(15)).await.unwrap(), [1; 15]);
    house.audit().await;
}

#[tokio::test]
async fn a_window_without_bytes_is_no_deadlock() {
    let settings = Settings { window_bytes: 0, memory_budget_bytes: 0, ..small_window(2) };
    let house = House::build(Plan { settings, ..Plan::default() }).await;
    for size in [0, 1, 2, 70_000] {
        let data = bytes(size, 1);
        let put = house.put("k", &data);
        runtime::timeout(Duration::from_secs(10), put).await.expect("it ends").unwrap();
        assert_eq!(house.get("k").await.unwrap(), data);
    }
    house.audit().await;
}

#[tokio::test]
async fn the_backend_of_a_short_read_is_named() {
    let house = House::new().await;
    house.put("k", &bytes(10, 1)).await.unwrap();
    let opened = house.open("k", Want::Whole).await.unwrap();
    assert_eq!(opened.body.unwrap().backend.as_ref(), Some(house.stores[0].name()));
}

#[tokio::test]
async fn a_read_that_outlived_its_guard_never_skips_what_is_gone() {
    let settings = Settings { read_guard_max: Duration::ZERO, ..small_window(1) };
    let plan = Plan { settings, put_bytes_max: Some(10), ..Plan::default() };
    let house = House::build(plan).await;
    let data = bytes(100_110, 1);
    house.put("k", &data).await.unwrap();
    let mut stream = house.open("k", Want::Whole).await.unwrap().body.unwrap().stream;
    // The pieces that one answer of the catalog holds; what comes next has to be located anew.
    let mut read = Vec::new();
    while read.len() < 640 {
        read.extend_from_slice(&stream.next().await.unwrap().unwrap());
    }
    house.delete("k").await;
    // Drops the first ten thousand entries of the manifest.
    house.engine.reap_step().await.unwrap();
    let end = loop {
        match stream.next().await {
            Some(Ok(chunk)) => read.extend_from_slice(&chunk),
            Some(Err(error)) => break Err(error),
            None => break Ok(()),
        }
    };
    assert!(data.starts_with(&read), "other bytes than those at that place");
    assert!(end.is_err());
}

#[tokio::test]
async fn what_one_backend_cannot_delete_leaves_room_for_the_others() {
    let faults = Faults::none();
    let plan_faults = Arc::clone(&faults);
    let wrap = move |index, store: Arc<MemoryBackend>| -> Arc<dyn Backend> {
        if index == 0 { Arc::new(FaultBackend::new(store, Arc::clone(&plan_faults))) } else { store }
    };
    let house =
        House::build(Plan { settings: small_window(2), wrap: Box::new(wrap), ..Plan::default() }).await;
    faults.always(Operation::DeleteMany, Fault::Refuse(backend::ErrorKind::Unavailable));
    for i in 0..1100 {
        house.put(&format!("{i}"), &[1]).await.unwrap();
        house.delete(&format!("{i}")).await;
    }
    house.engine.reap_step().await.unwrap();
    let totals = house.catalog.totals().await.unwrap();
    let doomed: Vec<_> = totals.backends.iter().map(|backend| backend.replicas_doomed).collect();
    assert_eq!(doomed, [1100, 100], "one batch of each backend");
}

#[tokio::test]
async fn a_write_without_enough_targets_fails_before_its_body_is_whole() {
    let faults = Faults::none();
    let settings = Settings { ack_replicas: 2, stall_timeout: Duration::from_millis(100), ..small_window(2) };
    let plan_faults = Arc::clone(&faults);
    let wrap = move |index, store: Arc<MemoryBackend>| -> Arc<dyn Backend> {
        if index == 0 { Arc::new(FaultBackend::new(store, Arc::clone(&plan_faults))) } else { store }
    };
    let house = House::build(Plan { settings, wrap: Box::new(wrap), ..Plan::default() }).await;
    faults.always(Operation::Put, Fault::Stall);
    let mut request = house.put_request("k", &bytes(500_000, 4));
    let first = body(&bytes(90_000, 4), 1000).stream;
    request.body.stream = Box::pin(first.chain(futures::stream::pending()));
    let put = runtime::timeout(Duration::from_secs(10), house.engine.put_object(request));
    assert!(matches!(put.await.expect("it ends"), Err(EngineError::Unavailable(_))));
    house.audit().await;
}
