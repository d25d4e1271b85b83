//! Objects through the engine, on backends that stall, lie, fill up and lose their answers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use backend::{Backend, ErrorKind, Fault, FaultBackend, Faults, Operation};
use catalog::sqlite::Sqlite;
use catalog::suite::LosesAnswers;
use catalog::{Catalog, MatchTags, Precondition, ReplicaState, Want};
use common::{House, Plan, bytes};
use engine::{EngineError, Settings};

/// A house whose first backend does what its faults say.
async fn house(backends: usize, settings: Settings) -> (House, Arc<Faults>) {
    let faults = Faults::none();
    let plan_faults = Arc::clone(&faults);
    let wrap = move |index, store: Arc<backend::MemoryBackend>| -> Arc<dyn Backend> {
        if index == 0 { Arc::new(FaultBackend::new(store, Arc::clone(&plan_faults))) } else { store }
    };
    let house = House::build(Plan { backends, settings, wrap: Box::new(wrap), ..Plan::default() }).await;
    (house, faults)
}

fn factor_two() -> Settings {
    Settings {
        factor: 2,
        window_bytes: 100_000,
        stall_timeout: Duration::from_millis(200),
        ..Settings::default()
    }
}

/// A fault on the first of `backends` while an object of `size` bytes is put at factor 2: the client sees
/// nothing of it, and what is live afterwards is as expected.
async fn check_put(backends: usize, size: usize, fault: Fault, live: &[u64]) {
    let (house, faults) = house(backends, factor_two()).await;
    faults.always(Operation::Put, fault);
    let data = bytes(size, 1);
    house.put("k", &data).await.unwrap();
    assert_eq!(house.live().await, live, "{fault:?}");
    assert_eq!(faults.injected(Operation::Put, fault.as_str()), 1);
    faults.clear();
    assert_eq!(house.get("k").await.unwrap(), data);
    let under = house.catalog.totals().await.unwrap().under_replicated;
    assert_eq!(under, u64::from(live.iter().sum::<u64>() < 2), "work to do is recorded");
    house.audit().await;
}

const SMALL: usize = 1000;
const LARGE: usize = 1_000_000;

#[tokio::test]
async fn n41_a_target_that_fails_is_replaced_while_the_body_is_whole() {
    for fault in [
        Fault::Refuse(ErrorKind::Unavailable),
        Fault::Refuse(ErrorKind::OutOfSpace),
        Fault::Refuse(ErrorKind::Denied),
        Fault::Refuse(ErrorKind::Throttled { retry_after: None }),
        Fault::AnswerLost,
        Fault::BreakAtChunk(0),
    ] {
        check_put(3, SMALL, fault, &[0, 1, 1]).await;
        check_put(2, SMALL, fault, &[0, 1]).await;
    }
    check_put(3, LARGE, Fault::Refuse(ErrorKind::Unavailable), &[0, 1, 1]).await;
}

#[tokio::test]
async fn a_target_that_fails_later_is_let_go() {
    check_put(3, LARGE, Fault::BreakAtChunk(8), &[0, 1, 0]).await;
    check_put(3, LARGE, Fault::AnswerLost, &[0, 1, 0]).await;
}

#[tokio::test]
async fn a_target_that_stalls_is_let_go() {
    check_put(2, LARGE, Fault::Stall, &[0, 1]).await;
    check_put(2, LARGE, Fault::StallAtChunk(8), &[0, 1]).await;
    check_put(2, SMALL, Fault::Stall, &[0, 1]).await;
}

#[tokio::test]
async fn a_slow_target_is_awaited() {
    check_put(2, 400_000, Fault::Slow(Duration::from_millis(20)), &[1, 1]).await;
}

#[tokio::test]
async fn what_arrives_late_is_deleted_and_charged_until_then() {
    let faults = Faults::none();
    let plan_faults = Arc::clone(&faults);
    let wrap = move |index, store: Arc<backend::MemoryBackend>| -> Arc<dyn Backend> {
        if index == 1 {
            return store;
        }
        Arc::new(LateBound(FaultBackend::new(store, Arc::clone(&plan_faults)), Duration::from_millis(600)))
    };
    let house = House::build(Plan { settings: factor_two(), wrap: Box::new(wrap), ..Plan::default() }).await;
    faults.script(Operation::Put, [Fault::LateArrival(Duration::from_millis(300))]);
    house.put("k", &bytes(SMALL, 1)).await.unwrap();
    house.reap().await;
    assert_eq!(house.catalog.totals().await.unwrap().backends[0].charged, 1000, "it may still arrive");
    while house.catalog.totals().await.unwrap().backends[0].charged > 0 {
        runtime::sleep(Duration::from_millis(20)).await;
        house.reap().await;
    }
    assert_eq!(faults.late_arrivals_pending(), 0);
    house.audit().await;
}

