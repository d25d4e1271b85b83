//! Bodies: every form in which an SDK sends them, and every way in which they can be wrong.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Payload, Wire, ask, crc32, get, put};

fn trailer(data: &[u8]) -> Vec<(String, String)> {
    vec![("x-amz-checksum-crc32".into(), crc32(data))]
}

#[tokio::test]
async fn every_form_of_body_carries_the_same_bytes() {
    let wire = Wire::new().await;
    let data: Vec<u8> = (0..200_000u32).flat_map(|i| i.to_le_bytes()).collect();
    let forms = [
        Payload::Signed,
        Payload::Unsigned,
        Payload::Chunks(64 << 10, trailer(&data)),
        Payload::Chunks(data.len(), trailer(&data)),
        Payload::SignedChunks(64 << 10, Vec::new()),
        Payload::SignedChunks(100_000, trailer(&data)),
    ];
    for form in forms {
        let name = format!("{form:?}").chars().take(24).collect::<String>();
        let reply = wire.send(put("/photos/k", &data).payload(form)).await.expect(200);
        if name.contains("Chunks") && !name.contains("[]") {
            assert!(
                reply.header("x-amz-checksum-crc32").is_some() || name.starts_with("SignedChunks(65536"),
                "{name}"
            );
        }
        let got = wire.get("/photos/k").await.expect(200);
        assert!(got.body == data, "{name}");
        assert_eq!(got.header("content-encoding"), None, "{name}: the framing is no encoding");
    }
    let empty = wire.send(put("/photos/e", b"").payload(Payload::Chunks(9, trailer(b"")))).await.expect(200);
    assert_eq!(empty.header("x-amz-checksum-crc32"), Some("AAAAAA=="));
    wire.send(put("/photos/e", b"").payload(Payload::SignedChunks(9, Vec::new()))).await.expect(200);
}

#[tokio::test]
async fn a_wrong_body_changes_nothing() {
    let wire = Wire::new().await;
    wire.put("/photos/k", b"before").await;
    let before = wire.state().await;
    let bytes_stored = wire.store.bytes_stored();
    let data = b"some data".as_slice();
    let wrong = || vec![("x-amz-checksum-crc32".to_owned(), "AAAAAA==".to_owned())];
    let hash = "0".repeat(64);
    let cases = [
        (put("/photos/k", data).payload(Payload::Hash(hash)), 400, "XAmzContentSHA256Mismatch"),
        (put("/photos/k", data).header("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="), 400, "BadDigest"),
        (put("/photos/k", data).header("content-md5", "AAAA"), 400, "InvalidDigest"),
        (put("/photos/k", data).header("x-amz-checksum-crc32", "AAAAAA=="), 400, "BadDigest"),
        (put("/photos/k", data).header("x-amz-checksum-sha1", "AAAA"), 400, "InvalidRequest"),
        (put("/photos/k", data).header("x-amz-checksum-crc64nvme", "AAAAAAAAAAA="), 400, "BadDigest"),
        (put("/photos/k", data).payload(Payload::Chunks(4, wrong())), 400, "BadDigest"),
        (put("/photos/k", data).payload(Payload::SignedChunks(4, wrong())), 400, "BadDigest"),
        (put("/photos/k", data).header("x-amz-storage-class", "COLD"), 400, "InvalidStorageClass"),
        (put("/photos/k", data).header("x-amz-server-side-encryption", "AES256"), 501, "NotImplemented"),
        (put("/photos/k", data).header("x-amz-meta-x", &"y".repeat(2048)), 400, "MetadataTooLarge"),
        (put("/photos/k", data).header("x-amz-tagging", "a=1&a=2"), 400, "InvalidTag"),
        (put(&format!("/photos/{}", "k".repeat(1025)), data), 400, "KeyTooLongError"),
    ];
    for (request, status, code) in cases {
        wire.send(request).await.expect(status).fails(code);
    }
    assert_eq!(wire.state().await, before);
    assert_eq!(wire.store.bytes_stored(), bytes_stored, "nothing was left on the backend");
}

/// Takes a request apart, changes its framed body, and sends it.
async fn tampered(wire: &Wire, payload: Payload, change: impl Fn(String) -> String) -> common::Reply {
    use http_body_util::BodyExt;
    let (mut parts, body) = put("/photos/k", b"some data").payload(payload).build().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = change(String::from_utf8(body.to_vec()).unwrap());
    parts.headers.insert("content-length", body.len().into());
    let request = http::Request::from_parts(parts, http_body_util::Full::new(bytes::Bytes::from(body)));
    let (parts, body) = wire.gateway.call(request, "192.0.2.1:1".parse().unwrap()).await.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    common::Reply { status: parts.status, headers: parts.headers, body }
}

