//! The directory on its disk: opened once, owned alone, watched for being taken away.
//!
//! Everything here blocks. Names are resolved from the root's own descriptor, folder by folder, and no
//! symbolic link is ever followed.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat as FileStat};
use rustix::io::Errno;
use types::BackendName;

use super::folders::Folders;
use crate::{BackendError, ErrorKind};

/// Where bodies lie until they are whole. Escaping never makes this name, nor the next.
const TEMPORARY: &str = ".s3-orchestrator-tmp";
/// Locked by the process that owns the directory.
const LOCK: &str = ".s3-orchestrator-lock";
/// Locks that keep a put and a delete of one path apart.
const GATES: usize = 64;

pub(super) const FOLDER_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const FILE_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);
const NEW_FILE_FLAGS: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::CLOEXEC);
const FILE_MODE: Mode = Mode::from_raw_mode(0o640);
pub(super) const FOLDER_MODE: Mode = Mode::from_raw_mode(0o750);

/// The directory of one backend.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) name: BackendName,
    pub(super) folders: Folders,
    path: PathBuf,
    identity: (u64, u64),
    temporary: OwnedFd,
    temporaries: AtomicU64,
    gates: Vec<Mutex<()>>,
    hasher: RandomState,
    /// Held for as long as the process owns the directory.
    _lock: File,
}

impl Disk {
    /// Takes the directory for this process alone and removes what a crash left half-written.
    pub(super) fn open(name: BackendName, path: &Path, create: bool) -> Result<Self, BackendError> {
        let fail = |what: &str, errno: Errno| {
            let message = format!("cannot {what} the directory {}: {errno}", path.display());
            failure(&name, "open", kind_of(errno), message, errno)
        };
        let root = match open_root(path, create) {
            Ok(root) => root,
            Err(Errno::NOENT) => {
                let message = format!(
                    "the directory {} does not exist: mount its disk, or create it if it is new",
                    path.display()
                );
                return Err(BackendError::new(&name, "open", ErrorKind::Unavailable, message));
            }
            Err(errno) => return Err(fail("open", errno)),
        };
        let lock = take_lock(&root).map_err(|errno| match errno {
            Errno::WOULDBLOCK => {
                let message = format!(
                    "the directory {} is in use by another process: one process may own it at a time",
                    path.display()
                );
                BackendError::new(&name, "open", ErrorKind::Unavailable, message)
            }
            errno => fail("lock", errno),
        })?;
        let temporary = clean_temporary(&root).map_err(|errno| fail("clean", errno))?;
        let stat = rustix::fs::fstat(&root).map_err(|errno| fail("inspect", errno))?;
        Ok(Self {
            name,
            folders: Folders::new(root),
            path: path.to_owned(),
            identity: identity_of(&stat),
            temporary,
            temporaries: AtomicU64::new(0),
            gates: std::iter::repeat_with(Mutex::default).take(GATES).collect(),
            hasher: RandomState::new(),
            _lock: lock,
        })
    }

    /// Fails where the root is no longer the directory that was opened: writing on would fill a mount point.
    pub(super) fn check_root(&self, operation: &'static str) -> Result<(), BackendError> {
        let problem = match rustix::fs::stat(&self.path) {
            Ok(stat) if identity_of(&stat) == self.identity => return Ok(()),
            Ok(_) => "is no longer the one that was opened: was its disk unmounted? restart when it is back"
                .to_owned(),
            Err(errno) => format!("cannot be reached ({errno}): is its disk mounted?"),
        };
        let message = format!("the directory {} {problem}", self.path.display());
        Err(BackendError::new(&self.name, operation, ErrorKind::Unavailable, message))
    }

    /// Holds back every other put, copy or delete of this path.
    pub(super) fn gate(&self, path: &str) -> MutexGuard<'_, ()> {
        let hash = self.hasher.hash_one(path);
        let slot = usize::try_from(hash % GATES as u64).unwrap_or_default();
        self.gates[slot].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new file of ours, and its name among the temporary ones.
    pub(super) fn create_temporary(&self) -> Result<(File, String), Errno> {
        let name = format!("{:x}", self.temporaries.fetch_add(1, Ordering::Relaxed));
        let file = rustix::fs::openat(&self.temporary, &name, NEW_FILE_FLAGS, FILE_MODE)?;
        Ok((file.into(), name))
    }

