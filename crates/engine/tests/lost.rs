//! What lies on the stores beside what a rebuilt catalog was told of: it is charged, it comes back where it can, and it
//! shows nothing by itself.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod shipped;

use std::time::Duration;

use backend::{Backend, Body, PutOptions};
use bytes::Bytes;
use catalog::ReplicaState;
use common::{House, Plan, bytes};
use engine::{EngineError, Settings};
use shipped::{backend, rebuilt, reconcile, ship};
use types::ReplicaPath;

fn one_replica() -> Plan {
    Plan { settings: Settings { factor: 1, ..Settings::default() }, ..Plan::default() }
}

/// The paths of a key on a store.
fn of_key(house: &House, store: usize, name: &str) -> Vec<ReplicaPath> {
    let paths = house.stores[store].paths().into_iter();
    paths.filter(|path| path.as_str().contains(&format!("/{name}~"))).collect()
}

async fn in_state(house: &House, state: ReplicaState) -> usize {
    house.catalog.replicas(None, 1000).await.unwrap().iter().filter(|row| row.state == state).count()
}

async fn charged(house: &House, store: usize) -> u64 {
    let id = backend(house, store);
    house.catalog.charged().await.unwrap().into_iter().find(|row| row.0 == id).unwrap().2
}

/// Bytes that lie on a store and cost something.
async fn lying(house: &House, store: usize) -> u64 {
    let mut lying = 0;
    for path in house.stores[store].paths() {
        lying += house.stores[store].head(&path).await.unwrap().size;
    }
    lying
}

/// What waits for late arrivals is due: of these there are none here.
async fn prove(house: &House) -> engine::Reclaimed {
    runtime::sleep(Duration::from_millis(2)).await;
    house.engine.reclaim_step(100).await.unwrap()
}

/// A move to the second store that no segment names, and the first one is lost with the catalog.
async fn lost_after_a_move(data: &[u8]) -> House {
    let house = House::build(one_replica()).await;
    house.engine.delete_nothing_unshipped();
    house.put("k", data).await.unwrap();
    ship(&house).await;
    house.engine.start_drain(backend(&house, 0)).await.unwrap();
    let moved = house.engine.drain_page(backend(&house, 0), None, 100).await.unwrap().moved;
    assert_eq!(moved, 2, "with the segment");
    house.reap().await;
    assert_eq!([of_key(&house, 0, "k").len(), of_key(&house, 1, "k").len()], [1, 1]);
    for path in of_key(&house, 0, "k") {
        house.stores[0].delete(&path).await.unwrap();
    }
    runtime::sleep(Duration::from_millis(2)).await;
    house
}

#[tokio::test]
async fn what_a_move_made_last_is_a_replica_again() {
    let data = bytes(200_000, 1);
    let lost = lost_after_a_move(&data).await;
    let house = rebuilt(&lost).await.unwrap();
    assert!(matches!(house.get("k").await, Err(EngineError::Unavailable(_))), "what is named is lost");
    let found = reconcile(&house, 1).await.unwrap();
    assert_eq!((found.reclaimed, found.strays), (1, 0), "{found:?}");
    assert_eq!(charged(&house, 1).await, lying(&house, 1).await);
    assert!(house.get("k").await.unwrap() == data, "it is read, each block proved");
    assert_eq!(
        in_state(&house, ReplicaState::Suspect).await,
        2,
        "it counts for nothing yet, nor does what is lost"
    );
    assert_eq!(reconcile(&house, 1).await.unwrap().reclaimed, 0, "it is known now");

    let proved = prove(&house).await;
    assert_eq!((proved.proved, proved.wrong, proved.next), (1, 0, None));
    assert_eq!(house.live().await, [1, 2], "with the segment");
    assert_eq!(in_state(&house, ReplicaState::Suspect).await, 0, "the one that is lost is doomed");
    house.audit().await;
    // It is in the journal: the next rebuild names it.
    ship(&house).await;
    let again = rebuilt(&house).await.unwrap();
    assert!(again.get("k").await.unwrap() == data);
    again.audit().await;
}

#[tokio::test]
async fn what_was_found_is_named_by_the_next_segment_before_it_is_proved() {
    let data = bytes(200_000, 1);
    let house = rebuilt(&lost_after_a_move(&data).await).await.unwrap();
    assert_eq!(reconcile(&house, 1).await.unwrap().reclaimed, 1);
    ship(&house).await;
    let again = rebuilt(&house).await.unwrap();
    assert!(again.get("k").await.unwrap() == data);
    assert_eq!(prove(&again).await.proved, 1, "its proof is still to be made");
    again.audit().await;
}

#[tokio::test]
async fn what_does_not_prove_itself_is_no_replica() {
    let data = bytes(200_000, 1);
    let lost = lost_after_a_move(&data).await;
    // One bit, where it was found.
    let path = of_key(&lost, 1, "k").remove(0);
    let mut wrong = data.clone();
    wrong[150_000] ^= 1;
    lost.stores[1].delete(&path).await.unwrap();
    lost.stores[1].put(&path, Body::from_bytes(Bytes::from(wrong)), PutOptions::default()).await.unwrap();
    runtime::sleep(Duration::from_millis(2)).await;
    let house = rebuilt(&lost).await.unwrap();
    assert_eq!(reconcile(&house, 1).await.unwrap().reclaimed, 1);
    assert!(house.get("k").await.is_err());
    let proved = prove(&house).await;
    assert_eq!((proved.proved, proved.wrong), (0, 1));
    assert_eq!(house.live().await[1], 1, "the segment, and nothing else");
    assert_eq!(of_key(&house, 1, "k"), [path], "it may be all that is left of most of it");
    assert_eq!(prove(&house).await, engine::Reclaimed::default(), "it is not asked again and again");
    assert_eq!(charged(&house, 1).await, lying(&house, 1).await);
}

#[tokio::test]
async fn what_is_not_known_stays_in_quarantine_and_shows_nothing() {
    let house = House::build(one_replica()).await;
    house.put("k", b"first").await.unwrap();
    ship(&house).await;
    // A write and an overwrite that no segment names: blobs that the rebuilt catalog does not know.
    house.engine.delete_nothing_unshipped();
    house.put("new", b"not shipped").await.unwrap();
    house.put("k", b"second").await.unwrap();
    runtime::sleep(Duration::from_millis(2)).await;
    let again = rebuilt(&house).await.unwrap();
    let found = reconcile(&again, 0).await.unwrap();
    assert_eq!((found.strays, found.reclaimed), (2, 0), "{found:?}");
    assert!(matches!(again.get("new").await, Err(EngineError::NoSuchKey)));
    assert_eq!(again.get("k").await.unwrap(), b"first");
    assert_eq!(charged(&again, 0).await, lying(&again, 0).await);
    assert_eq!(prove(&again).await, engine::Reclaimed::default());
    assert_eq!(again.catalog.audit().await.unwrap(), Vec::<String>::new());
}
