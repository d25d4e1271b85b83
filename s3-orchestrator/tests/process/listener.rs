//! What the listener bounds, and metrics.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{PATIENCE, Server, config, get, request};

/// Sends this and nothing more: the server closes the connection within the time, and not at once.
async fn check_closed(server: &Server, sent: &[u8], after: Duration) {
    let mut stream = TcpStream::connect(&server.addr).await.unwrap();
    let began = runtime::instant_now();
    stream.write_all(sent).await.unwrap();
    let mut answer = Vec::new();
    runtime::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it is closed").unwrap();
    assert!(began.elapsed() >= after, "closed after {:?}", began.elapsed());
    assert_eq!(answer.is_empty(), !sent.ends_with(b"\r\n\r\n"));
}

#[tokio::test]
async fn who_keeps_a_connection_waiting_loses_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&config(dir.path(), ", read_header_timeout: 1s, idle_timeout: 2s", "")).await;
    server.ready().await;
    let (head, idle) = (Duration::from_secs(1), Duration::from_secs(2));
    check_closed(&server, b"", head).await;
    check_closed(&server, b"GET /health HTTP/1.1\r\nhost: ", head).await;
    check_closed(&server, b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n", idle).await;
}

#[tokio::test]
async fn connections_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&config(dir.path(), ", max_connections: 1", "")).await;
    server.ready().await;
    let mut first = TcpStream::connect(&server.addr).await.unwrap();
    first.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(first.read(&mut [0; 1024]).await.unwrap() > 0);
    let mut second = std::pin::pin!(get(&server.addr, "/health"));
    let early = runtime::timeout(Duration::from_millis(300), &mut second).await;
    assert!(early.is_err(), "the second connection was served beside the first");
    drop(first);
    assert_eq!(second.await.0, 200);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let limits = ", max_header_bytes: 16KB, max_header_value_count: 20";
    let server = Server::start(&config(dir.path(), limits, "")).await;
    server.ready().await;
    let long = format!("x-long: {}\r\n", "y".repeat(20_000));
    check_refused(&server, "/health", &long, (431, "RequestHeaderSectionTooLarge")).await;
    // More than the sockets' buffers hold: the answer reaches a client that sends all before it reads.
    let vast = format!("x-vast: {}\r\n", "y".repeat(8 << 20));
    check_refused(&server, "/health", &vast, (431, "RequestHeaderSectionTooLarge")).await;
    let many = "x-many: 1\r\n".repeat(30);
    check_refused(&server, "/health", &many, (431, "RequestHeaderSectionTooLarge")).await;
    let endless = format!("/{}", "k".repeat(70_000));
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&config(dir.path(), ", max_header_bytes: 1MB", "")).await;
    server.ready().await;
    check_refused(&server, &endless, "", (414, "InvalidURI")).await;
    check_refused(&server, "/a", "no header\r\n", (400, "InvalidRequest")).await;
}

