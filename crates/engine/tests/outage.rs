//! Objects through the engine while the catalog is gone, and when it is back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use catalog::sqlite::Sqlite;
use catalog::suite::{Outage, Unreachable};
use catalog::{Breakers, Catalog, CircuitBreaker, ListQuery, MatchTags, Want};
use common::{House, Plan, bytes, key};
use engine::{Bucket, CopyObject, EngineError, GetObject, Read, ReadConditions, Settings, Source};
use runtime::{Breaker, BreakerOptions, Chance, Unwatched};

const SIZE: usize = 200_000;

/// A house whose catalog is gone at the wish of the test.
async fn house(settings: Settings) -> (House, Outage) {
    let outage = Outage::default();
    let (house, _) = guarded_house(settings, &outage, u32::MAX).await;
    (house, outage)
}

/// The same with breakers that stay open until they are told.
async fn guarded_house(settings: Settings, outage: &Outage, failures_max: u32) -> (House, Breakers) {
    let breaker = |name| {
        let open_for = Duration::from_secs(3_600);
        let options = BreakerOptions { failures_max, open_for, ..BreakerOptions::default() };
        Breaker::new(name, options, Chance::seeded(1), Arc::new(Unwatched))
    };
    let breakers = Breakers { reads: breaker("reads"), writes: breaker("writes") };
    let (plan_outage, plan_breakers) = (outage.clone(), breakers.clone());
    let wrap = move |sqlite: Arc<Sqlite>| -> Arc<dyn Catalog> {
        let failing = Arc::new(Unreachable::new(sqlite, plan_outage.clone()));
        Arc::new(CircuitBreaker::new(failing, plan_breakers.clone()))
    };
    let house = House::build(Plan { settings, wrap_catalog: Box::new(wrap), ..Plan::default() }).await;
    (house, breakers)
}

fn factor_two() -> Settings {
    Settings { factor: 2, part_bytes_min: 0, ..Settings::default() }
}

fn is_unavailable<T>(answer: Result<T, EngineError>) -> bool {
    matches!(answer, Err(EngineError::Unavailable(_)))
}

/// Reads, whether or not the catalog is there: the bytes, and whether it was not.
async fn read(house: &House, name: &str, want: Want) -> Result<(Vec<u8>, bool), EngineError> {
    let degraded = house.open(name, want).await?.degraded;
    Ok((house.get_want(name, want).await?, degraded))
}

#[tokio::test]
async fn what_was_written_or_read_lately_is_read_on_and_all_else_is_503() {
    let (house, outage) = house(factor_two()).await;
    let data = bytes(SIZE, 1);
    house.put("written", &data).await.unwrap();
    let upload = house.begin_upload("parts").await;
    let parts = [house.put_part("parts", upload, 1, &data).await.unwrap()];
    let second = house.put_part("parts", upload, 2, &data).await.unwrap();
    house.complete("parts", upload, &[(1, &parts[0]), (2, &second)]).await.unwrap();
    let both = [&data[..], &data[..]].concat();
    assert_eq!(read(&house, "parts", Want::Whole).await.unwrap(), (both.clone(), false));
    outage.all_fails(true);

    let from = |start, last| Want::From { start, last };
    for (name, whole) in [("written", &data), ("parts", &both)] {
        assert_eq!(read(&house, name, Want::Whole).await.unwrap(), (whole.clone(), true), "{name}");
        let range = read(&house, name, from(70_000, Some(140_000))).await.unwrap();
        assert_eq!(range, (whole[70_000..=140_000].to_vec(), true), "{name}");
        let tail = read(&house, name, Want::Last(10)).await.unwrap();
        assert_eq!(tail, (whole[whole.len() - 10..].to_vec(), true), "{name}");
        let head = house.open(name, Want::State).await.unwrap();
        assert_eq!((head.object.state.size, head.degraded), (whole.len() as u64, true), "{name}");
        let beyond = house.open(name, from(1 << 30, None)).await;
        let beyond = remembered(beyond);
        assert!(matches!(beyond, Some(EngineError::RangeNotSatisfiable { .. })), "{name}");
    }
    conditions_hold(&house).await;
    assert!(is_unavailable(house.get("never-was").await), "never 404");
    assert!(is_unavailable(house.open("parts", Want::Part(1)).await), "not known");
    writes_are_refused(&house).await;

    outage.all_fails(false);
    assert_eq!(read(&house, "written", Want::Whole).await.unwrap(), (data, false));
    assert!(matches!(house.get("never-was").await, Err(EngineError::NoSuchKey)));
    house.audit().await;
}

