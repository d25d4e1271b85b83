//! The S3 driver: one bucket at one provider.
//!
//! A path is an object's key, verbatim. Nothing here tries anything twice, and whatever the provider's
//! answer leaves open is [`ErrorKind::Unknown`].

mod errors;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use s3_client::ClientOptions;
use types::{BackendName, ByteRange, ReplicaPath};

use self::errors::{Effect, explain};
use crate::{
    Backend, BackendError, Body, Deleted, Download, Entry, ErrorKind, ListPage, Profile, PutOptions,
    PutReceipt, Stat,
};

/// The largest body that S3 takes in one request.
const PUT_BYTES_MAX: u64 = 5 << 30;

/// A bucket, and what is known of its provider.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// Where it is and how to speak to it.
    pub client: ClientOptions,
    /// The largest body of one request.
    pub put_bytes_max: u64,
    /// For how long after an attempt was given up its bytes may still arrive.
    pub late_arrival_bound: Duration,
    /// Every object is billed as at least this many bytes.
    pub billable_bytes_min: u64,
}

impl S3Options {
    /// Usual settings for a bucket.
    #[must_use]
    pub fn new(client: ClientOptions) -> Self {
        Self {
            client,
            put_bytes_max: PUT_BYTES_MAX,
            late_arrival_bound: Duration::from_secs(15 * 60),
            billable_bytes_min: 0,
        }
    }
}

/// A bucket at a provider.
#[derive(Debug)]
pub struct S3Backend {
    name: BackendName,
    client: s3_client::S3Client,
    profile: Profile,
    /// Once true it stays so: a bucket that ever kept a version may keep more.
    keeps_versions: AtomicBool,
}

impl S3Backend {
    /// A driver for this bucket. Connects to nothing yet.
    ///
    /// # Errors
    /// Where an option makes no sense.
    pub fn new(name: BackendName, options: S3Options) -> Result<Self, BackendError> {
        let profile = Profile {
            put_bytes_max: options.put_bytes_max,
            delete_frees: true,
            late_arrival_bound: options.late_arrival_bound,
            billable_bytes_min: options.billable_bytes_min,
        };
        match s3_client::S3Client::new(options.client) {
            Ok(client) => Ok(Self { name, client, profile, keeps_versions: AtomicBool::new(false) }),
            Err(error) => Err(explain(&name, "new", Effect::None, error)),
        }
    }

    /// How many requests [`S3Backend::probe`] sends.
    pub const PROBE_REQUESTS: u64 = 2;

    /// Looks whether the bucket is there, and whether a delete in it frees its bytes. To be called when the
    /// backend is attached.
    ///
    /// # Errors
    /// Where the bucket is not there, refuses us, or cannot be reached.
    pub async fn probe(&self) -> Result<(), BackendError> {
        self.client.head_bucket().await.map_err(|error| match error.kind {
            s3_client::ErrorKind::NotFound => {
                let message = format!("there is no bucket {}", self.client.bucket());
                self.error("probe", ErrorKind::Denied, message).with_source(error)
            }
            _ => explain(&self.name, "probe", Effect::None, error),
        })?;
        match self.client.get_bucket_versioning().await {
            Ok(s3_client::Versioning::Off) => Ok(()),
            Ok(versioning) => {
                self.note_versions(&format!("its versioning is {versioning:?}"));
                Ok(())
            }
            // No versions without the operation; and without the right to ask, what is stored will tell.
            Err(error)
                if matches!(
                    error.kind,
                    s3_client::ErrorKind::Unsupported
                        | s3_client::ErrorKind::NotFound
                        | s3_client::ErrorKind::Denied
                ) =>
            {
                tracing::info!(backend.name = %self.name, "cannot tell whether the bucket keeps versions: {error}");
                Ok(())
            }
            Err(error) => Err(explain(&self.name, "probe", Effect::None, error)),
        }
    }

    /// Whoever sees a version knows that deletes do not free bytes here.
    fn note_versions(&self, why: &str) {
        if !self.keeps_versions.swap(true, Ordering::Relaxed) {
            tracing::warn!(backend.name = %self.name, "the bucket keeps versions, so deletes free no bytes: {why}");
        }
    }

    fn error(&self, operation: &'static str, kind: ErrorKind, message: impl Into<String>) -> BackendError {
        BackendError::new(&self.name, operation, kind, message)
    }

