//! What every place that stores files can do.

use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use snapshot::Chunks;
use types::Timestamp;

/// A file there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub size: u64,
}

/// What a destination can do. A file has its name only once it is whole.
#[async_trait]
pub trait Place: Send + Sync {
    /// The files whose names begin so.
    async fn list(&self, prefix: &str) -> io::Result<Vec<File>>;
    /// Begins a file whose length is not known yet.
    async fn begin(&self, file: &str) -> io::Result<Box<dyn Upload>>;
    /// Reads a file, from the store rather than from memory where that can be had.
    async fn read(&self, file: &str) -> io::Result<Chunks>;
    /// Reads a small file; `None` where there is none.
    async fn read_small(&self, file: &str) -> io::Result<Option<Vec<u8>>>;
    /// Writes or replaces a small file.
    async fn write_small(&self, file: &str, text: Vec<u8>) -> io::Result<()>;
    /// Removes a file. One that is gone already is a success.
    async fn remove(&self, file: &str) -> io::Result<()>;
    /// Removes what runs that died before this time left half done.
    async fn sweep(&self, prefix: &str, before: Timestamp) -> io::Result<()>;
}

/// A file on its way to a destination.
#[async_trait]
pub trait Upload: Send {
    /// Takes the next bytes.
    async fn write(&mut self, chunk: Bytes) -> io::Result<()>;
    /// Makes it durable, and names it.
    async fn finish(self: Box<Self>) -> io::Result<()>;
    /// Leaves nothing behind.
    async fn abort(self: Box<Self>);
}
