//! The directory driver: objects as files, metadata beside them, safe across crashes.
//!
//! A body is written aside, synced and moved to its place, and the folder is synced: what was answered is
//! durable, what was not leaves nothing. One process owns a directory. Blocking work runs on threads kept
//! for it, in few and large hops; the rest of the module is what runs there.

mod disk;
mod folders;
mod list;
mod names;
mod read;
mod remove;
mod sidecar;
#[cfg(test)]
mod tests;
mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use tokio::sync::Semaphore;
use types::{BackendName, ByteRange, ReplicaPath};

use crate::{
    Backend, BackendError, Body, Deleted, Download, ErrorKind, ListPage, Profile, PutOptions, PutReceipt,
    Stat,
};
use disk::Disk;
use write::{Caller, Draft};

/// Bodies up to this size are stored in one hop.
const SMALL_BYTES_MAX: u64 = 256 * 1024;
/// Bytes of a larger body that one hop writes at most.
const HOP_BYTES_MAX: usize = 1 << 20;
/// Hops that run at once.
const HOPS_MAX: usize = 64;

/// How to open a directory.
#[derive(Debug, Clone)]
pub struct DirectoryOptions {
    /// Where it is.
    pub path: PathBuf,
    /// Make it if it is not there (its parent must be). Only for a directory that was never attached: a
    /// missing one is otherwise a disk that is not mounted.
    pub create: bool,
    /// Largest body of one put, in bytes.
    pub put_bytes_max: u64,
    /// Entries in one page of a listing.
    pub page_entries: usize,
    /// For how long after an attempt was given up its bytes may still arrive. The driver itself needs none:
    /// this is for a file system that answers before it is done.
    pub late_arrival_bound: Duration,
    /// Every object is charged as at least this many bytes.
    pub billable_bytes_min: u64,
}

impl DirectoryOptions {
    /// The directory at this path as it is.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            create: false,
            put_bytes_max: u64::MAX / 2,
            page_entries: 1_000,
            late_arrival_bound: Duration::ZERO,
            billable_bytes_min: 0,
        }
    }
}

/// Objects in the files of one directory.
#[derive(Debug)]
pub struct DirectoryBackend {
    disk: Arc<Disk>,
    hops: Arc<Semaphore>,
    profile: Profile,
    page_entries: usize,
}

impl DirectoryBackend {
    /// Takes a directory for this process alone.
    ///
    /// # Errors
    /// `Unavailable` where it is missing (never made silently) or another process has it.
    pub async fn open(name: BackendName, options: DirectoryOptions) -> Result<Self, BackendError> {
        let profile = Profile {
            put_bytes_max: options.put_bytes_max,
            delete_frees: true,
            late_arrival_bound: options.late_arrival_bound,
            billable_bytes_min: options.billable_bytes_min,
        };
        let DirectoryOptions { path, create, page_entries, .. } = options;
        let opening = name.clone();
        let disk = runtime::spawn_blocking(move || Disk::open(opening, &path, create)).await;
        let disk = disk.map_err(|error| {
            BackendError::new(&name, "open", ErrorKind::Unavailable, "the work did not end")
                .with_source(error)
        })??;
        Ok(Self {
            disk: Arc::new(disk),
            hops: Arc::new(Semaphore::new(HOPS_MAX)),
            profile,
            page_entries: page_entries.max(1),
        })
    }

    /// Runs blocking work on a thread kept for it.
    async fn hop<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Arc<Disk>) -> Result<T, BackendError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let permit = self.hops.clone().acquire_owned().await;
        let disk = self.disk.clone();
        let done = runtime::spawn_blocking(move || {
            // Kept until the work ends, even where nobody waits for it any more.
            let _permit = permit;
            work(&disk)
        });
        done.await.map_err(|error| {
            self.disk.refuse(ErrorKind::Unknown, operation, "the work did not end").with_source(error)
        })?
    }
}

/// A body while it is taken.
struct Taking<'a> {
    disk: &'a Disk,
    body: Body,
    taken: u64,
}

