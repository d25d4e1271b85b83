//! Opening: one process owns a file, and it is a file of ours or left as it is.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runtime::Clock;
use rusqlite::backup::Backup;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params};
use tokio::sync::Semaphore;
use types::DeploymentId;

use super::readers::Readers;
use super::writer::{OnFatal, Writer};
use super::{BUSY_TIMEOUT, SCANS_MAX, Sqlite, rows, schema};
use crate::{CatalogError, Identity};

const LOCK_POLL: Duration = Duration::from_millis(100);
const WRITER_CACHE_KIB: i64 = 16 * 1024;
const WRITER_STATEMENTS_MAX: usize = 192;
/// A log longer than this is cut after a checkpoint.
const WAL_BYTES_MAX: i64 = 64 << 20;
/// Where SQLite keeps the application id in the first page.
const HEADER_BYTES: usize = 100;
const HEADER_APPLICATION_ID: usize = 68;

/// What to do while another process owns the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenHeld {
    /// Give up with [`OpenError::Held`].
    Fail,
    /// Wait until it is free.
    Wait,
}

/// How to open a catalog.
#[derive(Clone)]
pub struct Options {
    /// What to do while another process owns the file.
    pub when_held: WhenHeld,
    /// The deployment of a catalog that is made now.
    pub deployment: DeploymentId,
    /// Called when a commit failed in a way that leaves unknown what is on the disk. By default the process
    /// ends here.
    pub on_fatal: OnFatal,
    /// The catalog's time.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        let clock = Clock::system();
        let deployment = runtime::Ids::new(clock.clone(), runtime::Chance::from_os()).deployment();
        Self { when_held: WhenHeld::Fail, deployment, on_fatal: Arc::new(end_process), clock }
    }
}

fn end_process(why: &str) {
    tracing::error!("{why}; the process ends, for nobody knows what is on the disk");
    std::process::abort();
}

/// Why a catalog was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("another process owns the catalog {}", path.display())]
    Held {
        /// The catalog.
        path: PathBuf,
    },
    /// It is something else. It was not touched.
    #[error(
        "{} is not a catalog of this program; a database that the Go program left is not opened but imported: name another file",
        path.display()
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// A log without its database: starting afresh beside it would mix the two.
    #[error("{} is there without its database; bring the database back, or move this file away", path.display())]
    Leftover {
        /// The log.
        path: PathBuf,
    },
    /// A later release left it.
    #[error(
        "the catalog {} has schema {found}, this release knows {}: start a newer release", path.display(), schema::MAJOR
    )]
    TooNew {
        /// The catalog.
        path: PathBuf,
        /// Its major version.
        found: i64,
    },
    /// The file system said no.
    #[error("cannot open the catalog {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite said no.
    #[error("cannot open the catalog {}: {reason}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Sqlite {
    /// Opens the catalog in a file, and makes it where there is none.
    ///
    /// # Errors
    /// See [`OpenError`]. A file that is refused is as it was.
    pub async fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let path = path.as_ref().to_owned();
        let lock = lock(&path, options.when_held).await?;
        let opening = runtime::spawn_blocking({
            let path = path.clone();
            move || open_locked(&path, lock, &options)
        });
        opening.await.unwrap_or_else(|error| Err(database(&path, error)))
    }

    /// A catalog in memory, gone when it is dropped: for tests.
    ///
    /// # Errors
    /// Where SQLite has no memory.
    pub fn in_memory() -> Result<Self, OpenError> {
        Self::in_memory_with(Options::default())
    }

    /// The same with options, as far as they concern memory.
    ///
    /// # Errors
    /// Where SQLite has no memory.
    pub fn in_memory_with(options: Options) -> Result<Self, OpenError> {
        MemoryFile::new(options.deployment)?.open_with(options)
    }
}

/// What is a file to a catalog on disk: in memory, it outlives the processes that open it one after the other.
/// For the simulation.
#[derive(Debug, Clone)]
pub struct MemoryFile {
    conn: Arc<Mutex<Connection>>,
}

