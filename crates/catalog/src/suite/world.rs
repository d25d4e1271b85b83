//! A catalog with buckets, backends and a living boot, and short ways to say what a case does.

use std::sync::Arc;
use std::time::Duration;

use runtime::{Chance, Clock, Ids};
use types::{
    BackendName, BlobId, BootId, BucketName, ETag, Md5, ObjectKey, ReplicaId, ReplicaPath, Timestamp,
    UploadId,
};

use crate::{
    BackendId, BackendSpec, BucketId, Catalog, CatalogError, Checksums, Client, CommitPart, CommitPut,
    Committed, CompleteUpload, Completed, Completion, Content, CopyObject, CreateUpload, DecideCompletion,
    DeleteAnswer, DeleteItem, DeleteObjects, Fate, ListPage, ListQuery, Listed, NewBlob, Object,
    ObjectHeaders, ObjectState, Part, Precondition, Refusal, ReplicaState, Reserve, ReserveFor, Settled,
    SettledOutcome, Target, Totals, Upload, Want, WriteOutcome,
};

/// How long bytes may arrive late on the world's backends.
pub(crate) const LATE_MS: u64 = 60_000;
const BLOCK: u64 = 64 << 10;

/// What a case works on. Cheap to clone: all clones share the catalog.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) ids: Ids,
    pub(crate) boot: BootId,
    pub(crate) bucket: BucketId,
    pub(crate) other_bucket: BucketId,
    pub(crate) backends: Vec<BackendId>,
}

/// A blob that was reserved, and where.
#[derive(Clone)]
pub(crate) struct Reserved {
    pub(crate) blob: BlobId,
    pub(crate) size: u64,
    pub(crate) targets: Vec<Target>,
}

/// The present of every case.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

pub(crate) fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

pub(crate) fn etag(size: u64) -> ETag {
    ETag::of_md5(md5(size))
}

/// In the suite bytes are told apart by their number alone.
pub(crate) fn md5(size: u64) -> Md5 {
    let mut bytes = [0x5a; 16];
    bytes[..8].copy_from_slice(&size.to_be_bytes());
    Md5(bytes)
}

pub(crate) fn state(size: u64) -> ObjectState {
    ObjectState {
        size,
        etag: etag(size),
        modified: now(),
        content: Content::Blob(BlobId::from_bytes([0; 16])),
        headers: ObjectHeaders::default(),
        metadata: Vec::new(),
        tags: Vec::new(),
        checksums: Checksums::default(),
        client: Client { access_key: "AKIA".to_owned(), invocation: None },
    }
}

impl World {
    pub(crate) async fn new(catalog: Arc<dyn Catalog>, seed: u64) -> Self {
        let ids = Ids::new(Clock::system(), Chance::seeded(seed));
        let boot = ids.boot();
        catalog.begin_boot(boot, now()).await.unwrap();
        let names = ["photos", "Photos"].map(|name| BucketName::parse(name).unwrap());
        let buckets = catalog.sync_buckets(&names, now()).await.unwrap();
        let specs = ["one", "two", "three"]
            .map(|name| BackendSpec { name: BackendName::parse(name).unwrap(), late_arrival_ms: LATE_MS });
        let backends = catalog.sync_backends(&specs).await.unwrap();
        Self { catalog, ids, boot, bucket: buckets[0], other_bucket: buckets[1], backends }
    }

    pub(crate) fn target(&self, blob: BlobId, backend: usize, charge: u64, quota: Option<u64>) -> Target {
        let replica = self.ids.replica();
        let path = ReplicaPath::parse(&format!("photos/k~{blob}.{replica}")).unwrap();
        Target { backend: self.backends[backend], replica, path, charge, quota }
    }

    pub(crate) fn object_request(
        &self,
        key: &ObjectKey,
        size: u64,
        precondition: Precondition,
    ) -> ReserveFor {
        let client = state(size).client;
        ReserveFor::Object { bucket: self.bucket, key: key.clone(), precondition, client, size }
    }

    /// Reserves one blob on the first `factor` backends.
    pub(crate) async fn reserve(&self, size: u64, factor: u32) -> Reserved {
        self.try_reserve(size, factor, None).await.unwrap()
    }

    pub(crate) async fn try_reserve(
        &self,
        size: u64,
        factor: u32,
        quota: Option<u64>,
    ) -> Result<Reserved, CatalogError> {
        let purpose = self.object_request(&key("any"), size, Precondition::default());
        self.reserve_for(purpose, size, factor, quota).await
    }

