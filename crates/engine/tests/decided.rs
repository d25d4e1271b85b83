//! What was decided before a catalog was lost holds in the one that is rebuilt.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod shipped;

use std::time::Duration;

use backend::{Backend, Body, PutOptions};
use bytes::Bytes;
use catalog::sqlite::Glance;
use catalog::{BackendId, BrakeSettings, Decided, ReplicaState};
use common::{House, Plan, bytes, key};
use engine::{Choices, Settings};
use runtime::{Chance, Clock, Ids};
use shipped::{rebuilt, reconcile, ship, snapshot};

const A_WEEK: Duration = Duration::from_hours(7 * 24);

fn backend(house: &House, store: usize) -> BackendId {
    house.engine.places()[store].id
}

/// What an operator reads before anything is rebuilt.
async fn glance(house: &House) -> Decided {
    let places = house.engine.places();
    let plan = engine::plan(&engine::find(places).await, &Choices::default()).unwrap();
    let now = house.clock.now();
    engine::rebuild(places, &plan, Box::new(Glance::default()), now, |_, _, _| {}).await.unwrap().decided
}

async fn draining(house: &House) -> Vec<(BackendId, types::Timestamp)> {
    let drains = house.catalog.drains().await.unwrap().into_iter();
    drains.map(|drain| (drain.backend, drain.since)).collect()
}

/// Bytes of ours that no row names, long settled.
async fn smuggle(house: &House, store: usize) {
    let ids = Ids::new(Clock::simulated(house.clock.now().minus(Duration::from_hours(5))), Chance::from_os());
    let grammar = &house.engine.places()[store].grammar;
    let path = grammar.replica(&house.bucket.name, &key("stray"), ids.blob(), ids.replica());
    let body = Body::from_bytes(Bytes::from_static(b"stray"));
    house.stores[store].put(&path, body, PutOptions::default()).await.unwrap();
    // What was stored within this very millisecond may still be on its way.
    runtime::sleep(Duration::from_millis(2)).await;
}

#[tokio::test]
async fn a_drain_goes_on_and_the_backend_is_given_nothing_new() {
    for from_snapshot in [false, true] {
        let house = House::build(Plan { backends: 3, ..Plan::default() }).await;
        house.put("before", &bytes(100, 1)).await.unwrap();
        house.engine.start_drain(backend(&house, 1)).await.unwrap();
        house.engine.start_drain(backend(&house, 2)).await.unwrap();
        house.engine.cancel_drain(backend(&house, 2)).await.unwrap();
        let was = draining(&house).await;
        ship(&house).await;
        if from_snapshot {
            snapshot(&house).await;
        }
        // Not shipped, so not known.
        house.engine.start_drain(backend(&house, 2)).await.unwrap();
        assert_eq!(glance(&house).await.drains.len(), 1);

        let house = rebuilt(&house).await.unwrap();
        assert_eq!(draining(&house).await, was, "from a snapshot: {from_snapshot}");
        for at in 0..4 {
            let stored = house.put(&format!("after {at}"), &bytes(100, at)).await.unwrap();
            assert!(!stored.backends.contains(house.engine.places()[1].name()), "{stored:?}");
        }
        // It is emptied, and may then be forgotten; what is rebuilt then knows it no more.
        while house.engine.drain_page(backend(&house, 1), None, 100).await.unwrap().moved > 0 {}
        ship(&house).await;
        house.reap().await;
        house.audit().await;
        assert_eq!(house.live().await[1], 0);
    }
}

#[tokio::test]
async fn a_brake_that_held_holds_until_it_is_released() {
    for from_snapshot in [false, true] {
        let house = House::new().await;
        let settings = BrakeSettings { share_ppm: 100_000, floor: 0, clients: true };
        house.engine.set_brake(settings).await.unwrap();
        for at in 0..4 {
            house.put(&format!("k{at}"), &bytes(1000, at)).await.unwrap();
        }
        house.delete("k0").await;
        let was = house.engine.brake().await.unwrap();
        assert!(was.engaged_at.is_some());
        ship(&house).await;
        if from_snapshot {
            snapshot(&house).await;
        }
        // The operator's word is not shipped: he is asked again.
        house.engine.release_brake().await.unwrap();
        assert_eq!(glance(&house).await.brake, was.engaged_at.map(|at| (at, was.why.clone())));

        let house = rebuilt(&house).await.unwrap();
        let is = house.engine.brake().await.unwrap();
        assert_eq!((is.engaged_at, is.why), (was.engaged_at, was.why), "from a snapshot: {from_snapshot}");
        let doomed = async || {
            let rows = house.catalog.replicas(None, 100).await.unwrap();
            rows.iter().filter(|row| row.state == ReplicaState::Doomed).count()
        };
        let before = doomed().await;
        assert!(before >= 2, "what was deleted is doomed here too");
        house.reap().await;
        assert_eq!(doomed().await, before, "and nothing of it is deleted");
        house.engine.release_brake().await.unwrap();
        house.reap().await;
        assert_eq!(doomed().await, 0);
        // And that is not forgotten either.
        ship(&house).await;
        let again = rebuilt(&house).await.unwrap();
        assert_eq!(again.engine.brake().await.unwrap().engaged_at, None);
        again.audit().await;
    }
}

#[tokio::test]
async fn what_is_in_quarantine_is_kept_as_long_as_it_would_have_been() {
    for (kept, left) in [(Duration::ZERO, A_WEEK), (A_WEEK * 5, A_WEEK * 5), (Duration::MAX, Duration::MAX)] {
        let settings = Settings { quarantine_kept: kept, factor: 2, ..Settings::default() };
        let house = House::build(Plan { settings, ..Plan::default() }).await;
        smuggle(&house, 1).await;
        assert_eq!(reconcile(&house, 1).await.unwrap().strays, 1);
        ship(&house).await;
        let before = house.catalog.quarantined(None, 9).await.unwrap().remove(0);

        let lost = house.clock.now().minus(Duration::from_mins(15));
        let house = rebuilt(&house).await.unwrap();
        let is = house.catalog.quarantined(None, 9).await.unwrap().remove(0);
        assert_eq!((is.replica, is.backend, is.charged), (before.replica, before.backend, before.charged));
        assert!(is.until >= before.until, "never earlier than it would have been");
        match left {
            A_WEEK => assert!(is.until >= lost.plus(A_WEEK), "there is time to look at it: {is:?}"),
            _ => assert_eq!(is.until, before.until),
        }
        assert_eq!(house.engine.expire_quarantined(9).await.unwrap(), 0);
        assert_eq!(house.catalog.audit().await.unwrap(), Vec::<String>::new());
    }
}
