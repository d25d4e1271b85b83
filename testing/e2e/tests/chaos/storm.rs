//! The storm: clients write, overwrite, delete, copy, read and upload in parts, and go on whatever happens, while
//! the network, the backends, the disks, the clock and the process itself fail one after another. Each client
//! keeps its own record. In the end all that was acknowledged is there byte for byte, every blob has its
//! factor, and the ledger equals what lies on the backends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};
use runtime::{Chance, Task, instant_now};
use testkit::wire::{Call, Keys, WireClient};
use testkit::{ConfigBuilder, Fault, FaultProxy, MovedClock, Orchestrator, S3Server, Seaweed, SmallDisk};

use crate::books;
use crate::crash::{check_listing, read};
use crate::history::History;
use crate::support::{METRICS, page, reaper_is_idle_by_now, seed, value_of};
use crate::value::Value;
use crate::worker::{BUCKET, FIXED, OTHER, Worker, abort_uploads, fixed};

const WORKERS: u64 = 8;
/// Writes that are acknowledged after each blow, once it is over.
const WRITES: u64 = 30;
/// Longest wait for them, and for all to be well in the end; reached only by a test that fails.
const RECOVERED_WITHIN: Duration = Duration::from_secs(240);
/// How long most faults last. Nothing is demanded of that time, but of what follows.
const FAULTY_FOR: Duration = Duration::from_secs(3);
/// How long a backend may be silent. Generous, for the machine is busy.
const SILENT_FOR: &str = "8s";
/// Longer than that.
const FROZEN_FOR: Duration = Duration::from_secs(10);
/// Longer than the lease of a process.
const WE_ARE_FROZEN_FOR: Duration = Duration::from_secs(32);
const READS_AT_ONCE: usize = 16;
const DISK_BYTES: u64 = 256 << 20;
const CATALOG_BYTES: u64 = 64 << 20;

/// What goes wrong. The number is that of a backend.
#[derive(Debug, Clone, Copy)]
enum Blow {
    Network(usize, Fault),
    ClientsAreCut,
    Killed,
    BackendKilled(usize),
    Frozen,
    BackendFrozen(usize),
    DiskFull,
    CatalogFull,
    ClockMoved(i64),
}

const BLOWS: [Blow; 14] = [
    Blow::Network(0, Fault::Cut),
    Blow::Network(1, Fault::Reset),
    Blow::Network(0, Fault::Stall),
    Blow::Network(1, Fault::Slow(Duration::from_millis(300))),
    Blow::Network(0, Fault::Throttle { bytes_per_s: 50_000 }),
    Blow::ClientsAreCut,
    Blow::Killed,
    Blow::BackendKilled(0),
    Blow::Frozen,
    Blow::BackendFrozen(1),
    Blow::DiskFull,
    Blow::CatalogFull,
    // Within what S3 allows between two clocks.
    Blow::ClockMoved(700),
    Blow::ClockMoved(-700),
];

struct Storm {
    orchestrator: Orchestrator,
    /// Where clients find it, wherever it listens.
    front: FaultProxy,
    servers: [S3Server; 2],
    networks: [FaultProxy; 2],
    disk: SmallDisk,
    catalog: SmallDisk,
    clock: MovedClock,
    history: Arc<History>,
    chance: Chance,
}

