//! Opening a file: ours or left as it is, one process at a time, old and new schemas.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use types::DeploymentId;

use crate::sqlite::{OpenError, Options, Sqlite, WhenHeld, schema};
use crate::suite::World;
use crate::{Catalog, Deployment, Objects};

async fn open(path: &Path) -> Result<Sqlite, OpenError> {
    Sqlite::open(path, Options::default()).await
}

/// Writes into the file beside its owner's back, who is away.
fn edit(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let options = Options { deployment: DeploymentId::from_bytes([7; 16]), ..Options::default() };
    let first = std::sync::Arc::new(Sqlite::open(&path, options).await.unwrap());
    let w = World::new(std::sync::Arc::<Sqlite>::clone(&first), 1).await;
    let object = w.put("k", 5).await;
    w.put("gone", 5).await;
    w.delete(&["gone"]).await;
    let (identity, horizon) = (first.identity().await.unwrap(), first.horizon());
    assert_eq!(identity.deployment, DeploymentId::from_bytes([7; 16]));
    drop((first, w));

    let second: std::sync::Arc<dyn Catalog> = std::sync::Arc::new(open(&path).await.unwrap());
    assert_eq!(second.identity().await.unwrap(), identity);
    assert_eq!(second.horizon(), horizon, "it never goes back");
    let w = World::new(second, 2).await;
    assert_eq!(w.get("k").await.unwrap(), object);
    let newer = w.put("gone", 6).await;
    assert!(newer.revision > object.revision + 1, "revisions go on where they were");
    w.audit().await;
}

#[tokio::test]
async fn once_closed_the_file_alone_has_everything() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("catalog.db"), folder.path().join("copy.db"));
    let first = std::sync::Arc::new(open(&path).await.unwrap());
    let w = World::new(std::sync::Arc::<Sqlite>::clone(&first), 1).await;
    let object = w.put("k", 5).await;
    first.close().await.unwrap();
    first.close().await.unwrap();
    // Others hold it still, as a request that was cut off may: they read, and change nothing.
    assert_eq!(w.get("k").await.unwrap(), object);
    let refused = first.sync_buckets(&[], types::Timestamp::default()).await.unwrap_err();
    assert!(refused.to_string().contains("the catalog is closed"), "{refused}");

    std::fs::copy(&path, &copy).unwrap();
    let copied: std::sync::Arc<dyn Catalog> = std::sync::Arc::new(open(&copy).await.unwrap());
    assert_eq!(World::new(copied, 2).await.get("k").await.unwrap(), object);
}

#[tokio::test]
async fn n76_one_process_owns_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let first = open(&path).await.unwrap();
    let error = open(&path).await.unwrap_err();
    assert!(matches!(error, OpenError::Held { .. }), "{error}");
    let waiting = runtime::spawn({
        let path = path.clone();
        async move { Sqlite::open(path, Options { when_held: WhenHeld::Wait, ..Options::default() }).await }
    });
    drop(first);
    runtime::timeout(Duration::from_secs(20), waiting).await.unwrap().unwrap().unwrap();
}

/// Refused, and not a byte of it or beside it changed.
async fn refused_untouched(path: &Path) -> OpenError {
    let before = std::fs::read(path).unwrap();
    let error = open(path).await.unwrap_err();
    assert_eq!(std::fs::read(path).unwrap(), before);
    let beside: Vec<_> = std::fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".lock"))
        .collect();
    assert_eq!(beside, [path.file_name().unwrap().to_str().unwrap()]);
    error
}

#[tokio::test]
async fn what_is_not_ours_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s3.db");
    edit(&path, "CREATE TABLE object_locations (object_key TEXT); INSERT INTO object_locations VALUES ('k')");
    let error = refused_untouched(&path).await;
    assert!(matches!(error, OpenError::NotOurs { .. }));
    assert!(error.to_string().contains("is not a catalog of this program"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "not a database at all").unwrap();
    assert!(matches!(refused_untouched(&path).await, OpenError::NotOurs { .. }));
}

#[tokio::test]
async fn a_log_without_its_database_is_not_mixed_with_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    std::fs::write(folder.path().join("catalog.db-wal"), "frames").unwrap();
    assert!(matches!(open(&path).await.unwrap_err(), OpenError::Leftover { .. }));
    assert!(!path.exists());
}

#[tokio::test]
async fn a_creation_that_was_cut_short_begins_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    std::fs::write(folder.path().join("catalog.db.creating"), "half a page").unwrap();
    open(&path).await.unwrap().identity().await.unwrap();
}

#[tokio::test]
async fn n75_a_newer_minor_schema_opens_and_a_newer_major_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    drop(open(&path).await.unwrap());
    // What a later release may have added.
    edit(
        &path,
        "UPDATE meta SET value = 1000 WHERE name = 'schema_minor'; \
         ALTER TABLE objects ADD COLUMN lifecycle TEXT; ALTER TABLE blobs ADD COLUMN form INTEGER NOT NULL DEFAULT 0; \
         CREATE TABLE from_later (id INTEGER PRIMARY KEY);",
    );
    let w = World::new(std::sync::Arc::new(open(&path).await.unwrap()), 1).await;
    w.put("k", 5).await;
    w.put("k", 6).await;
    w.audit().await;
    drop(w);
    edit(&path, "UPDATE meta SET value = 2 WHERE name = 'schema_major'");
    let error = open(&path).await.unwrap_err();
    assert!(matches!(error, OpenError::TooNew { found: 2, .. }), "{error}");
}

#[test]
fn each_step_of_the_schema_runs_once() {
    let mut conn = Connection::open_in_memory().unwrap();
    schema::migrate(&mut conn, 0).unwrap();
    let done: usize = conn
        .query_row("SELECT value FROM meta WHERE name = 'schema_minor'", [], |row| row.get::<_, i64>(0))
        .unwrap()
        .try_into()
        .unwrap();
    assert_eq!(done, schema::STEPS.len());
    schema::migrate(&mut conn, done).unwrap();
}
