//! Folders: made when the first object needs them, removed with the last, and durable in between.
//!
//! A file is safe only if every folder above it is. Whoever finds a folder that this process does not know
//! to be durable syncs its parent, whoever made it. Making and removing happen under one lock, so what is
//! known of a folder is never told of its successor.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use super::disk::{FOLDER_FLAGS, FOLDER_MODE};

/// Folders whose state is remembered. Forgetting costs a sync each.
const KNOWN_FOLDERS_MAX: usize = 16_384;

/// All folders below a root.
#[derive(Debug)]
pub(super) struct Folders {
    root: OwnedFd,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    states: HashMap<String, State>,
    made: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its parent has not been synced since this making of it.
    Fresh(u64),
    Durable,
}

impl Folders {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root, known: Mutex::default() }
    }

    /// Opens a folder that is there.
    pub(super) fn open(&self, folders: &[String]) -> Result<OwnedFd, Errno> {
        let mut at = self.root.try_clone().map_err(|error| super::disk::errno_of(&error))?;
        for name in folders {
            at = rustix::fs::openat(&at, name, FOLDER_FLAGS, Mode::empty())?;
        }
        Ok(at)
    }

    /// Opens a folder, making it and all above it durable. `NOENT` where another removed one of them
    /// meanwhile: try again.
    pub(super) fn make(&self, folders: &[String]) -> Result<OwnedFd, Errno> {
        let mut at = self.root.try_clone().map_err(|error| super::disk::errno_of(&error))?;
        let mut key = String::new();
        for name in folders {
            key.push('/');
            key.push_str(name);
            let below = match rustix::fs::openat(&at, name, FOLDER_FLAGS, Mode::empty()) {
                Err(Errno::NOENT) => {
                    self.make_one(&at, name, &key)?;
                    rustix::fs::openat(&at, name, FOLDER_FLAGS, Mode::empty())?
                }
                answer => answer?,
            };
            self.make_durable(&at, &key)?;
            at = below;
        }
        Ok(at)
    }

    /// Removes folders from the innermost outwards as far as they are empty. Gives those that are left.
    pub(super) fn prune<'a>(&self, folders: &'a [String]) -> Result<&'a [String], Errno> {
        let mut left = folders;
        while let Some((name, above)) = left.split_last() {
            let parent = match self.open(above) {
                Ok(parent) => parent,
                Err(Errno::NOENT) => {
                    left = above;
                    continue;
                }
                Err(errno) => return Err(errno),
            };
            let mut known = self.known();
            match rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {
                    known.states.remove(&key_of(left));
                    left = above;
                }
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(left)
    }

    /// Syncs a folder, or the innermost one above it that is still there.
    pub(super) fn sync(&self, mut folders: &[String]) -> Result<(), Errno> {
        loop {
            match (self.open(folders), folders.split_last()) {
                (Err(Errno::NOENT), Some((_, above))) => folders = above,
                (opened, _) => return rustix::fs::fsync(opened?),
            }
        }
    }

    fn make_one(&self, parent: impl AsFd, name: &str, key: &str) -> Result<(), Errno> {
        let mut known = self.known();
        match rustix::fs::mkdirat(parent, name, FOLDER_MODE) {
            Ok(()) => {
                known.remember(key);
                Ok(())
            }
            Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn make_durable(&self, parent: impl AsFd, key: &str) -> Result<(), Errno> {
        let fresh = {
            let mut known = self.known();
            match known.states.get(key) {
                Some(State::Durable) => return Ok(()),
                Some(fresh) => *fresh,
                None => known.remember(key),
            }
        };
        rustix::fs::fsync(&parent)?;
        let mut known = self.known();
        // A parent without links was removed: what lies at its path now is another folder.
        if rustix::fs::fstat(&parent)?.st_nlink > 0 && known.states.get(key) == Some(&fresh) {
            known.states.insert(key.to_owned(), State::Durable);
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn remember(&mut self, key: &str) -> State {
        if self.states.len() >= KNOWN_FOLDERS_MAX {
            self.states.clear();
        }
        self.made += 1;
        let fresh = State::Fresh(self.made);
        self.states.insert(key.to_owned(), fresh);
        fresh
    }
}

fn key_of(folders: &[String]) -> String {
    folders.iter().flat_map(|name| ["/", name]).collect()
}
