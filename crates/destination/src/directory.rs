//! A directory: a file is written aside, synced and renamed.

use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use bytes::Bytes;
use config::snapshot::DirectoryTarget;
use futures::stream;
use snapshot::Chunks;
use tokio::fs::{self, File as Handle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use types::Timestamp;

use crate::place::{File, Place, Upload};

const READ_BYTES: usize = 256 * 1024;
/// Such a file is not finished.
const ASIDE: &str = ".partial";

pub(crate) struct Directory {
    path: PathBuf,
}

impl Directory {
    pub(crate) fn new(target: &DirectoryTarget) -> Self {
        Self { path: target.path.clone() }
    }

    /// Makes the directory itself, but no way to it: a mount that is missing must not be written beside.
    fn make(&self) -> io::Result<()> {
        match std::fs::DirBuilder::new().mode(0o700).create(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Place for Directory {
    async fn list(&self, prefix: &str) -> io::Result<Vec<File>> {
        self.make()?;
        let mut entries = fs::read_dir(&self.path).await?;
        let mut files = Vec::new();
        while let Some(entry) = entries.next_entry().await? {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let metadata = entry.metadata().await?;
            if metadata.is_file() && name.starts_with(prefix) {
                files.push(File { name, size: metadata.len() });
            }
        }
        Ok(files)
    }

    async fn begin(&self, file: &str) -> io::Result<Box<dyn Upload>> {
        self.make()?;
        let aside = Aside(self.path.join(format!(".{file}{ASIDE}")));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let handle = fs::OpenOptions::from(options).open(&aside.0).await?;
        Ok(Box::new(Writing { handle, aside, to: self.path.join(file) }))
    }

    async fn read(&self, file: &str) -> io::Result<Chunks> {
        read_file(&self.path.join(file)).await
    }

    async fn read_small(&self, file: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.path.join(file)).await {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn write_small(&self, file: &str, text: Vec<u8>) -> io::Result<()> {
        let mut upload = self.begin(file).await?;
        upload.write(text.into()).await?;
        upload.finish().await
    }

    async fn remove(&self, file: &str) -> io::Result<()> {
        match fs::remove_file(self.path.join(file)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    async fn sweep(&self, prefix: &str, before: Timestamp) -> io::Result<()> {
        for file in self.list(&format!(".{prefix}")).await? {
            let path = self.path.join(&file.name);
            let written =
                fs::metadata(&path).await?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            if file.name.ends_with(ASIDE) && u128::from(before.as_millis()) > written.as_millis() {
                tracing::info!(file = file.name, "removing what a run left half done");
                self.remove(&file.name).await?;
            }
        }
        Ok(())
    }
}

/// Reads a file in chunks, past the memory of the operating system where that is possible: what it remembers
/// says nothing of the disk.
///
/// # Errors
/// Where there is no such file.
pub async fn read_file(path: &Path) -> io::Result<Chunks> {
    let handle = Handle::open(path).await?;
    // A file system that cannot do it gives what it has.
    let _ = rustix::fs::fadvise(&handle, 0, None, rustix::fs::Advice::DontNeed);
    let chunks = stream::try_unfold(handle, |mut handle| async move {
        let mut chunk = Vec::with_capacity(READ_BYTES);
        handle.read_buf(&mut chunk).await?;
        Ok((!chunk.is_empty()).then(|| (Bytes::from(chunk), handle)))
    });
    Ok(Box::pin(chunks))
}

/// A file that is removed unless it got its name.
struct Aside(PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        // After the renaming there is nothing of this name.
        let _ = std::fs::remove_file(&self.0);
    }
}

struct Writing {
    handle: Handle,
    aside: Aside,
    to: PathBuf,
}

#[async_trait]
impl Upload for Writing {
    async fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        self.handle.write_all(&chunk).await
    }

    async fn finish(mut self: Box<Self>) -> io::Result<()> {
        // A disk that is full may say so only now.
        self.handle.flush().await?;
        self.handle.sync_all().await?;
        fs::rename(&self.aside.0, &self.to).await?;
        let folder = self.to.parent().expect("a file in a directory has one");
        Handle::open(folder).await?.sync_all().await?;
        Ok(())
    }

    async fn abort(self: Box<Self>) {}
}
