//! Multipart uploads over the wire.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{OTHER_KEY, OTHER_SECRET, Wire, ask, get, put};

async fn begin(wire: &Wire, path: &str) -> String {
    wire.send(ask("POST", path).query("uploads")).await.expect(200).element("UploadId").unwrap()
}

fn part(path: &str, upload: &str, number: &str, data: &[u8]) -> common::Ask {
    put(path, data).param("uploadId", upload).param("partNumber", number)
}

fn complete(path: &str, upload: &str, parts: &[(u32, &str)]) -> common::Ask {
    let parts: String = parts
        .iter()
        .map(|(number, etag)| {
            let etag = etag.replace('"', "&quot;");
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
        })
        .collect();
    let body = format!(
        "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{parts}</CompleteMultipartUpload>"
    );
    ask("POST", path).param("uploadId", upload).body(body)
}

#[tokio::test]
async fn parts_become_an_object() {
    let wire = Wire::new().await;
    let create = ask("POST", "/photos/big key").query("uploads").header("content-type", "text/x");
    let create = create.header("x-amz-meta-m", "1").header("x-amz-checksum-algorithm", "CRC32");
    let created = wire.send(create).await.expect(200);
    assert_eq!(created.header("x-amz-checksum-algorithm"), Some("CRC32"));
    let upload = created.element("UploadId").unwrap();
    let sum = |data: &[u8]| common::crc32(data);
    let mut etags = Vec::new();
    for (number, data) in [("1", "hello"), ("3", "world"), ("2", "wrong"), ("2", " and ")] {
        let ask = part("/photos/big key", &upload, number, data.as_bytes());
        let reply = wire.send(ask.header("x-amz-checksum-crc32", &sum(data.as_bytes()))).await.expect(200);
        etags.push(reply.etag());
    }
    let parts =
        wire.send(get("/photos/big key").param("uploadId", &upload).query("max-parts=2")).await.expect(200);
    assert_eq!(parts.elements("PartNumber"), ["1", "2"]);
    assert_eq!(
        (parts.element("IsTruncated").as_deref(), parts.element("NextPartNumberMarker").as_deref()),
        (Some("true"), Some("2"))
    );
    let rest = get("/photos/big key").param("uploadId", &upload).query("part-number-marker=2");
    assert_eq!(wire.send(rest).await.expect(200).elements("PartNumber"), ["3"]);
    let uploads = wire.send(get("/photos").query("uploads")).await.expect(200);
    assert_eq!(
        (uploads.element("Key").as_deref(), uploads.element("UploadId")),
        (Some("big key"), Some(upload.clone()))
    );

    let listed = [(1, etags[0].as_str()), (2, etags[3].as_str()), (3, etags[1].as_str())];
    let done = wire.send(complete("/photos/big key", &upload, &listed)).await.expect(200);
    assert_eq!(done.element("Location").as_deref(), Some("http://localhost:9000/photos/big%20key"));
    assert!(done.element("ETag").unwrap().ends_with("-3&quot;"), "{}", done.text());
    assert_eq!(done.element("ChecksumType").as_deref(), Some("COMPOSITE"));
    let again = wire.send(complete("/photos/big key", &upload, &listed)).await.expect(200);
    assert_eq!(again.element("ETag"), done.element("ETag"), "a repeated completion has the same answer");

    let object = wire.get("/photos/big key").await.expect(200);
    assert_eq!(
        (object.body.as_ref(), object.header("content-type")),
        (b"hello and world".as_slice(), Some("text/x"))
    );
    assert_eq!(object.header("x-amz-meta-m"), Some("1"));
    for method in ["GET", "HEAD"] {
        let second = wire.send(ask(method, "/photos/big key").query("partNumber=2")).await.expect(206);
        assert_eq!(
            (second.header("content-range"), second.header("x-amz-mp-parts-count")),
            (Some("bytes 5-9/15"), Some("3")),
            "{method}"
        );
        assert_eq!(second.body.as_ref(), if method == "GET" { b" and ".as_slice() } else { b"" });
        wire.send(ask(method, "/photos/big key").query("partNumber=4")).await.expect(416);
    }
    let attributes =
        get("/photos/big key").query("attributes").header("x-amz-object-attributes", "ObjectParts");
    let attributes = wire.send(attributes.header("x-amz-max-parts", "2")).await.expect(200);
    assert_eq!(
        (attributes.element("PartsCount").as_deref(), attributes.elements("Size")),
        (Some("3"), vec!["5".to_owned(), "5".into()])
    );
    assert_eq!(attributes.element("IsTruncated").as_deref(), Some("true"));
    assert_eq!(wire.send(get("/photos").query("uploads")).await.expect(200).element("Upload"), None);
}

