//! A lost catalog comes back from what was shipped, and an old one notices that it is old.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod shipped;

use std::collections::BTreeMap;
use std::time::Duration;

use backend::{Backend, Body, PutOptions};
use bytes::Bytes;
use catalog::Metadata;
use common::{House, Plan, bytes, key};
use engine::{Choices, CopyObject, EngineError, PlanError, Settings, Source};
use format::shipped::{Header, Piece, ShippedName, seal};
use runtime::{Chance, Clock, Ids};
use shipped::{rebuilt, ship, snapshot};
use types::ReplicaPath;

/// Everything that a client can do, twice over; gives what it was told.
async fn live(house: &House, round: u64) -> BTreeMap<String, Vec<u8>> {
    let mut told = BTreeMap::new();
    for number in 0..12 {
        let (name, data) =
            (format!("{round}/object-{number}"), bytes(number * 20_011, round + number as u64));
        house.put(&name, &data).await.unwrap();
        told.insert(name, data);
    }
    for number in 0..4 {
        let (name, data) = (format!("{round}/object-{number}"), bytes(5_000, 77 + round));
        house.put(&name, &data).await.unwrap();
        told.insert(name, data);
    }
    for number in 4..7 {
        let name = format!("{round}/object-{number}");
        assert!(house.delete(&name).await);
        told.remove(&name);
    }
    let upload = house.begin_upload("parts").await;
    let parts = [bytes(5 << 20, round), bytes(99, round + 1)];
    let first = house.put_part("parts", upload, 1, &parts[0]).await.unwrap();
    let second = house.put_part("parts", upload, 2, &parts[1]).await.unwrap();
    house.complete("parts", upload, &[(1, &first), (2, &second)]).await.unwrap();
    told.insert("parts".to_owned(), parts.concat());
    let source = Source { bucket: house.bucket.clone(), key: key("parts"), conditions: Default::default() };
    let copy = CopyObject {
        source,
        bucket: house.bucket.clone(),
        key: key("copy"),
        precondition: Default::default(),
        replace_metadata: None,
        replace_tags: Some(vec![("made".to_owned(), "twice".to_owned())]),
        checksum: None,
        client: Default::default(),
    };
    house.engine.copy_object(copy).await.unwrap();
    told.insert("copy".to_owned(), parts.concat());
    let tags: Metadata = vec![("round".to_owned(), round.to_string())];
    house.engine.set_tags(&house.bucket, &key(&format!("{round}/object-8")), tags).await.unwrap();
    // An upload that stays open.
    let open = house.begin_upload("open").await;
    house.put_part("open", open, 3, &bytes(1234, round)).await.unwrap();
    told
}

async fn shows(house: &House, told: &BTreeMap<String, Vec<u8>>) {
    let query = catalog::ListQuery {
        bucket: house.bucket.id,
        prefix: String::new(),
        delimiter: None,
        after: None,
        limit: 1000,
    };
    let listed = house.engine.list_objects(&query).await.unwrap();
    assert_eq!(listed.lines.len(), told.len());
    for (name, data) in told {
        assert!(house.get(name).await.unwrap() == *data, "{name}");
    }
    house.audit().await;
}

#[tokio::test]
async fn a_lost_catalog_comes_back() {
    let house = House::new().await;
    let mut told = live(&house, 1).await;
    assert_eq!(ship(&house).await, 1);
    told.extend(live(&house, 2).await);
    snapshot(&house).await;
    house.reap().await;
    told.extend(live(&house, 3).await);
    ship(&house).await;
    // The newest write was not shipped: it is not visible, and its bytes are nobody's yet.
    house.put("late", b"not shipped").await.unwrap();

    let again = rebuilt(&house).await.unwrap();
    assert!(matches!(again.get("late").await, Err(EngineError::NoSuchKey)));
    for store in &house.stores {
        for path in store.paths().iter().filter(|path| path.as_str().contains("/late~")) {
            store.delete(path).await.unwrap();
        }
    }
    shows(&again, &told).await;
    // It goes on, is shipped, lost and rebuilt once more.
    told.extend(live(&again, 4).await);
    ship(&again).await;
    let third = rebuilt(&again).await.unwrap();
    shows(&third, &told).await;
    snapshot(&third).await;
    shows(&third, &told).await;
    let fourth = rebuilt(&third).await.unwrap();
    assert_eq!(fourth.catalog.identity().await.unwrap().epoch, 4);
    shows(&fourth, &told).await;
}

