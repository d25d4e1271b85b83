//! The catalog in a SQLite file that one process owns.
//!
//! One writer thread makes all transactions (`writer`); reads run apart from it (`readers`). One file per
//! role or subject; `schema` has the tables.

mod audit;
mod brake;
mod completion;
mod content;
mod decided;
mod deployment;
mod edits;
mod expiry;
mod faults;
mod fleet;
mod imports;
mod instances;
mod journal;
mod ledger;
mod limits;
mod list;
mod moves;
mod objects;
mod open;
mod readers;
mod reaping;
mod rebuild;
mod repair;
mod replicas;
mod rows;
mod schema;
mod scrubbing;
mod shipping;
mod strays;
mod taking;
mod uploads;
mod walk;
mod writer;
mod writes;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use runtime::Clock;
use rusqlite::{CachedStatement, Connection};
use tokio::sync::Semaphore;

pub use decided::Glance;
pub use open::{MemoryFile, OpenError, Options, WhenHeld};
pub use rebuild::Rebuild;

use crate::{CatalogError, Identity};
use readers::Readers;
use writer::{Tx, Writer};

/// How long a connection waits for another one's lock. Only a checkpoint at start or end ever holds one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Listings and scans at a time; more of them wait.
const SCANS_MAX: usize = 8;

/// The catalog in SQLite. Dropping it waits for the transaction under way and frees the file.
pub struct Sqlite {
    // In this order: the writer ends before the file's lock is let go.
    writer: Writer,
    readers: Arc<Readers>,
    scans: Semaphore,
    horizon: Arc<AtomicU64>,
    identity: Identity,
    /// The catalog's time.
    clock: Clock,
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sqlite").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Sqlite {
    /// Ends the writing, whoever else still holds this catalog: everything that was committed is in the
    /// database file alone, and from now on each write is refused.
    ///
    /// # Errors
    /// Where somebody reads all the while: nothing is lost, but a copy needs the log beside the file too.
    pub async fn close(&self) -> Result<(), CatalogError> {
        self.writer.close().await
    }

    /// Runs a transaction, twice if need be.
    async fn write<T, F>(&self, work: F) -> Result<T, CatalogError>
    where
        T: Send + 'static,
        F: Fn(&mut Tx<'_>) -> Result<T, CatalogError> + Send + 'static,
    {
        self.writer.write(work).await
    }

    /// Runs a read of microseconds where it is asked for; each statement sees a snapshot of its own.
    async fn read<T: Send>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, CatalogError> + Send,
    ) -> Result<T, CatalogError> {
        runtime::simulation::point("catalog.read").await;
        let answer = self.readers.read(work);
        runtime::simulation::point("catalog.answer").await;
        answer
    }

    /// The same within one snapshot.
    async fn snapshot<T: Send>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, CatalogError> + Send,
    ) -> Result<T, CatalogError> {
        runtime::simulation::point("catalog.read").await;
        let answer = self.readers.snapshot(work);
        runtime::simulation::point("catalog.answer").await;
        answer
    }

    /// Runs a read that may take long, in one snapshot, on a thread kept for that.
    async fn scan<T, F>(&self, work: F) -> Result<T, CatalogError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, CatalogError> + Send + 'static,
    {
        let _turn = self.scans.acquire().await.expect("the semaphore is never closed");
        let readers = Arc::clone(&self.readers);
        runtime::spawn_blocking(move || readers.snapshot(work))
            .await
            .unwrap_or_else(|error| Err(CatalogError::Damaged(format!("a read panicked: {error}"))))
    }
}

/// A prepared statement. All SQL of ours passes here.
fn stmt<'c>(conn: &'c Connection, sql: &'static str) -> rusqlite::Result<CachedStatement<'c>> {
    #[cfg(test)]
    tests::note(sql);
    conn.prepare_cached(sql)
}
