//! Objects through the engine, on backends that are well.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use catalog::{Client, MatchTags, Precondition, Want};
use common::{House, Plan, body, bytes, key};
use engine::{BodyFault, CopyObject, CopyPart, EngineError, Expected, ReadConditions, Settings, Source};
use types::Md5;

#[tokio::test]
async fn bodies_of_every_size_come_back() {
    let settings = Settings { factor: 2, window_bytes: 256 * 1024, ..Settings::default() };
    let house = House::build(Plan { settings, ..Plan::default() }).await;
    for size in [0, 1, 65_535, 65_536, 65_537, 256 * 1024, 256 * 1024 + 1, 1_500_000] {
        let data = bytes(size, size as u64);
        let stored = house.put("k", &data).await.unwrap();
        assert_eq!(stored.backends.len(), 2);
        assert!(stored.etag.md5().is_some());
        assert_eq!(house.get("k").await.unwrap(), data, "{size} bytes");
    }
    assert_eq!(house.live().await, [1, 1]);
    house.audit().await;
}

#[tokio::test]
async fn ranges_are_exact() {
    let house = House::new().await;
    let data = bytes(200_000, 1);
    house.put("k", &data).await.unwrap();
    let check = async |want, expected: std::ops::Range<usize>| {
        assert_eq!(house.get_want("k", want).await.unwrap(), data[expected], "{want:?}");
    };
    check(Want::From { start: 0, last: Some(0) }, 0..1).await;
    check(Want::From { start: 65_535, last: Some(65_536) }, 65_535..65_537).await;
    check(Want::From { start: 131_072, last: None }, 131_072..200_000).await;
    check(Want::From { start: 199_999, last: Some(1_000_000) }, 199_999..200_000).await;
    check(Want::Last(3), 199_997..200_000).await;
    check(Want::Last(1_000_000), 0..200_000).await;
    let beyond = house.get_want("k", Want::From { start: 200_000, last: None }).await;
    assert!(matches!(beyond, Err(EngineError::RangeNotSatisfiable { size: 200_000 })));
}

