//! The memory driver: for tests, the simulation and benchmarks. Nothing survives the process.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use runtime::Clock;
use types::{BackendName, ByteRange, ReplicaPath, Timestamp};

use crate::{
    Backend, BackendError, Body, Deleted, Download, Entry, ErrorKind, ListPage, MetadataEntry, Profile,
    PutOptions, PutReceipt, Stat,
};

/// Bytes in one chunk of a download.
const CHUNK_BYTES: usize = 256 * 1024;
/// A body's buffer grows on its own above this: nobody gets memory by announcing bytes.
const RESERVE_BYTES_MAX: u64 = 8 << 20;

/// Objects in a map.
#[derive(Debug)]
pub struct MemoryBackend {
    name: BackendName,
    profile: Profile,
    capacity_bytes: u64,
    page_entries: usize,
    clock: Clock,
    store: Mutex<Store>,
}

#[derive(Debug, Default)]
struct Store {
    objects: BTreeMap<ReplicaPath, Object>,
    bytes: u64,
}

#[derive(Debug, Clone)]
struct Object {
    bytes: Bytes,
    metadata: Vec<MetadataEntry>,
    modified: Timestamp,
}

impl MemoryBackend {
    /// An empty backend without a bound on its bytes.
    #[must_use]
    pub fn new(name: BackendName) -> Self {
        let profile = Profile {
            put_bytes_max: u64::MAX / 2,
            delete_frees: true,
            late_arrival_bound: Duration::ZERO,
            billable_bytes_min: 0,
        };
        Self {
            name,
            profile,
            capacity_bytes: u64::MAX,
            page_entries: 1_000,
            clock: Clock::system(),
            store: Mutex::default(),
        }
    }

    /// Takes no more than this many bytes.
    #[must_use]
    pub fn with_capacity_bytes(mut self, capacity_bytes: u64) -> Self {
        self.capacity_bytes = capacity_bytes;
        self
    }

    /// Lists this many entries a page (at least one).
    #[must_use]
    pub fn with_page_entries(mut self, page_entries: usize) -> Self {
        self.page_entries = page_entries.max(1);
        self
    }

    /// Pretends to be able to do what another store can.
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Dates objects by this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Bytes that lie here now.
    #[must_use]
    pub fn bytes_stored(&self) -> u64 {
        self.store().bytes
    }

    /// Everything that lies here now, in order.
    #[must_use]
    pub fn paths(&self) -> Vec<ReplicaPath> {
        self.store().objects.keys().cloned().collect()
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, operation: &'static str, kind: ErrorKind, message: impl Into<String>) -> BackendError {
        BackendError::new(&self.name, operation, kind, message)
    }

    fn find(&self, operation: &'static str, path: &ReplicaPath) -> Result<Object, BackendError> {
        let found = self.store().objects.get(path).cloned();
        found.ok_or_else(|| self.error(operation, ErrorKind::NotFound, format!("nothing lies at {path}")))
    }

    fn insert(
        &self,
        operation: &'static str,
        path: &ReplicaPath,
        object: Object,
    ) -> Result<(), BackendError> {
        let mut store = self.store();
        let old = store.objects.get(path).map_or(0, |old| old.bytes.len() as u64);
        let bytes = store.bytes - old + object.bytes.len() as u64;
        if bytes > self.capacity_bytes {
            let message = format!("{bytes} bytes do not fit in {}", self.capacity_bytes);
            return Err(self.error(operation, ErrorKind::OutOfSpace, message));
        }
        store.bytes = bytes;
        store.objects.insert(path.clone(), object);
        Ok(())
    }

    /// Reads the whole body, proving its length.
    async fn take(&self, mut body: Body) -> Result<Bytes, BackendError> {
        let bad = |message: String| self.error("put", ErrorKind::BadBody, message);
        let reserve = usize::try_from(body.length.min(RESERVE_BYTES_MAX)).unwrap_or_default();
        let mut bytes = BytesMut::with_capacity(reserve);
        while let Some(chunk) = body.stream.next().await {
            let chunk = chunk.map_err(|error| bad(error.to_string()))?;
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > body.length {
                return Err(bad(format!("more bytes came than the {} announced", body.length)));
            }
        }
        if (bytes.len() as u64) < body.length {
            return Err(bad(format!("{} bytes came, {} were announced", bytes.len(), body.length)));
        }
        Ok(bytes.freeze())
    }
}

#[async_trait]
impl Backend for MemoryBackend {
    fn name(&self) -> &BackendName {
        &self.name
    }

    fn profile(&self) -> Profile {
        self.profile.clone()
    }

    async fn put(
        &self,
        path: &ReplicaPath,
        body: Body,
        options: PutOptions,
    ) -> Result<PutReceipt, BackendError> {
        let room = self.capacity_bytes.saturating_sub(self.bytes_stored());
        if body.length > room {
            let message = format!("{} bytes do not fit in the {room} that are free", body.length);
            return Err(self.error("put", ErrorKind::OutOfSpace, message));
        }
        let bytes = self.take(body).await?;
        let object = Object { bytes, metadata: options.metadata, modified: self.clock.now() };
        self.insert("put", path, object)?;
        Ok(PutReceipt::default())
    }

