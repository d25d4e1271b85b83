//! Limits, on the real process: hostile clients, crashes, and what arrives at the backends is counted there.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bench::store::Store;
use runtime::Chance;
use testkit::wire::{Answer, Call, UNSIGNED_PAYLOAD, Wire, WireClient};
use testkit::{ConfigBuilder, MovedClock, Orchestrator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use types::Timestamp;

const REQUESTS: u64 = 700;
const EGRESS: u64 = 150_000_000;
const INGRESS: u64 = 120_000_000;
const LARGE: usize = 6_000_000;
const CLIENTS: u64 = 6;
const KILLS: u32 = 4;
/// No period is longer than this.
const MONTH_S: u64 = 31 * 24 * 3600;

fn config(stores: &[Store], lines: &[String]) -> ConfigBuilder {
    let config = ConfigBuilder::new().factor(stores.len()).bucket("b");
    let config = config.more("telemetry:\n  metrics:\n    enabled: true");
    let config = stores
        .iter()
        .enumerate()
        .fold(config, |config, (index, store)| config.s3(store.options(&format!("bucket-{index}"))));
    lines.iter().fold(config, |config, line| config.each_backend(line))
}

fn seed() -> u64 {
    let seed = std::env::var("S3O_SEED")
        .map_or_else(|_| Chance::from_os().next_u64(), |text| text.parse().expect("S3O_SEED is a number"));
    println!("S3O_SEED={seed}");
    seed
}

/// One client that does as it likes until it is told to end. Whatever it is answered, it goes on.
async fn torment(wire: WireClient, chance: Chance, done: Arc<AtomicU64>) {
    loop {
        let key = format!("/b/k{}", chance.below(12));
        let large = chance.happens(0.3);
        let size = if large { LARGE } else { usize::try_from(chance.below(50_000)).unwrap() };
        match chance.below(10) {
            0..=2 => drop(wire.send(&Call::put(&key, vec![7; size])).await),
            3 | 4 => drop(wire.send(&Call::get(&key)).await),
            5 => {
                let from = chance.below(40_000);
                let call = Call::get(&key).header("range", &format!("bytes={from}-{}", from + 70_000));
                drop(wire.send(&call).await);
            }
            6 | 7 => drop(hang_up(&wire, &Call::get(&key), &[]).await),
            8 => {
                let call = Call::new("PUT", &key).header("content-length", &LARGE.to_string());
                let call = call.header("x-amz-content-sha256", UNSIGNED_PAYLOAD);
                drop(hang_up(&wire, &call, &vec![3; LARGE / 3]).await);
            }
            _ => drop(wire.send(&Call::new("DELETE", &key)).await),
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sends a head and perhaps a part of a body, takes what comes first, and leaves.
async fn hang_up(wire: &WireClient, call: &Call, body: &[u8]) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(&wire.address).await?;
    stream.write_all(&wire.signed(call).bytes).await?;
    if body.is_empty() {
        stream.read_exact(&mut [0; 300]).await?;
    } else {
        stream.write_all(body).await?;
    }
    Ok(())
}

/// Refused with the time at which it may work again.
fn is_slowed(answer: &Answer) -> bool {
    if (answer.status, answer.code().as_str()) != (503, "SlowDown") {
        return false;
    }
    let seconds: u64 = answer.header("retry-after").expect("it says when").parse().expect("in seconds");
    assert!((1..=MONTH_S).contains(&seconds), "{seconds}");
    true
}

fn check_counts(stores: &[Store]) {
    for store in stores {
        let [requests, egress, ingress] = store.counts();
        println!("{requests} of {REQUESTS} requests, {egress} of {EGRESS} out, {ingress} of {INGRESS} in");
        assert!(requests <= REQUESTS && egress <= EGRESS && ingress <= INGRESS);
    }
}

/// N90, N94: several clients that abort, retry and hang up, a process that is killed again and again: the
/// backends never count more than their limits, and in the end everyone is told when to come back.
#[tokio::test(flavor = "multi_thread")]
async fn n90_n94_nothing_gets_over_a_limit() {
    let stores = [Store::start().await, Store::start().await];
    let lines = [
        format!("api_request_limit: {REQUESTS}"),
        format!("egress_byte_limit: {EGRESS}"),
        format!("ingress_byte_limit: {INGRESS}"),
        "late_arrival_bound: 1s".to_owned(),
    ];
    let mut orchestrator = Orchestrator::start(config(&stores, &lines)).await;
    // What no client and no restart may have any more is said in the log.
    for said in [
        "limit of",
        "a worker's step failed",
        "could not be repaired",
        "no grant is in hand",
        "without a look",
        "newest catalog",
        "a target of a write",
        "reserved replicas",
    ] {
        orchestrator.allow_log(said);
    }
    let chance = Chance::seeded(seed());
    for round in 0..=KILLS {
        let done = Arc::new(AtomicU64::new(0));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let chance = Chance::seeded(chance.next_u64());
                runtime::spawn(torment(orchestrator.wire(), chance, Arc::clone(&done)))
            })
            .collect();
        let enough = 60 + chance.below(100);
        let working = async {
            while done.load(Ordering::Relaxed) < enough {
                runtime::sleep(Duration::from_millis(20)).await;
            }
        };
        runtime::timeout(Duration::from_secs(120), working).await.expect("clients are answered");
        check_counts(&stores);
        if round < KILLS {
            orchestrator.kill_and_restart().await;
        }
        drop(clients);
    }
    let wire = orchestrator.wire();
    let exhausted = async { while !is_slowed(&wire.ask(&Call::put("/b/last", "small")).await) {} };
    runtime::timeout(Duration::from_secs(120), exhausted).await.expect("requests end at last");
    check_counts(&stores);
    for store in &stores {
        // Whichever of them ended first.
        let [requests, _, ingress] = store.counts();
        let is_of_use = requests >= REQUESTS / 2 || ingress >= INGRESS / 2;
        assert!(is_of_use, "the limits are of use, through all crashes");
    }
    let page = wire.plain("GET", "/metrics").await.success("metrics").text();
    for metric in [
        "s3o_usage_limit_rejections_total{operation=\"PutObject\",limit_type=\"write\"}",
        "s3o_usage_api_requests{backend=\"s3-0\"}",
        "s3o_usage_egress_bytes_limit{backend=\"s3-0\"} 150000000",
        "s3o_usage_ingress_bytes_granted{backend=\"s3-1\"}",
    ] {
        assert!(page.contains(metric), "{metric} is not in\n{page}");
    }
    assert!(orchestrator.stop().await.success(), "a clean end");
    check_counts(&stores);
}

/// A process that is killed over and over without serving anyone leaves its clients their part.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_does_not_eat_the_month() {
    let stores = [Store::start().await];
    let lines = ["api_request_limit: 200".to_owned(), "limits_period: day".to_owned()];
    let lines = [lines[0].clone(), lines[1].clone(), anchor_just_passed()];
    let mut orchestrator = Orchestrator::start(config(&stores, &lines)).await;
    // Its look at who is the newest is one more request that it cannot have.
    for said in ["without a look", "newest catalog", "a worker's step failed"] {
        orchestrator.allow_log(said);
    }
    let wire = orchestrator.wire();
    wire.ask(&Call::put("/b/k", "bytes")).await.success("put");
    for _ in 0..8 {
        orchestrator.kill_and_restart().await;
    }
    let spent = stores[0].counts()[0];
    assert!(spent <= 27, "{spent} requests for nothing");
    let wire = orchestrator.wire();
    for _ in 0..30 {
        wire.ask(&Call::get("/b/k")).await.success("get");
    }
    assert!(orchestrator.stop().await.success(), "a clean end");
}

