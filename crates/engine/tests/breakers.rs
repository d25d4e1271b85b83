//! Objects through the engine while breakers of backends are open.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use backend::{Backend, CircuitBreaker, ErrorKind, Fault, FaultBackend, Faults, MemoryBackend, Operation};
use common::{House, Plan, bytes};
use engine::{EngineError, Settings};
use runtime::{Breaker, BreakerOptions, BreakerState, Chance, Readiness, Unwatched};

const FAILURES: u32 = 3;
const SIZE: usize = 1_000;

/// A house whose first backend does what its faults say, with a breaker that stays open until it is told.
struct Guarded {
    house: House,
    faults: Arc<Faults>,
    breaker: Arc<Breaker>,
}

impl Guarded {
    async fn new(backends: usize, settings: Settings) -> Self {
        let faults = Faults::none();
        let options = BreakerOptions {
            failures_max: FAILURES,
            open_for: Duration::from_secs(3_600),
            ..BreakerOptions::default()
        };
        let breaker = Breaker::new("store-0", options, Chance::seeded(1), Arc::new(Unwatched));
        let (plan_faults, plan_breaker) = (Arc::clone(&faults), Arc::clone(&breaker));
        let wrap = move |index, store: Arc<MemoryBackend>| -> Arc<dyn Backend> {
            if index > 0 {
                return store;
            }
            let faulty = Arc::new(FaultBackend::new(store, Arc::clone(&plan_faults)));
            Arc::new(CircuitBreaker::new(faulty, Arc::clone(&plan_breaker)))
        };
        let quota = Some(1 << 20);
        let plan = Plan { backends, settings, quota, wrap: Box::new(wrap), ..Plan::default() };
        Self { house: House::build(plan).await, faults, breaker }
    }

    fn all_fails(&self) {
        for operation in Operation::ALL {
            self.faults.always(operation, Fault::Refuse(ErrorKind::Unavailable));
        }
    }

    /// Real requests open it.
    async fn open(&self) {
        self.all_fails();
        let backend = &self.house.engine.places()[0].backend;
        for _ in 0..FAILURES {
            backend.list("", None).await.unwrap_err();
        }
        assert_eq!(self.breaker.state(), BreakerState::Open);
    }

    /// It works again, and its pause is over.
    fn heal(&self) {
        self.faults.clear();
        self.breaker.expect_back();
    }

