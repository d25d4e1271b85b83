//! Reading: one piece ahead of whoever takes the bytes.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use runtime::Task;
use rustix::buffer::spare_capacity;
use rustix::fs::AtFlags;
use rustix::io::Errno;
use types::{ByteRange, ReplicaPath, Timestamp};

use super::disk::{Disk, is_file, open_file, size_of};
use super::names::Spelled;
use super::sidecar;
use crate::{BackendError, ByteStream, ErrorKind, Stat};

/// Bytes in one chunk.
const CHUNK_BYTES: u64 = 256 * 1024;
/// Bytes in the first chunk where nobody said how many are wanted.
const UNKNOWN_BYTES: u64 = 16 * 1024;

/// An object that is being read, with its first chunk.
pub(super) struct Opened {
    pub(super) range: ByteRange,
    pub(super) total: u64,
    first: Bytes,
    source: Source,
}

#[derive(Clone)]
struct Source {
    disk: Arc<Disk>,
    file: Arc<File>,
}

/// An empty buffer for the first chunk of what is asked for.
pub(super) fn room_for_first(range: Option<ByteRange>) -> Vec<u8> {
    room_for(range.map_or(UNKNOWN_BYTES, |range| range.length.min(CHUNK_BYTES)))
}

/// Opens an object and reads as much of it as there is room for.
pub(super) fn open(
    disk: &Arc<Disk>,
    path: &ReplicaPath,
    range: Option<ByteRange>,
    room: Vec<u8>,
) -> Result<Opened, BackendError> {
    disk.check_root("get")?;
    let spelled = Spelled::new(path.as_str());
    let opened = open_folder(disk, &spelled).and_then(|folder| open_file(&folder, &spelled.data()));
    let (file, stat) = opened.map_err(|errno| missing_or(disk, "get", path, errno))?;
    let total = size_of(&stat);
    let range = range.unwrap_or(ByteRange::whole(total));
    if range.start.checked_add(range.length).is_none_or(|end| end > total) {
        let message = format!("{path} has {total} bytes, {range} were asked for");
        return Err(disk.refuse(ErrorKind::Corrupt, "get", message));
    }
    let source = Source { disk: disk.clone(), file: Arc::new(file) };
    let length = range.length.min(room.capacity() as u64);
    let first = source.read(range.start, length, room)?;
    Ok(Opened { range, total, first, source })
}

/// Where a stream stands: what was read already, and the read that runs ahead.
struct Reading {
    source: Source,
    ready: Option<Bytes>,
    ahead: Option<Task<Result<Bytes, BackendError>>>,
    offset: u64,
    end: u64,
}

impl Opened {
    /// The bytes, in order.
    pub(super) fn into_stream(self) -> ByteStream<BackendError> {
        let end = self.range.end();
        let offset = self.range.start + self.first.len() as u64;
        let ready = (!self.first.is_empty()).then_some(self.first);
        let reading = Reading { source: self.source, ready, ahead: None, offset, end };
        Box::pin(stream::try_unfold(reading, Reading::next))
    }
}

impl Reading {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, BackendError> {
        let chunk = match (self.ready.take(), self.ahead.take()) {
            (Some(ready), _) => ready,
            (None, Some(ahead)) => ahead.await.map_err(|error| {
                self.source
                    .disk
                    .refuse(ErrorKind::Unavailable, "get", "the read did not end")
                    .with_source(error)
            })??,
            (None, None) => return Ok(None),
        };
        if self.offset < self.end {
            let (source, offset) = (self.source.clone(), self.offset);
            let length = CHUNK_BYTES.min(self.end - offset);
            self.offset += length;
            let room = room_for(length);
            self.ahead = Some(runtime::spawn_blocking(move || source.read(offset, length, room)));
        }
        Ok(Some((chunk, self)))
    }
}

/// An empty buffer for a chunk. Made where the bytes are used up, not on the thread that reads them: what one thread
/// allocates and others free, an allocator keeps for that thread, and there are as many of them as reads at once.
fn room_for(length: u64) -> Vec<u8> {
    Vec::with_capacity(usize::try_from(length).expect("a chunk fits an address"))
}

impl Source {
    /// Exactly these bytes.
    fn read(&self, mut offset: u64, length: u64, mut bytes: Vec<u8>) -> Result<Bytes, BackendError> {
        let length = usize::try_from(length).expect("a chunk fits an address");
        while bytes.len() < length {
            match rustix::io::pread(&self.file, spare_capacity(&mut bytes), offset) {
                Ok(0) => {
                    let message = format!("the file ends at {offset}, shorter than it was");
                    return Err(self.disk.refuse(ErrorKind::Corrupt, "get", message));
                }
                Ok(read) => offset += read as u64,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.disk.error("get", "read", errno)),
            }
        }
        // An allocator may have given more room than asked for.
        bytes.truncate(length);
        Ok(bytes.into())
    }
}

/// What lies at a path.
pub(super) fn head(disk: &Disk, path: &ReplicaPath) -> Result<Stat, BackendError> {
    disk.check_root("head")?;
    let spelled = Spelled::new(path.as_str());
    let found = open_folder(disk, &spelled).and_then(|folder| {
        let stat = rustix::fs::statat(&folder, spelled.data(), AtFlags::SYMLINK_NOFOLLOW)?;
        if is_file(&stat) { Ok((folder, stat)) } else { Err(Errno::LOOP) }
    });
    let (folder, stat) = found.map_err(|errno| missing_or(disk, "head", path, errno))?;
    let metadata = sidecar::read(disk, "head", &folder, &spelled.sidecar())?;
    let modified = u64::try_from(stat.st_mtime).ok().map(|seconds| {
        let millis = stat.st_mtime_nsec / 1_000_000;
        Timestamp::from_millis(seconds.saturating_mul(1_000).saturating_add(millis))
    });
    Ok(Stat { size: size_of(&stat), etag: None, modified, metadata, headers: Vec::new() })
}

fn open_folder(disk: &Disk, spelled: &Spelled) -> Result<OwnedFd, Errno> {
    disk.folders.open(&spelled.folders)
}

fn missing_or(disk: &Disk, operation: &'static str, path: &ReplicaPath, errno: Errno) -> BackendError {
    match errno {
        Errno::NOENT => disk.refuse(ErrorKind::NotFound, operation, format!("nothing lies at {path}")),
        errno => disk.error(operation, "open", errno),
    }
}
