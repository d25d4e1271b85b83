//! Objects over the wire: put, get, head, ranges, conditions, copies, tags, attributes, deletes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Wire, ask, get, put};

#[tokio::test]
async fn n102_an_object_comes_back_as_it_was_put() {
    let wire = Wire::new().await;
    let request = put("/photos/a/b c+d.txt", b"hello")
        .header("content-type", "text/plain; charset=utf-8")
        .header("cache-control", "no-cache")
        .header("content-disposition", "attachment; filename=\"\u{e4}\"")
        .header("content-encoding", "gzip")
        .header("content-language", "de")
        .header("expires", "0")
        .header("x-amz-meta-colour", "blue")
        .header("x-amz-meta-name", "鍵")
        .header("x-amz-storage-class", "STANDARD_IA")
        .header("x-amz-tagging", "a=1&b=2")
        .header("content-md5", "XUFAKrxLKna5cZ2REBfFkg==")
        .header("x-amz-checksum-crc32", "NhCmhg==");
    let stored = wire.send(request).await.expect(200);
    assert_eq!(stored.etag(), "\"5d41402abc4b2a76b9719d911017c592\"");
    assert_eq!(stored.header("x-amz-checksum-crc32"), Some("NhCmhg=="));
    for method in ["GET", "HEAD"] {
        let reply =
            wire.send(ask(method, "/photos/a/b c+d.txt").header("x-amz-checksum-mode", "ENABLED")).await;
        let reply = reply.expect(200);
        assert_eq!(reply.body.as_ref(), if method == "GET" { b"hello".as_slice() } else { b"" });
        for (name, value) in [
            ("content-length", "5"),
            ("content-type", "text/plain; charset=utf-8"),
            ("cache-control", "no-cache"),
            ("content-encoding", "gzip"),
            ("content-language", "de"),
            ("expires", "0"),
            ("x-amz-meta-colour", "blue"),
            ("x-amz-storage-class", "STANDARD_IA"),
            ("x-amz-tagging-count", "2"),
            ("x-amz-checksum-crc32", "NhCmhg=="),
            ("x-amz-checksum-type", "FULL_OBJECT"),
            ("accept-ranges", "bytes"),
            ("etag", "\"5d41402abc4b2a76b9719d911017c592\""),
        ] {
            assert_eq!(reply.header(name), Some(value), "{method} {name}");
        }
        assert_eq!(reply.headers["x-amz-meta-name"].as_bytes(), "鍵".as_bytes());
        assert!(reply.header("last-modified").unwrap().ends_with(" GMT"));
    }
    let record = wire.last_record();
    assert_eq!((record.operation, record.status), ("HeadObject", 200));
}

#[tokio::test]
async fn an_empty_object_is_an_object() {
    let wire = Wire::new().await;
    wire.put("/photos/empty", b"").await;
    let reply = wire.get("/photos/empty").await.expect(200);
    assert_eq!((reply.header("content-length"), reply.body.len()), (Some("0"), 0));
    assert_eq!(reply.header("content-type"), Some("binary/octet-stream"));
    wire.send(get("/photos/empty").header("range", "bytes=0-0")).await.expect(416).fails("InvalidRange");
    wire.send(get("/photos/empty").query("partNumber=1")).await.expect(200);
}