    pub(crate) async fn reserve_for(
        &self,
        purpose: ReserveFor,
        size: u64,
        factor: u32,
        quota: Option<u64>,
    ) -> Result<Reserved, CatalogError> {
        let blob = self.ids.blob();
        let targets =
            (0..self.backends.len()).map(|backend| self.target(blob, backend, size, quota)).collect();
        let reserve = Reserve { blob, owner: self.boot, size, purpose, targets, wanted: factor, least: 1 };
        let targets = self.catalog.reserve(reserve).await?;
        Ok(Reserved { blob, size, targets })
    }

    pub(crate) fn put_of(&self, key: &ObjectKey, blobs: &[Reserved], state: ObjectState) -> CommitPut {
        CommitPut {
            change: self.ids.change(),
            owner: self.boot,
            bucket: self.bucket,
            key: key.clone(),
            precondition: Precondition::default(),
            blobs: blobs.iter().map(Reserved::all_live).collect(),
            manifest: self.ids.manifest(),
            state,
        }
    }

    /// Puts an object of one blob at factor 2.
    pub(crate) async fn put(&self, text: &str, size: u64) -> Object {
        self.put_blobs(text, &[size]).await
    }

    /// Puts an object of several blobs at factor 2.
    pub(crate) async fn put_blobs(&self, text: &str, sizes: &[u64]) -> Object {
        let mut blobs = Vec::new();
        for size in sizes {
            blobs.push(self.reserve(*size, 2).await);
        }
        let put = self.put_of(&key(text), &blobs, state(sizes.iter().sum()));
        self.catalog.commit_put(put).await.unwrap().object
    }

    pub(crate) async fn get(&self, text: &str) -> Option<Object> {
        self.catalog.locate(self.bucket, &key(text), Want::State).await.unwrap().map(|found| found.object)
    }

    pub(crate) fn copy_of(&self, source: &Object, text: &str) -> CopyObject {
        CopyObject {
            change: self.ids.change(),
            at: now(),
            source_bucket: source.bucket,
            source_key: source.key.clone(),
            source_change: source.change,
            bucket: self.bucket,
            key: key(text),
            precondition: Precondition::default(),
            replace_metadata: None,
            replace_tags: None,
            replace_checksums: None,
            client: state(0).client,
        }
    }

    pub(crate) async fn copy(&self, source: &Object, text: &str) -> Committed {
        self.catalog.copy_object(self.copy_of(source, text)).await.unwrap()
    }

    pub(crate) fn delete_of(&self, keys: &[&str]) -> DeleteObjects {
        let item = |text: &&str| DeleteItem { key: key(text), precondition: Precondition::default() };
        let items = keys.iter().map(item).collect();
        DeleteObjects { change: self.ids.change(), at: now(), bucket: self.bucket, items }
    }

    pub(crate) async fn delete(&self, keys: &[&str]) -> Vec<DeleteAnswer> {
        self.catalog.delete_objects(self.delete_of(keys)).await.unwrap()
    }

    pub(crate) async fn list(&self, prefix: &str, delimiter: Option<&str>, limit: u32) -> ListPage {
        let delimiter = delimiter.map(str::to_owned);
        let query =
            ListQuery { bucket: self.bucket, prefix: prefix.to_owned(), delimiter, after: None, limit };
        self.catalog.list(&query).await.unwrap()
    }

    pub(crate) fn upload_of(&self, text: &str) -> CreateUpload {
        let upload = Upload {
            upload: self.ids.upload(),
            bucket: self.bucket,
            key: key(text),
            initiated: now(),
            headers: ObjectHeaders::default(),
            metadata: Vec::new(),
            tags: Vec::new(),
            checksum_algorithm: None,
            checksum_type: None,
            client: state(0).client,
        };
        let bucket_name = BucketName::parse("photos").unwrap();
        CreateUpload { change: self.ids.change(), upload, bucket_name, open_max: None }
    }

    pub(crate) async fn upload(&self, text: &str) -> UploadId {
        let create = self.upload_of(text);
        let upload = create.upload.upload;
        self.catalog.create_upload(create).await.unwrap();
        upload
    }

    pub(crate) fn part_of(
        &self,
        upload: UploadId,
        text: &str,
        number: u32,
        blobs: &[Reserved],
    ) -> CommitPart {
        let size = blobs.iter().map(|blob| blob.size).sum();
        let part = Part { number, size, etag: etag(size), modified: now(), checksums: Checksums::default() };
        CommitPart {
            change: self.ids.change(),
            owner: self.boot,
            upload,
            bucket: self.bucket,
            key: key(text),
            part,
            blobs: blobs.iter().map(Reserved::all_live).collect(),
            manifest: self.ids.manifest(),
        }
    }

