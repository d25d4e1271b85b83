//! Deleting: each file, then the folders that it leaves empty, then one sync for each folder that is left.

use std::collections::BTreeMap;

use rustix::fs::AtFlags;
use rustix::io::Errno;
use types::ReplicaPath;

use super::disk::Disk;
use super::names::Spelled;
use crate::{BackendError, Deleted, ErrorKind};

/// Deletes objects; an answer for each, in their order. What is answered with success stays gone.
pub(super) fn delete(
    disk: &Disk,
    operation: &'static str,
    paths: &[ReplicaPath],
) -> Result<Vec<Deleted>, BackendError> {
    disk.check_root(operation)?;
    let mut answers: Vec<Option<Deleted>> = paths.iter().map(|_| None).collect();
    let mut by_folder: BTreeMap<Vec<String>, Vec<(usize, Spelled)>> = BTreeMap::new();
    for (i, path) in paths.iter().enumerate() {
        let spelled = Spelled::new(path.as_str());
        by_folder.entry(spelled.folders.clone()).or_default().push((i, spelled));
    }
    // What is left of each folder must be synced, once for all that were in it.
    let mut to_sync: BTreeMap<Vec<String>, Vec<usize>> = BTreeMap::new();
    for (folders, objects) in by_folder {
        for (i, spelled) in &objects {
            let unlinked = unlink(disk, &paths[*i], spelled);
            answers[*i] = Some(unlinked.map_err(|errno| disk.error(operation, "remove the file", errno)));
        }
        // A folder that cannot be removed is no failure: it costs nothing to keep.
        let left = disk.folders.prune(&folders).unwrap_or(&folders).to_vec();
        to_sync.entry(left).or_default().extend(objects.iter().map(|(i, _)| *i));
    }
    for (folders, objects) in to_sync {
        let Err(errno) = disk.folders.sync(&folders) else { continue };
        for i in objects {
            // Gone for now, but a crash might bring it back.
            let error = disk.error_of(ErrorKind::Unknown, operation, "sync the folder", errno);
            answers[i] = Some(Err(error));
        }
    }
    Ok(answers.into_iter().map(|answer| answer.unwrap_or(Ok(()))).collect())
}

fn unlink(disk: &Disk, path: &ReplicaPath, spelled: &Spelled) -> Result<(), Errno> {
    let _gate = disk.gate(path.as_str());
    let folder = match disk.folders.open(&spelled.folders) {
        Err(Errno::NOENT) => return Ok(()),
        answer => answer?,
    };
    for name in [spelled.data(), spelled.sidecar()] {
        match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