#[tokio::test]
async fn broken_framing_is_refused() {
    let wire = Wire::new().await;
    let signed = || Payload::SignedChunks(4, Vec::new());
    let both = || Payload::SignedChunks(4, trailer(b"some data"));
    let chunks = || Payload::Chunks(4, trailer(b"some data"));
    tampered(&wire, signed(), |body| body.replacen("some", "same", 1)).await.fails("SignatureDoesNotMatch");
    tampered(&wire, signed(), |body| body.replacen("chunk-signature=", "chunk-signature=0", 1))
        .await
        .expect(400);
    tampered(&wire, signed(), |body| body.replacen("4;", "3;", 1)).await.expect(400);
    tampered(&wire, both(), |body| body.replacen("x-amz-trailer-signature:", "x-other:", 1))
        .await
        .expect(400);
    tampered(&wire, both(), |body| body.replacen("trailer-signature:", "trailer-signature:0", 1))
        .await
        .expect(403);
    // A chain of signed chunks without its last one, and a body without its trailer.
    tampered(&wire, signed(), |body| body[..body.find("0;chunk").unwrap()].to_owned())
        .await
        .fails("IncompleteBody");
    tampered(&wire, chunks(), |body| body[..body.find("x-amz").unwrap()].to_owned())
        .await
        .fails("InvalidRequest");
    tampered(&wire, chunks(), |body| body[..body.find("0\r\n").unwrap()].to_owned())
        .await
        .fails("IncompleteBody");
    tampered(&wire, chunks(), |body| body.replacen("4\r\n", "ffffffffffffffff\r\n", 1))
        .await
        .fails("IncompleteBody");
    tampered(&wire, chunks(), |body| body.replacen("4\r\n", "zz\r\n", 1)).await.fails("InvalidRequest");
    tampered(&wire, chunks(), |body| format!("1\r\nx\r\n{body}")).await.fails("IncompleteBody");
    wire.get("/photos/k").await.expect(404);
}

#[tokio::test]
async fn lengths_are_demanded_and_bounded() {
    let wire = Wire::with(gateway::GatewayOptions { object_bytes_max: Some(10), ..Default::default() }).await;
    wire.send(put("/photos/k", b"0123456789")).await.expect(200);
    wire.send(put("/photos/k", b"0123456789a")).await.expect(400).fails("EntityTooLarge");
    let mut request = put("/photos/k", b"x").payload(Payload::Unsigned).build();
    request.headers_mut().remove("content-length");
    let reply = wire.gateway.call(request, "192.0.2.1:1".parse().unwrap()).await;
    assert_eq!(reply.status(), 411);
    drop(reply);
    let short = put("/photos/k", b"xy").unsigned("content-length", "5");
    wire.send(short).await.expect(400).fails("IncompleteBody");
    let long = put("/photos/k", b"xyz").unsigned("content-length", "2");
    wire.send(long).await.expect(400).fails("IncompleteBody");
    assert_eq!(wire.get("/photos/k").await.body.as_ref(), b"0123456789");
}

#[tokio::test]
async fn n101_checksums_are_computed_when_only_their_algorithm_is_named() {
    let wire = Wire::new().await;
    for (name, header) in [
        ("CRC32", "crc32"),
        ("CRC32C", "crc32c"),
        ("CRC64NVME", "crc64nvme"),
        ("SHA1", "sha1"),
        ("SHA256", "sha256"),
    ] {
        let reply =
            wire.send(put("/photos/k", b"x").header("x-amz-sdk-checksum-algorithm", name)).await.expect(200);
        let value = reply.header(&format!("x-amz-checksum-{header}")).unwrap().to_owned();
        let head = ask("HEAD", "/photos/k").header("x-amz-checksum-mode", "ENABLED");
        assert_eq!(wire.send(head).await.header(&format!("x-amz-checksum-{header}")), Some(value.as_str()));
        let ranged = get("/photos/k").header("x-amz-checksum-mode", "ENABLED").header("range", "bytes=0-");
        wire.send(ranged).await.expect(206);
    }
}