/// What HTTP/2 answers to a request with these headers: status, content type, body.
async fn ask_in_http2(server: &Server, headers: &[(String, String)]) -> (u16, String, String) {
    let stream = TokioIo::new(TcpStream::connect(&server.addr).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let _connection = runtime::spawn(connection);
    let mut request = http::Request::get(format!("http://{}/b/key", server.addr));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let answer = runtime::timeout(PATIENCE, sender.send_request(request)).await.expect("it is answered");
    let (head, body) = answer.unwrap().into_parts();
    let kind = head.headers.get("content-type").map_or("", |value| value.to_str().unwrap()).to_owned();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), kind, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_in_http2_too() {
    let dir = tempfile::tempdir().unwrap();
    let limits = ", max_header_bytes: 16KB, max_header_value_count: 20";
    let server = Server::start(&config(dir.path(), limits, "")).await;
    server.ready().await;
    let long = |bytes| [("x-long".to_owned(), "y".repeat(bytes))];
    let many: Vec<_> = (0..30).map(|number| (format!("x-many-{number}"), "1".to_owned())).collect();
    assert_eq!(ask_in_http2(&server, &long(10_000)).await.0, 403, "nobody signed it");
    for headers in [&long(20_000)[..], &many] {
        let (status, kind, body) = ask_in_http2(&server, headers).await;
        assert_eq!((status, kind.as_str()), (431, "application/xml"), "{body}");
        assert!(body.contains("<Code>RequestHeaderSectionTooLarge</Code>"), "{body}");
        let id = body.split_once("<RequestId>").unwrap().1.split_once('<').unwrap().0;
        let logged = server.logged(|line| line["request_id"] == id).await;
        assert_eq!(logged["status"], 431, "{logged}");
    }
    // What is far too large the library refuses as soon as it sees that.
    let (status, _, body) = ask_in_http2(&server, &long(100_000)).await;
    assert_eq!((status, body.as_str()), (431, ""));
}

/// A head that cannot be read is answered as S3 answers: XML, and an id that stands in the log as well.
async fn check_refused(server: &Server, path: &str, headers: &str, expected: (u16, &str)) {
    let (status, head, body) = request(&server.addr, "GET", path, headers).await;
    let code = format!("<Code>{}</Code>", expected.1);
    assert_eq!((status, body.contains(&code)), (expected.0, true), "{head}\n{body}");
    assert!(head.contains("content-type: application/xml"), "{head}");
    let id = head.lines().find_map(|line| line.strip_prefix("x-amz-request-id: ")).expect("it has an id");
    assert!(body.contains(&format!("<RequestId>{id}</RequestId>")), "{body}");
    let logged = server.logged(|line| line["request_id"] == id).await;
    assert_eq!(logged["status"], expected.0, "{logged}");
}

#[tokio::test]
async fn a_request_is_one_line_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&config(dir.path(), "", "")).await;
    server.ready().await;
    let (_, head, _) = get(&server.addr, "/b/a%22key%22%0A").await;
    let id = head.lines().find_map(|line| line.strip_prefix("x-amz-request-id: ")).expect("it has an id");
    let line = server.logged(|line| line["request_id"] == id).await;
    let expected =
        [("operation", "GetObject"), ("bucket", "b"), ("key", "a\"key\"\n"), ("error", "AccessDenied")];
    for (field, value) in expected {
        assert_eq!(line[field], value, "{line}");
    }
    assert_eq!((&line["status"], &line["level"]), (&403.into(), &"INFO".into()), "{line}");
}

#[tokio::test]
async fn metrics_are_on_the_main_listener() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = "telemetry: { metrics: { enabled: true, path: /numbers } }";
    let server = Server::start(&config(dir.path(), "", metrics)).await;
    server.ready().await;
    assert_eq!(server.status("/b/key").await, 403);
    let (status, head, page) = get(&server.addr, "/numbers").await;
    assert_eq!((status, head.contains("content-type: text/plain; version=0.0.4")), (200, true), "{head}");
    for line in [
        "s3o_requests_total{method=\"GET\",status_code=\"403\"} 1",
        "s3o_quota_bytes_limit{backend=\"disk\"} 1073741824",
        "s3o_quota_bytes_used{backend=\"disk\"} 0",
        "s3o_quota_bytes_available{backend=\"disk\"} 1073741824",
        "s3o_quota_orphan_bytes{backend=\"disk\"} 0",
        "s3o_objects_count{backend=\"disk\"} 0",
        "s3o_active_multipart_uploads 0",
        "s3o_replication_pending 0",
        "s3o_cleanup_queue_depth 0",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    }
    let accept = "accept: application/openmetrics-text; version=1.0.0\r\n";
    let (_, head, page) = request(&server.addr, "GET", "/numbers", accept).await;
    assert!(head.contains("application/openmetrics-text") && page.ends_with("# EOF\n"), "{head}");
}

#[tokio::test]
async fn metrics_may_have_a_listener_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = "telemetry: { metrics: { enabled: true, listen: \"127.0.0.1:0\" } }";
    let mut server = Server::start(&config(dir.path(), "", metrics)).await;
    server.ready().await;
    let addr = server.said("metrics have a listener").await["addr"].as_str().unwrap().to_owned();
    assert_eq!(get(&addr, "/metrics").await.0, 200);
    assert_eq!(get(&addr, "/b/key").await.0, 404);
    assert_eq!(server.status("/metrics").await, 403);
}
