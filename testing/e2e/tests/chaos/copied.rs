//! A copy of the catalog is started beside the original, over the same buckets, while clients write through the
//! original: what the copy believes to be garbage is what the original has acknowledged since.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backend::ClientOptions;
use futures::{StreamExt, stream};
use runtime::{Chance, Task, instant_now};
use testkit::wire::{Call, Wire, WireClient};
use testkit::{ConfigBuilder, Orchestrator, S3Server, Seaweed};

use crate::books;
use crate::crash::read;
use crate::history::History;
use crate::support::{METRICS, PATIENCE, page, reaper_is_idle_by_now, seed, value_of, wait_until};
use crate::value::{Run, Value};
use crate::worker::{BUCKET, FIXED, OTHER, Worker, abort_uploads, fixed};

const WORKERS: u64 = 6;
/// Writes between two moments.
const WRITES: u64 = 150;
/// Copies that are tried, each of another moment.
const COPIES: usize = 3;
/// How long what was given up is waited for: longer than what is under way here takes.
const LATE_ARRIVAL: Duration = Duration::from_secs(20);
const READS_AT_ONCE: usize = 16;

fn config(journal: &str) -> ConfigBuilder {
    ConfigBuilder::new()
        .factor(2)
        .bucket(BUCKET)
        .bucket(OTHER)
        .more(METRICS)
        .more("write_path:\n  multipart:\n    enforce_min_part_size: false")
        .more(&format!("journal: {{interval: {journal}}}"))
        .each_backend(&format!("late_arrival_bound: {}s", LATE_ARRIVAL.as_secs()))
}