/// The day begins at the present hour: little of it has passed, so little is left over by clients.
fn anchor_just_passed() -> String {
    let hour = runtime::Clock::system().now().as_secs() / 3600 % 24;
    format!("limits_anchor: {hour}")
}

/// The middle of a month, in seconds: January, February and March of 2027, at noon.
const JANUARY: u64 = 1_800_014_400;
const FEBRUARY: u64 = 1_802_606_400;
const MARCH: u64 = 1_805_112_000;
const MONTHLY: u64 = 300;

/// A process whose clock is moved, one limited backend, and a client that signs by the same clock.
struct Almanac {
    store: Store,
    clock: MovedClock,
    orchestrator: Orchestrator,
    ahead_s: i64,
}

impl Almanac {
    async fn start(at_s: u64) -> Self {
        let (store, clock) = (Store::start().await, MovedClock::new());
        let ahead_s = ahead(at_s);
        clock.set(ahead_s);
        let lines = [format!("api_request_limit: {MONTHLY}"), "late_arrival_bound: 1s".to_owned()];
        let config = config(std::slice::from_ref(&store), &lines).clock(&clock);
        let orchestrator = Orchestrator::start(config).await;
        orchestrator.allow_log("\"level\":\"WARN\"");
        Self { store, clock, orchestrator, ahead_s }
    }

    /// The clock of the running process jumps; waits until it has noticed.
    async fn jump(&mut self, at_s: u64) {
        self.ahead_s = ahead(at_s);
        self.clock.set(self.ahead_s);
        let waiting = async {
            while self.ask(&Call::new("HEAD", "/b/clock")).await.status == 403 {
                runtime::sleep(Duration::from_millis(50)).await;
            }
        };
        runtime::timeout(Duration::from_secs(60), waiting).await.expect("its clock moves");
    }

