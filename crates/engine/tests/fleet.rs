//! Fleet work over memory backends: expiry, and what reconciling finds.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use backend::{
    Backend, BackendError, Body, Deleted, Download, ListPage, MemoryBackend, Profile, PutOptions, PutReceipt,
    Stat,
};
use bytes::Bytes;
use catalog::{BackendId, Quarantined, ReplicaState, Want};
use common::{House, Plan, bytes, key};
use engine::{EngineError, ExpiryRule, Found, Settings, Step};
use runtime::{Chance, Clock, Ids};
use types::{BackendName, ByteRange, ReplicaPath, Timestamp};

fn rule(house: &House, prefix: &str, age: Duration) -> ExpiryRule {
    ExpiryRule { bucket: house.bucket.clone(), prefix: prefix.to_owned(), tags: Vec::new(), age }
}

async fn expire_all(house: &House, rule: &ExpiryRule) -> u32 {
    let (mut removed, mut after) = (0, None);
    loop {
        let page = house.engine.expire(rule, after, 3).await.unwrap();
        removed += page.removed;
        after = page.next;
        if after.is_none() {
            return removed;
        }
    }
}

#[tokio::test]
async fn what_is_old_enough_expires_and_its_bytes_go() {
    let house = House::new().await;
    for at in 0..10 {
        house.put(&format!("tmp/{at}"), &bytes(1000, at)).await.unwrap();
    }
    house.put("kept", b"kept").await.unwrap();
    assert_eq!(expire_all(&house, &rule(&house, "tmp/", Duration::from_hours(24))).await, 0, "too young");
    runtime::sleep(Duration::from_millis(5)).await;
    assert_eq!(expire_all(&house, &rule(&house, "tmp/", Duration::ZERO)).await, 10);
    assert_eq!(house.get("kept").await.unwrap(), b"kept");
    assert!(matches!(house.get("tmp/0").await, Err(EngineError::NoSuchKey)));
    house.audit().await;
    assert_eq!(house.live().await, [1, 1]);
}

#[tokio::test]
async fn uploads_that_nobody_goes_on_with_are_aborted() {
    let house = House::new().await;
    let upload = house.begin_upload("big").await;
    house.put_part("big", upload, 1, &bytes(5000, 1)).await.unwrap();
    assert_eq!(house.engine.abort_stale_uploads(Duration::from_hours(1), 10).await.unwrap(), (0, false));
    runtime::sleep(Duration::from_millis(5)).await;
    assert_eq!(house.engine.abort_stale_uploads(Duration::ZERO, 1).await.unwrap(), (1, true));
    assert_eq!(house.engine.abort_stale_uploads(Duration::ZERO, 1).await.unwrap(), (0, false));
    assert!(matches!(house.put_part("big", upload, 2, b"late").await, Err(EngineError::NoSuchUpload)));
    house.audit().await;
    assert_eq!(house.live().await, [0, 0]);
}

/// Puts bytes on a store behind the engine's back.
async fn smuggle(house: &House, store: usize, path: &str, data: &[u8]) -> ReplicaPath {
    let path = ReplicaPath::parse(path).unwrap();
    let body = Body::from_bytes(Bytes::copy_from_slice(data));
    house.stores[store].put(&path, body, PutOptions::default()).await.unwrap();
    // What was stored within this very millisecond may still be on its way.
    runtime::sleep(Duration::from_millis(2)).await;
    path
}

/// A path of ours whose replica was made at that time, of bucket `photos`.
fn our_path(house: &House, name: &str, at: Timestamp) -> String {
    let ids = Ids::new(Clock::simulated(at), Chance::from_os());
    let grammar = &house.engine.places()[0].grammar;
    grammar.replica(&house.bucket.name, &key(name), ids.blob(), ids.replica()).as_str().to_owned()
}

fn backend(house: &House, store: usize) -> BackendId {
    house.engine.places()[store].id
}

async fn reconcile(house: &House, store: usize) -> Result<Found, EngineError> {
    let mut run = house.engine.begin_reconcile(backend(house, store)).await?;
    while house.engine.reconcile_step(&mut run).await? == Step::MoreWork {}
    Ok(run.found)
}

async fn quarantined(house: &House) -> Vec<Quarantined> {
    house.catalog.quarantined(None, 100).await.unwrap()
}

