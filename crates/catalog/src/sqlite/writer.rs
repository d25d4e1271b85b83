//! The writer: one thread makes all transactions.
//!
//! It takes everything that is queued into one transaction, commits, and then answers. A refused job disturbs no
//! other: where it had changed something by then, the whole batch is taken back and run again with a savepoint for each
//! job. Nobody is answered before the commit, refusals included: a refusal may rest on what an earlier job of the
//! same batch did.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use runtime::{Server, mutation, simulation};
use rusqlite::{CachedStatement, Connection, Params, params};
use tokio::sync::{mpsc, oneshot};
use types::{BootId, ChangeId};

use super::{brake, faults, stmt};
use crate::{CatalogError, Refusal};

/// Jobs that may wait; who comes later waits for a place.
const QUEUED_JOBS_MAX: usize = 1024;
const BATCH_JOBS_MAX: usize = 256;
/// A batch takes no further job once it has changed this many rows.
const BATCH_ROWS_MAX: u64 = 20_000;
/// So many batches have savepoints from their beginning once one had to be run again: who is refused in that
/// way, by a quota for example, is seldom refused once.
const CAREFUL_BATCHES: u32 = 64;

/// What is done when a commit failed in a way that leaves the disk's content unknown.
pub(super) type OnFatal = Arc<dyn Fn(&str) + Send + Sync>;

/// What the writer is asked for.
enum Order {
    /// A transaction.
    Run(Box<dyn Job>),
    /// The end: everything into the database file, and nothing more is written.
    Close(oneshot::Sender<Result<(), CatalogError>>),
}

/// Orders on their way to the writer.
type Orders = mpsc::Receiver<Order>;

/// The way to the writer thread.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Order>>,
    thread: Option<Server>,
}

impl Writer {
    /// Starts the thread on a connection that nobody else writes with.
    pub(super) fn start(
        conn: Arc<Mutex<Connection>>,
        horizon: Arc<AtomicU64>,
        on_fatal: OnFatal,
    ) -> Result<Self, CatalogError> {
        let counters = Counters::load(&conn.lock().unwrap_or_else(PoisonError::into_inner))?;
        horizon.store(counters.doomed_seq, Ordering::Release);
        let (queue, orders) = mpsc::channel(QUEUED_JOBS_MAX);
        let mut thread = WriterThread { conn, counters, horizon, on_fatal, careful_batches: 0, broken: None };
        let thread =
            runtime::serve("catalog-writer", orders, move |first, orders| thread.serve(first, orders));
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Runs `work` in a transaction. If this future is dropped before the work began, it may never begin;
    /// afterwards it happens. It may be run twice, and then nothing is left of the first time.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, CatalogError>
    where
        T: Send + 'static,
        F: Fn(&mut Tx<'_>) -> Result<T, CatalogError> + Send + 'static,
    {
        simulation::point("catalog.write").await;
        if simulation::refuses() {
            return Err(CatalogError::Unavailable("a simulation let it not happen".to_owned()));
        }
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Work { work, result: None, reply });
        self.order(Order::Run(job)).await?;
        let answer =
            answer.await.unwrap_or_else(|_| Err(CatalogError::Unknown("the writer ended".to_owned())));
        simulation::point("catalog.written").await;
        if simulation::loses_answer() {
            return Err(CatalogError::Unknown("a simulation lost it".to_owned()));
        }
        answer
    }

    /// See [`super::Sqlite::close`].
    pub(super) async fn close(&self) -> Result<(), CatalogError> {
        let (reply, answer) = oneshot::channel();
        self.order(Order::Close(reply)).await?;
        answer.await.unwrap_or_else(|_| Err(CatalogError::Unavailable("the writer has ended".to_owned())))
    }

    async fn order(&self, order: Order) -> Result<(), CatalogError> {
        let queue = self.queue.as_ref().expect("the queue is there until the drop");
        let ended = || CatalogError::Unavailable("the writer has ended".to_owned());
        queue.send(order).await.map_err(|_| ended())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // The thread ends with its queue; the file's lock must outlive its last commit.
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the catalog's writer thread panicked");
        }
    }
}

/// A job's view of the transaction.
pub(super) struct Tx<'a> {
    conn: &'a Connection,
    counters: &'a mut Counters,
    sums: Vec<(i64, Sums)>,
    /// What the brake has to know of it.
    dooms: Dooms,
    doomed: u64,
    /// The change that it appended to the journal.
    change: Cell<Option<ChangeId>>,
}

