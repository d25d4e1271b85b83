//! Drains and rebalancing over memory backends: bytes move, and no object ever has too few replicas.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::sync::Arc;

use backend::{Backend, ErrorKind, Fault, FaultBackend, Faults, Operation};
use catalog::{BackendId, Drain, Removed, ReplicaState};
use common::{House, Plan, bytes};
use engine::{Balance, EngineError, Rebalanced, Settings, Strategy};

fn plan(backends: usize, factor: u32) -> Plan {
    Plan { backends, settings: Settings { factor, ..Settings::default() }, ..Plan::default() }
}

fn id(house: &House, store: usize) -> BackendId {
    house.engine.places()[store].id
}

/// Pages of one drain, up to the last; gives what was moved, and what could not be.
async fn drain_pass(house: &House, store: usize, rows_max: u32) -> (u64, u64) {
    let (mut moved, mut stuck, mut after) = (0, 0, None);
    loop {
        let page = house.engine.drain_page(id(house, store), after, rows_max).await.unwrap();
        (moved, stuck, after) = (moved + page.moved, stuck + page.stuck, page.next);
        if after.is_none() {
            return (moved, stuck);
        }
    }
}

async fn drain_of(house: &House, store: usize) -> Drain {
    let drains = house.catalog.drains().await.unwrap();
    drains.into_iter().find(|drain| drain.backend == id(house, store)).unwrap()
}

/// Every blob has so many live replicas.
async fn each_has(house: &House, replicas: usize) {
    let rows = house.catalog.replicas(None, 100_000).await.unwrap();
    let mut live: std::collections::BTreeMap<_, usize> = std::collections::BTreeMap::new();
    for row in rows.iter().filter(|row| row.state == ReplicaState::Live) {
        *live.entry(row.blob).or_default() += 1;
    }
    assert!(live.values().all(|count| *count == replicas), "{live:?}");
}

#[tokio::test]
async fn n15_n32_n77_n78_a_backend_empties_and_every_object_keeps_its_replicas() {
    let house = House::build(plan(3, 2)).await;
    for at in 0..30 {
        house.put(&format!("k{at}"), &bytes(70_000, at)).await.unwrap();
    }
    let upload = house.begin_upload("big").await;
    let part = house.put_part("big", upload, 1, &bytes(150_000, 99)).await.unwrap();
    assert_eq!(house.live().await, [31, 31, 0]);
    house.engine.start_drain(id(&house, 0)).await.unwrap();
    house.put("later", b"later").await.unwrap();
    assert_eq!(house.live().await, [31, 32, 1], "nothing new comes");
    assert_eq!(drain_pass(&house, 0, 7).await, (31, 0));
    each_has(&house, 2).await;
    assert_eq!(house.live().await, [0, 32, 32]);
    let drain = drain_of(&house, 0).await;
    assert_eq!((drain.moved, drain.left.is_drained()), (31, true));
    house.audit().await;
    // What was moved says what it says.
    house.complete("big", upload, &[(1, &part)]).await.unwrap();
    assert_eq!(house.get("big").await.unwrap(), bytes(150_000, 99));
    for at in 0..30 {
        assert_eq!(house.get(&format!("k{at}")).await.unwrap(), bytes(70_000, at));
    }
    let moved = house.stores[2].paths().into_iter().find(|path| path.as_str().contains("/k7~")).unwrap();
    let says = house.stores[2].head(&moved).await.unwrap().metadata;
    assert!(says.contains(&("s3o-key".to_owned(), "k7".to_owned())), "{says:?}");
    assert_eq!(house.catalog.remove_backend(id(&house, 0)).await.unwrap(), Removed::Forgotten);
}

#[tokio::test]
async fn n33_what_has_no_place_to_go_stays_and_says_why() {
    let house = House::build(Plan { quota: Some(1000), ..plan(2, 1) }).await;
    house.put("a", &bytes(600, 1)).await.unwrap();
    house.engine.start_drain(id(&house, 0)).await.unwrap();
    house.put("b", &bytes(600, 2)).await.unwrap();
    assert_eq!(drain_pass(&house, 0, 100).await, (0, 1));
    let trouble = house.engine.drain_trouble(id(&house, 0)).unwrap();
    assert!(trouble.contains("no other backend has room"), "{trouble}");
    assert_eq!(house.get("a").await.unwrap(), bytes(600, 1));
    assert!(matches!(house.catalog.remove_backend(id(&house, 0)).await.unwrap(), Removed::Occupied(_)));
    assert!(house.delete("b").await);
    house.reap().await;
    assert_eq!(drain_pass(&house, 0, 100).await, (1, 0));
    assert_eq!(house.engine.drain_trouble(id(&house, 0)), None);
    house.audit().await;
    assert_eq!(house.get("a").await.unwrap(), bytes(600, 1));
}

