//! kill -9, again and again on the same data: nothing that was acknowledged is lost, nothing is a mixture, and
//! in the end the books are right.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backend::{Backend, S3Backend, S3Options};
use futures::{StreamExt, stream};
use runtime::{Chance, instant_now};
use testkit::wire::{Call, WireClient};
use testkit::{ConfigBuilder, Orchestrator, Seaweed};
use types::BackendName;

use crate::books;
use crate::history::History;
use crate::support::{METRICS, reaper_is_idle, seed};
use crate::value::Value;
use crate::worker::{BUCKET, FIXED, OTHER, Stop, Worker, fixed};

/// Verifying reads at once.
const READS_AT_ONCE: usize = 16;

/// How much is done.
struct Plan {
    kills: u64,
    workers: u64,
    /// Writes that are acknowledged between two kills: at least so many, and fewer than twice as many.
    writes: u64,
}

struct Chaos {
    orchestrator: Orchestrator,
    history: Arc<History>,
    workers: Vec<Worker>,
    chance: Chance,
}

fn config() -> ConfigBuilder {
    ConfigBuilder::new()
        .factor(2)
        .bucket(BUCKET)
        .bucket(OTHER)
        .more(METRICS)
        // Deletes wait for the journal.
        .more("journal: {interval: 1s}")
        // Small parts, so that there are many.
        .more("write_path:\n  multipart:\n    enforce_min_part_size: false")
}

