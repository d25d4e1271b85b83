//! Writing: aside, synced, moved to its place, the folder synced. Nothing is visible before it is durable.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use types::ReplicaPath;

use super::disk::{Disk, errno_of, open_file, size_of};
use super::names::Spelled;
use super::sidecar;
use crate::{BackendError, ErrorKind, MetadataEntry};

/// How often a put makes its folders anew when deletes remove them under its hands.
const PLACING_ATTEMPTS_MAX: usize = 1_000;
/// Space is taken beforehand for bodies above this: a disk that is too small says so at once.
const PREALLOCATE_BYTES_MIN: u64 = 1 << 20;

/// Whoever asked for a write is gone: it must not come into its place any more.
#[derive(Debug, Clone, Default)]
pub(super) struct Cancelled(Arc<AtomicBool>);

impl Cancelled {
    fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Tells a write that runs on another thread when its caller is dropped.
#[derive(Debug, Default)]
pub(super) struct Caller(Cancelled);

impl Caller {
    pub(super) fn watch(&self) -> Cancelled {
        self.0.clone()
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::SeqCst);
    }
}

/// A file on its way to its place. Dropped before, it goes.
#[derive(Debug)]
pub(super) struct Draft {
    disk: Arc<Disk>,
    file: File,
    name: Option<String>,
    operation: &'static str,
}

impl Draft {
    /// A new file, with room for this many bytes.
    pub(super) fn create(
        disk: &Arc<Disk>,
        operation: &'static str,
        length: u64,
    ) -> Result<Self, BackendError> {
        let created = disk.create_temporary();
        let (file, name) =
            created.map_err(|errno| disk.error(operation, "create a temporary file", errno))?;
        let draft = Self { disk: disk.clone(), file, name: Some(name), operation };
        if length > PREALLOCATE_BYTES_MIN {
            match rustix::fs::fallocate(&draft.file, FallocateFlags::empty(), 0, length) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
                Err(errno) => return Err(draft.fail("take space", errno)),
            }
        }
        Ok(draft)
    }

    /// Appends bytes.
    pub(super) fn write(mut self, chunks: &[Bytes]) -> Result<Self, BackendError> {
        for chunk in chunks {
            if let Err(error) = self.file.write_all(chunk) {
                return Err(self.fail("write", errno_of(&error)));
            }
        }
        Ok(self)
    }

    /// Makes the bytes durable.
    fn sync(self) -> Result<Self, BackendError> {
        match self.file.sync_data() {
            Ok(()) => Ok(self),
            Err(error) => Err(self.fail("sync", errno_of(&error))),
        }
    }

    /// Removes the file and says what went wrong.
    fn fail(self, what: &str, errno: Errno) -> BackendError {
        let error = self.disk.error(self.operation, what, errno);
        self.discard();
        error
    }

    fn discard(mut self) {
        if let Some(name) = self.name.take() {
            self.disk.remove_temporary(&name);
        }
    }

    fn move_to(&mut self, folder: &OwnedFd, name: &str) -> Result<(), Errno> {
        if let Some(temporary) = &self.name {
            self.disk.place(temporary, folder, name)?;
            self.name = None;
        }
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let Some(name) = self.name.take() else { return };
        let disk = self.disk.clone();
        // Removing a large file takes a while, and whoever drops this may be a task among many.
        if tokio::runtime::Handle::try_current().is_ok() {
            runtime::spawn_blocking(move || disk.remove_temporary(&name)).detach();
        } else {
            disk.remove_temporary(&name);
        }
    }
}

/// Makes a draft durable and moves it to its place, with its metadata.
pub(super) fn publish(
    draft: Draft,
    path: &ReplicaPath,
    metadata: &[MetadataEntry],
    cancelled: &Cancelled,
) -> Result<(), BackendError> {
    let (disk, operation) = (draft.disk.clone(), draft.operation);
    let mut data = draft.sync()?;
    let mut beside = match metadata {
        [] => None,
        metadata => {
            let draft = Draft::create(&disk, operation, 0)?;
            Some(draft.write(&[sidecar::encode(metadata)])?.sync()?)
        }
    };
    disk.check_root(operation)?;
    let spelled = Spelled::new(path.as_str());
    let folder = place(&disk, &spelled, path, (&mut data, beside.as_mut()), cancelled)?;
    // From here on the object can be seen: a failure no longer means that there is none.
    rustix::fs::fsync(folder)
        .map_err(|errno| disk.error_of(ErrorKind::Unknown, operation, "sync the folder", errno))
}

/// Moves both files to their place. Deletes may remove the folder at any moment before; then again.
fn place(
    disk: &Disk,
    spelled: &Spelled,
    path: &ReplicaPath,
    (data, mut beside): (&mut Draft, Option<&mut Draft>),
    cancelled: &Cancelled,
) -> Result<OwnedFd, BackendError> {
    let operation = data.operation;
    for _ in 0..PLACING_ATTEMPTS_MAX {
        let folder = match disk.folders.make(&spelled.folders) {
            Err(Errno::NOENT) => continue,
            answer => answer.map_err(|errno| disk.error(operation, "make the folder", errno))?,
        };
        let _gate = disk.gate(path.as_str());
        if cancelled.is_set() {
            // The folder was perhaps made for this alone.
            let _ = disk.folders.prune(&spelled.folders);
            return Err(disk.refuse(ErrorKind::Unavailable, operation, "the caller went away"));
        }
        // Metadata first: where the bytes are, it is.
        let mut moved = Ok(());
        if let Some(beside) = beside.as_deref_mut() {
            moved = beside.move_to(&folder, &spelled.sidecar());
        }
        match moved.and_then(|()| data.move_to(&folder, &spelled.data())) {
            Ok(()) => return Ok(folder),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(disk.error(operation, "move the file to its place", errno)),
        }
    }
    let message = format!("the folder of {path} was removed {PLACING_ATTEMPTS_MAX} times");
    Err(disk.refuse(ErrorKind::Unavailable, operation, message))
}

/// Copies an object within the directory.
pub(super) fn copy(
    disk: &Arc<Disk>,
    from: &ReplicaPath,
    to: &ReplicaPath,
    cancelled: &Cancelled,
) -> Result<(), BackendError> {
    disk.check_root("copy")?;
    let source = Spelled::new(from.as_str());
    let opened = disk.folders.open(&source.folders).and_then(|folder| {
        let (file, stat) = open_file(&folder, &source.data())?;
        Ok((folder, file, size_of(&stat)))
    });
    let (folder, mut file, size) = opened.map_err(|errno| match errno {
        Errno::NOENT => disk.refuse(ErrorKind::NotFound, "copy", format!("nothing lies at {from}")),
        errno => disk.error("copy", "open", errno),
    })?;
    let metadata = sidecar::read(disk, "copy", &folder, &source.sidecar())?;
    let mut draft = Draft::create(disk, "copy", size)?;
    match std::io::copy(&mut file, &mut draft.file) {
        Ok(copied) if copied == size => publish(draft, to, &metadata, cancelled),
        Ok(copied) => {
            draft.discard();
            let message = format!("{copied} of {size} bytes of {from} could be read");
            Err(disk.refuse(ErrorKind::Corrupt, "copy", message))
        }
        Err(error) => Err(draft.fail("copy", errno_of(&error))),
    }
}