#[tokio::test]
async fn where_one_backend_is_left_its_replica_has_to_do() {
    let house = House::new().await;
    for at in 0..5 {
        house.put(&format!("k{at}"), &bytes(100, at)).await.unwrap();
    }
    house.engine.start_drain(id(&house, 1)).await.unwrap();
    assert_eq!(drain_pass(&house, 1, 2).await, (5, 0));
    each_has(&house, 1).await;
    house.engine.start_drain(id(&house, 0)).await.unwrap();
    let (moved, stuck) = drain_pass(&house, 0, 100).await;
    assert_eq!((moved, stuck), (0, 5), "never the last one");
    assert!(house.engine.cancel_drain(id(&house, 0)).await.unwrap());
    house.audit().await;
}

#[tokio::test]
async fn a_move_that_fails_on_the_way_costs_nothing() {
    let faults = Faults::none();
    let broken = Arc::clone(&faults);
    let wrap = Box::new(move |index, store: Arc<backend::MemoryBackend>| -> Arc<dyn Backend> {
        if index == 2 { Arc::new(FaultBackend::new(store, Arc::clone(&broken))) } else { store }
    });
    let house = House::build(Plan { wrap, ..plan(3, 2) }).await;
    for at in 0..6 {
        house.put(&format!("k{at}"), &bytes(70_000, at)).await.unwrap();
    }
    house.engine.start_drain(id(&house, 0)).await.unwrap();
    faults.script(Operation::Put, [Fault::AnswerLost, Fault::Refuse(ErrorKind::OutOfSpace)]);
    let (moved, stuck) = drain_pass(&house, 0, 100).await;
    assert_eq!((moved, stuck), (4, 2));
    each_has(&house, 2).await;
    assert!(house.engine.drain_trouble(id(&house, 0)).is_some());
    assert_eq!(drain_pass(&house, 0, 100).await, (2, 0), "and is made up for");
    each_has(&house, 2).await;
    house.audit().await;
}

#[tokio::test]
async fn n132_a_flipped_bit_is_not_carried_along() {
    let faults = Faults::none();
    let lying = Arc::clone(&faults);
    let wrap = Box::new(move |index, store: Arc<backend::MemoryBackend>| -> Arc<dyn Backend> {
        if index == 0 { Arc::new(FaultBackend::new(store, Arc::clone(&lying))) } else { store }
    });
    let house = House::build(Plan { wrap, ..plan(3, 2) }).await;
    house.put("k", &bytes(200_000, 1)).await.unwrap();
    faults.always(Operation::Get, Fault::FlipBit { at: 100_000 });
    house.engine.start_drain(id(&house, 0)).await.unwrap();
    drain_pass(&house, 0, 100).await;
    drain_pass(&house, 0, 100).await;
    each_has(&house, 2).await;
    assert_eq!(house.live().await, [0, 1, 1]);
    house.audit().await;
    assert_eq!(house.get("k").await.unwrap(), bytes(200_000, 1));
}

/// Nobody proves anything here, so it would stay suspect for ever.
#[tokio::test]
async fn a_backend_empties_onto_one_whose_replica_is_suspect() {
    let faults = Faults::none();
    let lying = Arc::clone(&faults);
    let wrap = Box::new(move |index, store: Arc<backend::MemoryBackend>| -> Arc<dyn Backend> {
        if index == 0 { Arc::new(FaultBackend::new(store, Arc::clone(&lying))) } else { store }
    });
    let house = House::build(Plan { wrap, ..plan(4, 3) }).await;
    house.put("k", &bytes(200_000, 1)).await.unwrap();
    faults.script(Operation::Get, [Fault::FlipBit { at: 100_000 }]);
    assert_eq!(house.get("k").await.unwrap(), bytes(200_000, 1));
    assert_eq!(house.live().await, [0, 1, 1, 0]);
    house.engine.start_drain(id(&house, 2)).await.unwrap();
    // Two are missing on what is left, and a pass makes one of a blob.
    assert_eq!(drain_pass(&house, 2, 100).await, (0, 1));
    assert_eq!(drain_pass(&house, 2, 100).await, (1, 0));
    assert_eq!(house.live().await, [1, 1, 0, 1]);
    house.reap().await;
    let rows = house.catalog.replicas(None, 100).await.unwrap();
    assert!(rows.iter().all(|row| row.state == ReplicaState::Live), "{rows:?}");
    house.audit().await;
}