/// Why a transaction dooms replicas that held something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Dooms {
    /// A client deleted or overwrote what they hold.
    #[default]
    ByClient,
    /// A worker decided that they go.
    ByWorker,
    /// Others stand in for them, or an operator named each.
    Safely,
}

/// By how much a backend's sums change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) charged: i64,
    pub(super) replicas_live: i64,
    pub(super) replicas_doomed: i64,
    pub(super) doomed_bytes: i64,
}

impl Tx<'_> {
    /// The connection, for reads within the transaction.
    pub(super) fn conn(&self) -> &Connection {
        self.conn
    }

    /// A prepared statement.
    pub(super) fn stmt(&self, sql: &'static str) -> Result<CachedStatement<'_>, CatalogError> {
        Ok(stmt(self.conn, sql)?)
    }

    /// Executes; gives how many rows changed.
    pub(super) fn execute(&self, sql: &'static str, params: impl Params) -> Result<usize, CatalogError> {
        Ok(stmt(self.conn, sql)?.execute(params)?)
    }

    /// The next number of a change: it orders the journal and is the revision of the keys it touches.
    pub(super) fn next_sequence(&mut self) -> u64 {
        self.counters.sequence += 1;
        self.counters.dirty = true;
        self.counters.sequence
    }

    /// The number under which this batch dooms.
    pub(super) fn doomed_seq(&mut self) -> u64 {
        if !self.counters.dooms {
            self.counters.dooms = true;
            self.counters.dirty = true;
            self.counters.doomed_seq += 1;
        }
        self.counters.doomed_seq
    }

    /// Changes a backend's sums, at the end of the job.
    pub(super) fn add_sums(&mut self, backend: i64, add: Sums) {
        let at = match self.sums.iter().position(|(id, _)| *id == backend) {
            Some(at) => at,
            None => {
                self.sums.push((backend, Sums::default()));
                self.sums.len() - 1
            }
        };
        let sums = &mut self.sums[at].1;
        sums.charged += add.charged;
        sums.replicas_live += add.replicas_live;
        sums.replicas_doomed += add.replicas_doomed;
        sums.doomed_bytes += add.doomed_bytes;
    }

    /// Says why the rest of this transaction dooms.
    pub(super) fn dooms(&mut self, why: Dooms) {
        self.dooms = why;
    }

    /// A replica that held something was doomed.
    pub(super) fn count_doomed(&mut self) {
        self.doomed += 1;
    }

    /// This transaction is that change.
    pub(super) fn is_change(&self, change: ChangeId) {
        self.change.set(Some(change));
    }

    /// Refuses an owner that is not alive.
    pub(super) fn check_alive(&self, owner: BootId) -> Result<(), CatalogError> {
        let alive = self
            .stmt("SELECT 1 FROM instances WHERE boot = ?1 AND alive = 1")?
            .exists(params![owner.to_bytes()])?;
        if alive || mutation::is_on("owner.alive") {
            Ok(())
        } else {
            Err(Refusal::Changed("the owner").into())
        }
    }

    fn flush_sums(&mut self) -> Result<(), CatalogError> {
        const SQL: &str = "UPDATE backends SET charged = charged + ?2, replicas_live = replicas_live + ?3, \
             replicas_doomed = replicas_doomed + ?4, doomed_bytes = doomed_bytes + ?5 WHERE id = ?1";
        for (backend, sums) in std::mem::take(&mut self.sums) {
            if sums == Sums::default() || mutation::is_on("sums.flushed") {
                continue;
            }
            let changes =
                params![backend, sums.charged, sums.replicas_live, sums.replicas_doomed, sums.doomed_bytes];
            if self.execute(SQL, changes)? != 1 {
                return Err(CatalogError::Damaged(format!("there is no backend {backend}")));
            }
        }
        Ok(())
    }
}

/// Numbers that only rise. Kept here and written once per batch.
#[derive(Clone, Copy)]
struct Counters {
    sequence: u64,
    doomed_seq: u64,
    dooms: bool,
    dirty: bool,
}

impl Counters {
    fn load(conn: &Connection) -> Result<Self, CatalogError> {
        let (sequence, doomed_seq) = stmt(conn, "SELECT sequence, doomed_seq FROM counters WHERE id = 1")?
            .query_row([], |row| Ok((super::rows::uint(row.get(0)?), super::rows::uint(row.get(1)?))))?;
        Ok(Self { sequence, doomed_seq, dooms: false, dirty: false })
    }