    async fn get(&self, path: &ReplicaPath, range: Option<ByteRange>) -> Result<Download, BackendError> {
        let object = self.find("get", path)?;
        let total = object.bytes.len() as u64;
        let range = range.unwrap_or(ByteRange::whole(total));
        let end = range.start.checked_add(range.length).filter(|end| *end <= total);
        let Some(end) = end else {
            let message = format!("{path} has {total} bytes, {range} were asked for");
            return Err(self.error("get", ErrorKind::Corrupt, message));
        };
        let index = |at| usize::try_from(at).expect("an offset within bytes in memory fits an address");
        let mut left = object.bytes.slice(index(range.start)..index(end));
        let chunks = std::iter::from_fn(move || {
            (!left.is_empty()).then(|| Ok(left.split_to(left.len().min(CHUNK_BYTES))))
        });
        Ok(Download { length: range.length, total, stream: Box::pin(stream::iter(chunks)) })
    }

    async fn head(&self, path: &ReplicaPath) -> Result<Stat, BackendError> {
        let object = self.find("head", path)?;
        Ok(Stat {
            size: object.bytes.len() as u64,
            etag: None,
            modified: Some(object.modified),
            metadata: object.metadata,
            headers: Vec::new(),
        })
    }

    async fn delete(&self, path: &ReplicaPath) -> Result<(), BackendError> {
        let mut store = self.store();
        if let Some(object) = store.objects.remove(path) {
            store.bytes -= object.bytes.len() as u64;
        }
        Ok(())
    }

    async fn delete_many(&self, paths: &[ReplicaPath]) -> Result<Vec<Deleted>, BackendError> {
        let mut answers = Vec::with_capacity(paths.len());
        for path in paths {
            answers.push(self.delete(path).await);
        }
        Ok(answers)
    }

    async fn list(&self, prefix: &str, cursor: Option<&str>) -> Result<ListPage, BackendError> {
        let store = self.store();
        // Only an empty prefix is no path.
        let start = match (cursor, ReplicaPath::parse(cursor.unwrap_or(prefix))) {
            (Some(_), Ok(last)) => Bound::Excluded(last),
            (None, Ok(first)) => Bound::Included(first),
            (_, Err(_)) => Bound::Unbounded,
        };
        let mut under = store
            .objects
            .range((start, Bound::Unbounded))
            .take_while(|(path, _)| path.as_str().starts_with(prefix))
            .map(|(path, object)| Entry { path: path.clone(), size: object.bytes.len() as u64 });
        let entries: Vec<_> = under.by_ref().take(self.page_entries).collect();
        let more = under.next().is_some();
        let next = entries.last().filter(|_| more).map(|entry| entry.path.as_str().to_owned());
        Ok(ListPage { entries, next })
    }

    async fn copy(&self, from: &ReplicaPath, to: &ReplicaPath) -> Result<(), BackendError> {
        let object = self.find("copy", from)?;
        self.insert("copy", to, Object { modified: self.clock.now(), ..object })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::suite;

    fn name() -> BackendName {
        BackendName::parse("memory").unwrap()
    }

    #[tokio::test]
    async fn passes_the_suite() {
        suite::run_all(async |_: &str| {
            Arc::new(MemoryBackend::new(name()).with_page_entries(7)) as Arc<dyn Backend>
        })
        .await;
    }

    #[tokio::test]
    async fn passes_the_suite_with_one_entry_a_page() {
        suite::run_all(async |_: &str| {
            Arc::new(MemoryBackend::new(name()).with_page_entries(1)) as Arc<dyn Backend>
        })
        .await;
    }

    #[tokio::test]
    async fn a_full_backend_says_so_and_has_room_again_after_a_delete() {
        let backend = MemoryBackend::new(name()).with_capacity_bytes(10);
        let path = |text| ReplicaPath::parse(text).unwrap();
        let put = async |at: &'static str, bytes: &'static [u8]| {
            let body = Body::from_bytes(Bytes::from_static(bytes));
            backend.put(&path(at), body, PutOptions::default()).await.map_err(|error| error.kind)
        };
        put("a", b"123456").await.unwrap();
        assert_eq!(put("b", b"12345").await.unwrap_err(), ErrorKind::OutOfSpace);
        let copy = backend.copy(&path("a"), &path("c")).await.unwrap_err();
        assert_eq!(copy.kind, ErrorKind::OutOfSpace);
        assert_eq!((backend.bytes_stored(), backend.paths()), (6, vec![path("a")]));
        backend.delete(&path("a")).await.unwrap();
        put("b", b"1234567890").await.unwrap();
        assert_eq!(backend.bytes_stored(), 10);
    }
}