impl MemoryFile {
    /// A new catalog of this deployment.
    ///
    /// # Errors
    /// Where SQLite has no memory.
    pub fn new(deployment: DeploymentId) -> Result<Self, OpenError> {
        let fail = |error: rusqlite::Error| database(Path::new(":memory:"), error);
        let mut conn = Connection::open_in_memory().map_err(fail)?;
        fill(&mut conn, deployment).map_err(fail)?;
        prepare(&conn).map_err(fail)?;
        Ok(Self { conn: Arc::new(Mutex::new(conn)) })
    }

    /// A copy of it as it is now.
    ///
    /// # Errors
    /// Where SQLite has no memory.
    pub fn copy(&self) -> Result<Self, OpenError> {
        let fail = |error: rusqlite::Error| database(Path::new(":memory:"), error);
        let mut copy = Connection::open_in_memory().map_err(fail)?;
        let conn = self.conn.lock().unwrap_or_else(PoisonError::into_inner);
        Backup::new(&conn, &mut copy).and_then(|backup| backup.step(-1)).map_err(fail)?;
        drop(conn);
        prepare(&copy).map_err(fail)?;
        Ok(Self { conn: Arc::new(Mutex::new(copy)) })
    }

    /// Puts another database in its place.
    pub(super) fn replace(&self, conn: Connection) {
        *self.conn.lock().unwrap_or_else(PoisonError::into_inner) = conn;
    }

    /// Opens it, with options as far as they concern memory. Whoever had it open before has to be gone.
    ///
    /// # Errors
    /// Where what it holds cannot be read.
    pub fn open_with(&self, options: Options) -> Result<Sqlite, OpenError> {
        let readers = Readers::Memory(Arc::clone(&self.conn));
        assemble(Arc::clone(&self.conn), readers, options)
            .map_err(|error| database(Path::new(":memory:"), error))
    }
}

/// Takes the lock beside the file.
pub(super) async fn lock(path: &Path, when_held: WhenHeld) -> Result<File, OpenError> {
    let beside = with_suffix(path, ".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&beside)
        .map_err(|source| OpenError::Io { path: beside.clone(), source })?;
    let mut waits = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(OpenError::Io { path: beside, source }),
            Err(TryLockError::WouldBlock) if when_held == WhenHeld::Fail => {
                return Err(OpenError::Held { path: path.to_owned() });
            }
            Err(TryLockError::WouldBlock) => {}
        }
        if !waits {
            tracing::info!("another process owns the catalog {}: waiting for it", path.display());
            waits = true;
        }
        runtime::sleep(LOCK_POLL).await;
    }
}

fn open_locked(path: &Path, lock: File, options: &Options) -> Result<Sqlite, OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    if is_there(path).map_err(io)? {
        check_header(path)?;
    } else {
        create(path, options.deployment)?;
    }
    let fail = |error: rusqlite::Error| database(path, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags).map_err(fail)?;
    conn.busy_timeout(BUSY_TIMEOUT).map_err(fail)?;
    let major = meta(&conn, "schema_major").map_err(fail)?;
    if major != schema::MAJOR {
        return Err(OpenError::TooNew { path: path.to_owned(), found: major });
    }
    conn.pragma_update(None, "journal_mode", "WAL").map_err(fail)?;
    prepare(&conn).map_err(fail)?;
    let done = usize::try_from(meta(&conn, "schema_minor").map_err(fail)?).unwrap_or(0);
    schema::migrate(&mut conn, done).map_err(fail)?;
    let readers = Readers::File { path: path.to_owned(), idle: Mutex::default(), _lock: lock };
    assemble(Arc::new(Mutex::new(conn)), readers, options.clone()).map_err(|error| database(path, error))
}