async fn conditions_hold(house: &House) {
    let tag = house.open("written", Want::State).await.unwrap().object.state.etag;
    let tags = |text: &str| Some(MatchTags::Tags(vec![types::ETag::from_text(text)]));
    let ask = async |conditions| {
        let request = GetObject { conditions, ..house.get_request("written", Want::Whole) };
        house.engine.get_object(request).await
    };
    let known = ReadConditions { if_none_match: tags(tag.as_str()), ..ReadConditions::default() };
    assert!(matches!(ask(known).await.unwrap(), Read::NotModified { degraded: true, .. }));
    let other = ReadConditions { if_match: tags("other"), ..ReadConditions::default() };
    assert!(matches!(remembered(ask(other).await), Some(EngineError::PreconditionFailed)));
}

/// The error behind an answer that says of itself that it may be old.
fn remembered<T>(answer: Result<T, EngineError>) -> Option<EngineError> {
    match answer {
        Err(EngineError::Remembered(error)) => Some(*error),
        _ => None,
    }
}

async fn writes_are_refused(house: &House) {
    assert!(is_unavailable(house.put("new", b"x").await));
    assert!(is_unavailable(house.put("written", b"x").await));
    let query =
        ListQuery { bucket: house.bucket.id, prefix: String::new(), delimiter: None, after: None, limit: 10 };
    assert!(is_unavailable(house.engine.list_objects(&query).await));
    let items =
        vec![catalog::DeleteItem { key: key("written"), precondition: catalog::Precondition::default() }];
    let delete = engine::DeleteObjects { bucket: house.bucket.clone(), items };
    assert!(is_unavailable(house.engine.delete_objects(delete).await));
    let tags = house.engine.set_tags(&house.bucket, &key("written"), Vec::new()).await;
    assert!(is_unavailable(tags));
}

#[tokio::test]
async fn what_our_own_writes_replaced_is_never_given_out() {
    let (house, outage) = house(factor_two()).await;
    let (old, new) = (bytes(SIZE, 1), bytes(SIZE, 2));
    for name in ["overwritten", "deleted", "copied-onto", "completed", "tagged"] {
        house.put(name, &old).await.unwrap();
        house.get(name).await.unwrap();
    }
    house.put("overwritten", &new).await.unwrap();
    assert!(house.delete("deleted").await);
    house.put("source", &new).await.unwrap();
    house.engine.copy_object(copy(&house.bucket, "source", "copied-onto")).await.unwrap();
    let upload = house.begin_upload("completed").await;
    let part = house.put_part("completed", upload, 1, &new).await.unwrap();
    house.complete("completed", upload, &[(1, &part)]).await.unwrap();
    let tags = vec![("a".to_owned(), "b".to_owned())];
    house.engine.set_tags(&house.bucket, &key("tagged"), tags.clone()).await.unwrap();
    outage.all_fails(true);

    assert_eq!(house.get("overwritten").await.unwrap(), new);
    assert!(is_unavailable(house.get("deleted").await));
    // Their state is known, their place is not: nobody asked for it yet.
    let etag = async |name| house.open(name, Want::State).await.unwrap().object.state.etag;
    assert_eq!(etag("copied-onto").await, etag("overwritten").await);
    assert!(is_unavailable(house.get("copied-onto").await));
    assert!(is_unavailable(house.get("completed").await));
    assert_eq!(house.open("tagged", Want::State).await.unwrap().object.state.tags, tags);
    assert_eq!(house.get("tagged").await.unwrap(), old, "tags change no byte");
}

fn copy(bucket: &Bucket, from: &str, to: &str) -> CopyObject {
    CopyObject {
        source: Source { bucket: bucket.clone(), key: key(from), conditions: ReadConditions::default() },
        bucket: bucket.clone(),
        key: key(to),
        precondition: catalog::Precondition::default(),
        replace_metadata: None,
        replace_tags: None,
        checksum: None,
        client: catalog::Client::default(),
    }
}

#[tokio::test]
async fn without_memory_for_it_nothing_is_read_on() {
    let (house, outage) = house(Settings { remembered_bytes: 0, ..factor_two() }).await;
    house.put("k", b"x").await.unwrap();
    house.get("k").await.unwrap();
    outage.all_fails(true);
    assert!(is_unavailable(house.get("k").await));
}

