//! What servers and networks do wrong, by a server that does it on demand.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{chunked, client, options, pattern, read, streamed};
use bytes::Bytes;
use futures::{StreamExt, stream};
use s3_client::{
    BoxError, Error, ErrorKind, PoolOptions, PutBody, PutObject, S3Client, Sent, Stored, Timeouts,
};
use testkit::{RawConnection, RawServer, content_length, free_ports};
use types::ByteRange;

async fn put(client: &S3Client, key: &str, body: PutBody) -> Result<Stored, Error> {
    client.put_object(PutObject { key, body, metadata: &[] }).await
}

fn small() -> PutBody {
    chunked(&Bytes::from_static(b"0123456789"), 3)
}

/// A server that reads each request whole and gives it this answer.
async fn answering(status: &'static str, headers: &'static [&'static str], body: &'static str) -> RawServer {
    RawServer::start(move |mut connection| async move {
        while connection.read_request().await.is_some() {
            connection.answer(status, headers, body.as_bytes()).await;
        }
    })
    .await
}

fn is(error: &Error, kind: ErrorKind, sent: Sent) {
    assert_eq!((error.kind, error.sent), (kind, sent), "{error}");
}

/// Waits for a state that must come.
async fn wait_until(what: &str, state: impl Fn() -> bool) {
    let waited = runtime::timeout(Duration::from_secs(20), async {
        while !state() {
            runtime::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "it never came to this: {what}");
}

#[tokio::test]
async fn a_lost_answer_leaves_a_put_unknown_and_sent_once() {
    let server = RawServer::start(|mut connection| async move {
        connection.read_request().await;
    })
    .await;
    for body in [small(), PutBody::Bytes(pattern(100_000)), PutBody::Bytes(Bytes::new())] {
        let before = server.count("PUT");
        let error = put(&client(&server.endpoint), "k", body).await.unwrap_err();
        is(&error, ErrorKind::NoAnswer, Sent::Whole);
        assert!(!error.nothing_happened());
        assert_eq!(server.count("PUT /b/k "), before + 1);
    }
}

#[tokio::test]
async fn a_refused_connection_leaves_nothing() {
    let [port] = free_ports();
    let client = client(&format!("http://127.0.0.1:{port}"));
    let error = put(&client, "k", small()).await.unwrap_err();
    is(&error, ErrorKind::NoAnswer, Sent::Never);
    assert!(error.nothing_happened());
    assert!(error.to_string().starts_with(&format!("cannot connect to 127.0.0.1:{port}")), "{error}");
}

#[tokio::test]
async fn a_connection_closed_at_once_leaves_nothing_or_the_unknown() {
    let server = RawServer::start(|connection| async move { drop(connection) }).await;
    let error = put(&client(&server.endpoint), "k", small()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoAnswer, "{error}");
}

#[tokio::test]
async fn a_name_without_address_leaves_nothing() {
    let error = client("http://no-such-host.invalid").head_object("k").await.unwrap_err();
    is(&error, ErrorKind::NoAnswer, Sent::Never);
}

#[tokio::test]
async fn an_error_inside_a_200_fails_a_copy() {
    let cases = [
        ("<Error><Code>InternalError</Code></Error>", ErrorKind::ServerFault),
        ("<Error><Code>SlowDown</Code></Error>", ErrorKind::Throttled { retry_after: None }),
        ("<Error><Code>NoSuchKey</Code></Error>", ErrorKind::NotFound),
        ("<CopyObjectResult><ETag>", ErrorKind::NoAnswer),
        ("", ErrorKind::NoAnswer),
    ];
    for (body, kind) in cases {
        let server = answering("200 OK", &[], body).await;
        let error = client(&server.endpoint).copy_object("from", "to").await.unwrap_err();
        assert_eq!(error.kind, kind, "{body}: {error}");
        assert_eq!(server.count("PUT /b/to "), 1);
    }
    let server = answering("200 OK", &[], "  \n<CopyObjectResult/>").await;
    client(&server.endpoint).copy_object("from", "to").await.unwrap();
}

#[tokio::test]
async fn an_error_inside_a_200_fails_a_delete() {
    let server = answering("200 OK", &[], "<Error><Code>InternalError</Code></Error>").await;
    let error = client(&server.endpoint).delete_object("k").await.unwrap_err();
    is(&error, ErrorKind::ServerFault, Sent::Whole);
}

#[tokio::test]
async fn a_truncated_body_is_an_error() {
    for head in ["Content-Length: 100", "Content-Length: 100\r\nConnection: close"] {
        let server = RawServer::start(move |mut connection| async move {
            connection.read_request().await;
            let head = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n");
            connection.write(&[head.as_bytes(), &[b'x'; 50]].concat()).await;
        })
        .await;
        let object = client(&server.endpoint).get_object("k", None).await.unwrap();
        assert_eq!(object.length, 100);
        let error = read(object.body).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
    }
}

#[tokio::test]
async fn an_answer_of_unknown_length_is_refused() {
    let server = RawServer::start(|mut connection| async move {
        connection.read_request().await;
        connection.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nwho knows whether this is all").await;
    })
    .await;
    let error = client(&server.endpoint).get_object("k", None).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn only_the_range_demanded_will_do() {
    let cases: [(&str, &[&str], &str); 6] = [
        ("200 OK", &[], "0123456789"),
        ("200 OK", &["Content-Range: bytes 2-5/10"], "2345"),
        ("206 Partial Content", &[], "2345"),
        ("206 Partial Content", &["Content-Range: bytes 2-4/10"], "234"),
        ("206 Partial Content", &["Content-Range: bytes 3-6/10"], "3456"),
        ("206 Partial Content", &["Content-Range: bytes 2-5/*"], "2345"),
    ];
    for (status, headers, body) in cases {
        let server = answering(status, headers, body).await;
        let answer = client(&server.endpoint).get_object("k", Some(ByteRange::new(2, 4))).await;
        let error = answer.err().unwrap_or_else(|| panic!("{status} {headers:?} was accepted"));
        assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
    }
    let server = answering("206 Partial Content", &["Content-Range: bytes 2-5/10"], "2345").await;
    let object = client(&server.endpoint).get_object("k", Some(ByteRange::new(2, 4))).await.unwrap();
    assert_eq!((object.length, object.info.size), (4, 10));
    assert_eq!(read(object.body).await.unwrap(), "2345");
    let whole = client(&server.endpoint).get_object("k", None).await.err().unwrap();
    assert_eq!(whole.kind, ErrorKind::Corrupt, "a part was taken for the whole");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_given_up() {
    let server = RawServer::start(|mut connection| async move {
        connection.read_request().await;
        pending().await
    })
    .await;
    let client = client(&server.endpoint);
    let error = put(&client, "k", small()).await.unwrap_err();
    is(&error, ErrorKind::NoAnswer, Sent::Whole);
    let error = client.get_object("k", None).await.err().unwrap();
    is(&error, ErrorKind::NoAnswer, Sent::Whole);
    // A small operation has one limit for everything.
    let error = client.head_object("k").await.unwrap_err();
    is(&error, ErrorKind::NoAnswer, Sent::Whole);
}

#[tokio::test]
async fn a_body_that_stands_still_is_given_up() {
    let server = RawServer::start(|mut connection| async move {
        connection.read_request().await;
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234").await;
        pending().await
    })
    .await;
    let object = client(&server.endpoint).get_object("k", None).await.unwrap();
    let error = read(object.body).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoAnswer, "{error}");
    assert!(error.to_string().contains("stands still"), "{error}");
}

#[tokio::test]
async fn a_slow_reader_is_not_the_servers_fault() {
    let server = answering("200 OK", &[], "0123456789").await;
    let mut object = client(&server.endpoint).get_object("k", None).await.unwrap();
    runtime::sleep(crate::common::short().stall * 2).await;
    assert_eq!(object.body.next().await.unwrap().unwrap(), "0123456789");
}

#[tokio::test]
async fn a_server_that_takes_nothing_is_given_up() {
    let server = RawServer::start(|mut connection| async move {
        connection.read_head().await;
        pending().await
    })
    .await;
    let error = put(&client(&server.endpoint), "k", chunked(&pattern(40 << 20), 1 << 20)).await.unwrap_err();
    is(&error, ErrorKind::NoAnswer, Sent::Head);
    assert!(error.to_string().contains("took no byte"), "{error}");
}

#[tokio::test]
async fn a_slow_giver_is_not_the_servers_fault() {
    let server = answering("200 OK", &[], "").await;
    let chunks = stream::iter(0..3).then(|_| async {
        runtime::sleep(crate::common::short().stall * 2).await;
        Ok::<_, BoxError>(Bytes::from_static(b"xx"))
    });
    put(&client(&server.endpoint), "k", streamed(6, chunks.boxed())).await.unwrap();
}

#[tokio::test]
async fn throttling_says_how_long() {
    let body = "<Error><Code>SlowDown</Code><Message>easy</Message><RequestId>r7</RequestId></Error>";
    let server = answering("503 Slow Down", &["Retry-After: 7"], body).await;
    let error = put(&client(&server.endpoint), "k", small()).await.unwrap_err();
    let throttled = ErrorKind::Throttled { retry_after: Some(Duration::from_secs(7)) };
    is(&error, throttled, Sent::Whole);
    assert!(error.nothing_happened());
    assert_eq!(error.to_string(), "put was refused: easy (503 SlowDown, request r7)");
    // From something in between that is no S3 server, a 503 says nothing about a write.
    let server = answering("503 Service Unavailable", &[], "<html>try later</html>").await;
    let error = put(&client(&server.endpoint), "k", small()).await.unwrap_err();
    is(&error, ErrorKind::ServerFault, Sent::Whole);
}

/// The proof on the wire: whatever the server does with a pooled connection, no put is there twice.
#[tokio::test]
async fn a_put_on_a_closed_pooled_connection_is_sent_once() {
    // Each connection serves one request and is then closed, without a word of warning.
    let server = RawServer::start(|mut connection| async move {
        if connection.read_request().await.is_some() {
            connection.answer("200 OK", &[], b"").await;
        }
    })
    .await;
    let client = client(&server.endpoint);
    let mut stored = 0;
    for round in 0..300 {
        let key = format!("key-{round}");
        let answer = put(&client, &key, PutBody::Bytes(Bytes::from_static(b"x"))).await;
        let seen = server.count(&format!("PUT /b/{key} "));
        match answer {
            Ok(_) => stored += usize::from(seen == 1),
            // The close crossed the request on its way: nobody can know.
            Err(error) => assert!(!error.nothing_happened() && seen <= 1, "{seen} times: {error}"),
        }
        assert!(seen <= 1, "{key} was sent {seen} times");
    }
    assert!(stored > 0, "nothing was stored at all");
}

#[tokio::test]
async fn a_put_on_a_connection_closed_while_idle_takes_a_new_one() {
    let server = RawServer::start(|mut connection| async move {
        if connection.read_request().await.is_some() {
            connection.answer("200 OK", &[], b"").await;
        }
    })
    .await;
    let client = client(&server.endpoint);
    for round in 0..5 {
        put(&client, &format!("k{round}"), small()).await.unwrap();
        wait_until("the server has closed", || server.open() == 0).await;
        // The close is on our side of the socket now; one turn of the runtime lets its task see it.
        runtime::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.count("PUT"), 5);
    assert_eq!(server.connections(), 5);
}

#[tokio::test]
async fn a_pooled_connection_that_dies_in_a_put_is_not_tried_again() {
    let server = RawServer::start(|mut connection| async move {
        if connection.read_request().await.is_some() {
            connection.answer("200 OK", &[], b"").await;
        }
        // The second request is read and gets no answer.
        connection.read_request().await;
    })
    .await;
    let client = client(&server.endpoint);
    put(&client, "first", small()).await.unwrap();
    let error = put(&client, "second", small()).await.unwrap_err();
    is(&error, ErrorKind::NoAnswer, Sent::Whole);
    assert_eq!(server.count("PUT /b/second "), 1);
    assert_eq!(server.connections(), 1, "the request took the pooled connection");
}

#[tokio::test]
async fn an_early_refusal_is_honoured() {
    const REFUSAL: &[u8] = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
    async fn refuse(connection: &mut RawConnection) {
        connection.read_head().await;
        connection.answer("403 Forbidden", &[], REFUSAL).await;
    }
    let stays = RawServer::start(|mut connection| async move {
        refuse(&mut connection).await;
        pending().await
    })
    .await;
    let reads_on = RawServer::start(|mut connection| async move {
        refuse(&mut connection).await;
        connection.until_closed().await;
    })
    .await;
    for server in [stays, reads_on] {
        let (given, counted) = counted_body(64 << 20);
        let error = put(&client(&server.endpoint), "k", given).await.unwrap_err();
        is(&error, ErrorKind::Denied, Sent::Head);
        assert_eq!(error.code.as_deref(), Some("AccessDenied"));
        wait_until("the rest of the body is dropped", || Arc::strong_count(&counted) == 1).await;
        assert!(counted.load(Ordering::SeqCst) < 64, "the whole body was sent");
    }
}

#[tokio::test]
async fn an_early_refusal_survives_the_close_behind_it() {
    let server = RawServer::start(|mut connection| async move {
        connection.read_head().await;
        connection
            .answer("403 Forbidden", &["Connection: close"], b"<Error><Code>AccessDenied</Code></Error>")
            .await;
    })
    .await;
    for _ in 0..20 {
        let error =
            put(&client(&server.endpoint), "k", chunked(&pattern(8 << 20), 1 << 16)).await.unwrap_err();
        // The close may overtake the answer on its way; a wrong answer it must not become.
        assert!(matches!(error.kind, ErrorKind::Denied | ErrorKind::NoAnswer), "{error}");
    }
}

#[tokio::test]
async fn a_success_before_the_body_is_sent_is_not_believed() {
    let server = RawServer::start(|mut connection| async move {
        connection.read_head().await;
        connection.answer("200 OK", &[], b"").await;
        pending().await
    })
    .await;
    let slow = stream::once(async { Ok(Bytes::from_static(b"x")) }).chain(stream::pending());
    let error = put(&client(&server.endpoint), "k", streamed(10, slow.boxed())).await.unwrap_err();
    is(&error, ErrorKind::NoAnswer, Sent::Head);
}

/// A body of 1 MiB chunks that counts those it gave. The count is shared for as long as the body lives.
fn counted_body(length: usize) -> (PutBody, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let chunk = pattern(1 << 20);
    let chunks = stream::iter(0..length >> 20).map(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok::<_, BoxError>(chunk.clone())
    });
    (streamed(length, chunks.boxed()), count)
}

type Chunk = Result<Bytes, BoxError>;

#[tokio::test]
async fn a_failing_body_never_ends_cleanly() {
    let bodies: [(&str, usize, Vec<Chunk>); 5] = [
        ("fails", 10, vec![Ok(Bytes::from_static(b"01234")), Err("gone".into())]),
        ("fails at its end", 5, vec![Ok(Bytes::from_static(b"01234")), Err("gone".into())]),
        ("is short", 10, vec![Ok(Bytes::from_static(b"01234"))]),
        ("is long", 3, vec![Ok(Bytes::from_static(b"01234"))]),
        ("is long by a chunk", 5, vec![Ok(Bytes::from_static(b"01234")), Ok(Bytes::from_static(b"5"))]),
    ];
    for (what, length, chunks) in bodies {
        let received = Arc::new(AtomicUsize::new(usize::MAX));
        let into = Arc::clone(&received);
        let server = RawServer::start(move |mut connection| {
            let received = Arc::clone(&into);
            async move {
                if let Some(head) = connection.read_head().await {
                    assert_eq!(content_length(&head), length);
                    received.store(connection.until_closed().await, Ordering::SeqCst);
                }
            }
        })
        .await;
        let body = streamed(length, stream::iter(chunks).boxed());
        let error = put(&client(&server.endpoint), "k", body).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Body, "{what}: {error}");
        wait_until("the connection is closed", || {
            received.load(Ordering::SeqCst) != usize::MAX || server.heads().is_empty()
        })
        .await;
        let received = received.load(Ordering::SeqCst);
        assert!(received == usize::MAX || received < length, "{what}: {received} of {length} bytes arrived");
    }
}

#[tokio::test]
async fn an_empty_body_is_proved_before_anything_is_sent() {
    let server = answering("200 OK", &[], "").await;
    for chunks in [vec![Err("gone".into())], vec![Ok(Bytes::from_static(b"x"))]] {
        let error =
            put(&client(&server.endpoint), "k", streamed(0, stream::iter(chunks).boxed())).await.unwrap_err();
        is(&error, ErrorKind::Body, Sent::Never);
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn dropping_a_request_closes_its_connection() {
    let server = RawServer::start(|mut connection| async move {
        connection.read_head().await;
        connection.until_closed().await;
    })
    .await;
    let client = client(&server.endpoint);
    let given = streamed(10, stream::pending().boxed());
    let mut request = Box::pin(put(&client, "k", given));
    tokio::select! {
        answer = &mut request => panic!("answered: {answer:?}"),
        () = wait_until("the head arrived", || server.count("PUT") == 1) => {}
    }
    drop(request);
    wait_until("the connection is closed", || server.open() == 0).await;
}

#[tokio::test]
async fn connections_are_reused_bounded_and_let_go() {
    let server = RawServer::start(|mut connection| async move {
        while connection.read_request().await.is_some() {
            runtime::sleep(Duration::from_millis(10)).await;
            connection.answer("200 OK", &[], b"0123456789").await;
        }
    })
    .await;
    let pool = PoolOptions {
        connections_max: 3,
        idle_max: 2,
        idle_timeout: Duration::from_millis(300),
        ..PoolOptions::default()
    };
    let timeouts = Timeouts { acquire: Duration::from_secs(20), ..crate::common::short() };
    let client =
        S3Client::new(s3_client::ClientOptions { pool, timeouts, ..options(&server.endpoint) }).unwrap();
    for _ in 0..10 {
        read(client.get_object("k", None).await.unwrap().body).await.unwrap();
    }
    assert_eq!(server.connections(), 1, "one after the other, on one connection");
    let all =
        (0..40).map(|_| async { read(client.get_object("k", None).await.unwrap().body).await.unwrap() });
    futures::future::join_all(all).await;
    assert!(server.open_max() <= 3, "{} connections at once", server.open_max());
    wait_until("no more than two are kept", || server.open() <= 2).await;
    wait_until("none is kept for long", || server.open() == 0).await;
}

#[tokio::test]
async fn waiting_for_a_connection_has_an_end() {
    let server = RawServer::start(|mut connection| async move {
        connection.read_request().await;
        pending().await
    })
    .await;
    let pool = PoolOptions { connections_max: 1, ..PoolOptions::default() };
    let timeouts = Timeouts {
        response_header: Duration::from_secs(30),
        acquire: Duration::from_millis(200),
        ..crate::common::short()
    };
    let client =
        S3Client::new(s3_client::ClientOptions { pool, timeouts, ..options(&server.endpoint) }).unwrap();
    let holder = put(&client, "holds", small());
    let waiter = async {
        wait_until("the first is on its way", || server.count("PUT") == 1).await;
        put(&client, "waits", small()).await.unwrap_err()
    };
    tokio::select! {
        answer = holder => panic!("answered: {answer:?}"),
        error = waiter => is(&error, ErrorKind::NoAnswer, Sent::Never),
    }
    assert_eq!(server.count("PUT /b/waits "), 0);
}

#[tokio::test]
async fn many_deletes_fall_back_to_single_ones() {
    let server = RawServer::start(|mut connection| async move {
        while let Some((head, _)) = connection.read_request().await {
            let missing = b"<Error><Code>NotImplemented</Code></Error>";
            match head.split(' ').next() {
                Some("POST") => connection.answer("501 Not Implemented", &[], missing).await,
                _ if head.contains("/stuck ") => connection.answer("500 Oops", &[], b"").await,
                _ => connection.write(b"HTTP/1.1 204 No Content\r\n\r\n").await,
            }
        }
    })
    .await;
    let client = client(&server.endpoint);
    assert_eq!(client.delete_requests(&["a", "stuck", "c"]), 1);
    // Whoever counts requests has to know beforehand that these are three.
    assert!(client.delete_objects(&["a", "stuck", "c"]).await.unwrap_err().deletes_singly());
    for _ in 0..2 {
        assert_eq!(client.delete_requests(&["a", "stuck", "c"]), 3);
        let answers = client.delete_objects(&["a", "stuck", "c"]).await.unwrap();
        let kinds: Vec<_> =
            answers.iter().map(|answer| answer.as_ref().err().map(|error| error.kind)).collect();
        assert_eq!(kinds, [None, Some(ErrorKind::ServerFault), None]);
    }
    assert_eq!(server.count("POST"), 1, "the refusal is remembered");
    assert_eq!(server.count("DELETE"), 6);
}

#[tokio::test]
async fn a_key_that_a_multi_delete_forgets_is_unknown() {
    let body = "<DeleteResult><Deleted><Key>a</Key></Deleted></DeleteResult>";
    let server = answering("200 OK", &[], body).await;
    let answers = client(&server.endpoint).delete_objects(&["a", "b"]).await.unwrap();
    assert!(answers[0].is_ok());
    is(answers[1].as_ref().unwrap_err(), ErrorKind::NoAnswer, Sent::Whole);
    // Names that XML cannot carry go alone.
    let names = ["nul\0", "line\r", "a"];
    assert_eq!(client(&server.endpoint).delete_requests(&names), 3);
    let _ = client(&server.endpoint).delete_objects(&names[..2]).await;
    assert_eq!((server.count("DELETE /b/nul%00 "), server.count("DELETE /b/line%0D ")), (1, 1));
}

#[tokio::test]
async fn a_bare_404_is_no_proof_of_a_delete() {
    let server = answering("404 Not Found", &[], "").await;
    let error = client(&server.endpoint).delete_object("k").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    let server = answering("404 Not Found", &[], "<Error><Code>NoSuchKey</Code></Error>").await;
    client(&server.endpoint).delete_object("k").await.unwrap();
}

#[tokio::test]
async fn nonsense_is_not_believed() {
    let cases: [&[u8]; 4] = [
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
        b"HTTP/1.1 999 ?\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
        b"",
    ];
    for nonsense in cases {
        let server = RawServer::start(move |mut connection| async move {
            connection.read_request().await;
            connection.write(nonsense).await;
        })
        .await;
        let error = put(&client(&server.endpoint), "k", small()).await.unwrap_err();
        assert_ne!(error.kind, ErrorKind::NotFound, "{error}");
        assert_eq!(server.count("PUT"), 1, "{}", String::from_utf8_lossy(nonsense));
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let server = RawServer::start(|mut connection| async move {
        let Some((head, _)) = connection.read_request().await else { return };
        let status = if head.starts_with("PUT") { "500 Oops" } else { "200 OK" };
        connection.write(format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n<Error>").as_bytes()).await;
        for _ in 0..(64 << 10) {
            connection.write(&[b'x'; 1024]).await;
        }
    })
    .await;
    let client = client(&server.endpoint);
    let error = client.list_objects("", None).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
    let error = put(&client, "k", small()).await.unwrap_err();
    is(&error, ErrorKind::ServerFault, Sent::Whole);
}

#[tokio::test]
async fn keys_go_over_the_wire_as_they_are() {
    let server = answering("200 OK", &[], "").await;
    let client = client(&server.endpoint);
    for key in ["../x", "a//b", "/lead", "a/./b", "nul\0", "plus+ per%20cent", "ключ?#"] {
        put(&client, key, small()).await.unwrap();
    }
    let targets: Vec<String> =
        server.heads().iter().map(|head| head.split(' ').nth(1).unwrap_or_default().to_owned()).collect();
    let expected = [
        "/b/../x",
        "/b/a//b",
        "/b//lead",
        "/b/a/./b",
        "/b/nul%00",
        "/b/plus%2B%20per%2520cent",
        "/b/%D0%BA%D0%BB%D1%8E%D1%87%3F%23",
    ];
    assert_eq!(targets, expected);
}

#[tokio::test]
async fn a_put_says_what_it_must() {
    let server = answering("200 OK", &["ETag: \"abc\"", "x-amz-version-id: v1"], "").await;
    let metadata = [("s3o-key".to_owned(), "some  value ".to_owned())];
    let put = PutObject { key: "k", body: small(), metadata: &metadata };
    let stored = client(&server.endpoint).put_object(put).await.unwrap();
    assert_eq!(stored, Stored { etag: Some("abc".into()), version: Some("v1".into()) });
    let head = server.heads().remove(0).to_ascii_lowercase();
    for line in [
        "content-length: 10\r\n",
        "content-type: application/octet-stream\r\n",
        "x-amz-meta-s3o-key: some  value",
        "x-amz-content-sha256: unsigned-payload\r\n",
    ] {
        assert!(head.contains(line), "{line:?} is not in {head}");
    }
    assert!(!head.contains("transfer-encoding") && !head.contains("expect:"), "{head}");
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let signed = s3_client::ClientOptions { unsigned_payload: Some(false), ..options("https://x") };
    let error = S3Client::new(signed).unwrap_err();
    assert!(error.to_string().starts_with("unsigned_payload: false"), "{error}");
    let no_ca = s3_client::ClientOptions { extra_ca_pem: Some(b"nothing".into()), ..options("https://x") };
    assert_eq!(S3Client::new(no_ca).unwrap_err().kind, ErrorKind::Invalid);
    let mut no_key = options("https://x");
    no_key.credentials.secret_access_key = String::new();
    assert_eq!(S3Client::new(no_key).unwrap_err().kind, ErrorKind::Invalid);
}

#[tokio::test]
async fn virtual_hosted_style_puts_the_bucket_into_the_host() {
    let server = answering("200 OK", &[], "").await;
    // The only name below which every machine finds itself: 127 is the bucket.
    let endpoint = server.endpoint.replace("127.0.0.1", "0.0.1");
    let mut hosted = s3_client::ClientOptions { path_style: false, ..options(&endpoint) };
    hosted.bucket = "127".to_owned();
    hosted.credentials.session_token = Some("temporary".to_owned());
    let client = S3Client::new(hosted).unwrap();
    put(&client, "dir/key", small()).await.unwrap();
    let _ = client.list_objects("p", None).await;
    let heads = server.heads();
    assert!(heads[0].starts_with("PUT /dir/key HTTP/1.1\r\n"), "{}", heads[0]);
    assert!(
        heads[1].starts_with("GET /?encoding-type=url&list-type=2&max-keys=1000&prefix=p "),
        "{}",
        heads[1]
    );
    let host = server.endpoint.strip_prefix("http://").unwrap();
    for head in heads {
        assert!(head.contains(&format!("host: {host}\r\n")), "{head}");
        assert!(head.contains("x-amz-security-token: temporary\r\n"), "{head}");
        assert!(head.contains(";x-amz-security-token,Signature="), "{head}");
    }
}
