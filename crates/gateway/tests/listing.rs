//! Listings: pages of both versions, prefixes, encodings, markers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Wire, get};

async fn filled(keys: &[&str]) -> Wire {
    let wire = Wire::new().await;
    for key in keys {
        wire.put(&format!("/photos/{key}"), b"x").await;
    }
    wire
}

/// All pages of version 2: keys, then common prefixes.
async fn pages_v2(wire: &Wire, query: &str) -> (Vec<String>, Vec<String>, usize) {
    let (mut keys, mut prefixes, mut pages) = (Vec::new(), Vec::new(), 0);
    let mut token: Option<String> = None;
    loop {
        let mut ask = get("/photos").query("list-type=2").query(query);
        if let Some(token) = &token {
            ask = ask.param("continuation-token", token);
        }
        let reply = wire.send(ask).await.expect(200);
        pages += 1;
        let count: usize = reply.element("KeyCount").unwrap().parse().unwrap();
        let new = reply.elements("Key");
        let new_prefixes: Vec<String> = reply
            .elements("CommonPrefixes")
            .iter()
            .map(|p| p.replace("<Prefix>", "").replace("</Prefix>", ""))
            .collect();
        assert_eq!(count, new.len() + new_prefixes.len());
        keys.extend(new);
        prefixes.extend(new_prefixes);
        token = reply.element("NextContinuationToken");
        assert_eq!(reply.element("IsTruncated").unwrap() == "true", token.is_some());
        if token.is_none() {
            return (keys, prefixes, pages);
        }
    }
}

#[tokio::test]
async fn pages_go_through_everything_once() {
    let wire = filled(&["a/1", "a/2", "b", "c/1", "c/2/x", "d"]).await;
    let (keys, prefixes, pages) = pages_v2(&wire, "max-keys=1&delimiter=/").await;
    assert_eq!((keys, prefixes), (vec!["b".into(), "d".into()], vec!["a/".to_owned(), "c/".into()]));
    assert_eq!(pages, 4, "the last page says that it is the last");
    let (keys, ..) = pages_v2(&wire, "max-keys=4").await;
    assert_eq!(keys, ["a/1", "a/2", "b", "c/1", "c/2/x", "d"]);
    let (keys, prefixes, _) = pages_v2(&wire, "prefix=c/&delimiter=/").await;
    assert_eq!((keys, prefixes), (vec!["c/1".to_owned()], vec!["c/2/".to_owned()]));
    let (keys, ..) = pages_v2(&wire, "start-after=b").await;
    assert_eq!(keys, ["c/1", "c/2/x", "d"]);
}

#[tokio::test]
async fn the_first_version_goes_on_behind_a_marker() {
    let wire = filled(&["a/1", "a/2", "b", "c/1", "d"]).await;
    let mut seen = Vec::new();
    let mut marker = String::new();
    loop {
        let ask = get("/photos").query("max-keys=1&delimiter=/").param("marker", &marker);
        let reply = wire.send(ask).await.expect(200);
        seen.extend(reply.elements("Key"));
        seen.extend(reply.elements("CommonPrefixes"));
        match reply.element("NextMarker") {
            Some(next) => marker = next,
            None => break,
        }
    }
    assert_eq!(seen, ["<Prefix>a/</Prefix>", "b", "<Prefix>c/</Prefix>", "d"]);
    let plain = wire.send(get("/photos").query("max-keys=2")).await.expect(200);
    assert_eq!((plain.element("IsTruncated").as_deref(), plain.element("NextMarker")), (Some("true"), None));
    assert_eq!(plain.element("ID").as_deref(), Some("s3-orchestrator"));
}

#[tokio::test]
async fn n106_the_corners_of_parameters() {
    let wire = filled(&["a b", "ü"]).await;
    let list = |query: &str| get("/photos").query("list-type=2").query(query);
    let zero = wire.send(list("max-keys=0")).await.expect(200);
    assert_eq!(
        (zero.element("KeyCount").as_deref(), zero.element("IsTruncated").as_deref()),
        (Some("0"), Some("false"))
    );
    assert_eq!(
        wire.send(list("max-keys=5000")).await.expect(200).element("MaxKeys").as_deref(),
        Some("1000")
    );
    for query in
        ["max-keys=-1", "max-keys=x", "encoding-type=base64", "continuation-token=zzz", "continuation-token="]
    {
        wire.send(list(query)).await.expect(400).fails("InvalidArgument");
    }
    let encoded = wire.send(list("encoding-type=url&prefix=a &delimiter= ")).await.expect(200);
    assert_eq!(encoded.element("EncodingType").as_deref(), Some("url"));
    assert_eq!(encoded.elements("Prefix"), ["a%20"]);
    let owner = wire.send(list("fetch-owner=true")).await.expect(200);
    assert_eq!(owner.elements("Owner").len(), 2);
    assert_eq!(wire.send(list("prefix=a")).await.expect(200).elements("Owner").len(), 0);
    let entry = wire.send(list("prefix=a")).await.expect(200);
    assert_eq!(entry.element("ETag").as_deref(), Some("&quot;9dd4e461268c8034f5c8564e155c67a6&quot;"));
    let modified = entry.element("LastModified").unwrap();
    assert!(modified.ends_with('Z') && modified.as_bytes()[19] == b'.', "{modified}");
}

#[tokio::test]
async fn a_token_is_of_use_in_its_bucket_only() {
    let wire = filled(&["a", "b"]).await;
    let first = wire.send(get("/photos").query("list-type=2&max-keys=1")).await.expect(200);
    let token = first.element("NextContinuationToken").unwrap();
    let elsewhere = get("/backups").query("list-type=2").param("continuation-token", &token);
    wire.send(elsewhere).await.expect(400).fails("InvalidArgument");
}
