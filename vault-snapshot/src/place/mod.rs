//! Destinations: where snapshots lie, with their records and pointers beside them.

mod bucket;
mod directory;

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use config::snapshot::{Config, Retention, Target};
use futures::Stream;
use types::Timestamp;

pub(crate) use directory::read_file;

use crate::name::SnapshotName;
use crate::trouble::Trouble;

/// Stored bytes on their way.
pub(crate) type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, Trouble>> + Send>>;

/// A destination as it is configured.
#[derive(Clone)]
pub(crate) struct Destination {
    pub(crate) name: String,
    pub(crate) retention: Retention,
    pub(crate) place: Arc<dyn Place>,
}

/// A file there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) size: u64,
}

/// What a destination can do. A file has its name only once it is whole.
#[async_trait]
pub(crate) trait Place: Send + Sync {
    /// The files whose names begin so.
    async fn list(&self, prefix: &str) -> Result<Vec<File>, Trouble>;
    /// Begins a file whose length is not known yet.
    async fn begin(&self, file: &str) -> Result<Box<dyn Upload>, Trouble>;
    /// Reads a file, from the store rather than from memory where that can be had.
    async fn read(&self, file: &str) -> Result<Chunks, Trouble>;
    /// Reads a small file; `None` where there is none.
    async fn read_small(&self, file: &str) -> Result<Option<Vec<u8>>, Trouble>;
    /// Writes or replaces a small file.
    async fn write_small(&self, file: &str, text: Vec<u8>) -> Result<(), Trouble>;
    /// Removes a file. One that is gone already is a success.
    async fn remove(&self, file: &str) -> Result<(), Trouble>;
    /// Removes what runs that died before this time left half done.
    async fn sweep(&self, prefix: &str, before: Timestamp) -> Result<(), Trouble>;
}

/// A file on its way to a destination.
#[async_trait]
pub(crate) trait Upload: Send {
    async fn write(&mut self, chunk: Bytes) -> Result<(), Trouble>;
    /// Makes it durable, and names it.
    async fn finish(self: Box<Self>) -> Result<(), Trouble>;
    /// Leaves nothing behind.
    async fn abort(self: Box<Self>);
}

/// A snapshot there.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) name: SnapshotName,
    /// Bytes as stored.
    pub(crate) size: u64,
    /// Whether it has a record.
    pub(crate) verified: bool,
}

impl Destination {
    /// All that the configuration names.
    pub(crate) fn all(config: &Config) -> Result<Vec<Self>, Trouble> {
        let built = config.destinations.iter().map(|destination| {
            let place: Arc<dyn Place> = match &destination.target {
                Target::Directory(target) => Arc::new(directory::Directory::new(target)),
                Target::S3(target) => Arc::new(bucket::Bucket::new(target)?),
            };
            let retention = config.retention_of(destination).clone();
            Ok(Self { name: destination.name.clone(), retention, place })
        });
        let named = |(built, destination): (Result<Self, Trouble>, &config::snapshot::Destination)| {
            built.map_err(|trouble| trouble.while_doing(&format!("destination {}", destination.name)))
        };
        built.zip(&config.destinations).map(named).collect()
    }

    /// The snapshots there, newest first.
    pub(crate) async fn snapshots(&self, name: &str) -> Result<Vec<Held>, Trouble> {
        let files = self.place.list(&format!("{name}-")).await?;
        let records: std::collections::HashSet<&str> =
            files.iter().filter_map(|file| file.name.strip_suffix(".json")).collect();
        let held = files.iter().filter_map(|file| {
            let verified = records.contains(file.name.as_str());
            Some(Held { name: SnapshotName::parse(name, &file.name)?, size: file.size, verified })
        });
        let mut held: Vec<Held> = held.collect();
        held.sort_by(|a, b| b.name.time.cmp(&a.name.time).then_with(|| a.name.cmp(&b.name)));
        Ok(held)
    }
}
