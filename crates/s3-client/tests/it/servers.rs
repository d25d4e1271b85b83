//! The client against SeaweedFS and moto.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::StreamExt;
use s3_client::{ClientOptions, ErrorKind, Gone, PutBody, PutObject, S3Client, Versioning};
use testkit::{S3Server, shared_moto, shared_seaweed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use types::ByteRange;

use crate::common::{chunked, pattern, read};

/// Keys that both servers keep as they are, and that are spelled differently in a path, in a query, in
/// XML and in a listing.
const ODD_KEYS: &[&str] = &[
    "plain",
    "a b",
    "a+b",
    "a%2Bb",
    "a%20b",
    "100%",
    "a&b<c>\"d'",
    "ключ/鍵/é",
    "emoji-🦀",
    "a?b#c",
    "x=y;z,w:@!$()*",
    "~tilde~",
    "[]{}|^`",
];

async fn bucket(server: &S3Server) -> S3Client {
    S3Client::new(server.new_bucket().await).expect("the options are legal")
}

async fn put(client: &S3Client, key: &str, bytes: Bytes) {
    let put = PutObject { key, body: PutBody::Bytes(bytes), metadata: &[] };
    client.put_object(put).await.unwrap_or_else(|error| panic!("put {key:?}: {error}"));
}

async fn get(client: &S3Client, key: &str, range: Option<ByteRange>) -> Bytes {
    let object = client.get_object(key, range).await.unwrap_or_else(|error| panic!("get {key:?}: {error}"));
    let (length, bytes) = (object.length, read(object.body).await.expect("the body comes whole"));
    assert_eq!(bytes.len() as u64, length);
    bytes
}

async fn list(client: &S3Client, prefix: &str) -> (BTreeSet<String>, usize) {
    let (mut keys, mut token, mut pages) = (BTreeSet::new(), None, 0);
    loop {
        let page = client.list_objects(prefix, token.as_deref()).await.expect("a listing");
        pages += 1;
        for object in page.objects {
            assert!(keys.insert(object.key.clone()), "{} is listed twice", object.key);
        }
        token = page.next;
        if token.is_none() {
            return (keys, pages);
        }
    }
}

async fn bytes_round_trip(server: &S3Server) {
    let client = bucket(server).await;
    for size in [0, 1, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 20 << 20] {
        let data = pattern(size);
        put(&client, "whole", data.clone()).await;
        assert!(get(&client, "whole", None).await == data, "{size} bytes in memory changed");
        let metadata = [("s3o-size".to_owned(), size.to_string())];
        let body = chunked(&data, 60_007);
        client.put_object(PutObject { key: "streamed", body, metadata: &metadata }).await.unwrap();
        assert!(get(&client, "streamed", None).await == data, "{size} streamed bytes changed");
        let info = client.head_object("streamed").await.unwrap();
        assert_eq!((info.size, info.metadata.as_slice()), (size as u64, metadata.as_slice()));
        assert!(info.modified.is_some() && info.etag.is_some());
    }
    let data = pattern(20 << 20);
    for (start, length) in [(0, 1), ((20 << 20) - 1, 1), (8_388_607, 2), (1_000_000, 5_000_000)] {
        let range = ByteRange::new(start, length);
        let expected = data.slice(usize::try_from(start).unwrap()..usize::try_from(range.end()).unwrap());
        assert!(get(&client, "streamed", Some(range)).await == expected, "{range} came back changed");
    }
    let beyond = client.get_object("streamed", Some(ByteRange::new(20 << 20, 1))).await.err().unwrap();
    assert_eq!(beyond.kind, ErrorKind::RangeNotSatisfiable, "{beyond}");
    let across = client.get_object("streamed", Some(ByteRange::new((20 << 20) - 1, 2))).await.err().unwrap();
    assert_eq!(across.kind, ErrorKind::Corrupt, "{across}");
}

async fn odd_keys_round_trip(server: &S3Server) {
    let client = bucket(server).await;
    for key in ODD_KEYS {
        put(&client, key, Bytes::from(key.to_string())).await;
    }
    for key in ODD_KEYS {
        assert_eq!(get(&client, key, None).await, key.to_string());
        client.copy_object(key, &format!("copies/{key}")).await.unwrap();
    }
    let expected: BTreeSet<String> = ODD_KEYS.iter().map(|key| format!("copies/{key}")).collect();
    assert_eq!(list(&client, "copies/").await.0, expected);
    assert_eq!(list(&client, "a+").await.0, BTreeSet::from(["a+b".to_owned()]));
    assert_eq!(list(&client, "nothing/").await.0, BTreeSet::new());
    let copies: Vec<&str> = expected.iter().map(String::as_str).collect();
    for answer in client.delete_objects(&copies).await.unwrap() {
        assert_eq!(answer.unwrap(), Gone::default());
    }
    assert_eq!(list(&client, "copies/").await.0, BTreeSet::new());
    client.delete_object("a b").await.unwrap();
    client.delete_object("a b").await.unwrap();
    let gone = client.get_object("a b", None).await.err().unwrap();
    assert_eq!((gone.kind, gone.code.as_deref()), (ErrorKind::NotFound, Some("NoSuchKey")));
    assert_eq!(client.head_object("a b").await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(client.copy_object("a b", "x").await.unwrap_err().kind, ErrorKind::NotFound);
}

async fn listings_go_over_pages(server: &S3Server) {
    let client = bucket(server).await;
    let keys: BTreeSet<String> = (0..2_100).map(|i| format!("page/{}/{i:04} +%", i % 3)).collect();
    let puts = keys.iter().map(|key| put(&client, key, Bytes::from_static(b"x")));
    futures::stream::iter(puts).buffer_unordered(16).collect::<Vec<()>>().await;
    let (listed, pages) = list(&client, "page/").await;
    assert!(listed == keys, "{} of {} keys are listed", listed.len(), keys.len());
    assert_eq!(pages, 3);
    let first: Vec<&str> = keys.iter().take(1_000).map(String::as_str).collect();
    let answers = client.delete_objects(&first).await.unwrap();
    assert!(answers.iter().all(Result::is_ok) && answers.len() == 1_000);
    assert_eq!(list(&client, "page/").await.0.len(), 1_100);
}

async fn buckets_say_what_they_are(server: &S3Server) {
    let client = bucket(server).await;
    client.head_bucket().await.unwrap();
    assert_eq!(client.get_bucket_versioning().await.unwrap(), Versioning::Off);
    let missing = S3Client::new(server.options("no-such-bucket")).unwrap();
    assert!(missing.head_bucket().await.is_err());
    let error = missing.list_objects("", None).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Denied, Some("NoSuchBucket")));
}

