//! Imports: what lies on a backend since before becomes ours, where it lies.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use backend::{Backend, Body, ErrorKind, Fault, FaultBackend, Faults, MemoryBackend, Operation, PutOptions};
use bytes::Bytes;
use catalog::{ReplicaState, Want};
use common::{House, Plan, bytes, key};
use engine::{
    CopyObject, EngineError, ImportCounts, ImportJob, ImportRun, RepairOptions, Settings, Source, Step,
};
use types::{ETag, ReplicaPath};

const REPAIR: RepairOptions = RepairOptions { batch: 100, at_once: 4 };

/// Puts bytes on a store behind the engine's back.
async fn smuggle(house: &House, store: usize, path: &str, data: &[u8]) -> ReplicaPath {
    let path = ReplicaPath::parse(path).unwrap();
    let body = Body::from_bytes(Bytes::copy_from_slice(data));
    house.stores[store].put(&path, body, PutOptions::default()).await.unwrap();
    path
}

/// Writes over what lies there, as somebody else may.
async fn replace(house: &House, store: usize, path: &ReplicaPath, data: &[u8]) {
    house.stores[store].delete(path).await.unwrap();
    // Its time is what tells it from the one before.
    runtime::sleep(Duration::from_millis(5)).await;
    smuggle(house, store, path.as_str(), data).await;
}

fn lies(house: &House, store: usize, path: &ReplicaPath) -> bool {
    house.stores[store].paths().contains(path)
}

async fn run(house: &House, prefix: &str, dry_run: bool) -> ImportRun {
    // A catalog that is not proved to be the newest imports nothing.
    house.engine.prove_newest(None).await.unwrap();
    let (backend, bucket) = (house.engine.places()[0].id, house.bucket.clone());
    assert!(house.engine.begin_import(ImportJob { backend, bucket, prefix: prefix.to_owned(), dry_run }));
    while house.engine.import_step().await.unwrap().is_some() {}
    house.engine.import_run().unwrap()
}

async fn repair(house: &House) {
    while house.engine.repair_step(REPAIR, &[]).await.unwrap().made > 0 {}
}

#[tokio::test]
async fn n26_n27_what_lies_on_a_backend_becomes_objects_where_it_lies() {
    let house = House::new().await;
    let data = bytes(200_000, 1);
    let old = smuggle(&house, 0, "old/a b", &data).await;
    smuggle(&house, 0, "old/empty", b"").await;
    let taken = smuggle(&house, 0, "taken", b"theirs").await;
    house.put("taken", b"ours").await.unwrap();
    let others = smuggle(&house, 0, "p/.s3-orchestrator/marker/x", b"").await;

    let looked = run(&house, "", true).await;
    let expected = ImportCounts {
        listed: 6,
        imported: 2,
        imported_bytes: 200_000,
        taken: 1,
        ours: 3,
        requests: 1 + 2 * 2,
        ..ImportCounts::default()
    };
    assert_eq!((looked.counts, looked.done), (expected.clone(), true));
    assert!(matches!(house.get("old/a b").await, Err(EngineError::NoSuchKey)), "it only looked");

    // The store has no entity tags, so each is looked at once more.
    let done = run(&house, "", false).await;
    assert_eq!((done.counts, done.error), (ImportCounts { requests: 1 + 3 * 2, ..expected }, None));
    assert_eq!(house.get("old/a b").await.unwrap(), data);
    let range = Want::From { start: 70_000, last: Some(140_000) };
    assert_eq!(house.get_want("old/a b", range).await.unwrap(), data[70_000..=140_000]);
    assert_eq!(house.get("old/empty").await.unwrap(), b"");
    assert_eq!(house.get("taken").await.unwrap(), b"ours");
    let state = house.open("old/a b", Want::State).await.unwrap().object.state;
    assert_eq!(state.etag, ETag::of_md5(engine::md5_of(&data)));
    let again = run(&house, "", false).await.counts;
    assert_eq!((again.imported, again.known, again.requests), (0, 2, 1), "what is ours is skipped");

    // Foreign names are no reason to be missed, nor to be asked about one by one.
    let mut compare = house.engine.begin_reconcile(house.engine.places()[0].id).await.unwrap();
    while house.engine.reconcile_step(&mut compare).await.unwrap() == Step::MoreWork {}
    assert_eq!((compare.found.strays, compare.found.vanished), (0, 0));

    repair(&house).await;
    let rows = house.catalog.replicas(None, 100).await.unwrap();
    let paths: Vec<_> = rows.iter().filter(|row| row.state == ReplicaState::Live).map(|r| &r.path).collect();
    assert!(paths.contains(&&old));
    assert!(paths.iter().any(|path| path.as_str().starts_with("photos/old/a=20b~")), "{paths:?}");
    assert_eq!(house.live().await, [3, 3]);

    let copy = copy_of(&house);
    house.engine.copy_object(copy).await.unwrap();
    house.put("old/a b", b"new").await.unwrap();
    house.reap().await;
    assert!(lies(&house, 0, &old), "the copy needs it");
    assert_eq!(house.get("copy").await.unwrap(), data);
    assert!(house.delete("copy").await && house.delete("old/empty").await);
    house.reap().await;
    assert!(!lies(&house, 0, &old), "it is as it was imported, so it is ours to delete");
    assert!(lies(&house, 0, &taken) && lies(&house, 0, &others), "what is not ours stays");
    for path in [taken, others] {
        house.stores[0].delete(&path).await.unwrap();
    }
    house.audit().await;
}

