//! Requests whose body is not what their head says: lengths, digests, framing, XML, and clients that stop.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use testkit::ConfigBuilder;
use testkit::wire::{Call, SignedChunks, SignedHead, UNSIGNED_PAYLOAD, Wire, sha256_hex, unsigned_chunks};

use crate::site::{Refused, Site, WITNESS};
use crate::worker::content_md5;

const SIGNED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const SIGNED_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
/// Of "the new body", by Python's zlib: computed apart from the product.
const BODY: &[u8] = b"the new body";
const BODY_CRC32: &str = "x-amz-checksum-crc32:MlRRFg==";

fn put(body: &[u8]) -> Call {
    Call::put(WITNESS, body)
}

/// A PUT with a framed body of this length, decoded and encoded.
fn framed(form: &str, decoded: usize, encoded: usize) -> Call {
    Call::new("PUT", WITNESS)
        .header("x-amz-content-sha256", form)
        .header("content-encoding", "aws-chunked")
        .header("x-amz-decoded-content-length", &decoded.to_string())
        .header("content-length", &encoded.to_string())
}

/// Sends a head and some bytes, and then no more.
async fn stop_after(site: &Site, head: &SignedHead, bytes: &[u8]) -> Refused {
    let mut wire = Wire::connect(&site.wire.address).await?;
    wire.write(&head.bytes).await?;
    wire.write(bytes).await?;
    wire.finish().await?;
    wire.answer_to("PUT").await
}

#[tokio::test(flavor = "multi_thread")]
async fn n19_lengths_and_digests() {
    let site = Site::start().await;
    let short = put(b"ten bytes!").header("content-length", "20");
    let stopped = ["400 IncompleteBody"];
    let head = site.wire.signed(&short);
    site.check("a body that stops halfway", &stopped, stop_after(&site, &head, b"ten bytes!").await).await;
    // The head says 5: the rest is no part of this request, and the digest is not that of 5 bytes.
    let long = put(b"ten bytes!").header("content-length", "5");
    site.check("a body longer than declared", &["400 XAmzContentSHA256Mismatch"], site.send(&long).await)
        .await;
    let other = put(BODY).header("x-amz-content-sha256", &sha256_hex(b"another"));
    site.check("another SHA-256", &["400 XAmzContentSHA256Mismatch"], site.send(&other).await).await;
    let md5 = put(BODY).header("content-md5", &content_md5(b"another"));
    site.check("another MD5", &["400 BadDigest"], site.send(&md5).await).await;
    let md5 = put(BODY).header("content-md5", "bm90IGFuIE1ENQ==");
    site.check("an MD5 that is none", &["400 InvalidDigest"], site.send(&md5).await).await;
    for (algorithm, length) in [("crc32", 4), ("crc32c", 4), ("crc64nvme", 8), ("sha1", 20), ("sha256", 32)] {
        let header = format!("x-amz-checksum-{algorithm}");
        let wrong = put(BODY).header(&header, &STANDARD.encode(vec![1; length]));
        site.check(&format!("another {algorithm}"), &["400 BadDigest"], site.send(&wrong).await).await;
        let none = put(BODY).header(&header, &STANDARD.encode(vec![1; length + 1]));
        site.check(&format!("a {algorithm} that is none"), &["400 InvalidRequest"], site.send(&none).await)
            .await;
    }
    let two =
        put(BODY).header("x-amz-checksum-crc32", "AAAAAA==").header("x-amz-checksum-crc32c", "AAAAAA==");
    site.check("two checksums", &["400 InvalidRequest", "400 BadDigest"], site.send(&two).await).await;
    let none =
        put(BODY).header("transfer-encoding", "chunked").header("x-amz-content-sha256", UNSIGNED_PAYLOAD);
    let outcome = site.send_raw(&site.wire.signed(&none), b"3\r\nabc\r\n0\r\n\r\n", "PUT").await;
    site.check("no length", &["411 MissingContentLength"], outcome).await;
    let part = Call::put("/b/upload", BODY).query("uploadId", &site.upload).query("partNumber", "1");
    let part = part.header("content-md5", &content_md5(b"another"));
    site.check("a part with another MD5", &["400 BadDigest"], site.send(&part).await).await;
    let huge =
        put(b"").header("content-length", "6000000000000").header("x-amz-content-sha256", UNSIGNED_PAYLOAD);
    let outcome = site.send_raw(&site.wire.signed(&huge), b"x", "PUT").await;
    site.check("more than S3 takes", &["400 EntityTooLarge"], outcome).await;
    // And one that is right, so that the rest proves something.
    let right = Call::put("/b/right", BODY).header("content-md5", &content_md5(BODY));
    let right = right.header("x-amz-checksum-crc32", BODY_CRC32.split_once(':').unwrap().1);
    site.wire.ask(&right).await.success("the right digests");
    site.wire.ask(&Call::new("DELETE", "/b/right")).await.success("delete");
    site.unchanged("the right one, deleted").await;
    site.end().await;
}