/// The first answer is lost, then the breaker refuses: what was reserved may be there all the same, and has
/// to be given back.
#[tokio::test]
async fn a_refusal_after_a_lost_answer_forgets_nothing() {
    let outage = Outage::default();
    let (house, breakers) = guarded_house(factor_two(), &outage, 1).await;
    house.put("k", b"old").await.unwrap();
    outage.answers_are_lost(true);
    assert!(is_unavailable(house.put("k", b"new").await));
    assert!(is_unavailable(house.put("other", b"new").await));
    outage.answers_are_lost(false);
    breakers.writes.expect_back();
    breakers.reads.expect_back();
    house.reap().await;
    house.audit().await;
    let replicas = house.catalog.replicas(None, 100).await.unwrap();
    assert_eq!(replicas.len(), 2, "{replicas:?}");
    assert_eq!(house.get("k").await.unwrap(), b"old");
}

/// A commit that happened, of which nobody was told: neither what was before nor what is now can be given
/// out for sure.
#[tokio::test]
async fn a_write_of_unknown_outcome_is_not_guessed_at() {
    let outage = Outage::default();
    let (house, breakers) = guarded_house(factor_two(), &outage, 1).await;
    house.put("k", b"old").await.unwrap();
    outage.loses(Some("commit_put"));
    assert!(is_unavailable(house.put("k", b"new").await));
    outage.loses(None);
    outage.all_fails(true);
    assert!(is_unavailable(house.get("k").await));
    outage.all_fails(false);
    breakers.writes.expect_back();
    breakers.reads.expect_back();
    assert_eq!(house.get("k").await.unwrap(), b"new");
    house.audit().await;
}

/// Writers number their writes; whoever reads, with or without the catalog, never sees less than what had
/// been answered before the read began.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn n36_no_read_goes_back_behind_an_answered_write() {
    const KEYS: usize = 3;
    const WRITES: u64 = 120;
    let (house, outage) = house(Settings { factor: 1, ..factor_two() }).await;
    let house = Arc::new(house);
    let answered: Arc<[AtomicU64; KEYS]> = Arc::default();
    let done = Arc::new(AtomicU64::new(0));
    let degraded = Arc::new(AtomicU64::new(0));
    let asks_in_vain = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for at in 0..KEYS {
        let (house, answered, done) = (Arc::clone(&house), Arc::clone(&answered), Arc::clone(&done));
        tasks.push(runtime::spawn(async move {
            for number in 1..=WRITES {
                while house.put(&format!("k{at}"), &number.to_le_bytes()).await.is_err() {
                    tokio::task::yield_now().await;
                }
                answered[at].store(number, Ordering::SeqCst);
            }
            done.fetch_add(1, Ordering::SeqCst);
        }));
    }
    for _ in 0..3 {
        let (house, answered, done) = (Arc::clone(&house), Arc::clone(&answered), Arc::clone(&done));
        let (degraded, asks_in_vain) = (Arc::clone(&degraded), Arc::clone(&asks_in_vain));
        tasks.push(runtime::spawn(async move {
            let chance = Chance::from_os();
            while done.load(Ordering::SeqCst) < KEYS as u64 {
                tokio::task::yield_now().await;
                let at = usize::try_from(chance.below(KEYS as u64)).unwrap();
                let floor = answered[at].load(Ordering::SeqCst);
                let Ok(opened) = house.open(&format!("k{at}"), Want::Whole).await else {
                    asks_in_vain.fetch_add(1, Ordering::SeqCst);
                    continue;
                };
                let mut stream = opened.body.unwrap().stream;
                let Some(Ok(read)) = futures::StreamExt::next(&mut stream).await else { continue };
                let number = u64::from_le_bytes(read[..].try_into().unwrap());
                assert!(number >= floor, "k{at}: {number} after {floor}, degraded: {}", opened.degraded);
                degraded.fetch_add(u64::from(opened.degraded), Ordering::SeqCst);
            }
        }));
    }
    let written = || answered.iter().map(|number| number.load(Ordering::SeqCst)).sum::<u64>();
    let all_written = || done.load(Ordering::SeqCst) == KEYS as u64;
    while !all_written() {
        // There for a few writes, gone for a few reads.
        outage.all_fails(false);
        let enough = written() + 5;
        while written() < enough && !all_written() {
            runtime::sleep(Duration::from_millis(1)).await;
        }
        outage.all_fails(true);
        let enough = degraded.load(Ordering::SeqCst) + 5;
        while degraded.load(Ordering::SeqCst) < enough && !all_written() {
            runtime::sleep(Duration::from_millis(1)).await;
            if asks_in_vain.swap(0, Ordering::SeqCst) > 1_000 {
                // Nothing is known of any key: only a catalog that is back helps.
                break;
            }
        }
    }
    outage.all_fails(false);
    for task in tasks {
        task.await.unwrap();
    }
    assert!(degraded.load(Ordering::SeqCst) > 0, "no read met the outage");
    house.audit().await;
}