fn config() -> ConfigBuilder {
    ConfigBuilder::new()
        .factor(2)
        .bucket(BUCKET)
        .bucket(OTHER)
        .server(&format!("backend_timeout: {SILENT_FOR}"))
        .more(METRICS)
        .more("write_path:\n  multipart:\n    enforce_min_part_size: false")
        .more("backend_circuit_breaker: {enabled: true, failure_threshold: 3, open_timeout: 1s}")
        .more("circuit_breaker: {failure_threshold: 3, open_timeout: 1s}")
        .more("journal: {interval: 1s}")
        // What was given up may still arrive: from a backend that was stopped, when it goes on.
        .each_backend("late_arrival_bound: 15s")
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_was_acknowledged_outlives_the_storm() {
    let rounds = if std::env::var("S3O_SOAK").is_ok() { 10 } else { 1 };
    let servers = [Seaweed::start().await, Seaweed::start().await];
    let buckets = [servers[0].new_bucket().await, servers[1].new_bucket().await];
    let mut storm = Storm::start(servers, &buckets, seed()).await;
    let end = Arc::new(AtomicBool::new(false));
    let workers = storm.workers(&end);
    for round in 0..rounds {
        for blow in storm.shuffled() {
            let began = instant_now();
            storm.strike(blow).await;
            let acknowledged = storm.history.acknowledged();
            println!("round {round}: {blow:?}: {acknowledged} writes acknowledged, {:?}", began.elapsed());
        }
    }
    end.store(true, Ordering::Relaxed);
    for worker in workers {
        let failed = worker.await.expect("a worker does not panic").unwrap_or_else(|wrong| panic!("{wrong}"));
        println!("a worker was refused or lost its answer {failed} times");
    }
    storm.calms_down().await;
    storm.verify().await;
    assert!(storm.orchestrator.stop().await.success(), "a clean end");
    storm.check_books(buckets).await;
}

impl Storm {
    async fn start(servers: [S3Server; 2], buckets: &[backend::ClientOptions; 2], seed: u64) -> Self {
        let networks =
            [FaultProxy::start(&servers[0].endpoint).await, FaultProxy::start(&servers[1].endpoint).await];
        let (disk, catalog) = (SmallDisk::mount(DISK_BYTES), SmallDisk::mount(CATALOG_BYTES));
        let clock = MovedClock::new();
        let mut config = config().clock(&clock).catalog_at(&catalog.path("catalog.db"));
        for (bucket, network) in buckets.iter().zip(&networks) {
            let mut bucket = bucket.clone();
            bucket.endpoint.clone_from(&network.endpoint);
            config = config.s3(bucket);
        }
        let orchestrator = Orchestrator::start(config.directory_at(&disk.path("data"))).await;
        // There is much to warn of.
        orchestrator.allow_log("\"level\":\"WARN\"");
        let front = FaultProxy::start(&orchestrator.endpoint).await;
        let history = Arc::new(History::default());
        let chance = Chance::seeded(seed);
        let storm = Self { orchestrator, front, servers, networks, disk, catalog, clock, history, chance };
        for index in 0..FIXED {
            let (key, value) = fixed(index);
            let write = storm.history.begin(&key, Some(value.clone()));
            storm.wire().ask(&Call::put(&key, value.bytes())).await.success(&key);
            storm.history.acknowledge(&write);
        }
        storm
    }

    fn wire(&self) -> WireClient {
        WireClient::new(&self.front.endpoint, Keys::new(Orchestrator::ACCESS_KEY, Orchestrator::SECRET_KEY))
    }

    fn workers(&self, end: &Arc<AtomicBool>) -> Vec<Task<Result<u64, String>>> {
        let start = |number| {
            let mut worker =
                Worker::new(number, self.chance.next_u64(), self.wire(), Arc::clone(&self.history));
            let end = Arc::clone(end);
            runtime::spawn(async move { worker.endure(&end).await })
        };
        (0..WORKERS).map(start).collect()
    }

    fn shuffled(&self) -> Vec<Blow> {
        let mut blows = BLOWS.to_vec();
        for last in (1..blows.len()).rev() {
            let other = usize::try_from(self.chance.below(last as u64 + 1)).expect("they are few");
            blows.swap(last, other);
        }
        blows
    }

    /// Something goes wrong for a while; then it is over, and clients get on.
    async fn strike(&mut self, blow: Blow) {
        match blow {
            Blow::Network(backend, fault) => {
                self.networks[backend].set(fault);
                runtime::sleep(FAULTY_FOR).await;
                self.networks[backend].set(Fault::None);
            }
            Blow::ClientsAreCut => {
                self.front.set(Fault::Reset);
                runtime::sleep(Duration::from_millis(200)).await;
                self.front.set(Fault::None);
            }
            Blow::Killed => {
                self.orchestrator.kill_and_restart().await;
                self.front.lead_to(&self.orchestrator.endpoint);
            }
            Blow::BackendKilled(backend) => {
                self.servers[backend].kill();
                runtime::sleep(FAULTY_FOR).await;
                self.servers[backend].restart().await;
            }
            Blow::Frozen => {
                self.orchestrator.process().signal("STOP");
                runtime::sleep(WE_ARE_FROZEN_FOR).await;
                self.orchestrator.process().signal("CONT");
            }
            Blow::BackendFrozen(backend) => {
                self.servers[backend].signal("STOP");
                runtime::sleep(FROZEN_FOR).await;
                self.servers[backend].signal("CONT");
            }
            Blow::DiskFull => {
                self.disk.fill();
                runtime::sleep(FAULTY_FOR).await;
                self.disk.free();
            }
            Blow::CatalogFull => {
                self.catalog.fill();
                runtime::sleep(FAULTY_FOR).await;
                self.catalog.free();
            }
            Blow::ClockMoved(by_s) => {
                self.clock.set(by_s);
                runtime::sleep(FAULTY_FOR).await;
                self.clock.set(0);
            }
        }
        let target = self.history.acknowledged() + WRITES;
        let deadline = instant_now() + RECOVERED_WITHIN;
        while self.history.acknowledged() < target {
            assert!(!self.orchestrator.process().has_ended(), "it ended after {blow:?}");
            assert!(instant_now() < deadline, "clients do not get on after {blow:?}");
            runtime::sleep(Duration::from_millis(20)).await;
        }
    }

    /// All faults are over: breakers close by requests, repair makes what is missing, the reaper ends.
    async fn calms_down(&self) {
        let wire = self.wire();
        abort_uploads(&wire).await;
        let deadline = instant_now() + RECOVERED_WITHIN;
        loop {
            let metrics = page(&wire).await;
            let left = unrest(&metrics);
            if left.is_empty() {
                break;
            }
            assert!(instant_now() < deadline, "it does not calm down: {left:?}");
            // A breaker closes by a request.
            wire.ask(&Call::put(&format!("/{BUCKET}/last"), "for those who listen")).await;
            wire.ask(&Call::new("DELETE", &format!("/{BUCKET}/last"))).await;
            runtime::sleep(Duration::from_millis(500)).await;
        }
        reaper_is_idle_by_now(&wire).await;
    }

    /// Reads everything, and compares the listings.
    async fn verify(&self) {
        let wire = self.wire();
        let reads = self.history.names().into_iter().map(|key| read(&wire, &self.history, key));
        let seen: Vec<(String, Option<Value>)> =
            stream::iter(reads).buffer_unordered(READS_AT_ONCE).collect().await;
        let seen: BTreeMap<String, Option<Value>> = seen.into_iter().collect();
        check_listing(&wire, BUCKET, &seen).await;
        check_listing(&wire, OTHER, &seen).await;
        println!("{} keys, {} objects", seen.len(), seen.values().flatten().count());
    }

    async fn check_books(&self, buckets: [backend::ClientOptions; 2]) {
        let mut backends = books::buckets(buckets);
        backends.push(books::directory("disk-2", &self.disk.path("data")).await);
        books::check(&self.catalog.path("catalog.db"), &backends).await;
        for network in &self.networks {
            let (ended, held) = network.injected();
            println!("{ended} connections ended, {held} times bytes were held, of {}", network.connections());
        }
    }
}

/// What is not as it should be when all is quiet.
fn unrest(metrics: &str) -> Vec<&str> {
    let is_off = |line: &&str| {
        let is_one = ["s3o_circuit_breaker_state{", "s3o_replication_pending ", "s3o_cleanup_queue_depth "]
            .iter()
            .any(|name| line.starts_with(name))
            // Whoever asks for this is under way itself.
            || (line.starts_with("s3o_inflight_requests{") && !line.contains("\"GET\""));
        is_one && !line.ends_with(" 0")
    };
    assert!(value_of(metrics, "s3o_replication_pending").is_some(), "{metrics}");
    metrics.lines().filter(is_off).collect()
}
