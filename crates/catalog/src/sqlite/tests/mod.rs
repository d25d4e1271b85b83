//! Tests of this implementation alone; what every implementation promises is in the suite.

mod decided;
mod open;
mod plans;
mod writer;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Options, Sqlite};
use crate::Catalog;

static STATEMENTS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// Remembers a statement, so that its plan can be read.
pub(super) fn note(sql: &'static str) {
    STATEMENTS.lock().unwrap_or_else(PoisonError::into_inner).insert(sql);
}

/// All statements that have run so far.
fn statements() -> BTreeSet<&'static str> {
    STATEMENTS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

async fn suite_in_memory() {
    crate::suite::run_all(|| async { Arc::new(Sqlite::in_memory().unwrap()) as Arc<dyn Catalog> }).await;
}

#[tokio::test]
async fn the_suite_holds_in_memory() {
    suite_in_memory().await;
}

#[tokio::test]
async fn the_suite_holds_on_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let number = AtomicU32::new(0);
    crate::suite::run_all(|| {
        let path = folder.path().join(number.fetch_add(1, Ordering::Relaxed).to_string());
        async move { Arc::new(Sqlite::open(path, Options::default()).await.unwrap()) as Arc<dyn Catalog> }
    })
    .await;
}
