//! An engine over the real SQLite catalog and memory backends, and words to test it with.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backend::{
    Backend, Direction, ErrorKind, MemoryBackend, Meter, MeterSink, Operation, Outcome, Retry, RetryOptions,
};
use bytes::Bytes;
use catalog::sqlite::Sqlite;
use catalog::{
    BackendSpec, Catalog, Checksums, Client, DeleteItem, Deployment, ObjectHeaders, Precondition,
    ReplicaState, Want,
};
use engine::{
    BackendLimits, Bucket, CompleteUpload, CreateUpload, DeleteObjects, Engine, EngineError, Expected,
    FlushSettings, GetObject, Grants, Incoming, ListedPart, Opened, Parts, Place, PutObject, PutPart, Read,
    ReadConditions, Settings, Step, Stored, StoredPart,
};
use format::PathGrammar;
use futures::{StreamExt, stream};
use runtime::{Chance, Clock, Ids};
use types::{BackendName, BucketName, ObjectKey, Traffic, UploadId};

/// One engine and what lies under it.
pub struct House {
    pub engine: Engine,
    pub catalog: Arc<dyn Catalog>,
    /// The stores at the bottom, below any decorator.
    pub stores: Vec<Arc<MemoryBackend>>,
    pub bucket: Bucket,
    pub other_bucket: Bucket,
    pub clock: Clock,
    /// What arrived at each store: counted below everything of ours.
    pub counted: Vec<Arc<Counted>>,
    /// The keeper of the grants, where the plan has limits.
    pub grants: Option<Grants>,
}

/// Counts what a provider would count.
#[derive(Debug, Default)]
pub struct Counted {
    pub requests: AtomicU64,
    pub egress: AtomicU64,
    pub ingress: AtomicU64,
}

impl Counted {
    /// Requests, egress, ingress.
    pub fn all(&self) -> [u64; 3] {
        [&self.requests, &self.egress, &self.ingress].map(|count| count.load(Ordering::SeqCst))
    }
}

impl MeterSink for Counted {
    fn attempt(&self, _: &BackendName, _: Operation) {
        self.requests.fetch_add(1, Ordering::SeqCst);
    }

    fn outcome(&self, _: &BackendName, _: Operation, _: Outcome, _: Duration) {}

    fn bytes(&self, _: &BackendName, direction: Direction, bytes: u64) {
        match direction {
            Direction::In => &self.ingress,
            Direction::Out => &self.egress,
        }
        .fetch_add(bytes, Ordering::SeqCst);
    }

    fn broken(&self, _: &BackendName, _: ErrorKind) {}
}

/// What a house is built of.
pub struct Plan {
    pub backends: usize,
    pub settings: Settings,
    pub quota: Option<u64>,
    pub put_bytes_max: Option<u64>,
    /// Limits of each store on requests, egress and ingress.
    pub limits: Vec<[Option<u64>; 3]>,
    pub billable_bytes_min: u64,
    /// Wraps each store.
    pub wrap: Box<dyn Fn(usize, Arc<MemoryBackend>) -> Arc<dyn Backend>>,
    /// Wraps the catalog.
    pub wrap_catalog: Box<dyn Fn(Arc<Sqlite>) -> Arc<dyn Catalog>>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            backends: 2,
            settings: Settings { factor: 2, ..Settings::default() },
            quota: None,
            put_bytes_max: None,
            limits: Vec::new(),
            billable_bytes_min: 0,
            wrap: Box::new(|_, store| store),
            wrap_catalog: Box::new(|catalog| catalog),
        }
    }
}

impl House {
    pub async fn new() -> Self {
        Self::build(Plan::default()).await
    }