/// Whether there is a database. An empty file is none, as SQLite sees it.
fn is_there(path: &Path) -> std::io::Result<bool> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.len() > 0),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Refuses what is not ours, before SQLite has touched it.
fn check_header(path: &Path) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    let mut header = Vec::with_capacity(HEADER_BYTES);
    let limit = u64::try_from(HEADER_BYTES).expect("100 fits");
    File::open(path).map_err(io)?.take(limit).read_to_end(&mut header).map_err(io)?;
    let id = schema::APPLICATION_ID.to_be_bytes();
    let ours = header.starts_with(b"SQLite format 3\0")
        && header.get(HEADER_APPLICATION_ID..HEADER_APPLICATION_ID + id.len()) == Some(&id[..]);
    if ours { Ok(()) } else { Err(OpenError::NotOurs { path: path.to_owned() }) }
}

/// Makes a catalog aside and renames it into place: there is a whole one or none.
fn create(path: &Path, deployment: DeploymentId) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    let log = with_suffix(path, "-wal");
    if is_there(&log).map_err(io)? {
        return Err(OpenError::Leftover { path: log });
    }
    let aside = with_suffix(path, ".creating");
    for leftover in [aside.clone(), with_suffix(&aside, "-journal")] {
        match fs::remove_file(leftover) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
    }
    let fail = |error: rusqlite::Error| database(path, error);
    let mut conn = Connection::open(&aside).map_err(fail)?;
    fill(&mut conn, deployment).map_err(fail)?;
    conn.close().map_err(|(_, error)| fail(error))?;
    File::open(&aside).and_then(|file| file.sync_all()).map_err(io)?;
    fs::rename(&aside, path).map_err(io)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all()).map_err(io)
}

pub(super) fn fill(conn: &mut Connection, deployment: DeploymentId) -> rusqlite::Result<()> {
    conn.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
    schema::migrate(conn, 0)?;
    let insert = "INSERT INTO meta (name, value) VALUES (?1, ?2)";
    conn.execute(insert, params!["schema_major", schema::MAJOR])?;
    conn.execute(insert, params!["deployment", deployment.to_bytes()])?;
    conn.execute(insert, params!["epoch", 1])?;
    Ok(())
}

pub(super) fn prepare(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_prepared_statement_cache_capacity(WRITER_STATEMENTS_MAX);
    stable_plans(conn)?;
    // What a savepoint remembers of each page would go through a file otherwise.
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    conn.pragma_update(None, "journal_size_limit", WAL_BYTES_MAX)?;
    Ok(())
}

/// A plan does not depend on the values that are bound. Otherwise a statement is parsed anew with each value
/// of a column that a partial index asks for.
pub(super) fn stable_plans(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(|_| ())
}

fn assemble(
    conn: Arc<Mutex<Connection>>,
    readers: Readers,
    options: Options,
) -> Result<Sqlite, CatalogError> {
    let identity = {
        let conn = conn.lock().unwrap_or_else(PoisonError::into_inner);
        let deployment: [u8; 16] =
            conn.query_row("SELECT value FROM meta WHERE name = 'deployment'", [], |row| row.get(0))?;
        let epoch = rows::uint(meta(&conn, "epoch")?);
        Identity { deployment: DeploymentId::from_bytes(deployment), epoch }
    };
    let horizon = Arc::new(AtomicU64::new(0));
    let writer = Writer::start(conn, Arc::clone(&horizon), options.on_fatal)?;
    let (readers, scans, clock) = (Arc::new(readers), Semaphore::new(SCANS_MAX), options.clock);
    Ok(Sqlite { writer, readers, scans, horizon, identity, clock })
}

fn meta(conn: &Connection, name: &str) -> rusqlite::Result<i64> {
    conn.query_row("SELECT value FROM meta WHERE name = ?1", params![name], |row| row.get(0))
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn database(path: &Path, reason: impl std::fmt::Display) -> OpenError {
    OpenError::Database { path: path.to_owned(), reason: reason.to_string() }
}