#[tokio::test]
async fn deletes_and_overwrites_go_on_while_a_backend_empties() {
    let house = Arc::new(House::build(plan(3, 2)).await);
    for at in 0..40 {
        house.put(&format!("k{at}"), &bytes(3000, at)).await.unwrap();
    }
    house.engine.start_drain(id(&house, 0)).await.unwrap();
    let client = runtime::spawn({
        let house = Arc::clone(&house);
        async move {
            for at in 0..40 {
                if at % 3 == 0 {
                    house.delete(&format!("k{at}")).await;
                } else {
                    house.put(&format!("k{at}"), &bytes(2000, 100 + at)).await.unwrap();
                }
            }
        }
    });
    while !drain_of(&house, 0).await.left.is_drained() {
        drain_pass(&house, 0, 10).await;
    }
    client.await.unwrap();
    while !drain_of(&house, 0).await.left.is_drained() {
        drain_pass(&house, 0, 10).await;
    }
    house.audit().await;
    for at in 0..40 {
        match house.get(&format!("k{at}")).await {
            Ok(data) => assert!(at % 3 != 0 && data == bytes(2000, 100 + at)),
            Err(error) => assert!(at % 3 == 0 && matches!(error, EngineError::NoSuchKey), "{error}"),
        }
    }
    each_has(&house, 2).await;
}

fn spread(threshold: f64, batch: u32) -> Balance {
    Balance { strategy: Strategy::Spread, threshold, batch, concurrency: 2 }
}

async fn charged(house: &House) -> Vec<u64> {
    house.catalog.charged().await.unwrap().into_iter().map(|(.., charged)| charged).collect()
}

#[tokio::test]
async fn n6_spread_levels_what_pack_had_filled() {
    let house = House::build(Plan { quota: Some(100_000), ..plan(3, 1) }).await;
    for at in 0..9 {
        house.put(&format!("k{at}"), &bytes(9000, at)).await.unwrap();
    }
    assert_eq!(charged(&house).await, [81_000, 0, 0]);
    let done = house.engine.rebalance(spread(0.1, 2)).await.unwrap();
    assert_eq!(done, Rebalanced { moved: 2, bytes: 18_000, failed: 0 }, "a batch at a time");
    let done = house.engine.rebalance(spread(0.1, 100)).await.unwrap();
    assert_eq!(done.moved, 4);
    house.audit().await;
    assert_eq!(charged(&house).await, [27_000, 27_000, 27_000]);
    each_has(&house, 1).await;
    assert_eq!(house.engine.rebalance(spread(0.1, 100)).await.unwrap(), Rebalanced::default());
    for at in 0..9 {
        assert_eq!(house.get(&format!("k{at}")).await.unwrap(), bytes(9000, at));
    }
    // Pack brings them back, and then has nothing left to do.
    let pack = Balance { strategy: Strategy::Pack, ..spread(0.0, 100) };
    house.put("one more", b"x").await.unwrap();
    house.engine.rebalance(pack).await.unwrap();
    house.reap().await;
    assert_eq!(charged(&house).await, [81_001, 0, 0]);
    assert_eq!(house.engine.rebalance(pack).await.unwrap(), Rebalanced::default());
    house.audit().await;
}

#[tokio::test]
async fn n6_n128_with_two_backends_and_two_replicas_there_is_nothing_to_move() {
    let house = House::build(Plan { quota: Some(1 << 20), ..plan(3, 2) }).await;
    for at in 0..10 {
        house.put(&format!("k{at}"), &bytes(9000, at)).await.unwrap();
    }
    house.engine.start_drain(id(&house, 2)).await.unwrap();
    let done = house.engine.rebalance(spread(0.0, 100)).await.unwrap();
    assert_eq!(done, Rebalanced::default(), "the third drains, the others have all");
    house.engine.cancel_drain(id(&house, 2)).await.unwrap();
    let done = house.engine.rebalance(spread(0.0, 100)).await.unwrap();
    assert!(done.moved > 0 && done.failed == 0, "{done:?}");
    each_has(&house, 2).await;
    house.audit().await;
}

#[tokio::test]
async fn n34_a_move_makes_no_object_younger() {
    let house = House::build(plan(3, 2)).await;
    house.put("k", &bytes(1000, 1)).await.unwrap();
    let before = house.open("k", catalog::Want::State).await.unwrap().object;
    runtime::sleep(std::time::Duration::from_millis(5)).await;
    house.engine.start_drain(id(&house, 0)).await.unwrap();
    assert_eq!(drain_pass(&house, 0, 100).await, (1, 0));
    let after = house.open("k", catalog::Want::State).await.unwrap().object;
    assert_eq!((after.state.modified, after.revision), (before.state.modified, before.revision));
}