/// A rebuild finds files by their paths alone, so one that lay there in several blobs would be unreadable.
#[tokio::test]
async fn what_is_shipped_is_never_larger_than_a_put_of_its_backends() {
    let house = House::build(Plan { put_bytes_max: Some(4_000), ..Plan::default() }).await;
    let mut told = BTreeMap::new();
    for number in 0..40 {
        let (name, data) = (format!("object-{number}"), bytes(100 + number * 200, number as u64));
        house.put(&name, &data).await.unwrap();
        told.insert(name, data);
    }
    snapshot(&house).await;
    house.put("later", b"later").await.unwrap();
    told.insert("later".to_owned(), b"later".to_vec());
    ship(&house).await;
    let files = house.engine.list_internal("").await.unwrap();
    let pieces = |wanted: fn(&Piece) -> bool| {
        files.iter().filter(|file| wanted(&ShippedName::parse(file.key.as_str()).unwrap().piece)).count()
    };
    assert!(pieces(|piece| *piece == Piece::Segment) > 10);
    assert!(pieces(|piece| matches!(piece, Piece::Page(_))) > 10);
    for store in &house.stores {
        let shipped = |path: &&ReplicaPath| {
            path.as_str().starts_with(".s3-orchestrator/") && path.as_str().contains('~')
        };
        assert_eq!(store.paths().iter().filter(shipped).count(), files.len(), "a file is in pieces");
    }
    shows(&rebuilt(&house).await.unwrap(), &told).await;
}

/// Segments lie on two backends, however many replicas a write of a client waits for.
#[tokio::test]
async fn what_waits_for_every_replica_is_shipped_as_well() {
    let settings = Settings { factor: 3, ack_replicas: 3, ..Settings::default() };
    let house = House::build(Plan { backends: 3, settings, ..Plan::default() }).await;
    house.put("object", b"bytes").await.unwrap();
    assert_eq!(ship(&house).await, 1);
    assert_eq!(rebuilt(&house).await.unwrap().get("object").await.unwrap(), b"bytes");
}

/// A line that is longer than a put of any backend cannot be shipped; what would fit behind it waits.
#[tokio::test]
async fn what_no_backend_takes_whole_is_not_shipped_in_pieces() {
    let house = House::build(Plan { put_bytes_max: Some(1_000), ..Plan::default() }).await;
    house.put("many blobs", &bytes(30_000, 1)).await.unwrap();
    let number = house.engine.shelf().await.unwrap().next;
    let error = house.engine.ship_segment(number).await.unwrap_err();
    assert!(matches!(error, EngineError::OutOfSpace { .. }), "{error}");
    assert!(house.engine.list_internal("").await.unwrap().is_empty());
}

/// How many replicas of a key lie on the stores.
fn lying(house: &House, name: &str) -> usize {
    let of_key = |path: &&ReplicaPath| path.as_str().contains(&format!("/{name}~"));
    house.stores.iter().map(|store| store.paths().iter().filter(of_key).count()).sum()
}

#[tokio::test]
async fn what_went_since_the_last_segment_is_there_after_a_rebuild() {
    let house = House::new().await;
    house.engine.delete_nothing_unshipped();
    house.put("replaced", b"old").await.unwrap();
    house.put("deleted", b"there").await.unwrap();
    ship(&house).await;
    house.put("replaced", b"new").await.unwrap();
    assert!(house.delete("deleted").await);
    house.reap().await;
    let again = rebuilt(&house).await.unwrap();
    assert_eq!(again.get("replaced").await.unwrap(), b"old");
    assert_eq!(again.get("deleted").await.unwrap(), b"there");
}