    fn deleted(&self, answer: Result<s3_client::Gone, s3_client::Error>) -> Deleted {
        let gone = answer.map_err(|error| explain(&self.name, "delete", Effect::Write, error))?;
        if gone.hidden_only {
            self.note_versions("a delete made a delete marker");
        }
        Ok(())
    }
}

#[async_trait]
impl Backend for S3Backend {
    fn name(&self) -> &BackendName {
        &self.name
    }

    fn profile(&self) -> Profile {
        Profile { delete_frees: !self.keeps_versions.load(Ordering::Relaxed), ..self.profile.clone() }
    }

    async fn put(
        &self,
        path: &ReplicaPath,
        body: Body,
        options: PutOptions,
    ) -> Result<PutReceipt, BackendError> {
        if body.length > self.profile.put_bytes_max {
            let message = format!("{} bytes are more than one request may hold", body.length);
            return Err(self.error("put", ErrorKind::Unsupported, message));
        }
        let body = s3_client::PutBody::Stream {
            length: body.length,
            stream: body.stream.map_err(s3_client::BoxError::from).boxed(),
        };
        let put = s3_client::PutObject { key: path.as_str(), body, metadata: &options.metadata };
        let stored = self
            .client
            .put_object(put)
            .await
            .map_err(|error| explain(&self.name, "put", Effect::Write, error))?;
        if stored.version.is_some() {
            self.note_versions("a put made a version");
        }
        Ok(PutReceipt { etag: stored.etag, version: stored.version })
    }

    async fn get(&self, path: &ReplicaPath, range: Option<ByteRange>) -> Result<Download, BackendError> {
        let object = self
            .client
            .get_object(path.as_str(), range)
            .await
            .map_err(|error| explain(&self.name, "get", Effect::None, error))?;
        let name = self.name.clone();
        let stream = object.body.map_err(move |error| explain(&name, "get", Effect::None, error));
        Ok(Download { length: object.length, total: object.info.size, stream: stream.boxed() })
    }

    async fn head(&self, path: &ReplicaPath) -> Result<Stat, BackendError> {
        let info = self
            .client
            .head_object(path.as_str())
            .await
            .map_err(|error| explain(&self.name, "head", Effect::None, error))?;
        let s3_client::ObjectInfo { size, etag, modified, metadata, headers } = info;
        Ok(Stat { size, etag, modified, metadata, headers })
    }

    async fn delete(&self, path: &ReplicaPath) -> Result<(), BackendError> {
        let answer = self.client.delete_object(path.as_str()).await;
        self.deleted(answer)
    }

    async fn delete_many(&self, paths: &[ReplicaPath]) -> Result<Vec<Deleted>, BackendError> {
        let keys: Vec<&str> = paths.iter().map(ReplicaPath::as_str).collect();
        let answers =
            self.client.delete_objects(&keys).await.map_err(|error| match error.deletes_singly() {
                // Nothing was done; the next attempt knows how many requests it is.
                true => self.error("delete_many", ErrorKind::Unavailable, error.to_string()),
                false => explain(&self.name, "delete_many", Effect::Write, error),
            })?;
        Ok(answers.into_iter().map(|answer| self.deleted(answer)).collect())
    }

    fn delete_requests(&self, paths: &[ReplicaPath]) -> u64 {
        let keys: Vec<&str> = paths.iter().map(ReplicaPath::as_str).collect();
        self.client.delete_requests(&keys)
    }

    async fn list(&self, prefix: &str, cursor: Option<&str>) -> Result<ListPage, BackendError> {
        let page = self
            .client
            .list_objects(prefix, cursor)
            .await
            .map_err(|error| explain(&self.name, "list", Effect::None, error))?;
        let mut entries = Vec::with_capacity(page.objects.len());
        for object in page.objects {
            if !object.key.starts_with(prefix) {
                let message = format!("{:?} is listed under the prefix {prefix:?}", object.key);
                return Err(self.error("list", ErrorKind::Corrupt, message));
            }
            match ReplicaPath::parse(&object.key) {
                Ok(path) => entries.push(Entry { path, size: object.size }),
                // No path that we could have made or taken from an import, so nothing of ours.
                Err(error) => tracing::debug!(backend.name = %self.name, "not listed: {error}"),
            }
        }
        Ok(ListPage { entries, next: page.next })
    }

    async fn copy(&self, from: &ReplicaPath, to: &ReplicaPath) -> Result<(), BackendError> {
        self.client
            .copy_object(from.as_str(), to.as_str())
            .await
            .map_err(|error| explain(&self.name, "copy", Effect::Write, error))
    }
}