#[tokio::test]
async fn n98_completions_that_do_not_fit_are_refused() {
    let wire = Wire::new().await;
    let upload = begin(&wire, "/photos/k").await;
    let a = wire.send(part("/photos/k", &upload, "1", b"aaaaa")).await.expect(200).etag();
    let b = wire.send(part("/photos/k", &upload, "2", b"b")).await.expect(200).etag();
    let c = wire.send(part("/photos/k", &upload, "3", b"c")).await.expect(200).etag();
    let many: Vec<(u32, &str)> = (1..=10_001).map(|n| (n.min(10_000), a.as_str())).collect();
    for (parts, code) in [
        (vec![], "MalformedXML"),
        (vec![(1, "\"x\"")], "InvalidPart"),
        (vec![(9, a.as_str())], "InvalidPart"),
        (vec![(2, b.as_str()), (1, a.as_str())], "InvalidPartOrder"),
        (vec![(1, a.as_str()), (1, a.as_str())], "InvalidPartOrder"),
        (vec![(1, a.as_str()), (2, b.as_str()), (3, c.as_str())], "EntityTooSmall"),
        (vec![(0, a.as_str())], "InvalidArgument"),
        (vec![(10_001, a.as_str())], "InvalidArgument"),
        (many, "MalformedXML"),
    ] {
        wire.send(complete("/photos/k", &upload, &parts)).await.expect(400).fails(code);
    }
    let broken = ask("POST", "/photos/k").param("uploadId", &upload).body("<CompleteMultipartUpload>");
    wire.send(broken).await.expect(400).fails("MalformedXML");
    for number in ["0", "10001", "-1", "x", ""] {
        wire.send(part("/photos/k", &upload, number, b"x")).await.expect(400).fails("InvalidArgument");
    }
    let conditional = complete("/photos/k", &upload, &[(1, &a)]).header("if-match", "\"x\"");
    wire.send(conditional).await.expect(404);
    wire.send(complete("/photos/k", &upload, &[(1, &a)]).header("if-none-match", "*")).await.expect(200);
    wire.get("/photos/k").await.expect(200);
}

/// C.9.4, N99: an upload belongs to one key of one bucket.
#[tokio::test]
async fn an_upload_is_bound_to_its_key() {
    let wire = Wire::new().await;
    let upload = begin(&wire, "/photos/k").await;
    for path in ["/photos/j", "/backups/k"] {
        wire.send(part(path, &upload, "1", b"x")).await.expect(404).fails("NoSuchUpload");
        wire.send(get(path).param("uploadId", &upload)).await.expect(404).fails("NoSuchUpload");
        wire.send(ask("DELETE", path).param("uploadId", &upload)).await.expect(404).fails("NoSuchUpload");
        wire.send(complete(path, &upload, &[(1, "\"x\"")])).await.expect(404).fails("NoSuchUpload");
    }
    let theirs = part("/other/k", &upload, "1", b"x").by(OTHER_KEY, OTHER_SECRET);
    wire.send(theirs).await.expect(404).fails("NoSuchUpload");
    wire.send(part("/photos/k", "nonsense", "1", b"x")).await.expect(404).fails("NoSuchUpload");
    wire.send(ask("DELETE", "/photos/k").param("uploadId", &upload)).await.expect(204);
    wire.send(part("/photos/k", &upload, "1", b"x")).await.expect(404).fails("NoSuchUpload");
}

#[tokio::test]
async fn a_part_may_be_copied() {
    let wire = Wire::new().await;
    wire.put("/backups/source", b"0123456789").await;
    let upload = begin(&wire, "/photos/k").await;
    let copy = |number: &str| {
        ask("PUT", "/photos/k")
            .param("uploadId", &upload)
            .param("partNumber", number)
            .header("x-amz-copy-source", "backups/source")
    };
    let first = wire.send(copy("1").header("x-amz-copy-source-range", "bytes=2-6")).await.expect(200);
    let second = wire.send(copy("2")).await.expect(200);
    wire.send(copy("3").header("x-amz-copy-source-range", "bytes=5-10"))
        .await
        .expect(400)
        .fails("InvalidArgument");
    wire.send(copy("3").header("x-amz-copy-source-range", "bytes=5-"))
        .await
        .expect(400)
        .fails("InvalidArgument");
    wire.send(copy("3").header("x-amz-copy-source-if-match", "\"x\"")).await.expect(412);
    let etags = [first, second].map(|reply| reply.element("ETag").unwrap().replace("&quot;", "\""));
    wire.send(complete("/photos/k", &upload, &[(1, &etags[0]), (2, &etags[1])])).await.expect(200);
    assert_eq!(wire.get("/photos/k").await.body.as_ref(), b"234560123456789");
}

#[tokio::test]
async fn uploads_are_listed_page_by_page() {
    let wire = Wire::new().await;
    for key in ["a/1", "a/2", "b", "b", "c"] {
        begin(&wire, &format!("/photos/{key}")).await;
    }
    let mut seen = Vec::new();
    let (mut key, mut upload) = (String::new(), String::new());
    for _ in 0..10 {
        let page = get("/photos")
            .query("uploads&max-uploads=1")
            .param("key-marker", &key)
            .param("upload-id-marker", &upload);
        let reply = wire.send(page).await.expect(200);
        seen.extend(reply.elements("Key"));
        if reply.element("IsTruncated").as_deref() == Some("false") {
            break;
        }
        key = reply.element("NextKeyMarker").unwrap();
        upload = reply.element("NextUploadIdMarker").unwrap_or_default();
    }
    assert_eq!(seen, ["a/1", "a/2", "b", "b", "c"]);
    let rolled = wire.send(get("/photos").query("uploads&delimiter=/&prefix=")).await.expect(200);
    assert_eq!(
        (rolled.elements("Key"), rolled.elements("CommonPrefixes")),
        (vec!["b".into(), "b".into(), "c".into()], vec!["<Prefix>a/</Prefix>".to_owned()])
    );
}

#[tokio::test]
async fn a_bucket_has_so_many_open_uploads_and_no_more() {
    let wire = Wire::new().await;
    for i in 0..20 {
        begin(&wire, &format!("/photos/{i}")).await;
    }
    wire.send(ask("POST", "/photos/one-more").query("uploads")).await.expect(503).fails("SlowDown");
    begin(&wire, "/backups/k").await;
}