fn copy_of(house: &House) -> CopyObject {
    CopyObject {
        source: Source { bucket: house.bucket.clone(), key: key("old/a b"), conditions: Default::default() },
        bucket: house.bucket.clone(),
        key: key("copy"),
        replace_metadata: None,
        replace_tags: None,
        precondition: Default::default(),
        checksum: None,
        client: Default::default(),
    }
}

#[tokio::test]
async fn what_was_replaced_behind_our_back_is_neither_served_nor_deleted() {
    let house = House::build(Plan { backends: 1, ..Plan::default() }).await;
    let data = bytes(100_000, 2);
    let path = smuggle(&house, 0, "old", &data).await;
    let gone = smuggle(&house, 0, "gone", &data).await;
    assert_eq!(run(&house, "", false).await.counts.imported, 2);
    replace(&house, 0, &path, &bytes(100_000, 3)).await;
    house.stores[0].delete(&gone).await.unwrap();
    assert!(house.get("old").await.is_err(), "not what was imported");
    assert!(house.get("gone").await.is_err());
    assert!(house.delete("old").await && house.delete("gone").await);
    house.reap().await;
    assert!(lies(&house, 0, &path), "it is not ours any more");
    let totals = house.catalog.totals().await.unwrap();
    assert_eq!(totals.backends[0].charged, 0, "nor charged");
    // It may be imported as what it is now.
    assert_eq!(run(&house, "", false).await.counts.imported, 1);
    assert_eq!(house.get("old").await.unwrap(), bytes(100_000, 3));
    house.audit().await;
}

#[tokio::test]
async fn an_import_stops_where_the_quota_does_and_leaves_out_what_is_too_large() {
    let settings = Settings { factor: 1, object_bytes_max: Some(50), ..Settings::default() };
    let faults = Faults::none();
    let broken = Arc::clone(&faults);
    let wrap = Box::new(move |_, store: Arc<MemoryBackend>| -> Arc<dyn Backend> {
        Arc::new(FaultBackend::new(store, Arc::clone(&broken)))
    });
    let house = House::build(Plan { quota: Some(100), settings, wrap, ..Plan::default() }).await;
    for at in 0..5 {
        smuggle(&house, 0, &format!("in/{at}"), &[7; 40]).await;
    }
    smuggle(&house, 0, "in/large", &[7; 51]).await;
    smuggle(&house, 0, "out", b"x").await;
    let done = run(&house, "in/", false).await;
    assert_eq!((done.counts.imported, done.counts.unfit), (2, 1));
    assert!(done.done && done.error.unwrap().contains("quota of backend store-0"));
    assert_eq!(house.catalog.totals().await.unwrap().backends[0].charged, 80);
    assert!(matches!(house.get("out").await, Err(EngineError::NoSuchKey)), "not below the prefix");
    // Where there is room again, it goes on.
    assert!(house.delete("in/0").await);
    house.reap().await;
    let done = run(&house, "in/", false).await;
    assert_eq!((done.counts.known, done.counts.imported), (1, 1));
    // And what has no room is not read for nothing.
    faults.always(Operation::Get, Fault::Refuse(ErrorKind::Unavailable));
    let done = run(&house, "in/", false).await;
    assert_eq!((done.counts.known, done.counts.imported, done.counts.failed), (2, 0, 0));
    assert!(done.error.unwrap().contains("quota of backend store-0"));
}

#[tokio::test]
async fn one_import_at_a_time_and_none_of_a_catalog_that_may_be_old() {
    let house = House::new().await;
    smuggle(&house, 0, "old", b"x").await;
    let (backend, bucket) = (house.engine.places()[0].id, house.bucket.clone());
    let job = ImportJob { backend, bucket, prefix: String::new(), dry_run: false };
    assert_eq!(house.engine.import_step().await.unwrap(), None, "nobody asked for one");
    assert!(house.engine.begin_import(job.clone()));
    assert!(!house.engine.begin_import(job.clone()));
    house.engine.delete_nothing_before_proof(Duration::from_hours(1));
    assert!(matches!(house.engine.import_step().await, Err(EngineError::Unavailable(_))));
    house.engine.end_import("enough");
    assert_eq!(house.engine.import_run().unwrap().error.as_deref(), Some("enough"));
    assert!(house.engine.begin_import(job));
}
