//! Every client over http with directories as backends, and over https with S3 servers: SDKs send other forms
//! of bodies over https.

use std::path::Path;
use std::sync::LazyLock;

use e2e::{Client, Data, http_on_directories, https_on_s3};
use testkit::{node_modules, system_tool, tool};

static DATA: LazyLock<Data> = LazyLock::new(|| Data::new(Path::new(env!("CARGO_TARGET_TMPDIR"))));

fn aws_cli_1() -> Client {
    let program = tool("awscli", "aws");
    Client::shell("aws-cli-1", "aws.sh", &["curl"]).with("S3O_AWS", program).with("S3O_AWS_MAJOR", "1")
}

fn aws_cli_2() -> Client {
    let program = system_tool("aws");
    Client::shell("aws-cli-2", "aws.sh", &["curl"]).with("S3O_AWS", program).with("S3O_AWS_MAJOR", "2")
}

fn boto3_objects() -> Client {
    Client::new("boto3-objects", tool("boto3", "python"), "boto3_objects.py")
}

fn boto3_transfers() -> Client {
    Client::new("boto3-transfers", tool("boto3", "python"), "boto3_transfers.py")
}

fn rclone() -> Client {
    Client::shell("rclone", "rclone.sh", &["rclone"])
}

fn restic() -> Client {
    Client::shell("restic", "restic.sh", &["restic"])
}

fn s3cmd() -> Client {
    Client::shell("s3cmd", "s3cmd.sh", &["s3cmd"])
}

fn minio() -> Client {
    Client::new("minio", tool("minio", "python"), "minio_client.py")
}

fn s3fs() -> Client {
    Client::new("s3fs", tool("s3fs", "python"), "s3fs_client.py")
}

fn aws_sdk_js() -> Client {
    Client::new("aws-sdk-js", tool("node", "node"), "aws_sdk.mjs").with("S3O_NODE_MODULES", node_modules())
}

/// A module for each client, with a test for each way to run it.
macro_rules! run_clients {
    ($($client:ident),* $(,)?) => {
        $(mod $client {
            #[tokio::test]
            async fn over_http() {
                super::$client().run(super::http_on_directories().await, &super::DATA).await;
            }

            #[tokio::test]
            async fn over_https() {
                super::$client().run(super::https_on_s3().await, &super::DATA).await;
            }
        })*
    };
}

run_clients!(
    aws_cli_1,
    aws_cli_2,
    aws_sdk_js,
    boto3_objects,
    boto3_transfers,
    minio,
    rclone,
    restic,
    s3cmd,
    s3fs,
);
