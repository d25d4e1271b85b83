//! A catalog of which a copy is in use as well: neither deletes what the other one wrote.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod shipped;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use backend::{
    Backend, Body, ErrorKind, Fault, FaultBackend, Faults, MemoryBackend, Meter, Operation, PutOptions,
};
use bytes::Bytes;
use catalog::ReplicaState;
use catalog::sqlite::{MemoryFile, Options};
use common::{Counted, House, Plan, bytes, until};
use engine::{Choices, EngineError, Expected, Incoming, Settings, Stored};
use futures::{StreamExt, stream};
use shipped::{over, rebuilt, rebuilt_with, ship};
use tokio::sync::oneshot;
use types::ReplicaPath;

const HOUR: Duration = Duration::from_hours(1);

/// Stores, and a catalog on them that can be copied.
struct Site {
    stores: House,
    file: MemoryFile,
}

impl Site {
    async fn new(plan: Plan) -> Self {
        let stores = House::build(plan).await;
        let deployment = stores.catalog.identity().await.unwrap().deployment;
        Self { stores, file: MemoryFile::new(deployment).unwrap() }
    }

    /// A process starts on this catalog, as the real one does.
    async fn start(&self, file: &MemoryFile, proof_lasts: Duration) -> House {
        let catalog = Arc::new(file.open_with(Options::default()).unwrap());
        let house = over(catalog, &self.stores).await;
        house.engine.delete_nothing_before_proof(proof_lasts);
        house.engine.delete_nothing_unshipped();
        house.engine.prove_newest(None).await.unwrap();
        house
    }
}

fn small_windows() -> Settings {
    Settings { factor: 2, window_bytes: 64 << 10, ..Settings::default() }
}

fn all_paths(house: &House) -> Vec<Vec<ReplicaPath>> {
    house.stores.iter().map(|store| store.paths()).collect()
}

/// A put whose body ends once it is told to.
fn slow_put(
    house: &House,
    name: &str,
    data: &[u8],
) -> (oneshot::Sender<()>, runtime::Task<Result<Stored, EngineError>>) {
    let (release, released) = oneshot::channel();
    let (first, rest) = data.split_at(data.len() / 2);
    let first: Vec<_> = first.chunks(16 << 10).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    let rest = Bytes::copy_from_slice(rest);
    let rest = stream::once(async move {
        let _ = released.await;
        Ok(rest)
    });
    let stream = Box::pin(stream::iter(first).chain(rest));
    let body = Incoming { length: data.len() as u64, stream, expected: Expected::default() };
    let request = engine::PutObject { body, ..house.put_request(name, b"") };
    let engine = house.engine.clone();
    (release, runtime::spawn(async move { engine.put_object(request).await }))
}

#[tokio::test]
async fn a_copy_deletes_nothing_that_the_original_was_writing() {
    let site = Site::new(Plan { settings: small_windows(), ..Plan::default() }).await;
    let original = site.start(&site.file, HOUR).await;
    original.put("before", b"there").await.unwrap();
    ship(&original).await;
    let data = bytes(500_000, 1);
    let (release, put) = slow_put(&original, "k", &data);
    until(async || {
        let rows = original.catalog.replicas(None, 100).await.unwrap();
        rows.iter().filter(|row| row.state == ReplicaState::Writing).count() == 2
    })
    .await;
    // Whoever writes in the copy is dead, as far as the copy knows.
    let copy = site.start(&site.file.copy().unwrap(), Duration::ZERO).await;
    assert!(copy.engine.frozen().is_none(), "nothing was shipped since");
    release.send(()).unwrap();
    put.await.unwrap().unwrap();
    ship(&original).await;

    let before = all_paths(&original);
    copy.reap().await;
    assert_eq!(all_paths(&original), before);
    assert!(copy.engine.frozen().unwrap().contains("did not write"));
    assert!(original.get("k").await.unwrap() == data);
    original.audit().await;
}

#[tokio::test]
async fn what_a_copy_gives_up_stays_where_the_original_shipped_meanwhile() {
    let site = Site::new(Plan::default()).await;
    let original = site.start(&site.file, HOUR).await;
    original.put("k", b"kept").await.unwrap();
    ship(&original).await;
    let copy = site.start(&site.file.copy().unwrap(), HOUR).await;
    original.put("other", b"of the original").await.unwrap();
    ship(&original).await;
    // However young its last proof is: that was before its segment.
    assert!(copy.delete("k").await);
    ship(&copy).await;
    copy.reap().await;
    assert!(copy.engine.frozen().is_some());
    assert_eq!(original.get("k").await.unwrap(), b"kept");
}

/// Stores behind meters, to see what they are asked.
fn metered(settings: Settings) -> (Plan, Vec<Arc<Counted>>) {
    let counted: Vec<Arc<Counted>> = (0..3).map(|_| Arc::default()).collect();
    let sinks = counted.clone();
    let wrap = Box::new(move |index: usize, store: Arc<MemoryBackend>| -> Arc<dyn Backend> {
        Arc::new(Meter::new(store, sinks[index].clone()))
    });
    (Plan { backends: 3, settings, wrap, ..Plan::default() }, counted)
}

