//! From the start to the end.

use std::time::Duration;

use futures::StreamExt;
use s3_client::{PutBody, PutObject};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{PATIENCE, Server, client, config, get, request, run, text, wait_until};

#[tokio::test]
async fn n82_the_signal_ends_readiness_and_the_delay_ends_service() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(&config(dir.path(), ", shutdown_delay: 6s", "")).await;
    server.ready().await;
    let began = runtime::instant_now();
    server.signal("TERM").await;
    wait_until("it is not ready", async || server.status("/health/ready").await == 503).await;
    // It serves on: S3 answers, liveness answers, and connections are not kept.
    let (status, head, body) = get(&server.addr, "/b").await;
    assert_eq!((status, body.contains("<Code>AccessDenied</Code>")), (403, true), "{body}");
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(server.status("/health").await, 200);
    assert!(server.runs());
    assert_eq!(server.ended().await.code(), Some(0));
    assert!(began.elapsed() >= Duration::from_secs(6));
}

#[tokio::test]
async fn n83_a_second_process_is_alive_but_not_ready_until_the_first_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), "", "");
    let mut first = Server::start(&config).await;
    first.ready().await;
    let mut second = Server::start(&config).await;
    second.said("another process owns the catalog").await;
    assert_eq!(get(&second.addr, "/health").await.2, "{\"status\":\"ok\"}");
    let (status, _, body) = get(&second.addr, "/health/ready").await;
    assert_eq!((status, &*body), (503, "{\"status\":\"not ready\"}"));
    let (status, head, body) = get(&second.addr, "/b/key").await;
    assert_eq!((status, body.contains("<Code>ServiceUnavailable</Code>")), (503, true), "{body}");
    assert!(head.contains("retry-after: 1") && head.contains("x-amz-request-id: "), "{head}");
    first.signal("TERM").await;
    assert_eq!(first.ended().await.code(), Some(0));
    second.ready().await;
    assert_eq!(second.times_said("another process owns the catalog"), 1);
}

#[tokio::test]
async fn a_process_that_waits_can_be_ended() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), ", shutdown_delay: 50s", "");
    let first = Server::start(&config).await;
    first.ready().await;
    let mut second = Server::start(&config).await;
    second.said("another process owns the catalog").await;
    let began = runtime::instant_now();
    second.signal("TERM").await;
    assert_eq!(second.ended().await.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(45), "nobody waits for what never was ready");
}

#[tokio::test]
async fn n84_connections_that_ask_for_nothing_do_not_hold_up_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(&config(dir.path(), ", read_header_timeout: 1s", "")).await;
    server.ready().await;
    let silent = TcpStream::connect(&server.addr).await.unwrap();
    let mut kept = TcpStream::connect(&server.addr).await.unwrap();
    kept.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(kept.read(&mut [0; 1024]).await.unwrap() > 0);
    let mut dawdling = TcpStream::connect(&server.addr).await.unwrap();
    dawdling.write_all(b"GET /health HTTP/1.1\r\nhos").await.unwrap();
    let began = runtime::instant_now();
    server.signal("TERM").await;
    assert_eq!(server.ended().await.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(24), "{:?}", began.elapsed());
    drop((silent, kept, dawdling));
}