#[tokio::test]
async fn what_is_shipped_goes_however_much_comes_after_it() {
    let house = House::new().await;
    house.put("k", b"one").await.unwrap();
    let replicas = lying(&house, "k");
    house.engine.delete_nothing_unshipped();
    house.put("k", b"two").await.unwrap();
    house.reap().await;
    assert_eq!(lying(&house, "k"), 2 * replicas, "it waits for its segment");
    ship(&house).await;
    house.put("other", b"is never shipped").await.unwrap();
    house.reap().await;
    assert_eq!(lying(&house, "k"), replicas);
    // What came after the mark waits for the next one; where all is shipped anyway, for none.
    house.put("k", b"three").await.unwrap();
    house.reap().await;
    assert_eq!(lying(&house, "k"), 2 * replicas);
    ship(&house).await;
    house.reap().await;
    assert_eq!(lying(&house, "k"), replicas);
    house.audit().await;
}

#[tokio::test]
async fn where_no_segment_has_room_deletes_make_it() {
    const QUOTA: u64 = 100_000;
    let house = House::build(Plan { backends: 2, quota: Some(QUOTA), ..Plan::default() }).await;
    house.engine.delete_nothing_unshipped();
    // What is left after the markers is less than a segment.
    house.put("k", &bytes(usize::try_from(QUOTA).unwrap() - 500, 1)).await.unwrap();
    assert!(house.delete("k").await);
    house.reap().await;
    assert_eq!(lying(&house, "k"), 2);
    let next = house.engine.shelf().await.unwrap().next;
    assert!(matches!(house.engine.ship_segment(next).await, Err(EngineError::OutOfSpace { .. })));
    house.reap().await;
    assert_eq!(lying(&house, "k"), 0);
    ship(&house).await;
    assert_eq!(house.engine.unshipped_since().await.unwrap(), None);
}

#[tokio::test]
async fn idle_ships_nothing() {
    let house = House::new().await;
    assert_eq!(ship(&house).await, 0, "a new catalog has nothing to say");
    live(&house, 1).await;
    assert_eq!(ship(&house).await, 1);
    snapshot(&house).await;
    house.reap().await;
    ship(&house).await;
    let shelf = house.engine.shelf().await.unwrap();
    for _ in 0..3 {
        house.reap().await;
        assert_eq!(ship(&house).await, 0);
    }
    assert_eq!(house.engine.shelf().await.unwrap(), shelf);
    assert_eq!(house.engine.unshipped_since().await.unwrap(), None);
    // Older segments are gone, of the journal as of the stores.
    let folder = house.engine.places()[0].grammar.reserved();
    let left = house.stores[0].paths().iter().filter(|path| path.as_str().starts_with(&folder)).count();
    assert!(left <= 5, "marker, page, last word and what was shipped since: {left}");
}

#[tokio::test]
async fn what_it_did_not_write_freezes_a_catalog() {
    let house = House::new().await;
    house.put("a", b"1").await.unwrap();
    ship(&house).await;
    assert!(house.engine.prove_newest(None).await.unwrap());
    // Another catalog of this deployment ships to the same backend.
    let identity = house.catalog.identity().await.unwrap();
    let ids = Ids::new(Clock::system(), Chance::from_os());
    let name = ShippedName { epoch: identity.epoch, number: 2, piece: Piece::Segment };
    let place = &house.engine.places()[1];
    let bucket = engine::Bucket::internal().name;
    let path = place.grammar.replica(&bucket, &key(&name.key()), ids.blob(), ids.replica());
    let file = seal(&Header::new(identity.deployment, identity.epoch, 2), &[]);
    house.stores[1].put(&path, Body::from_bytes(file), PutOptions::default()).await.unwrap();

    assert!(!house.engine.prove_newest(None).await.unwrap());
    let reason = house.engine.frozen().unwrap();
    assert!(reason.contains("store-1") && reason.contains("rebuild"), "{reason}");
    assert!(matches!(house.put("b", b"2").await, Err(EngineError::Unavailable(_))));
    let items = vec![catalog::DeleteItem { key: key("a"), precondition: Default::default() }];
    let delete = engine::DeleteObjects { bucket: house.bucket.clone(), items };
    assert!(matches!(house.engine.delete_objects(delete).await, Err(EngineError::Unavailable(_))));
    let before = house.stores[0].paths();
    house.reap().await;
    assert_eq!(house.stores[0].paths(), before, "nothing is deleted");
    assert_eq!(house.get("a").await.unwrap(), b"1", "what it serves, it serves");
}