#[tokio::test]
async fn keys_of_any_form_are_kept_apart_and_listed() {
    let wire = Wire::new().await;
    let keys = [
        "a//b",
        "a/b",
        "./x",
        "../x",
        "/lead",
        "a/",
        "new\nline",
        "nul\0l",
        "tab\t",
        "鍵/ключ",
        "a b",
        "a+b",
        "a%2Fb",
        "q?x=1",
        "#",
        "\u{1F600}",
        "<&>\"'",
    ];
    for key in keys {
        wire.put(&format!("/photos/{key}"), key.as_bytes()).await;
    }
    for key in keys {
        assert_eq!(
            wire.get(&format!("/photos/{key}")).await.expect(200).body.as_ref(),
            key.as_bytes(),
            "{key:?}"
        );
    }
    let list = wire.send(get("/photos").query("list-type=2&encoding-type=url")).await.expect(200);
    let mut sorted = keys.map(common::encode_path);
    sorted.sort_by_key(|key| {
        keys.iter().position(|k| common::encode_path(k) == *key).map(|i| keys[i].as_bytes())
    });
    assert_eq!(list.elements("Key"), sorted);
    let plain = wire.send(get("/photos").query("list-type=2&prefix=new")).await.expect(200);
    assert_eq!(plain.element("Key").as_deref(), Some("new&#xa;line"));
}

#[tokio::test]
async fn ranges_are_read_as_s3_reads_them() {
    let wire = Wire::new().await;
    wire.put("/photos/k", b"0123456789").await;
    for (range, status, body, content_range) in [
        ("bytes=2-4", 206, "234", Some("bytes 2-4/10")),
        ("bytes=7-", 206, "789", Some("bytes 7-9/10")),
        ("bytes=-3", 206, "789", Some("bytes 7-9/10")),
        ("bytes=-100", 206, "0123456789", Some("bytes 0-9/10")),
        ("bytes=8-100", 206, "89", Some("bytes 8-9/10")),
        ("bytes=5-2", 200, "0123456789", None),
        ("bytes=0-1,3-4", 200, "0123456789", None),
        ("nonsense", 200, "0123456789", None),
        ("bytes=10-", 416, "", Some("bytes */10")),
        ("bytes=-0", 416, "", Some("bytes */10")),
    ] {
        for method in ["GET", "HEAD"] {
            let reply = wire.send(ask(method, "/photos/k").header("range", range)).await.expect(status);
            assert_eq!(reply.header("content-range"), content_range, "{method} {range}");
            if status < 300 {
                assert_eq!(
                    reply.header("content-length"),
                    Some(body.len().to_string().as_str()),
                    "{method} {range}"
                );
                let expected = if method == "GET" { body.as_bytes() } else { b"" };
                assert_eq!(reply.body.as_ref(), expected, "{range}");
            }
        }
    }
    let both = get("/photos/k").header("range", "bytes=0-1").query("partNumber=1");
    wire.send(both).await.expect(400).fails("InvalidRequest");
    wire.send(get("/photos/k").query("partNumber=2")).await.expect(416).fails("InvalidPartNumber");
    wire.send(get("/photos/k").query("partNumber=0")).await.expect(400).fails("InvalidArgument");
}

#[tokio::test]
async fn n105_conditions_of_reads() {
    let wire = Wire::new().await;
    let etag = wire.put("/photos/k", b"0123456789").await.etag();
    let bare = etag.trim_matches('"').to_owned();
    let later = "Fri, 01 Jan 2100 00:00:00 GMT";
    let earlier = "Sat, 01 Jan 2000 00:00:00 GMT";
    for (name, value, status) in [
        ("if-match", etag.as_str(), 200),
        ("if-match", bare.as_str(), 200),
        ("if-match", "*", 200),
        ("if-match", "\"x\"", 412),
        ("if-none-match", etag.as_str(), 304),
        ("if-none-match", "\"x\", W/\"y\"", 200),
        ("if-none-match", "*", 304),
        ("if-modified-since", earlier, 200),
        ("if-modified-since", later, 304),
        ("if-unmodified-since", earlier, 412),
        ("if-unmodified-since", later, 200),
        ("if-modified-since", "not a date", 200),
    ] {
        for method in ["GET", "HEAD"] {
            let reply = wire.send(ask(method, "/photos/k").header(name, value)).await.expect(status);
            if status == 304 {
                assert_eq!((reply.etag(), reply.body.len()), (etag.clone(), 0));
            }
        }
    }
    for (value, status) in [(etag.as_str(), 206), ("\"x\"", 200), (earlier, 200)] {
        let request = get("/photos/k").header("range", "bytes=0-1").header("if-range", value);
        wire.send(request).await.expect(status);
    }
}