#[tokio::test]
async fn n27_n28_strays_are_found_and_nothing_else_is_touched() {
    let house = House::new().await;
    let long_ago = house.clock.now().minus(Duration::from_hours(5));
    house.put("mine", &bytes(3000, 1)).await.unwrap();
    let upload = house.begin_upload("big").await;
    let part = house.put_part("big", upload, 1, &bytes(2000, 2)).await.unwrap();
    house.put("doomed", b"doomed").await.unwrap();
    assert!(house.delete("doomed").await);
    // What the Go program, or anybody, may have left.
    for foreign in ["photos/cat.jpg", "cat.jpg", "__multipart/abc/1", "other~x.y"] {
        smuggle(&house, 0, foreign, b"not ours").await;
    }
    smuggle(
        &house,
        0,
        &our_path(&house, "young", house.clock.now().plus(Duration::from_hours(1))),
        b"may be on its way",
    )
    .await;
    assert_eq!(reconcile(&house, 0).await.unwrap().strays, 0);

    let path = smuggle(&house, 0, &our_path(&house, "stray", long_ago), b"stray").await;
    // A copy of a replica that lies elsewhere is somebody's copy.
    let of_another = house.catalog.replicas(None, 100).await.unwrap();
    let second = of_another.iter().find(|row| row.backend == backend(&house, 1)).unwrap();
    smuggle(&house, 0, second.path.as_str(), b"a copy").await;
    let before = house.stores[0].paths().len();
    for round in 0..2 {
        let found = reconcile(&house, 0).await.unwrap();
        assert_eq!((found.strays, found.vanished), (u64::from(round == 0), 0), "{found:?}");
        assert_eq!(found.foreign, 6, "the marker is one of them");
    }
    let waiting = quarantined(&house).await;
    assert_eq!((waiting.len(), &waiting[0].path, waiting[0].charged), (1, &path, 5));
    house.reap().await;
    assert_eq!(house.stores[0].paths().len(), before - 1, "the doomed one alone is gone");
    // The part that nobody imported is still a part.
    house.complete("big", upload, &[(1, &part)]).await.unwrap();
    assert_eq!(house.get("big").await.unwrap(), bytes(2000, 2));

    let change = Ids::new(house.clock.clone(), Chance::from_os()).change();
    house.catalog.doom_quarantined(change, vec![waiting[0].replica]).await.unwrap();
    house.reap().await;
    assert!(!house.stores[0].paths().contains(&path));
    assert_eq!(house.catalog.audit().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_stray_waits_as_long_as_the_settings_say() {
    let settings = Settings { factor: 2, quarantine_kept: Duration::ZERO, ..Settings::default() };
    let house = House::build(Plan { settings, ..Plan::default() }).await;
    let long_ago = house.clock.now().minus(Duration::from_hours(5));
    smuggle(&house, 1, &our_path(&house, "stray", long_ago), b"stray").await;
    reconcile(&house, 1).await.unwrap();
    assert_eq!(house.engine.expire_quarantined(10).await.unwrap(), 1);
    house.audit().await;
}

#[tokio::test]
async fn a_replica_that_vanished_is_suspect_and_a_missing_backend_is_no_empty_one() {
    let house = House::new().await;
    for at in 0..20 {
        house.put(&format!("k{at}"), &bytes(100, at)).await.unwrap();
    }
    let rows = house.catalog.replicas(None, 100).await.unwrap();
    let mine: Vec<_> = rows.iter().filter(|row| row.backend == backend(&house, 0)).collect();
    runtime::sleep(Duration::from_millis(5)).await;
    house.stores[0].delete(&mine[0].path).await.unwrap();
    house.stores[0].delete(&mine[1].path).await.unwrap();
    smuggle(&house, 0, mine[1].path.as_str(), b"shorter").await;
    let marker = house.stores[0].paths().into_iter().find(|path| path.as_str().starts_with(".s3-")).unwrap();
    house.stores[0].delete(&marker).await.unwrap();
    let missing = reconcile(&house, 0).await.unwrap_err();
    assert!(missing.to_string().contains("is missing"), "{missing}");
    let suspects = async || {
        let rows = house.catalog.replicas(None, 100).await.unwrap();
        rows.into_iter()
            .filter(|row| row.state == ReplicaState::Suspect)
            .map(|row| row.replica)
            .collect::<Vec<_>>()
    };
    assert_eq!(suspects().await, Vec::new(), "nothing is judged");

    smuggle(&house, 0, marker.as_str(), b"mounted again").await;
    let found = reconcile(&house, 0).await.unwrap();
    assert_eq!((found.vanished, found.rows), (2, 20), "{found:?}");
    let mut expected = vec![mine[0].replica, mine[1].replica];
    expected.sort();
    assert_eq!(suspects().await, expected);
    assert_eq!(reconcile(&house, 0).await.unwrap().vanished, 0);
    for at in 0..20 {
        assert_eq!(house.get(&format!("k{at}")).await.unwrap(), bytes(100, at));
    }
}

#[tokio::test]
async fn a_stray_is_restored_with_what_it_says_of_itself() {
    let house = House::new().await;
    let long_ago = house.clock.now().minus(Duration::from_hours(5));
    let data = bytes(200_000, 9);
    let path = ReplicaPath::parse(&our_path(&house, "a b/ü", long_ago)).unwrap();
    let says = [("s3o-content-type", "text/plain;%20charset=utf-8"), ("s3o-meta-name", "v%20w")];
    let metadata = says.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let body = Body::from_bytes(Bytes::from(data.clone()));
    house.stores[0].put(&path, body, PutOptions { metadata }).await.unwrap();
    runtime::sleep(Duration::from_millis(2)).await;
    reconcile(&house, 0).await.unwrap();
    let found = quarantined(&house).await.remove(0);
    let (bucket, name) = house.engine.says_for(&found).unwrap();
    assert_eq!((bucket, name.as_str()), (house.bucket.name.clone(), "a b/ü"));
    assert_eq!(house.engine.find_quarantined(found.replica).await.unwrap(), Some(found.clone()));

    house.put("taken", b"x").await.unwrap();
    let taken = house.engine.restore_quarantined(&found, &house.bucket, key("taken")).await.unwrap_err();
    assert!(matches!(taken, EngineError::PreconditionFailed), "{taken}");
    let stored = house.engine.restore_quarantined(&found, &house.bucket, name).await.unwrap();
    assert_eq!(stored.size, 200_000);
    let opened = house.open("a b/ü", Want::State).await.unwrap();
    assert_eq!(opened.object.state.headers.content_type.as_deref(), Some("text/plain; charset=utf-8"));
    assert_eq!(opened.object.state.metadata, [("name".to_owned(), "v w".to_owned())]);
    assert_eq!(house.get("a b/ü").await.unwrap(), data);
    house.audit().await;
}

/// A store whose listing does not show everything yet.
struct StaleList {
    inner: Arc<MemoryBackend>,
    hidden: Arc<Mutex<Option<String>>>,
}

#[async_trait]
impl Backend for StaleList {
    fn name(&self) -> &BackendName {
        self.inner.name()
    }

    fn profile(&self) -> Profile {
        self.inner.profile()
    }

    async fn put(
        &self,
        path: &ReplicaPath,
        body: Body,
        options: PutOptions,
    ) -> Result<PutReceipt, BackendError> {
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
        self.inner.delete_many(paths).await
    }

    async fn list(&self, prefix: &str, cursor: Option<&str>) -> Result<ListPage, BackendError> {
        let mut page = self.inner.list(prefix, cursor).await?;
        let hidden = self.hidden.lock().unwrap().clone();
        page.entries.retain(|entry| Some(entry.path.as_str()) != hidden.as_deref());
        Ok(page)
    }

    async fn copy(&self, from: &ReplicaPath, to: &ReplicaPath) -> Result<(), BackendError> {
        self.inner.copy(from, to).await
    }
}

#[tokio::test]
async fn a_stale_listing_makes_no_replica_suspect() {
    let hidden: Arc<Mutex<Option<String>>> = Arc::default();
    let hides = Arc::clone(&hidden);
    let wrap = Box::new(move |_, inner: Arc<MemoryBackend>| -> Arc<dyn Backend> {
        Arc::new(StaleList { inner, hidden: Arc::clone(&hides) })
    });
    let house = House::build(Plan { wrap, ..Plan::default() }).await;
    house.put("k", &bytes(100, 1)).await.unwrap();
    let rows = house.catalog.replicas(None, 10).await.unwrap();
    let mine = rows.iter().find(|row| row.backend == backend(&house, 0)).unwrap();
    *hidden.lock().unwrap() = Some(mine.path.as_str().to_owned());
    runtime::sleep(Duration::from_millis(5)).await;
    let found = reconcile(&house, 0).await.unwrap();
    assert_eq!((found.vanished, found.rows), (0, 1), "it was looked for itself: {found:?}");
    house.audit().await;
    assert_eq!(house.live().await, [1, 1]);
}

#[tokio::test]
async fn what_another_catalog_may_have_written_is_no_stray() {
    let house = House::new().await;
    let long_ago = house.clock.now().minus(Duration::from_hours(5));
    let path = our_path(&house, "journal/0000000001/0000000000000007", long_ago);
    let segment = path.replacen("photos/", ".s3-orchestrator/", 1);
    smuggle(&house, 0, &segment, b"a segment").await;
    let found = reconcile(&house, 0).await.unwrap();
    assert_eq!((found.strays, found.foreign), (0, 2), "beside the marker: {found:?}");

    smuggle(&house, 0, &our_path(&house, "stray", long_ago), b"perhaps of a newer catalog").await;
    house.engine.delete_nothing_before_proof(Duration::from_hours(1));
    let refused = reconcile(&house, 0).await.unwrap_err();
    assert!(refused.to_string().contains("not proved to be the newest"), "{refused}");
    assert_eq!(quarantined(&house).await, Vec::new());
}
