//! What the suite cannot ask of every backend: the files themselves.

use std::sync::Arc;

use tempfile::TempDir;
use types::BackendName;

use super::*;
use crate::suite;

async fn open(root: &TempDir, page_entries: usize) -> Result<DirectoryBackend, BackendError> {
    let options = DirectoryOptions { page_entries, ..DirectoryOptions::new(root.path()) };
    DirectoryBackend::open(BackendName::parse("disk").unwrap(), options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_the_suite() {
    let root = TempDir::new().unwrap();
    let backend: Arc<dyn Backend> = Arc::new(open(&root, 7).await.unwrap());
    suite::run_all(async |_: &str| backend.clone()).await;
}
