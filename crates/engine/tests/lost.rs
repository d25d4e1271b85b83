//! What lies on the stores beside what a rebuilt catalog was told of: it is charged, it comes back where it can, and it
//! shows nothing by itself.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod shipped;

use std::time::Duration;

use backend::{Backend, Body, PutOptions};
use bytes::Bytes;
use catalog::ReplicaState;
use common::{House, Plan, bytes, key};
use engine::{EngineError, Settings};
use format::shipped::{Header, Piece, ShippedName, seal};
use futures::TryStreamExt;
use runtime::{Chance, Clock, Ids};
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

/// A file of an epoch that is over, as it arrives once the next catalog is in use.
async fn arrives_late(house: &House, store: usize, name: ShippedName) -> ReplicaPath {
    let identity = house.catalog.identity().await.unwrap();
    // Its path is as old as its epoch.
    let ids = Ids::new(Clock::simulated(house.clock.now().minus(Duration::from_hours(1))), Chance::from_os());
    let grammar = &house.engine.places()[store].grammar;
    let internal = engine::Bucket::internal().name;
    let path = grammar.replica(&internal, &key(&name.key()), ids.blob(), ids.replica());
    let file = seal(&Header::new(identity.deployment, name.epoch, name.number), &[]);
    house.stores[store].put(&path, Body::from_bytes(file), PutOptions::default()).await.unwrap();
    runtime::sleep(Duration::from_millis(2)).await;
    path
}

#[tokio::test]
async fn a_file_of_a_lost_epoch_that_comes_late_is_charged_and_can_be_deleted() {
    let house = House::build(one_replica()).await;
    house.put("k", b"x").await.unwrap();
    ship(&house).await;
    let again = rebuilt(&house).await.unwrap();
    let late = ShippedName { epoch: 1, number: 2, piece: Piece::Segment };
    let path = arrives_late(&again, 0, late).await;
    assert!(again.engine.prove_newest(None).await.unwrap(), "it proves nothing about this catalog");
    assert!(charged(&again, 0).await < lying(&again, 0).await);
    let found = reconcile(&again, 0).await.unwrap();
    assert_eq!((found.strays, found.foreign), (1, 1), "beside the marker: {found:?}");
    assert_eq!(charged(&again, 0).await, lying(&again, 0).await);
    assert_eq!(reconcile(&again, 0).await.unwrap().strays, 0, "it is known now");
    let waiting = again.catalog.quarantined(None, 10).await.unwrap();
    assert_eq!(waiting.iter().map(|row| &row.path).collect::<Vec<_>>(), [&path]);
    // What it says is of an epoch that is over: a rebuild does not read it.
    ship(&again).await;
    let third = rebuilt(&again).await.unwrap();
    assert_eq!(third.get("k").await.unwrap(), b"x");
    assert_eq!(third.catalog.audit().await.unwrap(), Vec::<String>::new());
    assert_eq!(again.engine.delete_quarantined(&[waiting[0].replica]).await.unwrap(), 1);
    again.reap().await;
    assert!(!again.stores[0].paths().contains(&path));
}

#[tokio::test]
async fn the_second_copy_of_a_file_that_was_kept_belongs_to_it() {
    let house = House::new().await;
    house.put("k", b"x").await.unwrap();
    ship(&house).await;
    // The one on this store is still on its way when the catalog is rebuilt.
    let segment = |path: &&ReplicaPath| path.as_str().contains("/journal/");
    let path = house.stores[1].paths().iter().find(segment).unwrap().clone();
    let file = house.stores[1].get(&path, None).await.unwrap();
    let file: Vec<Bytes> = file.stream.try_collect().await.unwrap();
    house.stores[1].delete(&path).await.unwrap();
    let again = rebuilt(&house).await.unwrap();
    again.stores[1].put(&path, Body::from_bytes(file.concat().into()), PutOptions::default()).await.unwrap();
    let found = reconcile(&again, 1).await.unwrap();
    assert_eq!((found.reclaimed, found.strays), (1, 0), "{found:?}");
    assert_eq!(prove(&again).await.proved, 1);
    assert_eq!(charged(&again, 1).await, lying(&again, 1).await);
    assert!(again.engine.prove_newest(None).await.unwrap());
    again.audit().await;
}