#[tokio::test]
async fn conditions_of_writes_are_decided_by_the_present_object() {
    let wire = Wire::new().await;
    let create = || put("/photos/k", b"one").header("if-none-match", "*");
    let etag = wire.send(create()).await.expect(200).etag();
    wire.send(create()).await.expect(412).fails("PreconditionFailed");
    wire.send(put("/photos/k", b"two").header("if-match", "\"x\"")).await.expect(412);
    wire.send(put("/photos/none", b"two").header("if-match", "\"x\"")).await.expect(404).fails("NoSuchKey");
    wire.send(ask("DELETE", "/photos/k").header("if-match", "\"x\"")).await.expect(412);
    wire.send(ask("DELETE", "/photos/k").header("if-match", &etag)).await.expect(204);
    wire.get("/photos/k").await.expect(404).fails("NoSuchKey");
    wire.send(ask("DELETE", "/photos/k")).await.expect(204);
}

/// An SDK repeats a call whose answer was lost: it had won, so it is told so.
#[tokio::test]
async fn the_retry_of_a_conditional_write_that_won_succeeds() {
    let wire = Wire::new().await;
    let create =
        |id: &str| put("/photos/k", b"one").header("if-none-match", "*").header("amz-sdk-invocation-id", id);
    wire.send(create("call-1")).await.expect(200);
    wire.send(create("call-1")).await.expect(200);
    wire.send(create("call-2")).await.expect(412);
}

#[tokio::test]
async fn response_headers_may_be_overridden() {
    let wire = Wire::new().await;
    wire.put("/photos/k", b"x").await;
    let request = get("/photos/k")
        .param("response-content-type", "text/x")
        .param("response-content-disposition", "attachment; filename=\"a b\"")
        .param("response-expires", "Thu, 01 Dec 1994 16:00:00 GMT");
    let reply = wire.send(request.clone()).await.expect(200);
    assert_eq!(reply.header("content-type"), Some("text/x"));
    assert_eq!(reply.header("content-disposition"), Some("attachment; filename=\"a b\""));
    assert_eq!(reply.header("expires"), Some("Thu, 01 Dec 1994 16:00:00 GMT"));
    wire.send(request.presigned(60)).await.expect(200);
    wire.send(get("/photos/k").param("response-content-type", "a\r\nb: c")).await.expect(400);
}

