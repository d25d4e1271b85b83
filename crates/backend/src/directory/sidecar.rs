//! Metadata, in a small JSON file beside its object: `[["name","value"], ...]`.
//!
//! A file rather than extended attributes: it survives `cp`, `rsync` and `tar` without a flag, and works
//! on every file system.

use std::io::Read;
use std::os::fd::AsFd;

use bytes::Bytes;
use rustix::io::Errno;

use super::disk::{Disk, errno_of, open_file};
use crate::{BackendError, ErrorKind, MetadataEntry};

/// Largest sidecar that is read. Metadata ends at 2 KB; JSON may make six of one byte.
const SIDECAR_BYTES_MAX: u64 = 64 * 1024;

/// Metadata as it is written.
pub(super) fn encode(metadata: &[MetadataEntry]) -> Bytes {
    serde_json::to_vec(metadata).expect("pairs of text can always be JSON").into()
}

/// Reads the metadata of an object; none where there is no sidecar.
pub(super) fn read(
    disk: &Disk,
    operation: &'static str,
    folder: impl AsFd,
    name: &str,
) -> Result<Vec<MetadataEntry>, BackendError> {
    let file = match open_file(folder, name) {
        Ok((file, _)) => file,
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(errno) => return Err(disk.error(operation, "open the metadata", errno)),
    };
    let mut text = Vec::new();
    let read = file.take(SIDECAR_BYTES_MAX).read_to_end(&mut text);
    read.map_err(|error| disk.error(operation, "read the metadata", errno_of(&error)))?;
    serde_json::from_slice(&text).map_err(|error| {
        let message = format!("the metadata in {name} cannot be read");
        disk.refuse(ErrorKind::Corrupt, operation, message).with_source(error)
    })
}