#[tokio::test]
async fn a_bad_body_leaves_nothing_anywhere() {
    let settings = Settings { factor: 2, window_bytes: 100_000, ..Settings::default() };
    let house = House::build(Plan { settings, ..Plan::default() }).await;
    for size in [10, 500_000] {
        let data = bytes(size, 2);
        let mut wrong_digest = house.put_request("k", &data);
        wrong_digest.body.expected = Expected { md5: Some(Md5([7; 16])), ..Expected::default() };
        let mut short = house.put_request("k", &data);
        short.body.length += 1;
        let mut long = house.put_request("k", &data);
        long.body.length -= 1;
        for request in [wrong_digest, short, long] {
            let error = house.engine.put_object(request).await.err().unwrap();
            assert!(matches!(error, EngineError::Body(_)), "{error}");
        }
        assert!(matches!(house.get("k").await, Err(EngineError::NoSuchKey)));
        house.audit().await;
        assert_eq!(house.live().await, [0, 0]);
        assert!(house.catalog.replicas(None, 10).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_client_that_goes_away_halfway_leaves_nothing() {
    let settings = Settings { window_bytes: 100_000, ..Settings::default() };
    let house = House::build(Plan { settings, ..Plan::default() }).await;
    let mut request = house.put_request("k", &bytes(500_000, 3));
    let first = body(&bytes(300_000, 3), 1000).stream;
    let gone = futures::stream::iter([Err(BodyFault::Disconnected("reset".to_owned()))]);
    request.body.stream = Box::pin(futures::StreamExt::chain(first, gone));
    assert!(matches!(house.engine.put_object(request).await, Err(EngineError::Body(_))));
    house.audit().await;
    assert!(house.catalog.replicas(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_request_that_is_dropped_halfway_is_given_up() {
    let settings = Settings { window_bytes: 100_000, ..Settings::default() };
    let house = House::build(Plan { settings, ..Plan::default() }).await;
    let mut request = house.put_request("k", &bytes(500_000, 4));
    let first = body(&bytes(300_000, 4), 1000).stream;
    request.body.stream = Box::pin(futures::StreamExt::chain(first, futures::stream::pending()));
    let put = house.engine.put_object(request);
    assert!(runtime::timeout(std::time::Duration::from_millis(200), put).await.is_err());
    house.audit().await;
    assert!(house.catalog.replicas(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn n52_overwrites_and_deletes_give_the_bytes_back_and_no_sooner() {
    let house = House::new().await;
    house.put("k", &bytes(1000, 5)).await.unwrap();
    let reading = house.open("k", Want::Whole).await.unwrap();
    house.put("k", &bytes(2000, 6)).await.unwrap();
    house.reap().await;
    let charged = |totals: catalog::Totals| totals.backends[0].charged;
    assert_eq!(charged(house.catalog.totals().await.unwrap()), 3000, "a reader still holds the old bytes");
    drop(reading);
    house.audit().await;
    assert_eq!(charged(house.catalog.totals().await.unwrap()), 2000);
    assert!(house.delete("k").await);
    assert!(!house.delete("k").await);
    house.audit().await;
    assert_eq!(charged(house.catalog.totals().await.unwrap()), 0);
}

#[tokio::test]
async fn quota_is_exact_under_racing_writes() {
    let settings = Settings { factor: 1, ..Settings::default() };
    let house = House::build(Plan { backends: 2, quota: Some(10_000), settings, ..Plan::default() }).await;
    let puts = (0..50).map(|i| {
        let house = &house;
        async move { house.put(&format!("k{i}"), &bytes(1000, i)).await }
    });
    let answers = futures::future::join_all(puts).await;
    let stored = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(stored, 20, "two backends with room for ten each");
    let refused = answers.into_iter().filter_map(Result::err);
    assert!(refused.into_iter().all(|error| matches!(error, EngineError::OutOfSpace { size: 1000 })));
    assert_eq!(house.live().await, [10, 10]);
    house.audit().await;
}

#[tokio::test]
async fn one_of_many_racing_creators_wins() {
    let house = House::new().await;
    let puts = (0..50).map(|i| {
        let mut request = house.put_request("k", &bytes(100, i));
        request.precondition =
            Precondition { if_none_match: Some(MatchTags::Any), ..Precondition::default() };
        house.engine.put_object(request)
    });
    let answers = futures::future::join_all(puts).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    house.audit().await;
    assert_eq!(house.live().await, [1, 1]);
}

#[tokio::test]
async fn an_sdks_own_retry_of_a_write_that_had_won_is_a_success() {
    let house = House::new().await;
    let request = |data: &[u8]| {
        let mut request = house.put_request("k", data);
        request.precondition =
            Precondition { if_none_match: Some(MatchTags::Any), ..Precondition::default() };
        request.client = Client { access_key: "AK".to_owned(), invocation: Some("call-1".to_owned()) };
        request
    };
    let data = bytes(100, 9);
    let first = house.engine.put_object(request(&data)).await.unwrap();
    let again = house.engine.put_object(request(&data)).await.unwrap();
    assert_eq!((first.etag, first.modified), (again.etag, again.modified));
    let other = house.engine.put_object(request(&bytes(100, 10))).await;
    assert!(matches!(other, Err(EngineError::PreconditionFailed)));
    house.audit().await;
    assert_eq!(house.live().await, [1, 1]);
}

#[tokio::test]
async fn a_body_above_the_largest_put_becomes_several_blobs() {
    let settings = Settings { factor: 2, window_bytes: 20_000, ..Settings::default() };
    let plan = Plan { put_bytes_max: Some(70_000), settings, ..Plan::default() };
    let house = House::build(plan).await;
    let data = bytes(250_000, 11);
    house.put("k", &data).await.unwrap();
    assert_eq!(house.live().await, [4, 4]);
    assert_eq!(house.get("k").await.unwrap(), data);
    let middle = house.get_want("k", Want::From { start: 69_999, last: Some(140_000) }).await.unwrap();
    assert_eq!(middle, data[69_999..=140_000]);
    house.audit().await;
    house.delete("k").await;
    house.audit().await;
    assert_eq!(house.live().await, [0, 0]);
}

fn source(house: &House, name: &str) -> Source {
    Source { bucket: house.bucket.clone(), key: key(name), conditions: ReadConditions::default() }
}

#[tokio::test]
async fn n45_copies_move_no_byte_and_outlive_their_source() {
    let house = House::new().await;
    let data = bytes(100_000, 12);
    house.put("a", &data).await.unwrap();
    let copy = CopyObject {
        source: source(&house, "a"),
        bucket: house.other_bucket.clone(),
        key: key("b"),
        precondition: Precondition::default(),
        replace_metadata: Some((Default::default(), vec![("m".to_owned(), "1".to_owned())])),
        replace_tags: None,
        checksum: None,
        client: Client::default(),
    };
    house.engine.copy_object(copy).await.unwrap();
    assert_eq!(house.live().await, [1, 1]);
    house.delete("a").await;
    house.audit().await;
    assert_eq!(house.live().await, [1, 1]);
    let mut get = house.get_request("b", Want::Whole);
    get.bucket = house.other_bucket.clone();
    let engine::Read::Found(opened) = house.engine.get_object(get).await.unwrap() else { panic!() };
    assert_eq!(opened.object.state.metadata, [("m".to_owned(), "1".to_owned())]);
}

#[tokio::test]
async fn n39_n40_multipart_parts_make_an_object_without_moving_a_byte() {
    let settings = Settings { factor: 2, part_bytes_min: 1000, ..Settings::default() };
    let house = House::build(Plan { settings, ..Plan::default() }).await;
    let upload = house.begin_upload("k").await;
    let (one, three, late) = (bytes(70_000, 1), bytes(1_000, 2), bytes(10, 3));
    // Out of order, with a gap, one sent twice and one not listed.
    let p9 = house.put_part("k", upload, 9, &late).await.unwrap();
    let p3 = house.put_part("k", upload, 3, &three).await.unwrap();
    house.put_part("k", upload, 1, &bytes(5_000, 4)).await.unwrap();
    let p1 = house.put_part("k", upload, 1, &one).await.unwrap();
    house.put_part("k", upload, 5, &bytes(1_000, 5)).await.unwrap();
    let listed = [(1, &p1), (3, &p3), (9, &p9)];
    let stored = house.complete("k", upload, &listed).await.unwrap();
    assert!(stored.etag.as_str().ends_with("-3"));
    let whole = [one.clone(), three.clone(), late].concat();
    assert_eq!(house.get("k").await.unwrap(), whole);
    assert_eq!(house.get_want("k", Want::Part(3)).await.unwrap(), three);
    assert_eq!(house.get_want("k", Want::Last(1_010)).await.unwrap(), whole[70_000..]);
    assert!(matches!(house.get_want("k", Want::Part(4)).await, Err(EngineError::NoSuchPart)));
    house.audit().await;
    assert_eq!(house.live().await, [3, 3]);

    let again = house.complete("k", upload, &listed).await.unwrap();
    assert_eq!(again.etag, stored.etag);
    let other = house.complete("k", upload, &listed[..1]).await;
    assert!(matches!(other, Err(EngineError::NoSuchUpload)));
    house.delete("k").await;
    house.audit().await;
    assert_eq!(house.live().await, [0, 0]);
}

#[tokio::test]
async fn a_part_copy_references_slices_of_its_source() {
    let settings = Settings { factor: 2, part_bytes_min: 1, ..Settings::default() };
    let house = House::build(Plan { settings, ..Plan::default() }).await;
    let data = bytes(300_000, 20);
    house.put("source", &data).await.unwrap();
    let upload = house.begin_upload("k").await;
    let copy = |number, range| CopyPart {
        source: source(&house, "source"),
        range,
        bucket: house.bucket.clone(),
        key: key("k"),
        upload,
        number,
    };
    let p1 = house.engine.copy_part(copy(1, Some((100_000, 299_999)))).await.unwrap();
    let p2 = house.engine.copy_part(copy(2, None)).await.unwrap();
    let beyond = house.engine.copy_part(copy(3, Some((0, 300_000)))).await;
    assert!(matches!(beyond, Err(EngineError::RangeNotSatisfiable { size: 300_000 })));
    house.complete("k", upload, &[(1, &p1), (2, &p2)]).await.unwrap();
    house.delete("source").await;
    house.audit().await;
    assert_eq!(house.live().await, [1, 1], "one blob serves both parts");
    assert_eq!(house.get("k").await.unwrap(), [&data[100_000..], &data[..]].concat());
}

#[tokio::test]
async fn an_aborted_upload_gives_its_parts_back() {
    let house = House::new().await;
    let upload = house.begin_upload("k").await;
    house.put_part("k", upload, 1, &bytes(10_000, 1)).await.unwrap();
    house.engine.abort_upload(&house.bucket, &key("k"), upload).await.unwrap();
    let late = house.put_part("k", upload, 2, &bytes(10, 1)).await;
    assert!(matches!(late, Err(EngineError::NoSuchUpload)));
    house.audit().await;
    assert!(house.catalog.replicas(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn n99_an_upload_belongs_to_its_bucket_and_key() {
    let house = House::new().await;
    let upload = house.begin_upload("mine").await;
    let foreign = house.put_part("yours", upload, 1, &bytes(10, 1)).await;
    assert!(matches!(foreign, Err(EngineError::NoSuchUpload)));
    let elsewhere = house.engine.abort_upload(&house.other_bucket, &key("mine"), upload).await;
    assert!(matches!(elsewhere, Err(EngineError::NoSuchUpload)));
}

#[tokio::test]
async fn readers_during_overwrites_see_one_whole_state() {
    let house = House::new().await;
    let bodies: Vec<Vec<u8>> = (0..4).map(|i| bytes(200_000, i)).collect();
    house.put("k", &bodies[0]).await.unwrap();
    let writing = async {
        for round in 0..40 {
            house.put("k", &bodies[round % 4]).await.unwrap();
            house.reap().await;
        }
    };
    let reading = async {
        for _ in 0..80 {
            let read = house.get("k").await.unwrap();
            assert!(bodies.contains(&read), "a mixture of two states");
            tokio::task::yield_now().await;
        }
    };
    futures::join!(writing, reading);
    house.audit().await;
    assert_eq!(house.live().await, [1, 1]);
}

#[tokio::test]
async fn n69_a_thousand_deletes_are_one_request() {
    let settings = Settings { factor: 1, ..Settings::default() };
    let limits = vec![[Some(100_000), None, None]];
    let house = House::build(Plan { backends: 1, settings, limits, ..Plan::default() }).await;
    for number in 0..1_000 {
        house.put(&format!("k{number}"), b"x").await.unwrap();
    }
    for number in 0..1_000 {
        assert!(house.delete(&format!("k{number}")).await);
    }
    let before = house.counted[0].all()[0];
    house.reap().await;
    assert_eq!(house.counted[0].all()[0] - before, 1);
    assert_eq!(house.live().await, [0]);
    house.audit().await;
}