#[tokio::test(flavor = "multi_thread")]
async fn n1_n30_n97_killed_twenty_times_over_directories() {
    let plan = Plan { kills: 20, workers: 200, writes: 150 };
    let mut chaos = Chaos::start(config().directories(3), seed(), &plan).await;
    chaos.run(&plan).await;
    chaos.stop().await;
    let folder = chaos.orchestrator.folder();
    let backends = books::directories(folder, 3).await;
    books::check(&folder.join("catalog.db"), &backends).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_five_times_over_two_s3_servers() {
    let servers = [Seaweed::start().await, Seaweed::start().await];
    let buckets = [servers[0].new_bucket().await, servers[1].new_bucket().await];
    let plan = Plan { kills: 5, workers: 16, writes: 60 };
    // What a dead process sent may still arrive: on loopback, a moment later at most.
    let config =
        buckets.iter().cloned().fold(config().each_backend("late_arrival_bound: 1s"), ConfigBuilder::s3);
    let mut chaos = Chaos::start(config, seed(), &plan).await;
    chaos.run(&plan).await;
    chaos.stop().await;
    let backends: Vec<Box<dyn Backend>> = buckets
        .into_iter()
        .enumerate()
        .map(|(index, bucket)| {
            let name = BackendName::parse(&format!("s3-{index}")).unwrap();
            Box::new(S3Backend::new(name, S3Options::new(bucket)).unwrap()) as Box<dyn Backend>
        })
        .collect();
    books::check(&chaos.orchestrator.folder().join("catalog.db"), &backends).await;
}

impl Chaos {
    async fn start(config: ConfigBuilder, seed: u64, plan: &Plan) -> Self {
        let orchestrator = Orchestrator::start(config).await;
        let history = Arc::new(History::default());
        let wire = orchestrator.wire();
        for index in 0..FIXED {
            let (key, value) = fixed(index);
            let write = history.begin(&key, Some(value.clone()));
            wire.ask(&Call::put(&key, value.bytes())).await.success(&key);
            history.acknowledge(&write);
        }
        let worker = |number| Worker::new(number, seed, wire.clone(), Arc::clone(&history));
        let workers = (0..plan.workers).map(worker).collect();
        Self { orchestrator, history, workers, chance: Chance::seeded(seed) }
    }

    async fn run(&mut self, plan: &Plan) {
        for round in 1..=plan.kills {
            let began = instant_now();
            self.round(plan.writes + self.chance.below(plan.writes)).await;
            let keys = self.history.names().len();
            println!(
                "kill {round}: {} acknowledged in all, {keys} keys, {:?}",
                self.history.acknowledged(),
                began.elapsed()
            );
        }
    }

    /// Works until so many writes are acknowledged, kills, starts again, and looks at everything.
    async fn round(&mut self, writes: u64) {
        let target = self.history.acknowledged() + writes;
        let wire = self.orchestrator.wire();
        let running: Vec<_> = self
            .workers
            .drain(..)
            .map(|mut worker| {
                worker.wire = wire.clone();
                runtime::spawn(async move {
                    let stop = worker.run().await;
                    (worker, stop)
                })
            })
            .collect();
        let deadline = instant_now() + Duration::from_secs(60);
        while self.history.acknowledged() < target && instant_now() < deadline {
            runtime::sleep(Duration::from_millis(1)).await;
        }
        // Not just behind an acknowledgement, but anywhere.
        runtime::sleep(Duration::from_micros(self.chance.below(20_000))).await;
        self.orchestrator.kill_and_restart().await;
        let mut wrong = Vec::new();
        for task in running {
            let (worker, stop) = task.await.expect("a worker does not panic");
            if let Stop::Wrong(text) = stop {
                wrong.push(text);
            }
            self.workers.push(worker);
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let open = self.history.open();
        assert!(self.history.acknowledged() >= target, "a minute was too short for {writes} writes");
        let seen = self.verify().await;
        println!("  {open} writes were under way, {seen} objects are there");
    }

    /// Reads every key and every upload. Says how many objects there are.
    async fn verify(&mut self) -> usize {
        let wire = self.orchestrator.wire();
        let reads = self.history.names().into_iter().map(|key| read(&wire, &self.history, key));
        let seen: Vec<(String, Option<Value>)> =
            stream::iter(reads).buffer_unordered(READS_AT_ONCE).collect().await;
        let seen: BTreeMap<String, Option<Value>> = seen.into_iter().collect();
        for (key, value) in &seen {
            self.history.settle(key, value.clone());
        }
        for worker in &mut self.workers {
            worker.wire = wire.clone();
            worker.recover(&seen).await.unwrap_or_else(|stop| panic!("{stop:?}"));
        }
        check_listing(&wire, BUCKET, &seen).await;
        seen.values().flatten().count()
    }

    /// Aborts what is open, waits for the reaper, and ends the process.
    async fn stop(&mut self) {
        for worker in &mut self.workers {
            worker.give_up().await.unwrap_or_else(|stop| panic!("{stop:?}"));
        }
        let wire = self.orchestrator.wire();
        for bucket in [BUCKET, OTHER] {
            // Uploads whose creation was never answered.
            let listing =
                wire.ask(&Call::get(&format!("/{bucket}")).flag("uploads")).await.success("uploads");
            for (key, id) in listing.elements("Key").iter().zip(listing.elements("UploadId")) {
                let abort = Call::new("DELETE", &format!("/{bucket}/{key}")).query("uploadId", &id);
                wire.ask(&abort).await.success("abort");
            }
        }
        reaper_is_idle(&wire).await;
        assert!(self.orchestrator.stop().await.success(), "a clean end");
    }
}

pub(crate) async fn read(wire: &WireClient, history: &History, key: String) -> (String, Option<Value>) {
    let began = history.now();
    let answer = wire.ask(&Call::get(&key)).await;
    let value = history.judge(&key, began, &answer).unwrap_or_else(|text| panic!("{text}"));
    (key, value)
}

/// The listing names what reads have seen, and nothing else.
pub(crate) async fn check_listing(wire: &WireClient, bucket: &str, seen: &BTreeMap<String, Option<Value>>) {
    let answer = wire.ask(&Call::get(&format!("/{bucket}")).query("list-type", "2")).await.success("list");
    assert_eq!(
        answer.element("IsTruncated").as_deref(),
        Some("false"),
        "the test has fewer keys than a page"
    );
    let listed: Vec<(String, String)> =
        answer.elements("Key").into_iter().zip(answer.elements("ETag")).collect();
    let start = format!("/{bucket}/");
    let expected: Vec<(String, String)> = seen
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix(&start)?.to_owned(), value.as_ref()?.etag.clone())))
        .collect();
    assert_eq!(listed, expected, "the listing of {bucket}");
}
