//! Requests that are wrong in their head: signatures, clocks, names, sub-resources, too much of anything.

use std::time::Duration;

use runtime::Clock;
use testkit::wire::{Call, Keys, Wire, WireClient, encode};
use testkit::{ConfigBuilder, Orchestrator};
use types::Timestamp;

use crate::site::{Refused, Site, WITNESS};

fn ago(seconds: u64) -> Timestamp {
    Clock::system().now().minus(Duration::from_secs(seconds))
}

fn ahead(seconds: u64) -> Timestamp {
    Clock::system().now().plus(Duration::from_secs(seconds))
}

fn put() -> Call {
    Call::put(WITNESS, "an intruder")
}

/// Sends bytes as they stand.
async fn bytes(site: &Site, bytes: &[u8], method: &str) -> Refused {
    Wire::connect(&site.wire.address).await?.exchange(bytes, method).await
}

/// Sends a presigned PUT of a few bytes.
async fn presigned(site: &Site, target: &str) -> Refused {
    let head =
        format!("PUT {target} HTTP/1.1\r\nHost: {}\r\nContent-Length: 3\r\n\r\nnew", site.wire.address);
    bytes(site, head.as_bytes(), "PUT").await
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_and_clocks() {
    let site = Site::start().await;
    let with =
        |access: &str, secret: &str| WireClient { keys: Keys::new(access, secret), ..site.wire.clone() };
    let wrong = with(Orchestrator::ACCESS_KEY, "not the secret");
    site.check("a wrong secret", &["403 SignatureDoesNotMatch"], wrong.send(&put()).await).await;
    let unknown = with("NOBODY", Orchestrator::SECRET_KEY);
    site.check("an unknown key", &["403 InvalidAccessKeyId"], unknown.send(&put()).await).await;
    for (what, at) in [("late", ago(16 * 60)), ("early", ahead(16 * 60))] {
        let head = site.wire.signed_at(&put(), at);
        let outcome = site.send_raw(&head, b"an intruder", "PUT").await;
        site.check(what, &["403 RequestTimeTooSkewed"], outcome).await;
    }
    let moved = site.tampered(&put(), "PUT /b/witness", "PUT /b/dir/other").await;
    site.check("another path than was signed", &["403 SignatureDoesNotMatch"], moved).await;
    let changed =
        site.tampered(&put().header("x-amz-meta-a", "1"), "x-amz-meta-a: 1", "x-amz-meta-a: 2").await;
    site.check("another header than was signed", &["403 SignatureDoesNotMatch"], changed).await;
    let added = site.tampered(&put(), "authorization:", "x-amz-meta-a: 2\r\nauthorization:").await;
    site.check("n114: an x-amz header that is not signed", &["403 AccessDenied"], added).await;
    let region = site.tampered(&put(), "/us-east-1/", "/mars-north-1/").await;
    site.check("another region", &["400 AuthorizationHeaderMalformed", "403 SignatureDoesNotMatch"], region)
        .await;
    let service = site.tampered(&put(), "/s3/aws4", "/sts/aws4").await;
    site.check(
        "another service",
        &["400 AuthorizationHeaderMalformed", "403 SignatureDoesNotMatch"],
        service,
    )
    .await;
    let broken = site.tampered(&put(), "Credential=", "Cred=").await;
    site.check("half a header", &["400 AuthorizationHeaderMalformed"], broken).await;
    let head = format!("PUT {WITNESS} HTTP/1.1\r\nHost: {}\r\nContent-Length: 1\r\n\r\nx", site.wire.address);
    site.check("no signature", &["403 AccessDenied"], bytes(&site, head.as_bytes(), "PUT").await).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n114_presigned_urls() {
    let site = Site::start().await;
    let call = Call::new("PUT", WITNESS);
    let expired = site.wire.presigned(&call, ago(120), 60);
    site.check("an expired one", &["403 AccessDenied"], presigned(&site, &expired).await).await;
    let future = site.wire.presigned(&call, ahead(20 * 60), 600);
    let expected = ["403 AccessDenied", "403 RequestTimeTooSkewed"];
    site.check("n114: one of the future", &expected, presigned(&site, &future).await).await;
    let week = site.wire.presigned(&call, ago(0), 604_801);
    let expected = ["400 AuthorizationQueryParametersError"];
    site.check("one for more than a week", &expected, presigned(&site, &week).await).await;
    let other = site.wire.presigned(&Call::new("PUT", "/b/elsewhere"), ago(0), 60);
    let moved = other.replace("/b/elsewhere", WITNESS);
    site.check("one for another key", &["403 SignatureDoesNotMatch"], presigned(&site, &moved).await).await;
    let good = site.wire.presigned(&call, ago(0), 60);
    let longer = good.replace("X-Amz-Expires=60", "X-Amz-Expires=6000");
    site.check("one made longer", &["403 SignatureDoesNotMatch"], presigned(&site, &longer).await).await;
    let more = format!("{good}&x-id=PutObject");
    site.check("one with a parameter more", &["403 SignatureDoesNotMatch"], presigned(&site, &more).await)
        .await;
    let get = site.wire.presigned(&Call::get(WITNESS), ago(0), 60);
    site.check("one for another method", &["403 SignatureDoesNotMatch"], presigned(&site, &get).await).await;
    // And one that is as it should be, so that the rest proves something.
    assert_eq!(site.wire.plain("GET", &get).await.text(), "the witness");
    site.end().await;
}

/// C.9.1 and N17: the Go program took these for the plain operation of their method.
#[tokio::test(flavor = "multi_thread")]
async fn n17_sub_resources_never_fall_through() {
    let site = Site::start().await;
    for name in
        ["acl", "retention", "legal-hold", "torrent", "restore", "cors", "policy", "lifecycle", "object-lock"]
    {
        for method in ["PUT", "GET", "DELETE", "POST"] {
            for path in [WITNESS, "/b"] {
                let call = Call::new(method, path).flag(name).body(if method == "PUT" { "<X/>" } else { "" });
                let outcome = site.wire.send(&call).await;
                let answer = outcome.as_ref().expect("an answer");
                let what = format!("{method} {path}?{name}");
                assert!(matches!(answer.status, 501 | 405), "{what}: {} {}", answer.status, answer.text());
            }
        }
    }
    site.unchanged("sub-resources").await;
    for (method, expected) in [
        ("GET", &["404 NoSuchVersion"][..]),
        ("DELETE", &["404 NoSuchVersion"]),
        ("PUT", &["400 InvalidArgument", "404 NoSuchVersion"]),
    ] {
        let call = Call::new(method, WITNESS).query("versionId", "3HL4kqtJvjVBH40Nrjfkd");
        site.check(&format!("{method} of a version"), expected, site.send(&call).await).await;
    }
    let listed = "<Delete><Object><Key>witness</Key><VersionId>3HL4kq</VersionId></Object></Delete>";
    let answer = site.send(&Call::new("POST", "/b").flag("delete").body(listed)).await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (200, "NoSuchVersion"), "{}", answer.text());
    let copy = Call::new("PUT", "/b/copy").header("x-amz-copy-source", "/b/witness?versionId=3HL4kq");
    site.check("a copy of a version", &["404 NoSuchVersion"], site.send(&copy).await).await;
    assert_eq!(site.wire.ask(&Call::get(WITNESS).query("versionId", "null")).await.status, 200);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names() {
    let site = Site::start().await;
    let long = format!("/b/{}", "k".repeat(1025));
    site.check("a long key", &["400 KeyTooLongError"], site.send(&Call::put(&long, "x")).await).await;
    // 513 times two bytes: it is the bytes that count.
    let wide = format!("/b/{}", "ä".repeat(513));
    site.check("a key of wide letters", &["400 KeyTooLongError"], site.send(&Call::put(&wide, "x")).await)
        .await;
    let none = Call::put("/nobody/key", "x");
    site.check("no such bucket", &["404 NoSuchBucket"], site.send(&none).await).await;
    let head = format!("PUT /b/%FF%FE HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", site.wire.address);
    let outcome = bytes(&site, head.as_bytes(), "PUT").await;
    site.check("a key that is no text", &["400 InvalidURI", "403 AccessDenied"], outcome).await;
    let large = put().header("x-amz-meta-large", &"m".repeat(2049));
    site.check("large metadata", &["400 MetadataTooLarge"], site.send(&large).await).await;
    site.end().await;
}

/// What a head without measure may be answered.
const HEAD_TOO_LARGE: [&str; 3] = ["431 RequestHeaderSectionTooLarge", "400 InvalidRequest", "closed"];

#[tokio::test(flavor = "multi_thread")]
async fn heads_without_measure() {
    let site = Site::start().await;
    let many = (0..600).fold(put(), |call, index| call.header(&format!("x-amz-meta-{index}"), "v"));
    site.check("600 headers", &HEAD_TOO_LARGE, site.send(&many).await).await;
    let vast = put().header("x-amz-meta-vast", &"v".repeat(2 << 20));
    site.check("two megabytes of header", &HEAD_TOO_LARGE, site.send(&vast).await).await;
    let target = format!("/b/{}", "a".repeat(100_000));
    let outcome = site.send(&Call::put(&target, "x")).await;
    site.check(
        "a target without end",
        &["414 InvalidURI", HEAD_TOO_LARGE[0], "400 KeyTooLongError", "closed"],
        outcome,
    )
    .await;
    for (what, sent) in [
        ("no HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n"),
        ("no host", "GET /b/witness HTTP/1.1\r\n\r\n"),
        (
            "two lengths",
            "PUT /b/witness HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        ),
        ("a length below zero", "PUT /b/witness HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"),
        ("a header without end", "GET / HTTP/1.1\r\nHost"),
    ] {
        let mut wire = Wire::connect(&site.wire.address).await.unwrap();
        wire.write(sent.as_bytes()).await.unwrap();
        wire.finish().await.unwrap();
        let outcome = wire.answer_to("GET").await;
        assert!(outcome.is_err() || outcome.is_ok_and(|answer| answer.status >= 400), "{what} was answered");
    }
    site.unchanged("broken heads").await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_takes_for_ever_is_given_up() {
    let site = Site::start_with(ConfigBuilder::new().server("read_header_timeout: 1s")).await;
    let mut wire = Wire::connect(&site.wire.address).await.unwrap();
    wire.write(b"GET /b/witness HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
    // One byte at a time is no excuse: the head as a whole has its time.
    let drip = async {
        while wire.write(b"x").await.is_ok() {
            runtime::sleep(Duration::from_millis(200)).await;
        }
    };
    assert!(runtime::timeout(Duration::from_secs(20), drip).await.is_ok(), "it waits for ever");
    site.unchanged("a slow head").await;
    site.end().await;
}

/// N109 and the keys of the task: legal keys, however odd, round-trip and stay within their backend.
#[tokio::test(flavor = "multi_thread")]
async fn n109_hostile_keys_round_trip() {
    let site = Site::start().await;
    let longest = format!("long/{}", "x".repeat(1019));
    let keys = [
        "../escape",
        "../../../../etc/passwd",
        "a//b",
        "//",
        "/",
        "///lead",
        ".",
        "..",
        "./.",
        "a/../b",
        "a/./b",
        "trailing/",
        "nul\0inside",
        "new\nline",
        "tab\tcr\r",
        "\u{1}\u{7f}",
        "quote\"'<>&amp;",
        "per%cent%2F",
        "plus+and space",
        "back\\slash",
        "C:\\x",
        "q?x=1",
        "hash#tag",
        "star*[a-z]",
        "~tilde~01ARZ3.x",
        "=h",
        "%m",
        "%f",
        "x%m",
        ".s3-orchestrator/x",
        ".s3-orchestrator-tmp/x",
        "lost+found/x",
        "Ünïcödé ☃ 日本語 \u{1F980}",
        "e\u{301} and \u{e9}",
        "\u{202E}rtl",
        "\u{FFFF}",
        "-rf",
        &longest,
    ];
    for (index, key) in keys.iter().enumerate() {
        let path = format!("/b/odd/{key}");
        // With a prefix some would be too long.
        let path = if key.len() > 1000 { format!("/b/{key}") } else { path };
        let body = format!("{index}: {key:?}");
        site.wire.ask(&Call::put(&path, body.clone())).await.success(key);
        assert_eq!(site.wire.ask(&Call::get(&path)).await.success(key).text(), body);
        let bare = format!("/b/{key}");
        site.wire.ask(&Call::put(&bare, body.clone())).await.success(key);
    }
    for (index, key) in keys.iter().enumerate() {
        let held = site.wire.ask(&Call::get(&format!("/b/{key}"))).await.success(key);
        assert_eq!(held.text(), format!("{index}: {key:?}"), "another key's bytes");
    }
    let call = Call::get("/b").query("list-type", "2").query("encoding-type", "url");
    let listed = site.wire.ask(&call).await.success("list").elements("Key");
    let mut sorted: Vec<&str> = keys.to_vec();
    sorted.sort_unstable();
    let decoded: Vec<String> = listed.iter().map(|key| decode(key)).collect();
    for key in &sorted {
        assert!(decoded.iter().any(|listed| listed == key), "{key:?} is not listed: {listed:?}");
    }
    assert!(decoded.is_sorted(), "keys are in the order of their bytes");
    // Nothing has left its folder: beside the folders of the test there is nothing new.
    let outside: Vec<String> = std::fs::read_dir(site.orchestrator.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| {
            !["disk-0", "disk-1", "config.yaml", "log"].contains(&name.as_str())
                && !name.starts_with("catalog.db")
        })
        .collect();
    assert!(outside.is_empty(), "{outside:?}");
    for key in keys {
        site.wire.ask(&Call::new("DELETE", &format!("/b/{key}"))).await.success(key);
        if key.len() <= 1000 {
            site.wire.ask(&Call::new("DELETE", &format!("/b/odd/{key}"))).await.success(key);
        }
    }
    site.unchanged("odd keys that were deleted").await;
    site.end().await;
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
            }
            b'+' => bytes.push(b' '),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| panic!("{} is no text", encode(text, true)))
}