impl Taking<'_> {
    /// The next chunk, proved against the length; none behind the last.
    async fn chunk(&mut self) -> Result<Option<Bytes>, BackendError> {
        let bad = |message| self.disk.refuse(ErrorKind::BadBody, "put", message);
        let length = self.body.length;
        match self.body.stream.next().await {
            Some(Ok(chunk)) => {
                self.taken += chunk.len() as u64;
                if self.taken > length {
                    return Err(bad(format!("more bytes came than the {length} announced")));
                }
                Ok(Some(chunk))
            }
            Some(Err(error)) => Err(bad(error.to_string())),
            None if self.taken < length => {
                Err(bad(format!("{} bytes came, {length} were announced", self.taken)))
            }
            None => Ok(None),
        }
    }

    /// Waits for a chunk and takes with it what is there already, up to `bytes_max` and a chunk. The
    /// second value is true behind the last. Never waits for more: the giver may have handed out all it may.
    async fn gather(&mut self, bytes_max: usize) -> Result<(Vec<Bytes>, bool), BackendError> {
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        let mut next = self.chunk().await?;
        loop {
            let Some(chunk) = next else { return Ok((chunks, true)) };
            bytes += chunk.len();
            chunks.push(chunk);
            if bytes >= bytes_max {
                return Ok((chunks, false));
            }
            next = match self.chunk().now_or_never() {
                Some(next) => next?,
                None => return Ok((chunks, false)),
            };
        }
    }
}

#[async_trait]
impl Backend for DirectoryBackend {
    fn name(&self) -> &BackendName {
        &self.disk.name
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
        let caller = Caller::default();
        let length = body.length;
        let mut taking = Taking { disk: &self.disk, body, taken: 0 };
        let (mut chunks, mut last) = (Vec::new(), false);
        let mut draft = None;
        if length <= SMALL_BYTES_MAX {
            while let Some(chunk) = taking.chunk().await? {
                chunks.push(chunk);
            }
            last = true;
        }
        while !last {
            (chunks, last) = taking.gather(HOP_BYTES_MAX).await?;
            if last {
                break;
            }
            let (begun, now) = (draft.take(), std::mem::take(&mut chunks));
            let write = move |disk: &Arc<Disk>| match begun {
                Some(draft) => Draft::write(draft, &now),
                None => begin(disk, length)?.write(&now),
            };
            draft = Some(self.hop("put", write).await?);
        }
        let (path, cancelled) = (path.clone(), caller.watch());
        self.hop("put", move |disk| {
            let draft = match draft {
                Some(draft) => draft,
                None => begin(disk, length)?,
            };
            write::publish(draft.write(&chunks)?, &path, &options.metadata, &cancelled)
        })
        .await?;
        Ok(PutReceipt::default())
    }

    async fn get(&self, path: &ReplicaPath, range: Option<ByteRange>) -> Result<Download, BackendError> {
        let path = path.clone();
        let room = read::room_for_first(range);
        let opened = self.hop("get", move |disk| read::open(disk, &path, range, room)).await?;
        let (length, total) = (opened.range.length, opened.total);
        Ok(Download { length, total, stream: opened.into_stream() })
    }

    async fn head(&self, path: &ReplicaPath) -> Result<Stat, BackendError> {
        let path = path.clone();
        self.hop("head", move |disk| read::head(disk, &path)).await
    }

    async fn delete(&self, path: &ReplicaPath) -> Result<(), BackendError> {
        let path = path.clone();
        let mut answers = self.hop("delete", move |disk| remove::delete(disk, "delete", &[path])).await?;
        answers.pop().unwrap_or(Ok(()))
    }

    async fn delete_many(&self, paths: &[ReplicaPath]) -> Result<Vec<Deleted>, BackendError> {
        let paths = paths.to_vec();
        self.hop("delete_many", move |disk| remove::delete(disk, "delete_many", &paths)).await
    }

    async fn list(&self, prefix: &str, cursor: Option<&str>) -> Result<ListPage, BackendError> {
        let (prefix, cursor, page_entries) =
            (prefix.to_owned(), cursor.map(str::to_owned), self.page_entries);
        self.hop("list", move |disk| list::list(disk, &prefix, cursor.as_deref(), page_entries)).await
    }

    async fn copy(&self, from: &ReplicaPath, to: &ReplicaPath) -> Result<(), BackendError> {
        let caller = Caller::default();
        let (from, to, cancelled) = (from.clone(), to.clone(), caller.watch());
        self.hop("copy", move |disk| write::copy(disk, &from, &to, &cancelled)).await
    }
}

fn begin(disk: &Arc<Disk>, length: u64) -> Result<Draft, BackendError> {
    disk.check_root("put")?;
    Draft::create(disk, "put", length)
}