/// Waits until some more writes are acknowledged.
async fn writes(history: &History) {
    let (target, deadline) = (history.acknowledged() + WRITES, instant_now() + PATIENCE);
    while history.acknowledged() < target {
        assert!(instant_now() < deadline, "clients do not get on");
        runtime::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until all that was written up to now is shipped.
async fn ships(wire: &WireClient) {
    let since = instant_now();
    wait_until("it is shipped", async || {
        let age = value_of(&page(wire).await, "s3o_journal_unshipped_age_seconds");
        age.is_some_and(|age| age < since.elapsed().as_secs_f64())
    })
    .await;
}

/// The original, with clients that write through it.
struct Original {
    orchestrator: Orchestrator,
    buckets: [ClientOptions; 2],
    history: Arc<History>,
    end: Arc<AtomicBool>,
    workers: Vec<Task<Result<u64, String>>>,
    // Until everything else has ended.
    _servers: [S3Server; 2],
}

impl Original {
    async fn start(journal: &str) -> Self {
        let servers = [Seaweed::start().await, Seaweed::start().await];
        let buckets = [servers[0].new_bucket().await, servers[1].new_bucket().await];
        let config = buckets.iter().fold(config(journal), |config, bucket| config.s3(bucket.clone()));
        let orchestrator = Orchestrator::start(config).await;
        orchestrator.allow_log("\"level\":\"WARN\"");
        let (wire, chance) = (orchestrator.wire(), Chance::seeded(seed()));
        let (history, end) = (Arc::new(History::default()), Arc::new(AtomicBool::new(false)));
        for index in 0..FIXED {
            let (key, value) = fixed(index);
            let write = history.begin(&key, Some(value.clone()));
            wire.ask(&Call::put(&key, value.bytes())).await.success(&key);
            history.acknowledge(&write);
        }
        let start = |number| {
            let mut worker = Worker::new(number, chance.next_u64(), wire.clone(), Arc::clone(&history));
            let end = Arc::clone(&end);
            runtime::spawn(async move { worker.endure(&end).await })
        };
        let workers = (0..WORKERS).map(start).collect();
        Self { orchestrator, buckets, history, end, workers, _servers: servers }
    }

    /// Clients end; all that they were told is there, and every blob has its factor.
    async fn verify(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            worker.await.expect("a worker does not panic").unwrap_or_else(|wrong| panic!("{wrong}"));
        }
        let wire = &self.orchestrator.wire();
        abort_uploads(wire).await;
        let reads = self.history.names().into_iter().map(|key| read(wire, &self.history, key));
        let seen: Vec<_> = stream::iter(reads).buffer_unordered(READS_AT_ONCE).collect().await;
        println!("{} writes, {} keys", self.history.acknowledged(), seen.len());
    }
}

/// The journal is quick: a copy meets what the original has shipped since, and freezes.
#[tokio::test(flavor = "multi_thread")]
async fn a_copied_catalog_beside_the_original_is_noticed() {
    let mut original = Original::start("50ms").await;
    for _ in 0..COPIES {
        writes(&original.history).await;
        let history = Arc::clone(&original.history);
        // Whoever ships first is the one.
        let ships_first = async |original: &Orchestrator| {
            writes(&history).await;
            ships(&original.wire()).await;
        };
        let copy = original.orchestrator.start_with_copied_catalog(ships_first).await;
        copy.allow_log("");
        writes(&original.history).await;
        let beside = copy.wire();
        wait_until("the copy knows that it is one", async || {
            value_of(&page(&beside).await, "s3o_catalog_frozen") == Some(1.0)
        })
        .await;
        let refused = beside.ask(&Call::put(&format!("/{BUCKET}/of-the-copy"), "nothing")).await;
        assert_eq!(refused.status, 503, "{}", refused.text());
        let frozen = value_of(&page(&original.orchestrator.wire()).await, "s3o_catalog_frozen");
        assert_eq!(frozen, Some(0.0), "the original is no copy");
    }
    original.verify().await;
    let wire = original.orchestrator.wire();
    wait_until("every blob has its factor", async || {
        value_of(&page(&wire).await, "s3o_replication_pending") == Some(0.0)
    })
    .await;
    reaper_is_idle_by_now(&wire).await;
    assert!(original.orchestrator.stop().await.success(), "a clean end");
    let catalog = original.orchestrator.folder().join("catalog.db");
    books::check(&catalog, &books::buckets(original.buckets.clone())).await;
}

/// An upload is under way through the original when the copy is made, and nothing is left to ship: nothing tells the
/// copy that it is one. It takes the upload for that of a dead process, and must find out before it deletes what
/// the original goes on to acknowledge.
#[tokio::test(flavor = "multi_thread")]
async fn a_copied_catalog_finds_out_before_it_deletes() {
    let servers = [Seaweed::start().await, Seaweed::start().await];
    let buckets = [servers[0].new_bucket().await, servers[1].new_bucket().await];
    let config = buckets.iter().fold(config("50ms"), |config, bucket| config.s3(bucket.clone()));
    let mut original = Orchestrator::start(config).await;
    let wire = original.wire();
    let key = format!("/{BUCKET}/upload");
    let value = Value::of(Run { number: 1, length: 40_000_000 });
    let upload = Call::put(&key, value.bytes());
    let head = wire.signed(&upload);
    let mut connection = Wire::connect(&wire.address).await.unwrap();
    let (first, last) = upload.body.split_at(39_900_000);
    // More than fits all buffers in between: most of it is on its way to the backends.
    connection.write(&[&head.bytes[..], first].concat()).await.unwrap();
    wait_until("all is shipped", async || {
        value_of(&page(&wire).await, "s3o_journal_unshipped_age_seconds") == Some(0.0)
    })
    .await;
    let mut copy = original.start_with_copied_catalog(async |_| ()).await;
    copy.allow_log("");
    copy.ready().await;
    connection.write(last).await.unwrap();
    assert_eq!(connection.answer_to("PUT").await.unwrap().success("put").etag(), value.etag);
    let beside = copy.wire();
    wait_until("the copy has deleted what it believes to be garbage, or knows better", async || {
        let metrics = page(&beside).await;
        value_of(&metrics, "s3o_catalog_frozen") == Some(1.0)
            || value_of(&metrics, "s3o_cleanup_queue_depth") == Some(0.0)
    })
    .await;
    assert!(wire.ask(&Call::get(&key)).await.success("get").body == value.bytes());
    drop(copy);
    assert!(original.stop().await.success(), "a clean end");
    books::check_live(&original.folder().join("catalog.db"), &books::buckets(buckets)).await;
}
