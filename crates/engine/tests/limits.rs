//! Limits through the engine: what arrives at the stores is counted there, and never over.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use backend::{ErrorKind, Fault, FaultBackend, Faults, Operation};
use catalog::suite::LosesAnswers;
use catalog::{Around, CatalogError, Decorated, Verb, Want};
use common::{House, Plan, bytes};
use engine::{EngineError, Settings};
use futures::StreamExt;
use runtime::Chance;

const MIB: u64 = 1 << 20;
const LIMITS: [Option<u64>; 3] = [None; 3];

fn requests(limit: u64) -> [Option<u64>; 3] {
    [Some(limit), None, None]
}

fn egress(limit: u64) -> [Option<u64>; 3] {
    [None, Some(limit), None]
}

fn ingress(limit: u64) -> [Option<u64>; 3] {
    [None, None, Some(limit)]
}

async fn house(factor: u32, limits: &[[Option<u64>; 3]]) -> House {
    let settings = Settings { factor, ..Settings::default() };
    House::build(Plan { backends: limits.len(), settings, limits: limits.to_vec(), ..Plan::default() }).await
}

/// Refused because of limits, with a reset within this month.
fn is_reached<T>(answer: Result<T, EngineError>) {
    match answer.map(|_| ()) {
        Err(EngineError::LimitReached { retry_after }) => {
            assert!(retry_after <= Duration::from_hours(31 * 24), "{retry_after:?}");
        }
        other => panic!("a limit is reached, and the answer is {other:?}"),
    }
}

async fn put(house: &House, name: &str, size: u64) -> Result<(), EngineError> {
    let data = bytes(usize::try_from(size).unwrap(), size);
    house.put(name, &data).await.map(|_| ())
}

async fn check_read(house: &House, name: &str, size: u64) {
    assert!(house.get(name).await.unwrap() == bytes(usize::try_from(size).unwrap(), size));
}

/// N94: the Go program checks limits against counters that lag.
#[tokio::test]
async fn n94_no_request_is_sent_over_a_limit() {
    let house = house(1, &[requests(40)]).await;
    let mut answers = Vec::new();
    for number in 0..60 {
        answers.push(put(&house, &format!("k{number}"), 10).await);
    }
    let written = answers.iter().take_while(|answer| answer.is_ok()).count();
    assert_eq!(written, 38, "two of forty are kept for maintenance");
    for answer in answers.drain(written..) {
        is_reached(answer);
    }
    is_reached(house.get("k0").await);
    assert_eq!(house.counted[0].all()[0], 38);
    // What clients used up does not keep anything from being deleted.
    assert!(house.delete("k0").await && house.delete("k1").await);
    house.reap().await;
    assert_eq!(house.counted[0].all()[0], 39, "both with one request");
    assert_eq!(house.catalog.totals().await.unwrap().backends[0].replicas_doomed, 0);
}

/// N129: the Go program counts what its own work sends late, or not at all.
#[tokio::test]
async fn n129_maintenance_is_counted_and_ends_at_the_limit_too() {
    let house = house(1, &[requests(20)]).await;
    let mut deleted = 0;
    for number in 0..40 {
        if put(&house, &format!("k{number}"), 10).await.is_ok() {
            assert!(house.delete(&format!("k{number}")).await);
            deleted += 1;
            // Each delete by itself is a request.
            house.engine.reap_step().await.unwrap();
        }
    }
    let counted = house.counted[0].all()[0];
    assert!(deleted >= 10 && counted <= 20, "{deleted} deleted with {counted} requests");
    let usage = house.grants.as_ref().unwrap().usage().await.unwrap();
    assert_eq!(usage[0].spent, counted, "{usage:?}");
    assert!(usage[0].granted >= counted && usage[0].granted <= 20);
}