    /// Forgets a temporary file.
    pub(super) fn remove_temporary(&self, name: &str) {
        match rustix::fs::unlinkat(&self.temporary, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => {
                tracing::warn!(backend.name = %self.name, %errno, "a temporary file stays until the next start");
            }
        }
    }

    /// Moves a temporary file to its place.
    pub(super) fn place(&self, temporary: &str, folder: impl AsFd, name: &str) -> Result<(), Errno> {
        rustix::fs::renameat(&self.temporary, temporary, folder, name)
    }

    /// An error of an operation, with the kind that the system's answer stands for.
    pub(super) fn error(&self, operation: &'static str, what: &str, errno: Errno) -> BackendError {
        self.error_of(kind_of(errno), operation, what, errno)
    }

    /// The same where the caller knows better what kind it is.
    pub(super) fn error_of(
        &self,
        kind: ErrorKind,
        operation: &'static str,
        what: &str,
        errno: Errno,
    ) -> BackendError {
        failure(&self.name, operation, kind, format!("cannot {what}: {errno}"), errno)
    }

    /// An error that the system did not report.
    pub(super) fn refuse(
        &self,
        kind: ErrorKind,
        operation: &'static str,
        message: impl Into<String>,
    ) -> BackendError {
        BackendError::new(&self.name, operation, kind, message)
    }
}

fn failure(
    name: &BackendName,
    operation: &'static str,
    kind: ErrorKind,
    message: String,
    errno: Errno,
) -> BackendError {
    BackendError::new(name, operation, kind, message).with_source(std::io::Error::from(errno))
}

/// What the system's answer means to a caller. That something is missing is known only to who asked.
fn kind_of(errno: Errno) -> ErrorKind {
    match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => ErrorKind::OutOfSpace,
        Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::LOOP => ErrorKind::Denied,
        Errno::NAMETOOLONG => ErrorKind::Unsupported,
        _ => ErrorKind::Unavailable,
    }
}

/// The system's answer inside an error of the standard library.
pub(super) fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Opens a file to read it; only a regular one.
pub(super) fn open_file(folder: impl AsFd, name: &str) -> Result<(File, FileStat), Errno> {
    let file = rustix::fs::openat(folder, name, FILE_FLAGS, Mode::empty())?;
    let stat = rustix::fs::fstat(&file)?;
    if is_file(&stat) { Ok((file.into(), stat)) } else { Err(Errno::LOOP) }
}

/// Whether it is a regular file.
pub(super) fn is_file(stat: &FileStat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// A file's size.
pub(super) fn size_of(stat: &FileStat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

fn identity_of(stat: &FileStat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// The root itself may be a link: the operator chose it.
fn open_root(path: &Path, create: bool) -> Result<OwnedFd, Errno> {
    let flags = FOLDER_FLAGS.difference(OFlags::NOFOLLOW);
    match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Err(Errno::NOENT) if create => {}
        answer => return answer,
    }
    match rustix::fs::mkdirat(CWD, path, FOLDER_MODE) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let root = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    let parent = rustix::fs::openat(&root, "..", FOLDER_FLAGS, Mode::empty())?;
    rustix::fs::fsync(parent)?;
    Ok(root)
}

fn take_lock(root: &OwnedFd) -> Result<File, Errno> {
    let flags = OFlags::RDWR.union(OFlags::CREATE).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
    let lock = File::from(rustix::fs::openat(root, LOCK, flags, FILE_MODE)?);
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(Errno::WOULDBLOCK),
        Err(std::fs::TryLockError::Error(error)) => Err(errno_of(&error)),
    }
}

/// Opens the folder of temporary files and empties it: whoever wrote them is gone.
fn clean_temporary(root: &OwnedFd) -> Result<OwnedFd, Errno> {
    match rustix::fs::mkdirat(root, TEMPORARY, FOLDER_MODE) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let temporary = rustix::fs::openat(root, TEMPORARY, FOLDER_FLAGS, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&temporary)? {
        let entry = entry?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        rustix::fs::unlinkat(&temporary, entry.file_name(), AtFlags::empty())?;
    }
    Ok(temporary)
}
