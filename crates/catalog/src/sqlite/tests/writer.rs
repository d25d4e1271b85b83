//! The writer: jobs apart from each other, a full disk survived, a failed commit not.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, params};
use types::Timestamp;

use crate::sqlite::writer::{OnFatal, Tx, Writer};
use crate::sqlite::{Options, Sqlite, schema};
use crate::suite::World;
use crate::{CatalogError, Refusal};

fn never() -> OnFatal {
    Arc::new(|why| panic!("{why}"))
}

fn start(conn: Connection, on_fatal: OnFatal) -> (Arc<Mutex<Connection>>, Arc<Writer>) {
    let mut conn = conn;
    schema::migrate(&mut conn, 0).unwrap();
    let conn = Arc::new(Mutex::new(conn));
    let writer = Writer::start(Arc::clone(&conn), Arc::new(AtomicU64::new(0)), on_fatal).unwrap();
    (conn, Arc::new(writer))
}

fn insert(tx: &Tx<'_>, number: u8) -> Result<(), CatalogError> {
    tx.execute("INSERT INTO instances (boot, alive, began) VALUES (?1, 1, 1)", params![[number; 16]])?;
    Ok(())
}

fn count(conn: &Arc<Mutex<Connection>>) -> i64 {
    let conn = conn.lock().unwrap_or_else(PoisonError::into_inner);
    conn.query_row("SELECT COUNT(*) FROM instances", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "it is what the writer thread waits for, no task of the test")]
async fn a_job_that_fails_takes_no_other_with_it() {
    let (conn, writer) = start(Connection::open_in_memory().unwrap(), never());
    // While the connection is held, all of them queue up and become one batch.
    let held = conn.lock().unwrap();
    let jobs: Vec<_> = (0..30)
        .map(|number| {
            let writer = Arc::clone(&writer);
            runtime::spawn(async move {
                let work = move |tx: &mut Tx<'_>| {
                    insert(tx, number)?;
                    match number % 3 {
                        0 => Ok(number),
                        1 => Err(Refusal::NoSuchKey.into()),
                        _ => panic!("a job may panic"),
                    }
                };
                writer.write(work).await
            })
        })
        .collect();
    tokio::task::yield_now().await;
    drop(held);
    for (number, job) in (0_u8..).zip(jobs) {
        match (number % 3, job.await.unwrap()) {
            (0, Ok(answer)) => assert_eq!(answer, number),
            (1, Err(CatalogError::Refused(Refusal::NoSuchKey))) | (2, Err(CatalogError::Damaged(_))) => {}
            (_, other) => panic!("job {number}: {other:?}"),
        }
    }
    assert_eq!(count(&conn), 10);
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "it is what the writer thread waits for, no task of the test")]
async fn what_nobody_waits_for_any_more_is_not_begun() {
    let (conn, writer) = start(Connection::open_in_memory().unwrap(), never());
    let held = conn.lock().unwrap();
    // The first one occupies the thread; the second is given up while it waits.
    let first = runtime::spawn({
        let writer = Arc::clone(&writer);
        async move { writer.write(|tx| insert(tx, 1)).await }
    });
    tokio::task::yield_now().await;
    let second = runtime::spawn({
        let writer = Arc::clone(&writer);
        async move { writer.write(|tx| insert(tx, 2)).await }
    });
    tokio::task::yield_now().await;
    drop(second);
    tokio::task::yield_now().await;
    drop(held);
    first.await.unwrap().unwrap();
    writer.write(|_| Ok(())).await.unwrap();
    assert_eq!(count(&conn), 1);
}

