//! The orchestrators that clients are run against, one for all tests of a binary.

use testkit::{ConfigBuilder, Orchestrator, S3Server, Seaweed};
use tokio::sync::OnceCell;

/// The buckets: one for each client, and one that they all copy to.
const BUCKETS: [&str; 12] = [
    "aws-cli-1",
    "aws-cli-2",
    "boto3-objects",
    "boto3-transfers",
    "rclone",
    "restic",
    "s3cmd",
    "minio",
    "s3fs",
    "aws-sdk-js",
    "curl",
    Site::SECOND_BUCKET,
];

/// A running orchestrator with its backends.
#[derive(Debug)]
pub struct Site {
    /// The orchestrator.
    pub orchestrator: Orchestrator,
    /// They run as long as this is held.
    _backends: Vec<S3Server>,
}

impl Site {
    /// The bucket that all clients copy to, each under the name of its own bucket.
    pub const SECOND_BUCKET: &str = "second";
}

/// Over http, two replicas in three directories.
pub async fn http_on_directories() -> &'static Site {
    static SITE: OnceCell<Site> = OnceCell::const_new();
    SITE.get_or_init(|| async {
        let config = with_buckets(ConfigBuilder::new().directories(3).factor(2));
        Site { orchestrator: Orchestrator::start(config).await, _backends: Vec::new() }
    })
    .await
}

/// Over https, one replica on each of two S3 servers.
pub async fn https_on_s3() -> &'static Site {
    static SITE: OnceCell<Site> = OnceCell::const_new();
    SITE.get_or_init(|| async {
        let backends = vec![Seaweed::start().await, Seaweed::start().await];
        let mut config = ConfigBuilder::new().tls().factor(2);
        for server in &backends {
            config = config.s3(server.new_bucket().await);
        }
        Site { orchestrator: Orchestrator::start(with_buckets(config)).await, _backends: backends }
    })
    .await
}

fn with_buckets(config: ConfigBuilder) -> ConfigBuilder {
    // A server that the machine starves for a while is no failure: these suites prove what clients see.
    BUCKETS
        .into_iter()
        .fold(config, ConfigBuilder::bucket)
        .more("routing_strategy: spread\nwrite_path:\n  stall_timeout: 60s")
}