#[tokio::test]
async fn n103_a_copy_takes_or_replaces_what_the_source_has() {
    let wire = Wire::new().await;
    let source = put("/photos/a b", b"data").header("x-amz-meta-m", "1").header("content-type", "text/a");
    wire.send(source.header("x-amz-tagging", "t=1")).await.expect(200);
    let copy = |to: &str| ask("PUT", to).header("x-amz-copy-source", "/photos/a%20b");
    let reply = wire.send(copy("/backups/c")).await.expect(200);
    assert!(reply.element("LastModified").unwrap().ends_with('Z'));
    let copied = wire.get("/backups/c").await.expect(200);
    assert_eq!((copied.header("x-amz-meta-m"), copied.header("content-type")), (Some("1"), Some("text/a")));
    assert_eq!((copied.body.as_ref(), copied.header("x-amz-tagging-count")), (b"data".as_slice(), Some("1")));

    let replace =
        copy("/backups/c").header("x-amz-metadata-directive", "REPLACE").header("x-amz-meta-n", "2");
    wire.send(replace.header("x-amz-tagging-directive", "REPLACE")).await.expect(200);
    let copied = wire.get("/backups/c").await.expect(200);
    assert_eq!((copied.header("x-amz-meta-m"), copied.header("x-amz-meta-n")), (None, Some("2")));
    assert_eq!(copied.header("x-amz-tagging-count"), None);

    // A checksum that the source does not have is computed from its bytes, and takes the place of its own.
    for (target, algorithm) in [("/backups/crc", "CRC32"), ("/backups/sha", "SHA256")] {
        let reply = wire.send(copy(target).header("x-amz-checksum-algorithm", algorithm)).await.expect(200);
        let expected = engine::checksum_of(engine::Algorithm::parse(algorithm).unwrap(), b"data");
        assert_eq!(reply.element(&format!("Checksum{algorithm}")), Some(expected.clone()));
        let head = wire.send(ask("HEAD", target).header("x-amz-checksum-mode", "ENABLED")).await.expect(200);
        let header = format!("x-amz-checksum-{}", algorithm.to_lowercase());
        assert_eq!(head.header(&header), Some(&*expected));
        assert_eq!(wire.last_record().error, None);
    }
    let unknown = copy("/backups/crc").header("x-amz-checksum-algorithm", "MD4");
    wire.send(unknown).await.expect(400).fails("InvalidRequest");

    let classed = copy("/photos/a b").header("x-amz-storage-class", "GLACIER_IR");
    wire.send(classed).await.expect(200);
    let same = wire.get("/photos/a b").await.expect(200);
    assert_eq!(
        (same.header("x-amz-storage-class"), same.header("x-amz-meta-m")),
        (Some("GLACIER_IR"), Some("1"))
    );
    let classes = wire.send(get("/photos").query("list-type=2")).await.expect(200).elements("StorageClass");
    assert_eq!(classes, ["GLACIER_IR"]);
    let listed = wire.send(get("/backups")).await.expect(200).elements("StorageClass");
    assert_eq!(listed, ["STANDARD"; 3]);
    let head = wire.send(ask("HEAD", "/backups/c")).await.expect(200);
    assert_eq!(head.header("x-amz-storage-class"), None, "the standard class goes without saying");

    wire.send(copy("/photos/a b")).await.expect(400).fails("InvalidRequest");
    wire.send(ask("PUT", "/photos/x").header("x-amz-copy-source", "/photos/none"))
        .await
        .expect(404)
        .fails("NoSuchKey");
    wire.send(ask("PUT", "/photos/x").header("x-amz-copy-source", "/other/k"))
        .await
        .expect(403)
        .fails("AccessDenied");
    wire.send(ask("PUT", "/photos/x").header("x-amz-copy-source", "/void/k"))
        .await
        .expect(404)
        .fails("NoSuchBucket");
    wire.send(ask("PUT", "/photos/x").header("x-amz-copy-source", "photos/a%20b?versionId=7"))
        .await
        .expect(404)
        .fails("NoSuchVersion");
    wire.send(copy("/photos/x").header("x-amz-copy-source-if-match", "\"x\"")).await.expect(412);
    wire.send(copy("/photos/x").header("x-amz-copy-source-if-none-match", &same.etag())).await.expect(412);
    wire.send(copy("/backups/c").header("if-none-match", "*")).await.expect(412);
    wire.get("/photos/x").await.expect(404);
}

#[tokio::test]
async fn n104_tags_are_put_read_and_removed() {
    let wire = Wire::new().await;
    wire.put("/photos/k", b"x").await;
    let xml = "<Tagging><TagSet><Tag><Key>a&amp;b</Key><Value>1</Value></Tag></TagSet></Tagging>";
    let tagging = |method: &str| ask(method, "/photos/k").query("tagging");
    wire.send(tagging("PUT").body(xml)).await.expect(200);
    let reply = wire.send(tagging("GET")).await.expect(200);
    assert_eq!(
        (reply.element("Key").as_deref(), reply.element("Value").as_deref()),
        (Some("a&amp;b"), Some("1"))
    );
    assert_eq!(wire.get("/photos/k").await.header("x-amz-tagging-count"), Some("1"));
    wire.send(tagging("PUT").body("<Tagging>")).await.expect(400).fails("MalformedXML");
    let twice = "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag><Tag><Key>a</Key><Value>2</Value></Tag></TagSet></Tagging>";
    wire.send(tagging("PUT").body(twice)).await.expect(400).fails("InvalidTag");
    wire.send(tagging("PUT").body(xml).header("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="))
        .await
        .expect(400)
        .fails("BadDigest");
    wire.send(tagging("DELETE")).await.expect(204);
    assert_eq!(wire.send(tagging("GET")).await.expect(200).element("Key"), None);
    wire.send(ask("GET", "/photos/none").query("tagging")).await.expect(404).fails("NoSuchKey");
    assert_eq!(wire.get("/photos/k").await.body.as_ref(), b"x");
}