#[tokio::test]
async fn a_full_disk_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Arc::new(Sqlite::open(folder.path().join("c.db"), Options::default()).await.unwrap());
    let limit = |pages: u32| {
        let catalog = Arc::clone(&catalog);
        async move {
            let set = move |tx: &mut Tx<'_>| {
                Ok(tx
                    .conn()
                    .pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0))?)
            };
            catalog.write(set).await.unwrap()
        }
    };
    let w = World::new(Arc::<Sqlite>::clone(&catalog), 1).await;
    w.put("before", 1).await;
    let pages = limit(1).await;
    assert!(pages > 1, "it cannot fall below what there is: {pages}");
    let mut refused = None;
    for size in 0..1000 {
        match w.try_reserve(size, 3, None).await {
            Ok(_) => {}
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    assert!(matches!(refused, Some(CatalogError::Unavailable(_))), "{refused:?}");
    assert!(w.get("before").await.is_some(), "reads go on");
    w.audit().await;
    limit(1_000_000).await;
    w.put("after", 2).await;
    w.audit().await;
}

#[tokio::test]
async fn a_commit_that_fails_otherwise_is_fatal() {
    let calls = Arc::new(AtomicU32::new(0));
    let on_fatal: OnFatal = {
        let calls = Arc::clone(&calls);
        Arc::new(move |_| {
            calls.fetch_add(1, Ordering::SeqCst);
        })
    };
    let conn = Connection::open_in_memory().unwrap();
    // A foreign key that is looked at in the commit only makes one fail, without a broken disk.
    conn.execute_batch(
        "PRAGMA foreign_keys = ON; CREATE TABLE p (id INTEGER PRIMARY KEY);
         CREATE TABLE c (p INTEGER REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED);",
    )
    .unwrap();
    let (_, writer) = start(conn, on_fatal);
    let break_it = |tx: &mut Tx<'_>| tx.execute("INSERT INTO c VALUES (1)", []);
    let answer = writer.write(break_it).await;
    assert!(matches!(answer, Err(CatalogError::Unknown(_))), "{answer:?}");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let answer = writer.write(|tx| insert(tx, 1)).await;
    assert!(matches!(answer, Err(CatalogError::Unavailable(_))), "nothing is written any more: {answer:?}");
}

#[tokio::test]
async fn the_horizon_is_there_before_the_answer() {
    let catalog = Arc::new(Sqlite::in_memory().unwrap());
    let w = World::new(catalog, 1).await;
    for size in 1..50 {
        w.put("k", size).await;
        let before = w.catalog.horizon();
        w.delete(&["k"]).await;
        assert!(w.catalog.horizon() > before);
        let claimed =
            w.catalog.claim_doomed(&w.backends, w.catalog.horizon(), Timestamp::default(), 1000).await;
        assert_eq!(claimed.unwrap().len(), usize::try_from(size).unwrap() * 2);
    }
}

type JobOfTest = fn(&Tx<'_>) -> Result<(), CatalogError>;

/// How often each job of a batch was run.
#[expect(clippy::await_holding_lock, reason = "it is what the writer thread waits for, no task of the test")]
async fn runs_of(conn: &Arc<Mutex<Connection>>, writer: &Arc<Writer>, jobs: &[JobOfTest]) -> Vec<u32> {
    // While the connection is held, all of them queue up and become one batch.
    let held = conn.lock().unwrap();
    let queued: Vec<_> = jobs
        .iter()
        .map(|&job| {
            let writer = Arc::clone(writer);
            let runs = Arc::new(AtomicU32::new(0));
            let counted = Arc::clone(&runs);
            let work = move |tx: &mut Tx<'_>| {
                counted.fetch_add(1, Ordering::SeqCst);
                job(tx)
            };
            (runs, runtime::spawn(async move { writer.write(work).await }))
        })
        .collect();
    // The first one may have been taken before the others came: it waits for the connection.
    tokio::task::yield_now().await;
    drop(held);
    let mut all = Vec::new();
    for (runs, job) in queued {
        // Refused or not is the job's affair.
        let _ = job.await.unwrap();
        all.push(runs.load(Ordering::SeqCst));
    }
    all
}

#[tokio::test]
async fn a_batch_is_run_again_only_where_a_refused_job_left_traces() {
    let (conn, writer) = start(Connection::open_in_memory().unwrap(), never());
    let refused = |_: &Tx<'_>| Err(Refusal::NoSuchKey.into());
    let traces = |tx: &Tx<'_>| {
        insert(tx, 200)?;
        Err(Refusal::NoSuchKey.into())
    };
    let clean = runs_of(&conn, &writer, &[|tx| insert(tx, 1), refused, |tx| insert(tx, 2)]).await;
    assert_eq!((clean, count(&conn)), (vec![1, 1, 1], 2));
    let dirty = runs_of(&conn, &writer, &[|tx| insert(tx, 3), traces, |tx| insert(tx, 4)]).await;
    assert_eq!((dirty, count(&conn)), (vec![2, 2, 1], 4));
    // Warned by that, the next ones have savepoints from their beginning.
    let careful = runs_of(&conn, &writer, &[|tx| insert(tx, 5), traces, |tx| insert(tx, 6)]).await;
    assert_eq!((careful, count(&conn)), (vec![1, 1, 1], 6));
}