    async fn closes(&self) {
        let deadline = runtime::instant_now() + Duration::from_secs(60);
        while self.breaker.state() != BreakerState::Closed {
            assert!(runtime::instant_now() < deadline, "nobody finds out that it is back");
            runtime::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn settings(factor: u32, ack_replicas: u32) -> Settings {
    Settings { factor, ack_replicas, stall_timeout: Duration::from_millis(100), ..Settings::default() }
}

#[tokio::test]
async fn writes_go_elsewhere_at_once_and_come_back_by_themselves() {
    let guarded = Guarded::new(3, settings(2, 1)).await;
    guarded.open().await;
    let (house, tried) = (&guarded.house, guarded.faults.injected_total());
    for number in 0..10 {
        house.put(&format!("k{number}"), &bytes(SIZE, number)).await.unwrap();
    }
    assert_eq!(guarded.faults.injected_total(), tried, "it is left alone");
    assert_eq!(house.live().await, [0, 10, 10]);
    let id = house.engine.places()[0].id;
    assert!(house.engine.gone_since(id).is_some());
    assert!(house.engine.gone_since(house.engine.places()[1].id).is_none(), "it has no breaker");

    guarded.heal();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(guarded.breaker.readiness(), Readiness::Due, "nothing is probed while nobody asks");
    house.put("asks", &bytes(SIZE, 1)).await.unwrap();
    guarded.closes().await;
    assert!(house.engine.gone_since(id).is_none());
    house.put("again", &bytes(SIZE, 1)).await.unwrap();
    assert!(house.live().await[0] >= 1, "{:?}", house.live().await);
    house.audit().await;
}

#[tokio::test]
async fn a_write_without_enough_others_says_so_and_is_made_up_for_later() {
    let both = Guarded::new(2, settings(2, 2)).await;
    both.open().await;
    let tried = both.faults.injected_total();
    assert!(matches!(both.house.put("k", &bytes(SIZE, 1)).await, Err(EngineError::Unavailable(_))));
    assert_eq!(both.faults.injected_total(), tried);
    both.heal();
    // Nothing else would do, so this one waits for the answer.
    both.house.put("k", &bytes(SIZE, 1)).await.unwrap();
    both.house.audit().await;

    let one = Guarded::new(2, settings(2, 1)).await;
    one.open().await;
    one.house.put("k", &bytes(SIZE, 1)).await.unwrap();
    let under = one.house.catalog.totals().await.unwrap().under_replicated;
    assert_eq!(under, 1, "repair knows that a replica is missing");
    one.house.audit().await;
}

/// The one that is gone may have room: 507 would be the last word, 503 is not.
#[tokio::test]
async fn without_room_elsewhere_the_client_may_come_again() {
    let guarded = Guarded::new(2, settings(1, 1)).await;
    guarded.open().await;
    let full = guarded.house.put("k", &vec![0; 2 << 20]).await;
    assert!(matches!(full, Err(EngineError::Unavailable(_))), "{full:?}");
    guarded.heal();
    guarded.house.put("asks", &bytes(SIZE, 1)).await.unwrap();
    guarded.closes().await;
    let full = guarded.house.put("k", &vec![0; 2 << 20]).await;
    assert!(matches!(full, Err(EngineError::OutOfSpace { .. })), "{full:?}");
}

#[tokio::test]
async fn reads_turn_to_others_first_and_wait_only_where_there_are_none() {
    let guarded = Guarded::new(2, settings(2, 1)).await;
    let house = &guarded.house;
    let data = bytes(SIZE, 1);
    house.put("k", &data).await.unwrap();
    guarded.open().await;
    let tried = guarded.faults.injected_total();
    for _ in 0..10 {
        assert_eq!(house.get("k").await.unwrap(), data);
    }
    assert_eq!(guarded.faults.injected_total(), tried, "it is left alone");
    guarded.heal();
    assert_eq!(house.get("k").await.unwrap(), data);
    guarded.closes().await;

    // Factor 1: there is no other replica.
    let guarded = Guarded::new(1, settings(1, 1)).await;
    let house = &guarded.house;
    house.put("k", &data).await.unwrap();
    guarded.open().await;
    assert!(matches!(house.get("k").await, Err(EngineError::Unavailable(_))));
    guarded.heal();
    assert_eq!(house.get("k").await.unwrap(), data);
    assert_eq!(guarded.breaker.state(), BreakerState::Closed);
    house.reap().await;
}

/// A backend that takes connections and no bytes: each write lets it go, and nobody hears how its request
/// ended.
#[tokio::test]
async fn a_backend_that_is_let_go_again_and_again_is_gone() {
    let guarded = Guarded::new(2, settings(2, 1)).await;
    guarded.faults.always(Operation::Put, Fault::Stall);
    for number in 0..FAILURES {
        guarded.house.put(&format!("k{number}"), &bytes(SIZE, 1)).await.unwrap();
    }
    assert_eq!(guarded.breaker.state(), BreakerState::Open);
    let tried = guarded.faults.injected_total();
    guarded.house.put("k", &bytes(SIZE, 1)).await.unwrap();
    assert_eq!(guarded.faults.injected_total(), tried, "nobody waits for it any more");
}

/// A client that sends nothing for long holds its targets up; that is no fault of theirs.
#[tokio::test]
async fn n79_a_slow_or_leaving_client_opens_nothing() {
    let guarded = Guarded::new(2, settings(2, 1)).await;
    let house = &guarded.house;
    for number in 0..20 {
        let mut request = house.put_request("k", &bytes(SIZE, 1));
        request.body.length = 500_000;
        let given = request.body.stream;
        request.body.stream = if number % 2 == 0 {
            Box::pin(futures::StreamExt::chain(given, futures::stream::pending()))
        } else {
            let left = Err(engine::BodyFault::Disconnected("the client left".to_owned()));
            Box::pin(futures::StreamExt::chain(given, futures::stream::iter([left])))
        };
        let put = house.engine.put_object(request);
        let _ = runtime::timeout(Duration::from_millis(150), put).await;
    }
    assert_eq!(guarded.breaker.state(), BreakerState::Closed);
    house.audit().await;
}

/// An unmounted disk answers, and has nothing: neither is it back, nor did it go only now.
#[tokio::test]
async fn a_backend_without_its_marker_is_gone_since_it_was_first_missed() {
    let guarded = Guarded::new(2, settings(2, 1)).await;
    let house = &guarded.house;
    house.put("k", &bytes(SIZE, 1)).await.unwrap();
    for path in guarded.house.stores[0].paths() {
        guarded.house.stores[0].delete(&path).await.unwrap();
    }
    assert_eq!(house.get("k").await.unwrap(), bytes(SIZE, 1));
    let id = house.engine.places()[0].id;
    let since = house.engine.gone_since(id).expect("its marker was missed");
    for _ in 0..3 {
        guarded.breaker.expect_back();
        house.get("k").await.unwrap();
        let deadline = runtime::instant_now() + Duration::from_secs(60);
        while guarded.breaker.readiness() != Readiness::Shut {
            assert!(runtime::instant_now() < deadline, "nobody looks");
            runtime::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!(house.engine.gone_since(id), Some(since));
    assert_eq!(house.live().await, [1, 1], "a missing backend is no reason to suspect its replicas");
}