    fn save(&self, conn: &Connection) -> rusqlite::Result<()> {
        let (sequence, doomed_seq) = (super::rows::int(self.sequence), super::rows::int(self.doomed_seq));
        stmt(conn, "UPDATE counters SET sequence = ?1, doomed_seq = ?2 WHERE id = 1")?
            .execute(params![sequence, doomed_seq])?;
        Ok(())
    }
}

/// A queued transaction with its answer's type forgotten.
trait Job: Send {
    fn is_awaited(&self) -> bool;
    /// Does the work, for the first time or anew; says whether it is to be kept.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    /// Gives the answer, or instead of it what happened to the whole batch.
    fn answer(self: Box<Self>, instead: Option<CatalogError>);
}

struct Work<T, F> {
    work: F,
    result: Option<Result<T, CatalogError>>,
    reply: oneshot::Sender<Result<T, CatalogError>>,
}

impl<T, F> Job for Work<T, F>
where
    T: Send,
    F: Fn(&mut Tx<'_>) -> Result<T, CatalogError> + Send,
{
    fn is_awaited(&self) -> bool {
        !self.reply.is_closed()
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        // A panic in one job must not end the writing of all.
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let answer = (self.work)(tx)?;
            tx.flush_sums()?;
            brake::count(tx, tx.dooms, tx.doomed, tx.change.get())?;
            Ok(answer)
        }));
        let result =
            caught.unwrap_or_else(|_| Err(CatalogError::Damaged("a transaction panicked".to_owned())));
        let keep = result.is_ok();
        self.result = Some(result);
        keep
    }

    fn answer(self: Box<Self>, instead: Option<CatalogError>) {
        let unanswered = || Err(CatalogError::Unavailable("the transaction did not run".to_owned()));
        let result = match instead {
            Some(error) => Err(error),
            None => self.result.unwrap_or_else(unanswered),
        };
        // Nobody may be waiting any more; what happened, happened.
        let _ = self.reply.send(result);
    }
}

struct WriterThread {
    conn: Arc<Mutex<Connection>>,
    counters: Counters,
    horizon: Arc<AtomicU64>,
    on_fatal: OnFatal,
    /// How many of the next batches have savepoints from their beginning.
    careful_batches: u32,
    /// Why nothing is written any more.
    broken: Option<String>,
}

impl WriterThread {
    /// Carries out an order, a job together with those that wait behind it.
    fn serve(&mut self, first: Order, orders: &mut Orders) {
        let mut next = Some(first);
        while let Some(order) = next.take() {
            match order {
                Order::Run(job) => next = self.serve_jobs(job, orders),
                Order::Close(reply) => {
                    // Nobody may be waiting any more; it is closed all the same.
                    let _ = reply.send(self.close());
                }
            }
        }
    }

    /// Runs a job together with those that wait behind it; gives the order that ended their row.
    fn serve_jobs(&mut self, first: Box<dyn Job>, orders: &mut Orders) -> Option<Order> {
        if let Some(why) = &self.broken {
            first.answer(Some(CatalogError::Unavailable(why.clone())));
            return None;
        }
        let conn = Arc::clone(&self.conn);
        let conn = conn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = Vec::new();
        let mut behind = None;
        let ended = self.batch(&conn, first, &mut done, || match orders.try_recv().ok()? {
            Order::Run(job) => Some(job),
            close @ Order::Close(_) => {
                behind = Some(close);
                None
            }
        });
        if ended.is_err() && !conn.is_autocommit() {
            // What cannot be rolled back is rolled back when the connection closes.
            let _ = conn.execute_batch("ROLLBACK");
        }
        drop(conn);
        let error = ended.err().map(|error| self.explain(&error));
        for job in done {
            job.answer(error.as_ref().map(Failed::to_error));
        }
        behind
    }

    fn close(&mut self) -> Result<(), CatalogError> {
        if self.broken.is_none() {
            self.broken = Some("the catalog is closed".to_owned());
            let conn = self.conn.lock().unwrap_or_else(PoisonError::into_inner);
            let busy: bool = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
            if busy {
                return Err(CatalogError::Unavailable("somebody reads the catalog".to_owned()));
            }
        }
        Ok(())
    }