    /// Uploads a part of one blob.
    pub(crate) async fn part(&self, upload: UploadId, text: &str, number: u32, size: u64) {
        let reserved = self.reserve(size, 2).await;
        self.catalog.commit_part(self.part_of(upload, text, number, &[reserved])).await.unwrap();
    }

    pub(crate) fn complete_of(&self, upload: UploadId, text: &str, numbers: &[u32]) -> CompleteUpload {
        CompleteUpload {
            change: self.ids.change(),
            at: now(),
            upload,
            bucket: self.bucket,
            key: key(text),
            precondition: Precondition::default(),
            manifest: self.ids.manifest(),
            fingerprint: format!("{numbers:?}"),
            decide: decide(numbers),
        }
    }

    pub(crate) async fn complete(&self, upload: UploadId, text: &str, numbers: &[u32]) -> Completed {
        self.catalog.complete_upload(self.complete_of(upload, text, numbers)).await.unwrap()
    }

    pub(crate) async fn totals(&self) -> Totals {
        self.catalog.totals().await.unwrap()
    }

    /// Bytes charged to all backends.
    pub(crate) async fn charged(&self) -> u64 {
        self.catalog.charged().await.unwrap().iter().map(|(_, _, charged)| charged).sum()
    }

    /// How many replica rows are in a state.
    pub(crate) async fn count(&self, state: ReplicaState) -> usize {
        let rows = self.catalog.replicas(None, 100_000).await.unwrap();
        rows.iter().filter(|row| row.state == state).count()
    }

    /// Deletes all that is doomed, late arrivals included, and dissolves what dissolves.
    pub(crate) async fn reap_all(&self) {
        let later = now().plus(Duration::from_hours(24));
        loop {
            let horizon = self.catalog.horizon();
            let more = self.catalog.dissolve_manifests(self.ids.change(), horizon, 1000).await.unwrap();
            let horizon = self.catalog.horizon();
            let doomed = self.catalog.claim_doomed(&self.backends, horizon, later, 1000).await.unwrap();
            if doomed.is_empty() && !more {
                return;
            }
            let gone = |replica: ReplicaId| Settled { replica, outcome: SettledOutcome::Gone };
            let settled = doomed.iter().map(|doomed| gone(doomed.replica)).collect();
            self.catalog.settle_doomed(self.ids.change(), settled).await.unwrap();
        }
    }

    /// The books are right.
    pub(crate) async fn audit(&self) {
        let lines = self.catalog.audit().await.unwrap();
        assert!(lines.is_empty(), "the books are wrong:\n{}", lines.join("\n"));
    }

    /// Once all is deleted and reaped, nothing is left.
    pub(crate) async fn nothing_is_left(&self) {
        self.reap_all().await;
        self.audit().await;
        assert_eq!(self.charged().await, 0);
        assert_eq!(self.catalog.replicas(None, 10).await.unwrap(), Vec::new());
    }
}

impl Reserved {
    pub(crate) fn with(&self, outcome: impl Fn(usize) -> WriteOutcome) -> NewBlob {
        let fates = self.targets.iter().enumerate();
        NewBlob {
            blob: self.blob,
            size: self.size,
            md5: Some(md5(self.size)),
            blocks: blocks(self.size),
            wanted: 2,
            fates: fates.map(|(at, target)| Fate { replica: target.replica, outcome: outcome(at) }).collect(),
        }
    }

    pub(crate) fn all_live(&self) -> NewBlob {
        self.with(|_| WriteOutcome::Live { version: None })
    }
}

pub(crate) fn blocks(size: u64) -> Vec<u32> {
    (0..size.div_ceil(BLOCK)).map(|block| u32::try_from(block).unwrap() ^ 0xc0de).collect()
}

/// Takes these parts as they are.
pub(crate) fn decide(numbers: &[u32]) -> DecideCompletion {
    let numbers = numbers.to_vec();
    Arc::new(move |_, parts| {
        let mut size = 0;
        for number in &numbers {
            let part = parts.iter().find(|part| part.number == *number);
            size += part.ok_or(Refusal::InvalidPart { number: *number })?.size;
        }
        let etag = ETag::from_text(&format!("{}-{}", etag(size), numbers.len()));
        Ok(Completion { numbers: numbers.clone(), state: ObjectState { etag, ..state(size) } })
    })
}

/// The keys and common prefixes of a page.
pub(crate) fn names(page: &ListPage) -> Vec<String> {
    page.lines
        .iter()
        .map(|line| match line {
            Listed::Object(object) => object.key.as_str().to_owned(),
            Listed::Prefix(prefix) => format!("{prefix}*"),
        })
        .collect()
}
