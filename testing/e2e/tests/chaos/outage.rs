//! The catalog is gone under a running process: SQLite itself fails, and comes back.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use futures::future::{join, join_all};
use testkit::wire::{Answer, Call, WireClient};
use testkit::{ConfigBuilder, Orchestrator, SmallDisk};

use crate::books;
use crate::support::{METRICS, page, reaper_is_idle_by_now, value_of, wait_until};
use crate::value::{Run, Value};

const DISKS: usize = 2;
const KEYS: u64 = 10;
/// Of these, the first ones are read before the outage, by this process.
const LOCATED: u64 = 5;

/// Takes every lock under which SQLite reads a database in WAL mode, and keeps them until its input ends: no
/// reader and no writer gets in, and all of them fail in the end with `SQLITE_PROTOCOL`. (The five bytes are
/// named in SQLite's file format: locks 3 to 7 of eight, from byte 120 on.)
const LOCK_OUT: &str = "
import fcntl, sys
shared = open(sys.argv[1], 'r+b')
fcntl.lockf(shared, fcntl.LOCK_EX, 5, 123)
print('locked', flush=True)
sys.stdin.read()
";

/// A stranger that keeps everybody out of a database. Dropping it lets them in again.
struct LockedOut(Child);

impl LockedOut {
    fn from(catalog: &Path) -> Self {
        let shared = format!("{}-shm", catalog.display());
        let mut child = Command::new("python3")
            .args(["-c", LOCK_OUT, &shared])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 can be started (on Debian: apt-get install python3)");
        let mut said = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut said).expect("it says that it has the locks");
        assert_eq!(said, "locked\n");
        Self(child)
    }
}

