//! Limits of memory, on the real binary: what a request holds does not depend on what it carries.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use bench::content::Content;
use bench::multipart;
use bench::product::{BUCKET, Behind, Product, ProductOptions};
use bench::store::Store;
use bench::usage::peak_bytes;
use futures::TryStreamExt;
use s3_client::{PutObject, S3Client};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A quarter of a small container.
const SMALL_BUDGET: &str = "128MB";
const SMALL_CONTAINER: u64 = 512 * MIB;
const PART_BYTES: u64 = 64 * MIB;

/// One test at a time: each keeps the machine busy by itself.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn backends(store: &Store, count: usize) -> Vec<Behind> {
    (0..count).map(|index| Behind::S3(Box::new(store.options(&bucket(index))))).collect()
}

fn bucket(index: usize) -> String {
    format!("bucket-{index}")
}

async fn put(client: &S3Client, key: &str, content: Content) -> Option<String> {
    let put = PutObject { key, body: content.put_body(), metadata: &[] };
    client.put_object(put).await.expect("the upload is taken").etag
}

/// The lengths of what lies in a bucket besides markers, and how many have each.
fn lengths(store: &Store, bucket: &str) -> BTreeMap<u64, usize> {
    let mut lengths = BTreeMap::new();
    for (_, object) in store.objects(bucket).iter().filter(|(key, _)| !key.contains(".s3-orchestrator/")) {
        *lengths.entry(object.length).or_default() += 1;
    }
    lengths
}

async fn check_thirty_two_uploads(second_pauses: Duration) {
    let _turn = TURN.lock().await;
    let stores = [Store::start().await, Store::start_slow(second_pauses).await];
    let behind = stores.iter().map(|store| Behind::S3(Box::new(store.options("bucket"))));
    let options = ProductOptions { backends: behind.collect(), factor: 2, ..ProductOptions::default() };
    let product = Product::start(&options).await;
    let client = S3Client::new(product.options()).unwrap();
    let content = |seed| Content { seed, length: 64 * MIB };
    let uploads = (0..32).map(|seed| {
        let client = client.clone();
        runtime::spawn(async move { put(&client, &format!("key-{seed:02}"), content(seed)).await })
    });
    futures::future::try_join_all(uploads.collect::<Vec<_>>()).await.unwrap();
    let peak = peak_bytes(product.process_id());
    for store in &stores {
        assert_eq!(lengths(store, "bucket"), BTreeMap::from([(64 * MIB, 32)]));
    }
    println!("peak: {} MiB", peak / MIB);
    assert!(peak < 160 * MIB, "the process held {} MiB at its peak\n{}", peak / MIB, product.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_uploads_at_once_stay_under_160_mib() {
    check_thirty_two_uploads(Duration::ZERO).await;
}

/// The worst case: all windows are full all the time.
#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_uploads_to_a_slow_backend_stay_under_160_mib() {
    check_thirty_two_uploads(Duration::from_millis(150)).await;
}

/// A product that may not hold more than a small container, in front of three backends with a copy on each.
async fn small_product(store: &Store) -> Product {
    let options = ProductOptions {
        backends: backends(store, 3),
        factor: 3,
        memory_budget: SMALL_BUDGET.to_owned(),
        memory_bytes_max: Some(SMALL_CONTAINER),
    };
    Product::start(&options).await
}

fn check_peak(product: &Product) {
    let peak = peak_bytes(product.process_id());
    println!("peak: {} MiB", peak / MIB);
    assert!(peak < SMALL_CONTAINER, "the process held {} MiB", peak / MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_of_5_gib_fits_a_container_of_512_mib() {
    let _turn = TURN.lock().await;
    let store = Store::start().await;
    let product = small_product(&store).await;
    let client = S3Client::new(product.options()).unwrap();
    let content = Content { seed: 7, length: 5 * GIB };
    let digest = runtime::spawn_blocking(move || multipart::md5_of(content));
    let etag = put(&client, "large", content).await;
    assert_eq!(etag, Some(hex::encode(digest.await.unwrap())), "{}", product.log());
    for index in 0..3 {
        let objects = store.objects(&bucket(index));
        let (_, object) = objects.iter().find(|(_, object)| object.length == content.length).unwrap();
        assert!(content.equals(object.pieces.iter().cloned()), "bucket {index} received other bytes");
    }
    check_peak(&product);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_multipart_upload_of_5_gib_fits_a_container_of_512_mib() {
    let _turn = TURN.lock().await;
    let store = Store::start().await;
    let product = small_product(&store).await;
    let client = S3Client::new(product.options()).unwrap();
    // Few different parts, so that their digests are quickly told; and no two neighbours alike.
    let parts: Vec<Content> = (0..usize::try_from(5 * GIB / PART_BYTES).unwrap())
        .map(|index| Content { seed: index % 7, length: PART_BYTES })
        .collect();
    let expected = {
        let parts = parts.clone();
        runtime::spawn_blocking(move || multipart::etag_of(&parts))
    };
    let etag = multipart::upload(&product.options(), "large", &parts).await.unwrap();
    assert_eq!(etag, expected.await.unwrap());
    for index in 0..3 {
        assert_eq!(lengths(&store, &bucket(index)), BTreeMap::from([(PART_BYTES, parts.len())]));
    }
    let object = client.get_object("large", None).await.unwrap();
    assert_eq!(object.length, 5 * GIB);
    check_download(object.body, &parts).await;
    check_peak(&product);
    assert_eq!(client.bucket(), BUCKET);
}

/// What comes down is part after part, without being held.
async fn check_download(mut body: s3_client::Download, parts: &[Content]) {
    let mut expected = parts.iter().flat_map(|part| part.pieces());
    let mut piece = bytes::Bytes::new();
    while let Some(mut chunk) = body.try_next().await.expect("the download goes on") {
        while !chunk.is_empty() {
            if piece.is_empty() {
                piece = expected.next().expect("no more comes than was put");
            }
            let length = chunk.len().min(piece.len());
            assert!(chunk.split_to(length) == piece.split_to(length), "other bytes came down");
        }
    }
    assert!(piece.is_empty() && expected.next().is_none());
}