    /// Runs what is queued and commits it.
    ///
    /// A savepoint costs a job a fifth of its time, and hardly any is refused after it changed something: so there is
    /// none before one was.
    fn batch(
        &mut self,
        conn: &Connection,
        first: Box<dyn Job>,
        done: &mut Vec<Box<dyn Job>>,
        mut queued: impl FnMut() -> Option<Box<dyn Job>>,
    ) -> Result<(), Ended> {
        (self.counters.dooms, self.counters.dirty) = (false, false);
        let counters_before = self.counters;
        let mut careful = self.careful_batches > 0;
        self.careful_batches = self.careful_batches.saturating_sub(1);
        let mut next = Some(first);
        if let Err(error) = run(conn, "BEGIN IMMEDIATE") {
            done.extend(next);
            return Err(Ended::Early(error));
        }
        let rows_before = conn.total_changes();
        while let Some(mut job) = next.take() {
            let ran = self.one(conn, job.as_mut(), careful);
            done.push(job);
            if ran.map_err(Ended::Early)? == Left::Traces {
                (careful, self.careful_batches) = (true, CAREFUL_BATCHES);
                self.counters = counters_before;
                self.again(conn, done).map_err(Ended::Early)?;
            }
            let rows = conn.total_changes() - rows_before;
            if done.len() < BATCH_JOBS_MAX && rows < BATCH_ROWS_MAX {
                next = queued();
            }
        }
        if self.counters.dirty && !mutation::is_on("counters.saved") {
            self.counters.save(conn).map_err(Ended::Early)?;
        }
        run(conn, "COMMIT").map_err(Ended::InCommit)?;
        // Before anyone is answered: who reads afterwards notes at least this number.
        if !mutation::is_on("horizon.published") {
            self.horizon.store(self.counters.doomed_seq, Ordering::Release);
        }
        Ok(())
    }

    /// Takes everything back that a batch did so far, and does it again with care.
    fn again(&mut self, conn: &Connection, jobs: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
        run(conn, "ROLLBACK")?;
        run(conn, "BEGIN IMMEDIATE")?;
        jobs.iter_mut().try_for_each(|job| self.one(conn, job.as_mut(), true).map(drop))
    }

    /// Runs a job. With care, nothing is left of one that is refused.
    fn one(&mut self, conn: &Connection, job: &mut dyn Job, careful: bool) -> rusqlite::Result<Left> {
        if !job.is_awaited() {
            return Ok(Left::Nothing);
        }
        if careful {
            run(conn, "SAVEPOINT job")?;
        }
        let rows_before = conn.total_changes();
        let mut tx = Tx {
            conn,
            counters: &mut self.counters,
            sums: Vec::new(),
            dooms: Dooms::default(),
            doomed: 0,
            change: Cell::default(),
        };
        let keep = job.run(&mut tx);
        if conn.is_autocommit() {
            // SQLite rolled all of it back by itself: the disk is full, for example.
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
                Some("the transaction was rolled back; is the disk full?".to_owned()),
            ));
        }
        let undo = !keep && !mutation::is_on("job.rolled-back");
        if careful {
            if undo {
                run(conn, "ROLLBACK TO job")?;
            }
            run(conn, "RELEASE job")?;
        } else if undo && conn.total_changes() != rows_before {
            return Ok(Left::Traces);
        }
        Ok(Left::Nothing)
    }

    fn explain(&mut self, ended: &Ended) -> Failed {
        match ended {
            Ended::Early(error) => {
                tracing::warn!("a batch of the catalog was rolled back: {error}");
                Failed::Nothing(error.to_string())
            }
            Ended::InCommit(error) if faults::is_harmless(error) => {
                tracing::warn!("the catalog could not commit: {error}");
                Failed::Nothing(error.to_string())
            }
            Ended::InCommit(error) => {
                let text = format!("a commit of the catalog failed: {error}");
                self.broken = Some(text.clone());
                (self.on_fatal)(&text);
                Failed::Unknown(text)
            }
        }
    }
}

/// What a job leaves that is not to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    /// Rows that it changed before it was refused.
    Traces,
}

/// Runs a statement of the transaction itself.
fn run(conn: &Connection, sql: &'static str) -> rusqlite::Result<()> {
    stmt(conn, sql)?.execute([]).map(drop)
}

enum Ended {
    /// Before the commit was tried.
    Early(rusqlite::Error),
    InCommit(rusqlite::Error),
}

/// What a whole batch is told.
enum Failed {
    Nothing(String),
    Unknown(String),
}

impl Failed {
    fn to_error(&self) -> CatalogError {
        match self {
            Self::Nothing(text) => CatalogError::Unavailable(text.clone()),
            Self::Unknown(text) => CatalogError::Unknown(text.clone()),
        }
    }
}