impl Drop for LockedOut {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

fn config() -> ConfigBuilder {
    ConfigBuilder::new()
        .directories(DISKS)
        .factor(2)
        .bucket("b")
        .more(METRICS)
        // Long enough for what is asked meanwhile, for each time that it is over one request has to wait and find out.
        .more("circuit_breaker: {failure_threshold: 3, open_timeout: 15s}")
}

fn key(number: u64) -> String {
    format!("/b/k{number}")
}

fn value(number: u64) -> Value {
    Value::of(Run { number, length: 100_000 })
}

/// Whether this was said to be as old as the outage.
fn is_degraded(answer: &Answer) -> bool {
    answer.header("x-s3o-degraded") == Some("catalog")
}

/// A process that has written ten objects in an earlier life, and located half of them in this one.
async fn start(config: ConfigBuilder) -> Orchestrator {
    let mut orchestrator = Orchestrator::start(config).await;
    let wire = orchestrator.wire();
    for number in 0..KEYS {
        wire.ask(&Call::put(&key(number), value(number).bytes())).await.success("put");
    }
    orchestrator.kill_and_restart().await;
    // There is much to warn of.
    orchestrator.allow_log("\"level\":\"WARN\"");
    check_reads(&orchestrator.wire(), 0..LOCATED, false).await;
    orchestrator
}

async fn check_reads(wire: &WireClient, numbers: std::ops::Range<u64>, degraded: bool) {
    for number in numbers {
        let get = wire.ask(&Call::get(&key(number))).await.success("get");
        assert!(get.body == value(number).bytes(), "{number} is another");
        let head = wire.ask(&Call::new("HEAD", &key(number))).await.success("head");
        assert_eq!(head.etag(), value(number).etag);
        assert_eq!([is_degraded(&get), is_degraded(&head)], [degraded; 2], "{number}");
    }
}

/// Refused, with the time after which to come again; never "not there".
async fn check_refused(wire: &WireClient, call: &Call) {
    let answer = wire.ask(call).await;
    let what = format!("{} {}: {} {}", call.method, call.path, answer.status, answer.text());
    assert_eq!(answer.status, 503, "{what}");
    let after = answer.header("retry-after").unwrap_or_else(|| panic!("{what}: it does not say when"));
    assert!(after.parse::<u64>().is_ok_and(|seconds| seconds > 0), "{what}: {after}");
}

async fn health(wire: &WireClient) -> (u16, String) {
    let answer = wire.plain("GET", "/health").await;
    (answer.status, answer.text())
}

/// Seamless: everything is there as before, and new things work.
async fn check_recovered(mut orchestrator: Orchestrator, catalog: &Path) {
    let wire = orchestrator.wire();
    wait_until("the catalog is back", async || {
        let written = wire.ask(&Call::put("/b/after", "after")).await;
        assert!([200, 503].contains(&written.status), "{} {}", written.status, written.text());
        let read = wire.ask(&Call::get(&key(KEYS - 1))).await;
        assert!([200, 503].contains(&read.status), "{} {}", read.status, read.text());
        written.status == 200 && read.status == 200 && !is_degraded(&read)
    })
    .await;
    check_reads(&wire, 0..KEYS, false).await;
    assert_eq!(wire.ask(&Call::get("/b/during")).await.status, 404, "what was refused has not happened");
    assert_eq!(health(&wire).await, (200, "{\"status\":\"ok\"}".to_owned()));
    let listed = wire.ask(&Call::get("/b").query("list-type", "2")).await.success("list");
    assert_eq!(listed.elements("Key").len() as u64, KEYS + 1);
    reaper_is_idle_by_now(&wire).await;
    assert!(orchestrator.stop().await.success(), "a clean end");
    books::check(catalog, &books::directories(orchestrator.folder(), DISKS).await).await;
}

/// N85, N86, N87: nobody can read the database. What was located lately is read on, and says how old it may be;
/// everything else is 503, never 404.
#[tokio::test(flavor = "multi_thread")]
async fn n85_n86_n87_a_catalog_that_nobody_can_read() {
    let orchestrator = start(config()).await;
    let wire = orchestrator.wire();
    let catalog = orchestrator.folder().join("catalog.db");
    let locked_out = LockedOut::from(&catalog);
    // Until it counts as gone a request waits for as long as SQLite tries; but whatever it is told is right.
    wait_until("reads and writes count as gone", async || {
        let (get, put) = (Call::get(&key(0)), Call::put("/b/during", "refused"));
        let refused = [check_refused(&wire, &put), check_refused(&wire, &put), check_refused(&wire, &put)];
        let (got, _) =
            join(join_all([wire.ask(&get), wire.ask(&get), wire.ask(&get)]), join_all(refused)).await;
        for got in got {
            assert!(got.success("get of what was located").body == value(0).bytes());
        }
        let metrics = page(&wire).await;
        let is_open =
            |name| value_of(&metrics, &format!("s3o_circuit_breaker_state{{name=\"{name}\"}}")) == Some(1.0);
        is_open("database") && is_open("database_writes")
    })
    .await;
    check_reads(&wire, 0..LOCATED, true).await;
    let range = wire.ask(&Call::get(&key(1)).header("range", "bytes=70000-70099")).await.success("range");
    assert!(range.status == 206 && range.body == value(1).bytes()[70_000..70_100] && is_degraded(&range));
    for call in [
        Call::get(&key(KEYS - 1)),
        Call::new("HEAD", &key(KEYS - 1)),
        Call::get("/b/never-written"),
        Call::get("/b").query("list-type", "2"),
        Call::put("/b/during", "refused"),
        Call::put(&key(0), "refused"),
        Call::new("DELETE", &key(0)),
        Call::new("PUT", "/b/during").header("x-amz-copy-source", &key(0)),
        Call::new("POST", "/b/during").flag("uploads"),
    ] {
        check_refused(&wire, &call).await;
    }
    assert_eq!(health(&wire).await, (200, "{\"status\":\"degraded\"}".to_owned()));
    assert_eq!(wire.plain("GET", "/health/ready").await.status, 200, "it serves what it can");
    drop(locked_out);
    check_recovered(orchestrator, &catalog).await;
}

/// The disk of the catalog is full: nothing is written, everything is read, and nothing needs a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_whose_disk_is_full_is_read_on() {
    let disk = SmallDisk::mount(64 << 20);
    let catalog = disk.path("catalog.db");
    let orchestrator = start(config().catalog_at(&catalog)).await;
    let wire = orchestrator.wire();
    disk.fill();
    // The log that SQLite has already may take a few more.
    wait_until("writes are refused", async || {
        let answer = wire.ask(&Call::put("/b/until", "full")).await;
        assert!([200, 503].contains(&answer.status), "{} {}", answer.status, answer.text());
        answer.status == 503
    })
    .await;
    check_refused(&wire, &Call::put("/b/during", vec![1; 100_000])).await;
    check_refused(&wire, &Call::new("POST", "/b/during").flag("uploads")).await;
    check_reads(&wire, 0..KEYS, false).await;
    wire.ask(&Call::get("/b").query("list-type", "2")).await.success("list");
    disk.free();
    wait_until("it takes writes again", async || {
        wire.ask(&Call::new("DELETE", "/b/until")).await.status == 204
    })
    .await;
    check_recovered(orchestrator, &catalog).await;
}