    pub async fn build(plan: Plan) -> Self {
        let clock = Clock::system();
        let ids = Ids::new(clock.clone(), Chance::from_os());
        let sqlite = Arc::new(Sqlite::in_memory().unwrap());
        let boot = ids.boot();
        sqlite.begin_boot(boot, clock.now()).await.unwrap();
        let names: Vec<BackendName> =
            (0..plan.backends).map(|i| BackendName::parse(&format!("store-{i}")).unwrap()).collect();
        let specs: Vec<_> =
            names.iter().map(|name| BackendSpec { name: name.clone(), late_arrival_ms: 0 }).collect();
        let backend_ids = sqlite.sync_backends(&specs).await.unwrap();
        let bucket_names = ["photos", "backups"].map(|name| BucketName::parse(name).unwrap());
        let buckets = sqlite.sync_buckets(&bucket_names, clock.now()).await.unwrap();
        let mut buckets = bucket_names.into_iter().zip(buckets).map(|(name, id)| Bucket { id, name });

        let catalog = (plan.wrap_catalog)(Arc::clone(&sqlite));
        let limits = names
            .iter()
            .zip(&plan.limits)
            .map(|(name, limits)| BackendLimits { limits: *limits, ..BackendLimits::none(name.clone()) });
        let limits: Vec<_> = limits.collect();
        let grants = (!limits.is_empty()).then(|| {
            let flush = FlushSettings::default();
            Grants::keep(Arc::clone(&catalog), boot, clock.clone(), limits, flush)
        });
        let mut counted = Vec::new();
        let mut stores = Vec::new();
        let mut places = Vec::new();
        for (index, (name, id)) in names.into_iter().zip(backend_ids).enumerate() {
            let mut store = MemoryBackend::new(name);
            let mut profile = store.profile();
            profile.late_arrival_bound = Duration::ZERO;
            profile.billable_bytes_min = plan.billable_bytes_min;
            if let Some(max) = plan.put_bytes_max {
                profile.put_bytes_max = max;
            }
            store = store.with_profile(profile);
            let store = Arc::new(store);
            let grammar = PathGrammar::new("");
            let marker = format::Marker {
                deployment: sqlite.identity().await.unwrap().deployment,
                backend: store.name().clone(),
                epoch: 1,
            };
            let path = format!("{}{}", grammar.reserved(), marker.path());
            let path = types::ReplicaPath::parse(&path).unwrap();
            store
                .put(&path, backend::Body::from_bytes(Bytes::new()), backend::PutOptions::default())
                .await
                .unwrap();
            stores.push(Arc::clone(&store));
            let backend = (plan.wrap)(index, store);
            counted.push(Arc::new(Counted::default()));
            let Some(allowance) = grants.as_ref().and_then(|grants| grants.allowances().get(index)) else {
                places.push(Place { quota: plan.quota, ..Place::new(id, backend, grammar) });
                continue;
            };
            let bottom: Arc<dyn Backend> = Arc::new(Meter::new(backend, counted[index].clone()));
            let covered = |traffic| -> Arc<dyn Backend> {
                let sink = Arc::new(Counted::default());
                let meter = Meter::new(Arc::clone(&bottom), sink).covered_by(Arc::clone(allowance), traffic);
                Arc::new(Retry::new(Arc::new(meter), RetryOptions::default(), Chance::seeded(1)))
            };
            places.push(Place {
                quota: plan.quota,
                maintenance: covered(Traffic::Maintenance),
                allowance: Arc::clone(allowance),
                ..Place::new(id, covered(Traffic::Client), grammar)
            });
        }
        let engine = Engine::new(Parts {
            catalog: Arc::clone(&catalog),
            places,
            boot,
            settings: plan.settings,
            clock: clock.clone(),
            ids,
        });
        let (bucket, other_bucket) = (buckets.next().unwrap(), buckets.next().unwrap());
        Self { engine, catalog, stores, bucket, other_bucket, clock, counted, grants }
    }

    pub fn put_request(&self, name: &str, data: &[u8]) -> PutObject {
        PutObject {
            bucket: self.bucket.clone(),
            key: key(name),
            body: body(data, 64 * 1024),
            headers: ObjectHeaders::default(),
            metadata: Vec::new(),
            tags: Vec::new(),
            precondition: Precondition::default(),
            client: Client::default(),
        }
    }

    pub async fn put(&self, name: &str, data: &[u8]) -> Result<Stored, EngineError> {
        self.engine.put_object(self.put_request(name, data)).await
    }

    pub fn get_request(&self, name: &str, want: Want) -> GetObject {
        GetObject { bucket: self.bucket.clone(), key: key(name), want, conditions: ReadConditions::default() }
    }

    pub async fn open(&self, name: &str, want: Want) -> Result<Opened, EngineError> {
        match self.engine.get_object(self.get_request(name, want)).await? {
            Read::Found(opened) => Ok(*opened),
            Read::NotModified { .. } => panic!("no condition was asked for"),
        }
    }

    pub async fn get_want(&self, name: &str, want: Want) -> Result<Vec<u8>, EngineError> {
        let opened = self.open(name, want).await?;
        let mut bytes = Vec::new();
        let mut stream = opened.body.expect("bytes were asked for").stream;
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        assert_eq!(bytes.len() as u64, opened.range.length);
        Ok(bytes)
    }

    pub async fn get(&self, name: &str) -> Result<Vec<u8>, EngineError> {
        self.get_want(name, Want::Whole).await
    }