#[tokio::test]
async fn too_few_targets_fail_the_write_and_leave_nothing() {
    let (house, faults) = house(2, Settings { ack_replicas: 2, ..factor_two() }).await;
    for (size, fault) in [
        (SMALL, Fault::AnswerLost),
        (LARGE, Fault::BreakAtChunk(8)),
        (SMALL, Fault::Refuse(ErrorKind::Denied)),
    ] {
        faults.always(Operation::Put, fault);
        assert!(
            matches!(house.put("k", &bytes(size, 2)).await, Err(EngineError::Unavailable(_))),
            "{fault:?}"
        );
        faults.clear();
        house.audit().await;
        assert!(house.catalog.replicas(None, 10).await.unwrap().is_empty());
    }
}

/// A fault on the first backend while an object is read at factor 2: the client sees nothing of it.
async fn check_get(fault: Fault, suspects: usize) {
    let (house, faults) = house(2, factor_two()).await;
    let data = bytes(LARGE, 3);
    house.put("k", &data).await.unwrap();
    faults.always(Operation::Get, fault);
    assert_eq!(house.get("k").await.unwrap(), data, "{fault:?}");
    let range = Want::From { start: 70_000, last: Some(300_000) };
    assert_eq!(house.get_want("k", range).await.unwrap(), data[70_000..=300_000]);
    assert!(faults.injected_total() >= 1);
    let rows = house.catalog.replicas(None, 10).await.unwrap();
    let suspect = rows.iter().filter(|row| row.state == ReplicaState::Suspect).count();
    assert_eq!(suspect, suspects, "{fault:?}");
    assert_eq!(house.catalog.audit().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn n51_a_read_goes_on_from_the_next_replica_at_the_same_offset() {
    check_get(Fault::Refuse(ErrorKind::Unavailable), 0).await;
    check_get(Fault::BreakAtChunk(3), 0).await;
    check_get(Fault::Truncate { at: 200_000 }, 0).await;
}

#[tokio::test]
async fn n9_a_flipped_bit_is_found_and_never_given_out() {
    check_get(Fault::FlipBit { at: 150_000 }, 1).await;
}

#[tokio::test]
async fn a_missing_replica_is_suspect_but_a_missing_backend_is_not() {
    let house = House::new().await;
    let data = bytes(LARGE, 4);
    house.put("k", &data).await.unwrap();
    let store = &house.stores[0];
    for path in store.paths() {
        store.delete(&path).await.unwrap();
    }
    let suspects = async || {
        let rows = house.catalog.replicas(None, 10).await.unwrap();
        rows.iter().filter(|row| row.state == ReplicaState::Suspect).count()
    };
    assert_eq!(house.get("k").await.unwrap(), data);
    assert_eq!(suspects().await, 0, "its marker is gone with it");

    let path = types::ReplicaPath::parse(".s3-orchestrator/marker/here").unwrap();
    store.put(&path, backend::Body::from_bytes(bytes::Bytes::new()), Default::default()).await.unwrap();
    house.put("other", &data).await.unwrap();
    for path in store.paths().iter().filter(|path| path.as_str().contains("other")) {
        store.delete(path).await.unwrap();
    }
    // The backend has to be asked at all: it is asked last while it is in doubt.
    let second = &house.stores[1];
    for path in second.paths().iter().filter(|path| path.as_str().contains("other")) {
        second.delete(path).await.unwrap();
    }
    assert!(matches!(house.get("other").await, Err(EngineError::Unavailable(_))));
    assert_eq!(suspects().await, 2);
}

#[tokio::test]
async fn a_read_without_any_good_replica_fails_before_its_first_byte() {
    let (house, faults) = house(1, Settings { factor: 1, ..factor_two() }).await;
    house.put("k", &bytes(SMALL, 5)).await.unwrap();
    faults.always(Operation::Get, Fault::FlipBit { at: 10 });
    assert!(matches!(house.get("k").await, Err(EngineError::Unavailable(_))));
    faults.clear();
    // Suspect, but the last one: it is served block by block as long as it proves right.
    assert_eq!(house.get("k").await.unwrap(), bytes(SMALL, 5));
}

#[tokio::test]
async fn n5_n31_failed_deletes_are_tried_again_and_charged_until_they_succeed() {
    let (house, faults) = house(2, factor_two()).await;
    for i in 0..3 {
        house.put(&format!("k{i}"), &bytes(SMALL, i)).await.unwrap();
        house.delete(&format!("k{i}")).await;
    }
    faults.always(Operation::DeleteMany, Fault::Refuse(ErrorKind::Unavailable));
    faults.always(Operation::Delete, Fault::Refuse(ErrorKind::Unavailable));
    house.reap().await;
    let charged: Vec<u64> =
        house.catalog.totals().await.unwrap().backends.iter().map(|total| total.charged).collect();
    assert_eq!(charged, [3000, 0]);
    faults.clear();
    while house.catalog.totals().await.unwrap().backends[0].charged > 0 {
        runtime::sleep(Duration::from_millis(50)).await;
        house.reap().await;
    }
    house.audit().await;
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_happens_once() {
    let wrap = |sqlite: Arc<Sqlite>| -> Arc<dyn Catalog> { Arc::new(LosesAnswers::every(sqlite, 2)) };
    let plan = Plan { wrap_catalog: Box::new(wrap), ..Plan::default() };
    let house = House::build(plan).await;
    for i in 0..20 {
        let data = bytes(SMALL, i);
        let mut request = house.put_request(&format!("k{i}"), &data);
        request.precondition =
            Precondition { if_none_match: Some(MatchTags::Any), ..Precondition::default() };
        // The second attempt would fail its precondition; the first one's answer counts.
        house.engine.put_object(request).await.unwrap();
        assert_eq!(house.get(&format!("k{i}")).await.unwrap(), data);
    }
    house.audit().await;
    assert_eq!(house.live().await, [20, 20]);
}

/// A backend with another late-arrival bound.
struct LateBound(FaultBackend, Duration);

#[async_trait::async_trait]
impl Backend for LateBound {
    fn name(&self) -> &types::BackendName {
        self.0.name()
    }
    fn profile(&self) -> backend::Profile {
        backend::Profile { late_arrival_bound: self.1, ..self.0.profile() }
    }
    async fn put(
        &self,
        path: &types::ReplicaPath,
        body: backend::Body,
        options: backend::PutOptions,
    ) -> Result<backend::PutReceipt, backend::BackendError> {
        self.0.put(path, body, options).await
    }
    async fn get(
        &self,
        path: &types::ReplicaPath,
        range: Option<types::ByteRange>,
    ) -> Result<backend::Download, backend::BackendError> {
        self.0.get(path, range).await
    }
    async fn head(&self, path: &types::ReplicaPath) -> Result<backend::Stat, backend::BackendError> {
        self.0.head(path).await
    }
    async fn delete(&self, path: &types::ReplicaPath) -> Result<(), backend::BackendError> {
        self.0.delete(path).await
    }
    async fn delete_many(
        &self,
        paths: &[types::ReplicaPath],
    ) -> Result<Vec<backend::Deleted>, backend::BackendError> {
        self.0.delete_many(paths).await
    }
    async fn list(
        &self,
        prefix: &str,
        cursor: Option<&str>,
    ) -> Result<backend::ListPage, backend::BackendError> {
        self.0.list(prefix, cursor).await
    }
    async fn copy(
        &self,
        from: &types::ReplicaPath,
        to: &types::ReplicaPath,
    ) -> Result<(), backend::BackendError> {
        self.0.copy(from, to).await
    }
}

#[tokio::test]
async fn what_is_there_at_a_second_look_is_not_suspect() {
    let (house, faults) = house(1, Settings { factor: 1, ..Settings::default() }).await;
    house.put("k", b"v").await.unwrap();
    // As where a disk comes back between the read and the look at its marker.
    faults.script(Operation::Get, [Fault::Refuse(ErrorKind::NotFound)]);
    let _ = house.get("k").await;
    assert_eq!(faults.injected(Operation::Get, "not_found"), 1);
    let rows = house.catalog.replicas(None, 10).await.unwrap();
    assert_eq!(rows[0].state, ReplicaState::Live);
    assert_eq!(house.get("k").await.unwrap(), b"v");
}
