//! The conformance suite against real S3 servers.

use std::sync::Arc;

use backend::suite::{Traits, run_with};
use backend::{Backend, S3Backend, S3Options};
use testkit::{S3Server, shared_moto, shared_seaweed};
use types::BackendName;

async fn joins_the_suite(server: &S3Server) {
    // Both servers normalise `//` and `..`, as many do: our grammar makes no such paths.
    let traits = Traits { any_path: false };
    let client = server.new_bucket().await;
    let name = BackendName::parse("s3").expect("the name is legal");
    let backend: Arc<dyn Backend> =
        Arc::new(S3Backend::new(name, S3Options::new(client)).expect("the options are legal"));
    run_with(traits, async |_case| Arc::clone(&backend)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seaweedfs_passes_the_suite() {
    joins_the_suite(shared_seaweed().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_passes_the_suite() {
    joins_the_suite(shared_moto().await).await;
}