    /// It is killed, and starts again at another time.
    async fn restart(&mut self, at_s: u64) {
        self.ahead_s = ahead(at_s);
        self.clock.set(self.ahead_s);
        self.orchestrator.kill_and_restart().await;
    }

    fn now_s(&self) -> u64 {
        runtime::Clock::system().now().as_secs().checked_add_signed(self.ahead_s).expect("it is after 1970")
    }

    async fn ask(&self, call: &Call) -> Answer {
        let wire = self.orchestrator.wire();
        let head = wire.signed_at(call, Timestamp::from_millis(self.now_s() * 1000));
        let mut connection = Wire::connect(&wire.address).await.expect("the server accepts connections");
        connection.send(&head, call).await.expect("it is answered")
    }

    /// Writes until it is told to come again later; how many requests the backend has counted meanwhile.
    async fn exhaust(&self) -> u64 {
        let before = self.count();
        let writing = async {
            while !is_slowed(&self.ask(&Call::put("/b/k", "small")).await) {
                assert!(self.count() - before <= MONTHLY, "over the limit");
            }
        };
        runtime::timeout(Duration::from_secs(120), writing).await.expect("the limit is reached");
        self.count() - before
    }

    fn count(&self) -> u64 {
        self.store.counts()[0]
    }
}

/// How many seconds this time is ahead of the present one.
fn ahead(at_s: u64) -> i64 {
    let now = i64::try_from(runtime::Clock::system().now().as_secs()).unwrap();
    i64::try_from(at_s).unwrap() - now
}

/// N94: a clock that jumps into the next month and back, processes that start in other months, and a crash loop
/// in one of them: the backend never counts more than the limit of a month, and each month is of use.
#[tokio::test(flavor = "multi_thread")]
async fn n94_no_month_is_overspent_however_the_clock_is_moved() {
    let mut almanac = Almanac::start(JANUARY).await;
    let january = almanac.exhaust().await;
    assert!((MONTHLY / 2..=MONTHLY).contains(&january), "{january} in January");

    // A running process cannot know which of its two clocks is right: it spends as if both were.
    almanac.jump(FEBRUARY).await;
    let jumped = almanac.exhaust().await;
    almanac.jump(JANUARY).await;
    let back = almanac.exhaust().await;
    assert!(january + jumped + back <= MONTHLY, "{january} + {jumped} + {back} in January");

    // The next one believes what it finds.
    almanac.restart(FEBRUARY).await;
    let february = almanac.exhaust().await;
    assert!((MONTHLY / 2..=MONTHLY).contains(&(jumped + february)), "{jumped} + {february} in February");
    almanac.restart(JANUARY).await;
    let again = almanac.exhaust().await;
    assert!(january + jumped + back + again <= MONTHLY, "{again} more in January");

    // Killed over and over in a month, it still has most of it.
    let before = almanac.count();
    for _ in 0..5 {
        almanac.restart(MARCH).await;
        assert_eq!(almanac.ask(&Call::put("/b/k", "small")).await.status, 200);
    }
    almanac.exhaust().await;
    let march = almanac.count() - before;
    assert!((MONTHLY / 2..=MONTHLY).contains(&march), "{march} in March");
    println!("January {january} + {jumped} + {back} + {again}, February {february}, March {march}");
    assert!(almanac.orchestrator.stop().await.success(), "a clean end");
}

/// N94: whoever works over the border of two months spends of both, as long as either clock may be right.
#[tokio::test(flavor = "multi_thread")]
async fn n94_what_is_spent_around_the_border_of_a_month_counts_for_both() {
    /// A quarter of a minute before February.
    const BORDER: u64 = 1_801_440_000;
    let almanac = Almanac::start(BORDER - 15).await;
    let spent = almanac.exhaust().await;
    let waiting = async {
        while almanac.now_s() < BORDER + 2 {
            runtime::sleep(Duration::from_millis(100)).await;
        }
    };
    runtime::timeout(Duration::from_secs(60), waiting).await.expect("the month ends");
    let answer = almanac.ask(&Call::put("/b/k", "small")).await;
    let count = almanac.count();
    // On a machine that was held up for long February may be open, and rightly so.
    if almanac.now_s() < BORDER + 50 {
        assert!(is_slowed(&answer), "{} {}", answer.status, answer.text());
        assert!(count <= MONTHLY, "{count} around the border");
    }
    println!("{spent} before or at the border, {count} in all");
}