fn requests(counted: &[Arc<Counted>]) -> Vec<u64> {
    counted.iter().map(|counted| counted.requests.load(Ordering::SeqCst)).collect()
}

#[tokio::test]
async fn who_deletes_nothing_asks_nothing_and_a_proof_serves_all_deletes_of_its_segment() {
    let (plan, counted) = metered(Settings { factor: 3, ..Settings::default() });
    let site = Site::new(plan).await;
    let house = site.start(&site.file, HOUR).await;
    for name in ["a", "b", "c"] {
        house.put(name, b"x").await.unwrap();
    }
    ship(&house).await;
    let before = requests(&counted);
    house.reap().await;
    assert_eq!(requests(&counted), before, "nothing is doomed");
    assert!(house.delete("a").await);
    ship(&house).await;
    let before = requests(&counted);
    house.reap().await;
    let asked: Vec<u64> = requests(&counted).iter().zip(&before).map(|(now, then)| now - then).collect();
    assert_eq!(asked, [2, 2, 1], "a delete each; a listing where segments lie");
    // What was shipped with it needs no other proof.
    assert!(house.delete("b").await && house.delete("c").await);
    let next = house.engine.shelf().await.unwrap().next;
    house.engine.ship_segment(next).await.unwrap();
    assert!(house.engine.prove_since_segment().await.unwrap());
    let before = requests(&counted);
    house.reap().await;
    let asked: Vec<u64> = requests(&counted).iter().zip(&before).map(|(now, then)| now - then).collect();
    assert_eq!(asked, [1, 1, 1], "two deletes in one request, and the shipper's proof is enough");
    house.audit().await;
}

#[tokio::test]
async fn where_nobody_can_say_nothing_is_deleted_and_nobody_is_asked_at_once_again() {
    let faults = Faults::none();
    let silent = Arc::clone(&faults);
    let wrap = Box::new(move |_, store: Arc<MemoryBackend>| -> Arc<dyn Backend> {
        Arc::new(FaultBackend::new(store, Arc::clone(&silent)))
    });
    let site = Site::new(Plan { wrap, ..Plan::default() }).await;
    let house = site.start(&site.file, HOUR).await;
    house.put("k", b"x").await.unwrap();
    assert!(house.delete("k").await);
    ship(&house).await;
    faults.always(Operation::List, Fault::Refuse(ErrorKind::Unavailable));
    let before = all_paths(&house);
    house.reap().await;
    assert_eq!(all_paths(&house), before);
    let pause = house.engine.next_reap(house.engine.places()[0].id).await.unwrap().unwrap();
    assert!(pause > Duration::from_secs(5), "{pause:?}");
    faults.clear();
    house.reap().await;
    assert_eq!(all_paths(&house), before, "it waits, whoever asks");
    assert!(house.engine.prove_newest(None).await.unwrap());
    house.reap().await;
    assert!(!all_paths(&house).concat().iter().any(|path| path.as_str().contains("/k~")));
    house.audit().await;
}

#[tokio::test]
async fn of_two_runs_under_one_number_neither_is_left_out_of_a_rebuild() {
    let site = Site::new(Plan::default()).await;
    let first = site.start(&site.file, HOUR).await;
    first.put("a", b"1").await.unwrap();
    let before = site.file.copy().unwrap();
    ship(&first).await;
    let of_the_first = all_paths(&first);
    // It ended before it noted that it had shipped: the run is shipped again, and more.
    let catalog = Arc::new(before.open_with(Options::default()).unwrap());
    let again = over(catalog, &site.stores).await;
    again.put("b", b"2").await.unwrap();
    ship(&again).await;
    let house = rebuilt(&again).await.unwrap();
    assert_eq!(house.get("b").await.unwrap(), b"2");

    let mut harmed = 0;
    for (store, known) in again.stores.iter().zip(&of_the_first) {
        let is_segment = |path: &&ReplicaPath| path.as_str().contains("journal/0000000001/");
        for path in store.paths().iter().filter(is_segment).filter(|path| !known.contains(path)) {
            store.delete(path).await.unwrap();
            store.put(path, Body::from_bytes("no segment".into()), PutOptions::default()).await.unwrap();
            harmed += 1;
        }
    }
    assert!(harmed > 0);
    let why = rebuilt(&again).await.err().expect("what came behind would be missing").to_string();
    assert!(why.contains("journal/0000000001/0000000000000001 cannot be read"), "{why}");
    assert!(why.contains("-accept-gaps"), "{why}");
    let accepts = Choices { accept_gaps: true, ..Choices::default() };
    let house = rebuilt_with(&again, &accepts).await.unwrap();
    assert_eq!(house.get("a").await.unwrap(), b"1");
    assert!(matches!(house.get("b").await, Err(EngineError::NoSuchKey)));
}