#[tokio::test]
async fn a_read_goes_on_at_the_next_replica_where_a_limit_ends() {
    let house = house(2, &[egress(5 * MIB), LIMITS]).await;
    put(&house, "k", 8 * MIB).await.unwrap();
    // Clients may have 4.75 MiB of the first: that ends within this body.
    check_read(&house, "k", 8 * MIB).await;
    let (first, second) = (house.counted[0].all(), house.counted[1].all());
    assert!(first[1] >= 3 * MIB && first[1] <= 5 * MIB * 95 / 100, "{first:?}");
    assert!(second[1] >= 3 * MIB && second[1] <= 5 * MIB, "the rest, and at most a block twice: {second:?}");
    // Known to be reached, it is not asked for so much any more.
    let asked = house.counted[0].all()[0];
    check_read(&house, "k", 8 * MIB).await;
    assert_eq!(house.counted[0].all()[0], asked);
}

#[tokio::test]
async fn a_read_that_nobody_may_serve_says_when_it_may() {
    let house = house(2, &[egress(2 * MIB), egress(2 * MIB)]).await;
    put(&house, "k", MIB).await.unwrap();
    check_read(&house, "k", MIB).await;
    check_read(&house, "k", MIB).await;
    is_reached(house.get("k").await);
    // What is left is enough for something small.
    let part = house.get_want("k", Want::Last(1000)).await;
    assert_eq!(part.unwrap().len(), 1000);
    for counted in &house.counted {
        assert!(counted.all()[1] <= 2 * MIB * 95 / 100, "{counted:?}");
    }
}

#[tokio::test]
async fn a_write_goes_where_it_may() {
    let house = house(1, &[ingress(3 * MIB), LIMITS]).await;
    for number in 0..6 {
        put(&house, &format!("k{number}"), MIB).await.unwrap();
    }
    assert_eq!((house.counted[0].all()[2], house.counted[1].all()[2]), (2 * MIB, 4 * MIB));
    house.audit().await;
    let house = self::house(1, &[ingress(3 * MIB), ingress(2 * MIB)]).await;
    for number in 0..3 {
        put(&house, &format!("k{number}"), MIB).await.unwrap();
    }
    is_reached(put(&house, "k", MIB).await);
    is_reached(put(&house, "k", 20 * MIB).await);
    house.audit().await;
}

/// A body that is cut short costs what passed of it, and a slice at most is held meanwhile.
#[tokio::test]
async fn a_download_that_is_cut_short_costs_what_passed() {
    let house = house(1, &[egress(100 * MIB)]).await;
    put(&house, "k", 8 * MIB).await.unwrap();
    let spent = async || {
        let usage = house.grants.as_ref().unwrap().usage().await.unwrap();
        usage[1].spent
    };
    let mut opened = house.open("k", Want::Whole).await.unwrap().body.unwrap().stream;
    opened.next().await.unwrap().unwrap();
    let counted = house.counted[0].all()[1];
    assert!(counted < 2 * MIB);
    assert!(spent().await >= counted, "covered beforehand");
    assert!(spent().await <= counted + MIB, "by no more than a slice");
    drop(opened);
    let counted = house.counted[0].all()[1];
    common::until(async || spent().await == counted).await;
}

/// Every retry is an attempt of its own, and so is every replica that is tried.
#[tokio::test]
async fn attempts_that_fail_are_attempts() {
    let faults = Faults::none();
    let plan_faults = Arc::clone(&faults);
    let house = House::build(Plan {
        backends: 1,
        settings: Settings { factor: 1, ..Settings::default() },
        limits: vec![requests(30)],
        wrap: Box::new(move |_, store| Arc::new(FaultBackend::new(store, Arc::clone(&plan_faults)))),
        ..Plan::default()
    })
    .await;
    put(&house, "k", 10).await.unwrap();
    faults.always(Operation::Get, Fault::Refuse(ErrorKind::Unavailable));
    let mut reads = 0;
    while !matches!(house.get("k").await, Err(EngineError::LimitReached { .. })) {
        reads += 1;
        assert!(reads < 30, "the limit is never reached");
    }
    assert!((3..30).contains(&reads), "{reads}");
    let counted = house.counted[0].all()[0];
    assert!((25..=30).contains(&counted), "{counted}");
}