#[tokio::test]
async fn nothing_is_deleted_before_the_proof() {
    let house = House::new().await;
    house.engine.delete_nothing_before_proof(Duration::from_hours(1));
    house.put("a", b"1").await.unwrap();
    assert!(house.delete("a").await);
    let before = house.stores[0].paths();
    house.reap().await;
    assert_eq!(house.stores[0].paths(), before);
    assert!(house.engine.prove_newest(None).await.unwrap());
    house.reap().await;
    assert_eq!(house.stores[0].paths().len(), before.len() - 1);
}

#[tokio::test]
async fn one_whole_copy_of_a_segment_is_enough() {
    let house = House::new().await;
    let told = live(&house, 1).await;
    ship(&house).await;
    let segments = |at: usize| -> Vec<ReplicaPath> {
        house.stores[at].paths().into_iter().filter(|path| path.as_str().contains("/journal/")).collect()
    };
    // The same path is never put twice by us; a disk may well change what lies there.
    for (store, damaged) in [(0, Bytes::from_static(b"{}")), (1, Bytes::from_static(b"nothing"))] {
        let path = segments(store).remove(0);
        if store == 1 {
            let again = rebuilt(&house).await.unwrap();
            shows(&again, &told).await;
        }
        house.stores[store].delete(&path).await.unwrap();
        house.stores[store].put(&path, Body::from_bytes(damaged), PutOptions::default()).await.unwrap();
    }
    let Err(error) = rebuilt(&house).await else { panic!("no copy is whole") };
    assert!(error.to_string().contains("journal/0000000001/0000000000000001 cannot be read"), "{error}");
}

#[tokio::test]
async fn a_plan_says_what_is_missing() {
    let house = House::new().await;
    for number in 0..3 {
        house.put(&number.to_string(), b"x").await.unwrap();
        ship(&house).await;
    }
    let found = engine::find(house.engine.places()).await;
    let plan = engine::plan(&found, &Choices::default()).unwrap();
    assert_eq!((plan.epoch, plan.segments.len(), plan.requests()), (2, 3, 3));
    let mut gap = found.clone();
    for (_, reserved) in &mut gap.backends {
        reserved.as_mut().unwrap().shipped.retain(|file| file.name.number != 2);
    }
    let refused = engine::plan(&gap, &Choices::default()).unwrap_err();
    assert!(matches!(refused, PlanError::Gap { missing: 1, .. }), "{refused}");
    let accepted = Choices { accept_gaps: true, ..Choices::default() };
    assert_eq!(engine::plan(&gap, &accepted).unwrap().segments.len(), 2);
    let mut away = found.clone();
    away.backends[1].1 = Err("the disk is not mounted".to_owned());
    let refused = engine::plan(&away, &Choices::default()).unwrap_err();
    assert!(refused.to_string().contains("-without store-1"), "{refused}");
    let without = [away.backends[1].0.clone()].into();
    assert!(engine::plan(&away, &Choices { without, ..Choices::default() }).is_ok());
    let mut empty = found;
    empty.backends.iter_mut().for_each(|(_, reserved)| reserved.as_mut().unwrap().markers.clear());
    assert_eq!(engine::plan(&empty, &Choices::default()).unwrap_err(), PlanError::Nothing);
}
