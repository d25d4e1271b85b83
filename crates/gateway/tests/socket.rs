//! What only a connection shows: clients that wait, vanish, or speak in odd paths.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;

use common::{Ask, Payload, Wire, get, put};
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Serves the gateway on a port of its own.
async fn serve(wire: &Wire) -> (SocketAddr, runtime::Task<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gateway = Arc::clone(&wire.gateway);
    let task = runtime::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let gateway = Arc::clone(&gateway);
            let connection = async move {
                let service = service_fn(|request| {
                    let gateway = Arc::clone(&gateway);
                    async move { Ok::<_, std::convert::Infallible>(gateway.call(request, peer).await) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            };
            runtime::spawn(connection).detach();
        }
    });
    (address, task)
}

/// The head of a request as it goes over the wire, and its body.
async fn raw(ask: Ask) -> (String, Vec<u8>) {
    let (parts, body) = ask.build().into_parts();
    let mut head = format!("{} {} HTTP/1.1\r\n", parts.method, parts.uri);
    for (name, value) in &parts.headers {
        head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
    }
    head.push_str("\r\n");
    (head, body.collect().await.unwrap().to_bytes().to_vec())
}

async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&text).contains(end) {
        match stream.read(&mut buffer).await.unwrap() {
            0 => break,
            n => text.extend_from_slice(&buffer[..n]),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Waits until a request is over, for that is told behind the answer.
async fn record(wire: &Wire, count: usize) -> gateway::RequestRecord {
    loop {
        if wire.seen.records.lock().unwrap().len() >= count {
            return wire.last_record();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_client_that_waits_is_told_to_go_on_only_if_it_may() {
    let wire = Wire::new().await;
    let (address, _task) = serve(&wire).await;
    let expecting = |ask: Ask| ask.unsigned("expect", "100-continue");

    let mut stream = TcpStream::connect(address).await.unwrap();
    let (head, body) = raw(expecting(put("/photos/k", b"data"))).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(read_until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 100 Continue"));
    stream.write_all(&body).await.unwrap();
    assert!(read_until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 200"));

    for refused in [
        put("/photos/k", b"data").by(common::KEY, "wrong"),
        put("/photos/k", b"data").header("content-md5", "bad"),
        put("/other/k", b"data"),
        put("/photos/k", b"data").header("x-amz-storage-class", "COLD"),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let (head, _) = raw(expecting(refused)).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "</Error>").await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_nothing() {
    let wire = Wire::new().await;
    let (address, _task) = serve(&wire).await;
    for payload in [Payload::Unsigned, Payload::SignedChunks(1000, Vec::new())] {
        let before = wire.seen.records.lock().unwrap().len();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let (head, body) = raw(put("/photos/k", &[7; 100_000]).payload(payload)).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body[..50_000]).await.unwrap();
        stream.shutdown().await.unwrap();
        drop(stream);
        let record = record(&wire, before + 1).await;
        assert_eq!((record.operation, record.status), ("PutObject", 400), "{:?}", record.error);
        let error = record.error.unwrap_or_default();
        assert!(error.starts_with("IncompleteBody: the client went away"), "{error}");
    }
    wire.get("/photos/k").await.expect(404);
    assert_eq!(wire.store.bytes_stored(), 0);
}

#[tokio::test]
async fn odd_paths_arrive_as_they_were_sent() {
    let wire = Wire::new().await;
    let (address, _task) = serve(&wire).await;
    for key in [
        "//x",
        "a//b/",
        "../../etc/passwd",
        "./.",
        "nul\0",
        "\n",
        "鍵",
        "a%2Fb",
        "%",
        "a;b=c",
        "~!$&'()*,=:@",
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let (head, body) = raw(put(&format!("/photos/{key}"), key.as_bytes())).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        let answer = read_until(&mut stream, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{key:?}: {answer}");
        let (head, _) = raw(get(&format!("/photos/{key}"))).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, key).await;
        assert!(answer.ends_with(&format!("\r\n\r\n{key}")), "{key:?}: {answer}");
    }
}

/// N115: `%2F` is a slash of the key, in the path and in what is signed.
#[tokio::test]
async fn n115_an_encoded_slash_is_a_slash() {
    let wire = Wire::new().await;
    let (address, _task) = serve(&wire).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    for ask in [put("/photos/a/b", b"data"), get("/photos/a/b")] {
        let (head, body) = raw(ask).await;
        let head = head.replacen("/photos/a/b", "/photos/a%2Fb", 1);
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        let answer = read_until(&mut stream, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert_eq!(wire.get("/photos/a/b").await.expect(200).body.as_ref(), b"data");
}

/// Several requests on one connection, with and without bodies, answered in order.
#[tokio::test]
async fn a_connection_is_used_again() {
    let wire = Wire::new().await;
    let (address, _task) = serve(&wire).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    for (ask, status) in [
        (put("/photos/k", b""), "200"),
        (common::ask("HEAD", "/photos/k"), "200"),
        (common::ask("HEAD", "/photos/none"), "404"),
        (get("/photos/k").header("if-none-match", "*"), "304"),
        (common::ask("DELETE", "/photos/k"), "204"),
    ] {
        let (head, body) = raw(ask).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        let answer = read_until(&mut stream, "\r\n\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "no body: {answer}");
    }
}
