//! The S3 driver: the conformance suite against real servers, and what it makes of faults.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::sync::Arc;
use std::time::Duration;

use backend::suite::{Traits, run_with};
use backend::{
    Backend, BackendError, Body, ClientOptions, Credentials, ErrorKind, PutOptions, S3Backend, S3Options,
    Timeouts, collect,
};
use bytes::Bytes;
use testkit::{RawServer, S3Server, free_ports, shared_moto, shared_seaweed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use types::{BackendName, ByteRange, ReplicaPath};

fn backend(client: ClientOptions) -> S3Backend {
    S3Backend::new(BackendName::parse("s3").unwrap(), S3Options::new(client)).unwrap()
}

async fn joins_the_suite(server: &S3Server) {
    // SeaweedFS refuses `..`, moto a line break: our grammar makes no such paths.
    let traits = Traits { any_path: false };
    let backend: Arc<dyn Backend> = Arc::new(backend(server.new_bucket().await));
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

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_finds_the_bucket_or_says_what_is_missing() {
    for server in [shared_seaweed().await, shared_moto().await] {
        let found = backend(server.new_bucket().await);
        found.probe().await.unwrap();
        assert!(found.profile().delete_frees);
        let error = backend(server.options("no-such-bucket")).probe().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    }
}

/// Switches versions on with a request that is not signed: moto does not look.
async fn keep_versions(server: &S3Server, bucket: &str) {
    let host = server.endpoint.strip_prefix("http://").unwrap();
    let body = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    let length = body.len();
    let request = format!(
        "PUT /{bucket}?versioning HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_keeps_versions_frees_nothing() {
    let server = shared_moto().await;
    let options = server.new_bucket().await;
    keep_versions(server, &options.bucket).await;
    let probed = backend(options.clone());
    assert!(probed.profile().delete_frees, "nothing is known yet");
    probed.probe().await.unwrap();
    assert!(!probed.profile().delete_frees);
    // Without a probe, the first put gives it away; and so does a delete.
    let put_only = backend(options.clone());
    let receipt = put(&put_only).await.unwrap();
    assert!(receipt.version.is_some() && !put_only.profile().delete_frees);
    let delete_only = backend(options);
    delete_only.delete(&path()).await.unwrap();
    assert!(!delete_only.profile().delete_frees);
}

fn path() -> ReplicaPath {
    ReplicaPath::parse("k").unwrap()
}

async fn put(backend: &S3Backend) -> Result<backend::PutReceipt, BackendError> {
    backend.put(&path(), Body::from_bytes(Bytes::from_static(b"0123456789")), PutOptions::default()).await
}

fn at(endpoint: &str) -> S3Backend {
    let credentials =
        Credentials { access_key_id: "key".into(), secret_access_key: "secret".into(), session_token: None };
    let limit = Duration::from_millis(300);
    let timeouts = Timeouts {
        response_header: limit,
        stall: limit,
        small_operation: limit,
        copy: limit,
        ..Timeouts::default()
    };
    backend(ClientOptions { timeouts, ..ClientOptions::new(endpoint, "b", credentials) })
}

/// A server that reads each request whole and gives it this answer, or none where that is empty.
async fn answering(answer: &'static str) -> RawServer {
    RawServer::start(move |mut connection| async move {
        while connection.read_request().await.is_some() {
            if answer.is_empty() {
                return;
            }
            connection.write(answer.as_bytes()).await;
        }
    })
    .await
}

/// What a put, a get, a copy and a delete become when each is answered like this.
async fn check(
    answer: &'static str,
    put_is: ErrorKind,
    get_is: ErrorKind,
    copy_is: ErrorKind,
    delete_is: ErrorKind,
) {
    let server = answering(answer).await;
    let backend = at(&server.endpoint);
    let error = put(&backend).await.unwrap_err();
    assert_eq!((error.kind, error.operation), (put_is, "put"), "{answer:?}: {error}");
    let error = backend.get(&path(), None).await.unwrap_err();
    assert_eq!((error.kind, error.operation), (get_is, "get"), "{answer:?}: {error}");
    let error = backend.copy(&path(), &ReplicaPath::parse("to").unwrap()).await.unwrap_err();
    assert_eq!((error.kind, error.operation), (copy_is, "copy"), "{answer:?}: {error}");
    let error = backend.delete(&path()).await.unwrap_err();
    assert_eq!((error.kind, error.operation), (delete_is, "delete"), "{answer:?}: {error}");
    assert_eq!((server.count("PUT /b/k "), server.count("PUT /b/to "), server.count("DELETE")), (1, 1, 1));
}

#[tokio::test]
async fn answers_become_what_the_caller_must_do() {
    use ErrorKind::{Denied, OutOfSpace, Refused, Throttled, Unavailable, Unknown};
    let slow = Throttled { retry_after: Some(Duration::from_secs(3)) };
    check("", Unknown, Unavailable, Unknown, Unknown).await;
    check("nonsense\r\n\r\n", Unknown, Unavailable, Unknown, Unknown).await;
    check("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", Unknown, Unavailable, Unknown, Unknown).await;
    check("HTTP/1.1 504 Oops\r\nContent-Length: 0\r\n\r\n", Unknown, Unavailable, Unknown, Unknown).await;
    check("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", Denied, Denied, Denied, Denied).await;
    check("HTTP/1.1 507 Full\r\nContent-Length: 0\r\n\r\n", OutOfSpace, OutOfSpace, OutOfSpace, OutOfSpace)
        .await;
    check("HTTP/1.1 409 Later\r\nContent-Length: 0\r\n\r\n", Refused, Refused, Refused, Refused).await;
    let answer = "HTTP/1.1 503 Slow\r\nRetry-After: 3\r\nContent-Length: 35\r\n\r\n<Error><Code>SlowDown</Code></Error";
    check(answer, slow, slow, slow, slow).await;
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let [port] = free_ports();
    let backend = at(&format!("http://127.0.0.1:{port}"));
    assert_eq!(put(&backend).await.unwrap_err().kind, ErrorKind::Unavailable);
    assert_eq!(backend.delete(&path()).await.unwrap_err().kind, ErrorKind::Unavailable);
    assert_eq!(backend.delete_many(&[path()]).await.unwrap_err().kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_cut_download_and_a_wrong_range_are_corrupt() {
    let server = RawServer::start(|mut connection| async move {
        connection.read_request().await;
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234").await;
    })
    .await;
    let backend = at(&server.endpoint);
    let download = backend.get(&path(), None).await.unwrap();
    assert_eq!((download.length, download.total), (10, 10));
    let error = collect(download.stream, 100).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
    let error = backend.get(&path(), Some(ByteRange::new(2, 5))).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn a_listing_that_strays_from_its_prefix_is_corrupt() {
    let server = answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 106\r\n\r\n\
         <ListBucketResult><Contents><Key>theirs/x</Key><Size>1</Size></Contents><Name>b</Name></ListBucketResult>\n",
    )
    .await;
    let error = at(&server.endpoint).list("ours/", None).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("theirs/x"), "{error}");
}

#[tokio::test]
async fn a_body_above_the_largest_put_is_not_sent() {
    let server = answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let credentials =
        Credentials { access_key_id: "key".into(), secret_access_key: "secret".into(), session_token: None };
    let mut options = S3Options::new(ClientOptions::new(&server.endpoint, "b", credentials));
    options.put_bytes_max = 9;
    let backend = S3Backend::new(BackendName::parse("s3").unwrap(), options).unwrap();
    assert_eq!(put(&backend).await.unwrap_err().kind, ErrorKind::Unsupported);
    assert_eq!(server.connections(), 0);
}