/// Sends a body of signed chunks, changed by `change` after it was signed.
async fn signed_chunks(site: &Site, decoded: usize, change: impl Fn(Vec<u8>) -> Vec<u8>) -> Refused {
    let build = |head: &SignedHead| {
        change(SignedChunks::new(&site.wire.keys, head).chunk(&[1; 9000]).chunk(&[2; 500]).end())
    };
    // Its length stands in the head, and does not hang on the signatures.
    let length = build(&site.wire.signed(&framed(SIGNED, decoded, 0))).len();
    let head = site.wire.signed(&framed(SIGNED, decoded, length));
    site.send_raw(&head, &build(&head), "PUT").await
}

#[tokio::test(flavor = "multi_thread")]
async fn framing() {
    let site = Site::start().await;
    let flip = |at: usize| {
        move |mut body: Vec<u8>| {
            body[at] ^= 1;
            body
        }
    };
    let wrong = ["403 SignatureDoesNotMatch"];
    site.check("a flipped bit in a chunk", &wrong, signed_chunks(&site, 9500, flip(2000)).await).await;
    let outcome = signed_chunks(&site, 9500, |body| {
        let text = String::from_utf8_lossy(&body[..40]).into_owned();
        let digit = text.find("signature=").unwrap() + 10;
        flip(digit)(body)
    })
    .await;
    site.check("another signature of a chunk", &["403 SignatureDoesNotMatch", "400 InvalidRequest"], outcome)
        .await;
    let expected = ["400 IncompleteBody"];
    site.check("fewer bytes than announced", &expected, signed_chunks(&site, 10_000, |body| body).await)
        .await;
    site.check("more bytes than announced", &expected, signed_chunks(&site, 9_400, |body| body).await).await;
    let cut = |body: Vec<u8>| body[..body.len() - 90].to_vec();
    site.check(
        "no last chunk",
        &["400 IncompleteBody", "400 InvalidRequest"],
        signed_chunks(&site, 9500, cut).await,
    )
    .await;

    let absurd = format!("{:x};chunk-signature={}\r\n", 17 << 20, "0".repeat(64));
    let head = site.wire.signed(&framed(SIGNED, 64 << 20, 65 << 20));
    let outcome = site.send_raw(&head, absurd.as_bytes(), "PUT").await;
    site.check("a signed chunk of 17 MiB", &["400 InvalidRequest"], outcome).await;
    for (what, body, expected) in [
        ("a chunk without end", "FFFFFFFFFFFFFFFF\r\n", ["400 IncompleteBody", "400 InvalidRequest"]),
        ("a size with 17 digits", "11111111111111111\r\n", ["400 InvalidRequest", ""]),
        ("a size below zero", "-5\r\nhello\r\n0\r\n\r\n", ["400 InvalidRequest", ""]),
        ("a size that is none", "zz\r\nhello\r\n0\r\n\r\n", ["400 InvalidRequest", ""]),
        ("a chunk longer than its size", "2\r\nhello\r\n0\r\n\r\n", ["400 InvalidRequest", ""]),
    ] {
        let head = site.wire.signed(&framed(UNSIGNED_TRAILER, 5, 1000));
        let outcome = site.send_raw(&head, body.as_bytes(), "PUT").await;
        site.check(what, &expected, outcome).await;
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n18_trailers() {
    let site = Site::start().await;
    let trailer = |body: Vec<u8>, announced: &str| {
        let call = framed(UNSIGNED_TRAILER, BODY.len(), body.len()).header("x-amz-trailer", announced);
        (site.wire.signed(&call), body)
    };
    let wrong = unsigned_chunks(&[BODY], &["x-amz-checksum-crc32:AAAAAA=="]);
    let (head, body) = trailer(wrong, "x-amz-checksum-crc32");
    site.check("another CRC-32", &["400 BadDigest"], site.send_raw(&head, &body, "PUT").await).await;
    let (head, body) = trailer(unsigned_chunks(&[BODY], &[]), "x-amz-checksum-crc32");
    site.check("no trailer", &["400 InvalidRequest"], site.send_raw(&head, &body, "PUT").await).await;
    let none = unsigned_chunks(&[BODY], &["x-amz-checksum-crc32:no!"]);
    let (head, body) = trailer(none, "x-amz-checksum-crc32");
    site.check(
        "a trailer that is no checksum",
        &["400 InvalidRequest"],
        site.send_raw(&head, &body, "PUT").await,
    )
    .await;
    let endless = "x-amz-meta-a:b\r\n".repeat(10_000);
    let (head, body) = trailer(unsigned_chunks(&[BODY], &[&endless]), "x-amz-checksum-crc32");
    site.check("a trailer without end", &["400 InvalidRequest"], site.send_raw(&head, &body, "PUT").await)
        .await;

    for (what, line, flip, expected) in [
        ("another trailer, signed", "x-amz-checksum-crc32:AAAAAA==", false, "400 BadDigest"),
        ("the right trailer with another signature", BODY_CRC32, true, "403 SignatureDoesNotMatch"),
    ] {
        let build = |head: &SignedHead| {
            let mut body = SignedChunks::new(&site.wire.keys, head).chunk(BODY).end_with_trailer(line);
            if flip {
                let digit = body.len() - 10;
                body[digit] = if body[digit] == b'0' { b'1' } else { b'0' };
            }
            body
        };
        let call = |length| {
            framed(SIGNED_TRAILER, BODY.len(), length).header("x-amz-trailer", "x-amz-checksum-crc32")
        };
        let length = build(&site.wire.signed(&call(0))).len();
        let head = site.wire.signed(&call(length));
        site.check(what, &[expected], site.send_raw(&head, &build(&head), "PUT").await).await;
    }
    // Right ones of both kinds.
    let right = unsigned_chunks(&[&BODY[..5], &BODY[5..]], &[BODY_CRC32]);
    let call =
        framed(UNSIGNED_TRAILER, BODY.len(), right.len()).header("x-amz-trailer", "x-amz-checksum-crc32");
    let call = Call { path: "/b/right".to_owned(), ..call };
    site.send_raw(&site.wire.signed(&call), &right, "PUT").await.unwrap().success("an unsigned trailer");
    assert_eq!(site.wire.ask(&Call::get("/b/right")).await.body, BODY);
    let build =
        |head: &SignedHead| SignedChunks::new(&site.wire.keys, head).chunk(BODY).end_with_trailer(BODY_CRC32);
    let call = |length| {
        let call = framed(SIGNED_TRAILER, BODY.len(), length).header("x-amz-trailer", "x-amz-checksum-crc32");
        Call { path: "/b/right".to_owned(), ..call }
    };
    let length = build(&site.wire.signed(&call(0))).len();
    let head = site.wire.signed(&call(length));
    site.send_raw(&head, &build(&head), "PUT").await.unwrap().success("a signed trailer");
    assert_eq!(site.wire.ask(&Call::get("/b/right")).await.body, BODY);
    site.wire.ask(&Call::new("DELETE", "/b/right")).await.success("delete");
    site.unchanged("the right ones, deleted").await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn xml() {
    let site = Site::start().await;
    let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\">\
                <!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;\">]>";
    let outside = "<!DOCTYPE x [<!ENTITY f SYSTEM \"file:///etc/passwd\">]>";
    let part = "<Part><PartNumber>1</PartNumber><ETag>e</ETag></Part>";
    let deep = "<a>".repeat(20_000);
    let parts: String = (1..=10_001)
        .map(|number| format!("<Part><PartNumber>{number}</PartNumber><ETag>e</ETag></Part>"))
        .collect();
    let complete = |inner: &str| format!("<CompleteMultipartUpload>{inner}</CompleteMultipartUpload>");
    let keys: String = (0..1001).map(|key| format!("<Object><Key>{key}</Key></Object>")).collect();
    let witness = "<Object><Key>witness</Key></Object>";
    let malformed = &["400 MalformedXML"][..];
    for (what, body, expected) in [
        ("no XML", "not xml".to_owned(), malformed),
        ("nothing", String::new(), malformed),
        ("an empty list", complete(""), malformed),
        ("XML that stops", "<CompleteMultipartUpload><Part>".to_owned(), malformed),
        (
            "a bomb",
            format!("{bomb}{}", complete("<Part><PartNumber>1</PartNumber><ETag>&c;</ETag></Part>")),
            malformed,
        ),
        (
            "an entity from outside",
            format!("{outside}{}", complete("<Part><PartNumber>1</PartNumber><ETag>&f;</ETag></Part>")),
            malformed,
        ),
        ("very deep", deep.clone(), &["400 MalformedXML", "400 MaxMessageLengthExceeded"]),
        ("10,001 parts", complete(&parts), &["400 MalformedXML", "400 InvalidArgument"]),
        (
            "part 0",
            complete("<Part><PartNumber>0</PartNumber><ETag>e</ETag></Part>"),
            &["400 InvalidPart", "400 InvalidArgument", "400 MalformedXML"],
        ),
        ("a part twice", complete(&part.repeat(2)), &["400 InvalidPartOrder"]),
        (
            "a part that is not there",
            complete("<Part><PartNumber>7</PartNumber><ETag>e</ETag></Part>"),
            &["400 InvalidPart"],
        ),
        ("another tag", complete(part), &["400 InvalidPart"]),
    ] {
        let call = Call::new("POST", "/b/upload").query("uploadId", &site.upload).body(body);
        site.check(&format!("complete: {what}"), expected, site.send(&call).await).await;
    }
    for (what, body) in [
        ("no XML", "not xml".to_owned()),
        ("a bomb", format!("{bomb}<Delete>{witness}<Object><Key>&c;</Key></Object></Delete>")),
        ("1,001 keys", format!("<Delete>{witness}{keys}</Delete>")),
        ("XML that stops", format!("<Delete>{witness}")),
        ("two documents", format!("<Delete>{witness}</Delete><Delete>{witness}</Delete>")),
    ] {
        let call =
            Call::new("POST", "/b").flag("delete").header("content-md5", &content_md5(body.as_bytes()));
        site.check(&format!("delete: {what}"), malformed, site.send(&call.body(body)).await).await;
    }
    let wrong = Call::new("POST", "/b").flag("delete").header("content-md5", &content_md5(b"another"));
    let wrong = wrong.body(format!("<Delete>{witness}</Delete>"));
    site.check("delete: another MD5", &["400 BadDigest"], site.send(&wrong).await).await;
    let tags = |tags: &str| {
        Call::put(WITNESS, format!("<Tagging><TagSet>{tags}</TagSet></Tagging>")).flag("tagging")
    };
    let eleven: String = (0..11).map(|key| format!("<Tag><Key>{key}</Key><Value>v</Value></Tag>")).collect();
    let expected = ["400 BadRequest", "400 InvalidTag"];
    site.check("eleven tags", &expected, site.send(&tags(&eleven)).await).await;
    let twice = "<Tag><Key>k</Key><Value>v</Value></Tag>".repeat(2);
    site.check("a tag twice", &["400 InvalidTag"], site.send(&tags(&twice)).await).await;
    site.check("tags of no XML", malformed, site.send(&Call::put(WITNESS, "x").flag("tagging")).await).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn part_numbers() {
    let site = Site::start().await;
    for number in ["0", "10001", "-1", "abc", "", "99999999999999999999"] {
        let call = Call::put("/b/upload", BODY).query("uploadId", &site.upload).query("partNumber", number);
        site.check(&format!("part {number:?}"), &["400 InvalidArgument"], site.send(&call).await).await;
    }
    let none = Call::put("/b/upload", BODY).query("uploadId", &site.upload);
    site.check("no part number", &["400 InvalidArgument"], site.send(&none).await).await;
    let no_upload = Call::put(WITNESS, BODY).query("partNumber", "1");
    site.check("no upload", &["400 InvalidArgument"], site.send(&no_upload).await).await;
    for upload in ["nonsense", "", "01ARZ3NDEKTSV4RRFFQ69G5FAV"] {
        let call = Call::put("/b/upload", BODY).query("uploadId", upload).query("partNumber", "1");
        let expected = ["404 NoSuchUpload", "400 InvalidArgument"];
        site.check(&format!("upload {upload:?}"), &expected, site.send(&call).await).await;
    }
    // An upload is bound to its key.
    let other = Call::put(WITNESS, BODY).query("uploadId", &site.upload).query("partNumber", "1");
    site.check("n99: another key's upload", &["404 NoSuchUpload"], site.send(&other).await).await;
    site.end().await;
}

/// Puts an object byte by byte, in more than the time for which it must not be silent. False where the machine
/// made it silent for about that long: then it proves nothing.
async fn slow_put(site: &Site, limit: Duration) -> bool {
    let slow = Call::put("/b/slow", "slowly");
    let mut wire = Wire::connect(&site.wire.address).await.unwrap();
    let mut last = runtime::instant_now();
    wire.write(&site.wire.signed(&slow).bytes).await.unwrap();
    for byte in &slow.body {
        runtime::sleep(limit / 4).await;
        let written = wire.write(&[*byte]).await;
        if last.elapsed() > limit / 2 {
            return false;
        }
        written.unwrap();
        last = runtime::instant_now();
    }
    wire.answer_to("PUT").await.unwrap().success("a byte now and then");
    true
}

/// A client may be as slow as it likes while bytes come; one that falls silent is given up.
#[tokio::test(flavor = "multi_thread")]
async fn slow_and_silent_clients() {
    let limits = ConfigBuilder::new().server("read_header_timeout: 8s").server("read_timeout: 8s");
    let site = Site::start_with(limits).await;
    let mut tries = 0;
    while !slow_put(&site, Duration::from_secs(8)).await {
        tries += 1;
        assert!(tries < 5, "this machine is too busy for a client that sends a byte every two seconds");
    }
    assert_eq!(site.wire.ask(&Call::get("/b/slow")).await.text(), "slowly");
    site.wire.ask(&Call::new("DELETE", "/b/slow")).await.success("delete");

    let call = put(&[1; 100_000]);
    let mut silent = Wire::connect(&site.wire.address).await.unwrap();
    silent.write(&site.wire.signed(&call).bytes).await.unwrap();
    silent.write(&call.body[..50_000]).await.unwrap();
    let outcome = silent.answer_to("PUT").await;
    site.check("a silent client", &["400 RequestTimeout", "closed"], outcome).await;
    site.end().await;
}

/// Clients that vanish anywhere in a request leave nothing, not even on the disks.
#[tokio::test(flavor = "multi_thread")]
async fn vanished_clients() {
    let site = Site::start().await;
    let size = 6 << 20;
    for sent in [0, 1, 65_536, 3 << 20, size - 1] {
        let call = put(&vec![5; size]);
        let mut wire = Wire::connect(&site.wire.address).await.unwrap();
        wire.write(&site.wire.signed(&call).bytes).await.unwrap();
        wire.write(&call.body[..sent]).await.unwrap();
        drop(wire);
        let part =
            Call::put("/b/upload", vec![6; size]).query("uploadId", &site.upload).query("partNumber", "1");
        let mut wire = Wire::connect(&site.wire.address).await.unwrap();
        wire.write(&site.wire.signed(&part).bytes).await.unwrap();
        wire.write(&part.body[..sent]).await.unwrap();
        drop(wire);
        site.unchanged(&format!("vanished after {sent} bytes")).await;
    }
    site.end().await;
}