    pub async fn delete(&self, name: &str) -> bool {
        let items = vec![DeleteItem { key: key(name), precondition: Precondition::default() }];
        let request = DeleteObjects { bucket: self.bucket.clone(), items };
        self.engine.delete_objects(request).await.unwrap().remove(0).unwrap()
    }

    pub async fn begin_upload(&self, name: &str) -> UploadId {
        let request = CreateUpload {
            bucket: self.bucket.clone(),
            key: key(name),
            headers: ObjectHeaders::default(),
            metadata: Vec::new(),
            tags: Vec::new(),
            checksum_algorithm: None,
            checksum_full_object: None,
            open_max: None,
            client: Client::default(),
        };
        self.engine.create_upload(request).await.unwrap()
    }

    pub async fn put_part(
        &self,
        name: &str,
        upload: UploadId,
        number: u32,
        data: &[u8],
    ) -> Result<StoredPart, EngineError> {
        let (bucket, key) = (self.bucket.clone(), key(name));
        self.engine.put_part(PutPart { bucket, key, upload, number, body: body(data, 64 * 1024) }).await
    }

    pub async fn complete(
        &self,
        name: &str,
        upload: UploadId,
        parts: &[(u32, &StoredPart)],
    ) -> Result<Stored, EngineError> {
        self.engine.complete_upload(self.complete_request(name, upload, parts)).await
    }

    pub fn complete_request(
        &self,
        name: &str,
        upload: UploadId,
        parts: &[(u32, &StoredPart)],
    ) -> CompleteUpload {
        let list = |(number, part): &(u32, &StoredPart)| ListedPart {
            number: *number,
            etag: part.etag.clone(),
            checksums: Checksums::default(),
        };
        CompleteUpload {
            bucket: self.bucket.clone(),
            key: key(name),
            upload,
            parts: parts.iter().map(list).collect(),
            precondition: Precondition::default(),
            checksums: Checksums::default(),
            checksum_full_object: None,
            size: None,
            client: Client::default(),
        }
    }

    /// Reaps until nothing is due.
    pub async fn reap(&self) {
        while self.engine.reap_step().await.unwrap() == Step::MoreWork {}
    }

    /// Proves that the books are right and that the backends hold what the ledger says, and nothing else.
    pub async fn audit(&self) {
        self.reap().await;
        assert_eq!(self.catalog.audit().await.unwrap(), Vec::<String>::new());
        let rows = self.catalog.replicas(None, 100_000).await.unwrap();
        let totals = self.catalog.totals().await.unwrap();
        for (index, store) in self.stores.iter().enumerate() {
            let id = self.engine.places()[index].id;
            let mut ledger: Vec<String> = rows
                .iter()
                .filter(|row| row.backend == id && row.state == ReplicaState::Live)
                .map(|row| row.path.as_str().to_owned())
                .collect();
            let mut stored: Vec<String> = store.paths().iter().map(|path| path.as_str().to_owned()).collect();
            stored.retain(|path| !path.starts_with(".s3-orchestrator/marker/"));
            ledger.sort();
            stored.sort();
            assert_eq!(ledger, stored, "the ledger of {} and its store differ", store.name());
            let charged: u64 = rows.iter().filter(|row| row.backend == id).map(|row| row.charged).sum();
            let total = totals.backends.iter().find(|total| total.backend == id).unwrap();
            assert_eq!(total.charged, charged);
        }
    }

    /// Live replicas of all blobs, by backend.
    pub async fn live(&self) -> Vec<u64> {
        let totals = self.catalog.totals().await.unwrap();
        let of =
            |place: &Place| totals.backends.iter().find(|t| t.backend == place.id).unwrap().replicas_live;
        self.engine.places().iter().map(of).collect()
    }
}

pub fn key(name: &str) -> ObjectKey {
    ObjectKey::parse(name).unwrap()
}

/// A body in chunks of the given size.
pub fn body(data: &[u8], chunk: usize) -> Incoming {
    let chunks: Vec<_> = data.chunks(chunk).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    Incoming {
        length: data.len() as u64,
        stream: Box::pin(stream::iter(chunks)),
        expected: Expected::default(),
    }
}

/// Bytes that are not all alike, different for each seed.
pub fn bytes(size: usize, seed: u64) -> Vec<u8> {
    let chance = Chance::seeded(seed);
    let mut data = Vec::with_capacity(size + 8);
    while data.len() < size {
        data.extend_from_slice(&chance.next_u64().to_le_bytes());
    }
    data.truncate(size);
    data
}

/// Waits until something holds.
pub async fn until(holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            runtime::sleep(Duration::from_millis(10)).await;
        }
    };
    runtime::timeout(Duration::from_secs(60), waiting).await.expect("it holds within a minute");
}