/// Lost answers of the catalog cost nothing that is not theirs, and grant nothing twice.
#[tokio::test]
async fn grants_whose_answers_are_lost_are_granted_once() {
    let house = House::build(Plan {
        backends: 2,
        settings: Settings { factor: 2, ..Settings::default() },
        limits: vec![[Some(100), Some(MIB), Some(MIB)]; 2],
        wrap_catalog: Box::new(|catalog| Arc::new(LosesAnswers::every(catalog, 3))),
        ..Plan::default()
    })
    .await;
    let chance = Chance::seeded(5);
    for number in 0..200 {
        let name = format!("k{}", chance.below(9));
        match number % 3 {
            0 => drop(house.get(&name).await),
            1 => drop(put(&house, &name, chance.below(40_000)).await),
            _ => drop(house.engine.reap_step().await),
        }
    }
    for counted in &house.counted {
        let [requests, egress, ingress] = counted.all();
        assert!(requests <= 100 && egress <= MIB && ingress <= MIB, "{counted:?}");
        assert!(requests >= 30, "the limit is of use: {counted:?}");
    }
}

/// Loses the answer of the first grant, and then does not answer for a moment.
#[derive(Default)]
struct LosesOneGrant(AtomicU32);

impl Around for LosesOneGrant {
    async fn around<T: Send>(
        &self,
        verb: Verb,
        run: impl Future<Output = Result<T, CatalogError>> + Send,
    ) -> Result<T, CatalogError> {
        let number = if verb.name == "grant" { self.0.fetch_add(1, Ordering::SeqCst) } else { u32::MAX };
        match number {
            0 => {
                run.await?;
                Err(CatalogError::Unknown("lost".to_owned()))
            }
            1 => Err(CatalogError::Unavailable("away".to_owned())),
            _ => run.await,
        }
    }
}

/// What comes next is told what the lost answer had granted, which may be less than it needs.
#[tokio::test]
async fn a_lost_grant_does_not_look_like_the_end_of_the_limit() {
    let house = House::build(Plan {
        backends: 1,
        settings: Settings { factor: 1, ..Settings::default() },
        limits: vec![[None, None, Some(100 * MIB)]],
        wrap_catalog: Box::new(|catalog| Arc::new(Decorated::new(catalog, LosesOneGrant::default()))),
        ..Plan::default()
    })
    .await;
    put(&house, "a", 10).await.unwrap_err();
    put(&house, "b", 8 * MIB).await.unwrap();
}

#[tokio::test]
async fn n59_what_is_in_hand_at_the_end_is_handed_back() {
    let house = house(1, &[requests(1_000_000)]).await;
    for number in 0..100 {
        put(&house, &format!("k{number}"), 10).await.unwrap();
    }
    let grants = house.grants.as_ref().unwrap();
    assert!(grants.usage().await.unwrap()[0].granted > 100, "some lies in stock");
    grants.stop().await;
    let usage = grants.usage().await.unwrap();
    assert_eq!((usage[0].granted, usage[0].spent), (100, 100));
    assert!(matches!(put(&house, "k", 10).await, Err(EngineError::LimitReached { .. })));
}

/// A provider bills small objects as larger ones: so does the quota.
#[tokio::test]
async fn a_quota_counts_what_the_smallest_object_is_billed() {
    let house = House::build(Plan {
        backends: 1,
        settings: Settings { factor: 1, ..Settings::default() },
        quota: Some(2_500),
        billable_bytes_min: 1_000,
        ..Plan::default()
    })
    .await;
    put(&house, "a", 1).await.unwrap();
    put(&house, "b", 1).await.unwrap();
    assert!(matches!(put(&house, "c", 1).await, Err(EngineError::OutOfSpace { .. })));
    house.delete("a").await;
    assert!(put(&house, "c", 1).await.is_err(), "doomed is not gone");
    house.reap().await;
    put(&house, "c", 1_400).await.unwrap();
    house.audit().await;
}