#[tokio::test]
async fn n84_the_end_comes_within_thirty_seconds_whatever_is_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = "telemetry: { metrics: { enabled: true } }";
    let mut server = Server::start(&config(dir.path(), ", shutdown_delay: 3s", metrics)).await;
    server.ready().await;
    let client = client(&server.addr, "b", ("key", "secret"));
    let upload = runtime::spawn(async move {
        // A body that begins and never ends.
        let begun = futures::stream::iter([Ok(vec![0; 1000].into())]);
        let stream = Box::pin(begun.chain(futures::stream::pending()));
        let put = PutObject { key: "k", body: PutBody::Stream { length: 2000, stream }, metadata: &[] };
        client.put_object(put).await
    });
    wait_until("the upload is under way", async || {
        get(&server.addr, "/metrics").await.2.contains("s3o_inflight_requests{method=\"PUT\"} 1")
    })
    .await;
    let began = runtime::instant_now();
    server.signal("TERM").await;
    assert_eq!(server.ended().await.code(), Some(0));
    let took = began.elapsed();
    // The process gives itself 28 seconds; a busy machine may add to them.
    assert!(took > Duration::from_secs(10) && took < Duration::from_secs(40), "{took:?}");
    server.said("are cut off").await;
    assert!(upload.await.unwrap().is_err());
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Server::start(&config(dir.path(), ", shutdown_delay: 50s", "")).await;
        server.ready().await;
        server.signal("TERM").await;
        server.said("not ready any more").await;
        let began = runtime::instant_now();
        server.signal(signal).await;
        assert_eq!(server.ended().await.code(), Some(code));
        assert!(began.elapsed() < Duration::from_secs(25));
    }
}

/// Ends with 1 and one line that begins with `error:` and says this.
async fn check_fatal(config: &str, says: &str) {
    let began = runtime::instant_now();
    let output = run(&["-config", config]).await;
    assert!(began.elapsed() < PATIENCE / 2);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("error: ") && stderr.trim_end().lines().count() == 1, "{stderr}");
    assert!(stderr.contains(says), "{stderr}");
}

#[tokio::test]
async fn a_fatal_error_of_the_start_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let path = config(dir.path(), "", "");
    let change = |from: &str, to: &str| {
        let text = config(dir.path(), "", "");
        std::fs::write(&path, std::fs::read_to_string(text).unwrap().replace(from, to)).unwrap();
    };
    change("127.0.0.1:0", &addr.to_string());
    check_fatal(&path, &format!("cannot listen on {addr}: another program does already")).await;
    change("/catalog.db", "/missing/catalog.db");
    check_fatal(&path, "/missing/catalog.db").await;
    change("/disk\"", "/missing/disk\"");
    check_fatal(&path, "backend disk").await;
    change("/catalog.db", "/config.yaml");
    check_fatal(&path, "is not a catalog of this program").await;
}

#[tokio::test]
async fn n83_a_metrics_listener_that_cannot_open_is_fatal_unless_it_may_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let metrics =
        |more: &str| format!("telemetry: {{ metrics: {{ enabled: true, listen: \"{addr}\"{more} }} }}");
    check_fatal(&config(dir.path(), "", &metrics("")), "telemetry.metrics.listen").await;
    let mut server = Server::start(&config(dir.path(), "", &metrics(", require_listener: false"))).await;
    server.said("serving without metrics").await;
    server.ready().await;
    assert_eq!(server.status("/metrics").await, 403, "not on the main listener either: a bucket's name");
}

#[tokio::test]
async fn a_backend_that_was_lost_does_not_keep_the_others_from_serving() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), "", "");
    let mut server = Server::start(&config).await;
    server.ready().await;
    server.signal("TERM").await;
    server.ended().await;
    let (disk, elsewhere) = (dir.path().join("disk"), dir.path().join("elsewhere"));
    std::fs::rename(&disk, elsewhere).unwrap();
    let mut server = Server::start(&config).await;
    server.said("serving without it until it can be attached").await;
    server.ready().await;
    assert!(!disk.exists(), "a disk that is not mounted is not made anew");
}

#[tokio::test]
async fn health_needs_no_key_and_no_body() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&config(dir.path(), "", "")).await;
    server.ready().await;
    for method in ["GET", "HEAD", "POST"] {
        for path in ["/health", "/health/ready"] {
            let (status, _, body) = request(&server.addr, method, path, "content-length: 0\r\n").await;
            assert_eq!((status, body.is_empty()), (200, method == "HEAD"), "{method} {path}");
        }
    }
}