/// A presigned URL is fetched with nothing but HTTP.
async fn a_presigned_url_works(server: &S3Server) {
    let client = bucket(server).await;
    put(&client, "dir/a +b", Bytes::from_static(b"presigned")).await;
    let url = client.presigned_get_url("dir/a +b", 60);
    let (host, target) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).unwrap();
    let answer = fetch(host, &format!("/{target}")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("presigned"), "{answer}");
}

async fn fetch(host: &str, target: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

macro_rules! on_both {
    ($($check:ident)*) => {
        mod seaweedfs {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $check() {
                super::$check(super::shared_seaweed().await).await;
            })*
        }
        mod moto {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $check() {
                super::$check(super::shared_moto().await).await;
            })*
        }
    };
}

on_both! {
    bytes_round_trip
    odd_keys_round_trip
    listings_go_over_pages
    buckets_say_what_they_are
    a_presigned_url_works
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_denied() {
    let server = shared_seaweed().await;
    let options = server.new_bucket().await;
    let mut wrong_secret = options.clone();
    wrong_secret.credentials.secret_access_key = "wrong".to_owned();
    let mut wrong_key = options.clone();
    wrong_key.credentials.access_key_id = "nobody".to_owned();
    for options in [wrong_secret, wrong_key] {
        let client = S3Client::new(options).unwrap();
        let put = PutObject { key: "k", body: PutBody::Bytes(Bytes::from_static(b"x")), metadata: &[] };
        let error = client.put_object(put).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "{error}");
        assert!(!error.to_string().contains("wrong"), "{error}");
        assert_eq!(client.list_objects("", None).await.unwrap_err().kind, ErrorKind::Denied);
    }
    let skewed = ClientOptions {
        clock: runtime::Clock::simulated(types::Timestamp::from_millis(1_369_353_600_000)),
        ..options
    };
    let error = S3Client::new(skewed).unwrap().list_objects("", None).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
}
