//! Reads, apart from the writer: one verb is one snapshot.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};

use super::stmt;
use crate::CatalogError;

/// Idle connections kept. A read holds one for microseconds, a scan for longer.
const IDLE_CONNECTIONS_MAX: usize = 8;
const CACHE_KIB: i64 = 4 * 1024;
const STATEMENTS_MAX: usize = 64;

/// Where reads find a connection.
pub(super) enum Readers {
    /// A file: as many connections as read at once.
    File {
        path: PathBuf,
        idle: Mutex<Vec<Connection>>,
        /// Held for as long as anyone reads or writes.
        _lock: File,
    },
    /// Memory: reads and the writer take turns on the one connection that there is.
    Memory(Arc<Mutex<Connection>>),
}

impl Readers {
    /// Reads with a connection; each statement sees a snapshot of its own.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        match self {
            Self::Memory(conn) => work(&conn.lock().unwrap_or_else(PoisonError::into_inner)),
            Self::File { path, idle, .. } => {
                let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let conn = match kept {
                    Some(conn) => conn,
                    None => connect(path)?,
                };
                let answer = work(&conn);
                // One that is left within a transaction would read the past for ever.
                if conn.is_autocommit() {
                    let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
                    if idle.len() < IDLE_CONNECTIONS_MAX {
                        idle.push(conn);
                    }
                }
                answer
            }
        }
    }

    /// Reads within one snapshot.
    pub(super) fn snapshot<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        self.read(|conn| {
            stmt(conn, "BEGIN DEFERRED")?.execute([])?;
            let answer = work(conn);
            stmt(conn, "COMMIT")?.execute([])?;
            answer
        })
    }
}

fn connect(path: &PathBuf) -> Result<Connection, CatalogError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    super::open::stable_plans(&conn)?;
    conn.busy_timeout(super::BUSY_TIMEOUT)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update(None, "query_only", true)?;
    Ok(conn)
}