#[tokio::test]
async fn many_objects_are_deleted_at_once() {
    let wire = Wire::new().await;
    for key in ["a", "b", "c", "d<"] {
        wire.put(&format!("/photos/{key}"), b"x").await;
    }
    let delete = |body: &str| ask("POST", "/photos").query("delete").body(body);
    let reply = wire.send(delete(
        "<Delete><Object><Key>a</Key></Object><Object><Key>none</Key></Object><Object><Key>d&lt;</Key><VersionId>null</VersionId></Object>\
         <Object><Key>b</Key><VersionId>7</VersionId></Object><Object><Key>c</Key><ETag>\"x\"</ETag></Object></Delete>",
    ));
    let reply = reply.await.expect(200);
    assert_eq!(reply.elements("Deleted").len(), 3, "{}", reply.text());
    assert_eq!(reply.elements("Code"), ["NoSuchVersion", "PreconditionFailed"]);
    wire.get("/photos/a").await.expect(404);
    wire.get("/photos/b").await.expect(200);
    let quiet = "<Delete><Quiet>true</Quiet><Object><Key>b</Key></Object></Delete>";
    assert_eq!(wire.send(delete(quiet)).await.expect(200).elements("Deleted").len(), 0);
    let many = |n: usize| {
        let objects: String = (0..n).map(|i| format!("<Object><Key>{i}</Key></Object>")).collect();
        format!("<Delete>{objects}</Delete>")
    };
    wire.send(delete(&many(1000))).await.expect(200);
    wire.send(delete(&many(1001))).await.expect(400).fails("MalformedXML");
    wire.send(delete("<Delete/>")).await.expect(400).fails("MalformedXML");
    wire.send(delete("<!DOCTYPE x [<!ENTITY a \"b\">]><Delete>&a;</Delete>"))
        .await
        .expect(400)
        .fails("MalformedXML");
    wire.send(delete(&"x".repeat(9 << 20))).await.expect(400).fails("MaxMessageLengthExceeded");
}

#[tokio::test]
async fn attributes_are_told_as_asked_for() {
    let wire = Wire::new().await;
    wire.send(put("/photos/k", b"hello").header("x-amz-checksum-crc32", "NhCmhg==")).await.expect(200);
    let attributes =
        |list: &str| get("/photos/k").query("attributes").header("x-amz-object-attributes", list);
    let reply = wire.send(attributes("ETag,Checksum,ObjectParts,StorageClass,ObjectSize")).await.expect(200);
    assert_eq!(reply.element("ETag").as_deref(), Some("5d41402abc4b2a76b9719d911017c592"));
    assert_eq!(reply.element("ChecksumCRC32").as_deref(), Some("NhCmhg=="));
    assert_eq!(
        (reply.element("ObjectSize").as_deref(), reply.element("StorageClass").as_deref()),
        (Some("5"), Some("STANDARD"))
    );
    assert_eq!(reply.element("ObjectParts"), None);
    wire.send(attributes("Colour")).await.expect(400).fails("InvalidArgument");
    wire.send(get("/photos/k").query("attributes")).await.expect(400).fails("InvalidRequest");
}
