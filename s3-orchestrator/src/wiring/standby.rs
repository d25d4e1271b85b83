//! A backend that is not there yet: it refuses everything until the real one is put in its place.

#![warn(clippy::missing_trait_methods)]

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use backend::{
    Backend, BackendError, Body, Deleted, Download, ErrorKind, ListPage, Profile, PutOptions, PutReceipt,
    Stat,
};
use types::{BackendName, ByteRange, ReplicaPath};

/// Holds the place of a backend.
pub(super) struct Standby {
    name: BackendName,
    late_arrival_bound: Duration,
    real: OnceLock<Arc<dyn Backend>>,
}

impl Standby {
    pub(super) fn new(name: BackendName, late_arrival_bound: Duration) -> Self {
        Self { name, late_arrival_bound, real: OnceLock::new() }
    }

    /// From now on, this is it. The first one stays.
    pub(super) fn set(&self, real: Arc<dyn Backend>) {
        let _ = self.real.set(real);
    }

    fn real(&self, operation: &'static str) -> Result<&Arc<dyn Backend>, BackendError> {
        // Nothing was sent: whoever asked may turn to another backend.
        let missing =
            || BackendError::new(&self.name, operation, ErrorKind::Unavailable, "it is not attached");
        self.real.get().ok_or_else(missing)
    }
}

#[async_trait]
impl Backend for Standby {
    fn name(&self) -> &BackendName {
        &self.name
    }

    fn breaker(&self) -> Option<&Arc<runtime::Breaker>> {
        self.real.get().and_then(|real| real.breaker())
    }

    fn profile(&self) -> Profile {
        let unknown = Profile {
            put_bytes_max: 0,
            delete_frees: true,
            late_arrival_bound: self.late_arrival_bound,
            billable_bytes_min: 0,
        };
        self.real.get().map_or(unknown, |real| real.profile())
    }

    async fn put(
        &self,
        path: &ReplicaPath,
        body: Body,
        options: PutOptions,
    ) -> Result<PutReceipt, BackendError> {
        self.real("put")?.put(path, body, options).await
    }

    async fn get(&self, path: &ReplicaPath, range: Option<ByteRange>) -> Result<Download, BackendError> {
        self.real("get")?.get(path, range).await
    }

    async fn head(&self, path: &ReplicaPath) -> Result<Stat, BackendError> {
        self.real("head")?.head(path).await
    }

    async fn delete(&self, path: &ReplicaPath) -> Result<(), BackendError> {
        self.real("delete")?.delete(path).await
    }

    async fn delete_many(&self, paths: &[ReplicaPath]) -> Result<Vec<Deleted>, BackendError> {
        self.real("delete_many")?.delete_many(paths).await
    }

    fn delete_requests(&self, paths: &[ReplicaPath]) -> u64 {
        self.real.get().map_or(1, |real| real.delete_requests(paths))
    }

    async fn list(&self, prefix: &str, cursor: Option<&str>) -> Result<ListPage, BackendError> {
        self.real("list")?.list(prefix, cursor).await
    }

    async fn copy(&self, from: &ReplicaPath, to: &ReplicaPath) -> Result<(), BackendError> {
        self.real("copy")?.copy(from, to).await
    }
}
