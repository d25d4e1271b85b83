//! Breakers, under the real process: what clients do opens none of them, and what a backend does opens its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backend::{Backend, ClientOptions, S3Backend, S3Options};
use futures::{StreamExt, stream};
use runtime::instant_now;
use testkit::wire::{Call, SignedHead, UNSIGNED_PAYLOAD, WireClient};
use testkit::{ConfigBuilder, Fault, FaultProxy, Orchestrator, Seaweed, shared_seaweed};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use types::BackendName;

use crate::books;
use crate::support::{METRICS, metric, page, reaper_is_idle_by_now, value_of, wait_until};
use crate::value::{Run, Value};

/// Clients that only leave, and how many of them at once.
const LEAVERS: u64 = 3_000;
const LEAVERS_AT_ONCE: usize = 64;
const LARGE: usize = 1_000_000;

fn value(number: u64, length: usize) -> Value {
    Value::of(Run { number, length })
}

/// Two backends may fail three times in a row. Nothing that is sent may come later than a second after its end.
fn config(open_for: &str) -> ConfigBuilder {
    let breakers = format!(
        "backend_circuit_breaker: {{enabled: true, failure_threshold: 3, open_timeout: {open_for}}}\n\
         circuit_breaker: {{failure_threshold: 3, open_timeout: {open_for}}}"
    );
    ConfigBuilder::new()
        .factor(2)
        .bucket("b")
        .more(METRICS)
        .more("journal: {interval: 1s}")
        .more(&breakers)
        .each_backend("late_arrival_bound: 1s")
}

/// The ways in which a client leaves. Each head is signed once: the server keeps none in mind.
struct Leaver {
    address: String,
    heads: Vec<(SignedHead, Vec<u8>)>,
}

impl Leaver {
    fn new(wire: &WireClient, upload: &str) -> Self {
        let unfinished = |call: Call| {
            let call = call.header("content-length", &LARGE.to_string());
            wire.signed(&call.header("x-amz-content-sha256", UNSIGNED_PAYLOAD))
        };
        let part = Call::new("PUT", "/b/upload").query("uploadId", upload).query("partNumber", "1");
        let heads = vec![
            (wire.signed(&Call::get("/b/large")), Vec::new()),
            (wire.signed(&Call::get("/b/large").header("range", "bytes=500000-")), Vec::new()),
            (wire.signed(&Call::get("/b/large").header("range", "bytes=99999999-")), Vec::new()),
            (wire.signed(&Call::get("/b").query("list-type", "2")), Vec::new()),
            (wire.signed(&Call::new("HEAD", "/b/small")), Vec::new()),
            (unfinished(Call::new("PUT", "/b/left")), vec![1; 100]),
            (unfinished(Call::new("PUT", "/b/left")), vec![2; LARGE / 2]),
            (unfinished(part), vec![3; LARGE / 3]),
        ];
        Self { address: wire.address.clone(), heads }
    }

    /// Comes, says what it wants, and is gone: at once, or a moment later.
    async fn leave(&self, number: u64) -> std::io::Result<()> {
        let turn = usize::try_from(number).expect("they are few");
        let (head, body) = &self.heads[turn % self.heads.len()];
        let mut stream = TcpStream::connect(&self.address).await?;
        stream.write_all(&head.bytes).await?;
        stream.write_all(body).await?;
        if number.is_multiple_of(3) {
            // Until the answer has begun, or a while.
            let _ = runtime::timeout(Duration::from_millis(30), stream.readable()).await;
        }
        if number.is_multiple_of(2) {
            // With a reset, as a process does that is killed.
            stream.set_zero_linger()?;
        }
        Ok(())
    }
}

/// A client that behaves, until the others are done: whatever it is answered must be right.
async fn behave(wire: WireClient, index: u64, done: Arc<AtomicU64>) -> u64 {
    let mut rounds = 0;
    while done.load(Ordering::Relaxed) < LEAVERS {
        let (key, own) = (format!("/b/own-{index}"), value(index * 100_000 + rounds, 70_000));
        wire.ask(&Call::put(&key, own.bytes())).await.success("put among leavers");
        let read = wire.ask(&Call::get(&key)).await.success("get among leavers");
        assert!(read.body == own.bytes(), "{key} is another");
        let range = wire.ask(&Call::get(&key).header("range", "bytes=70000-")).await;
        assert_eq!((range.status, range.code().as_str()), (416, "InvalidRange"));
        rounds += 1;
    }
    rounds
}

/// N79, N80: thousands of clients that close their connections, ask for ranges that are not there, and abort
/// uploads. No breaker moves, of a backend or of the catalog, and nobody else notices.
#[tokio::test(flavor = "multi_thread")]
async fn n79_n80_clients_that_leave_open_no_breaker() {
    let server = shared_seaweed().await;
    let buckets = [server.new_bucket().await, server.new_bucket().await];
    let config = buckets.iter().cloned().fold(config("60s"), ConfigBuilder::s3);
    let mut orchestrator = Orchestrator::start(config).await;
    let wire = orchestrator.wire();
    let large = value(1, LARGE);
    wire.ask(&Call::put("/b/large", large.bytes())).await.success("put");
    wire.ask(&Call::put("/b/small", "small")).await.success("put");
    let begun = wire.ask(&Call::new("POST", "/b/upload").flag("uploads")).await.success("begin");
    let upload = begun.element("UploadId").expect("an upload has an id");

    let done = Arc::new(AtomicU64::new(0));
    let behaving: Vec<_> =
        (1..=2).map(|index| runtime::spawn(behave(wire.clone(), index, Arc::clone(&done)))).collect();
    let leaver = Leaver::new(&wire, &upload);
    let leaving = (0..LEAVERS).map(|number| {
        let (leaver, done) = (&leaver, &done);
        async move {
            let left = leaver.leave(number).await;
            done.fetch_add(1, Ordering::Relaxed);
            left.is_ok()
        }
    });
    let left = stream::iter(leaving).buffer_unordered(LEAVERS_AT_ONCE).collect::<Vec<bool>>().await;
    let left = left.into_iter().filter(|left| *left).count();
    // A few may be turned away while they still speak.
    assert!(left as u64 > LEAVERS / 2, "only {left} clients got as far as leaving");
    for behaving in behaving {
        let rounds = behaving.await.expect("whoever behaves is served");
        assert!(rounds > 0, "nobody behaved in the meantime");
        println!("{left} left, {rounds} rounds of one who behaved");
    }

    let metrics = page(&wire).await;
    let moves: Vec<_> =
        metrics.lines().filter(|line| line.starts_with("s3o_circuit_breaker_transitions_total")).collect();
    assert!(moves.is_empty(), "breakers moved: {moves:?}");
    for backend in ["s3-0", "s3-1"] {
        assert_eq!(metric(&metrics, &state_of(backend)), 0.0);
    }
    assert_eq!(wire.plain("GET", "/health").await.text(), "{\"status\":\"ok\"}", "the catalog is there");
    let abort = Call::new("DELETE", "/b/upload").query("uploadId", &upload);
    wire.ask(&abort).await.success("abort");
    assert!(wire.ask(&Call::get("/b/large")).await.success("get").body == large.bytes());
    reaper_is_idle_by_now(&wire).await;
    assert!(orchestrator.stop().await.success(), "a clean end");
    let backends =
        [("s3-0", &buckets[0]), ("s3-1", &buckets[1])].map(|(name, bucket)| s3(name, bucket.clone()));
    books::check(&orchestrator.folder().join("catalog.db"), &backends).await;
}

fn s3(name: &str, bucket: ClientOptions) -> Box<dyn Backend> {
    let name = BackendName::parse(name).expect("it is a name");
    Box::new(S3Backend::new(name, S3Options::new(bucket)).expect("the options of a test server are legal"))
}

fn state_of(backend: &str) -> String {
    format!("s3o_circuit_breaker_state{{name=\"{backend}\"}}")
}

/// A house of three backends, the first behind a network that can be broken.
struct House {
    orchestrator: Orchestrator,
    proxy: FaultProxy,
    wire: WireClient,
    written: u64,
}

impl House {
    async fn start(proxy: FaultProxy, mut first: ClientOptions, config: ConfigBuilder) -> Self {
        first.endpoint.clone_from(&proxy.endpoint);
        let orchestrator = Orchestrator::start(config.s3(first).directories(2)).await;
        // There is much to warn of.
        orchestrator.allow_log("\"level\":\"WARN\"");
        let wire = orchestrator.wire();
        Self { orchestrator, proxy, wire, written: 0 }
    }

    /// Writes one object and reads it and others; everything must work.
    async fn work(&mut self) {
        self.written += 1;
        let key = |number: u64| format!("/b/k{number}");
        let new = value(self.written, 50_000);
        self.wire.ask(&Call::put(&key(self.written), new.bytes())).await.success("put");
        for number in [self.written, self.written / 2 + 1, self.written / 3 + 1] {
            let read = self.wire.ask(&Call::get(&key(number))).await.success("get");
            assert!(read.body == value(number, 50_000).bytes(), "{number} is another");
        }
    }

    async fn works_until_breaker_is(&mut self, state: f64) {
        let deadline = instant_now() + crate::support::PATIENCE;
        while value_of(&page(&self.wire).await, &state_of("s3-0")) != Some(state) {
            assert!(instant_now() < deadline, "the breaker does not get to {state}");
            self.work().await;
        }
    }

    /// The backend is gone: its breaker opens, and while it is open, nobody waits for it.
    async fn is_left_alone(&mut self, open_for: Duration) {
        self.works_until_breaker_is(1.0).await;
        let (began, before) = (instant_now(), self.proxy.connections());
        for _ in 0..60 {
            self.work().await;
        }
        let tried = self.proxy.connections() - before;
        // Each time that it is due one request finds out, and that may try a few times.
        let due = began.elapsed().as_secs_f64() / open_for.as_secs_f64();
        assert!(tried as f64 <= 5.0 * (due + 2.0), "{tried} connections, {due} times due");
        println!("{tried} connections while it was gone for {:?}", began.elapsed());
    }

    /// It is back: that is noticed by requests, and everything is whole again.
    async fn becomes_whole(mut self, backends: Vec<Box<dyn Backend>>) {
        self.works_until_breaker_is(0.0).await;
        wait_until("every blob has its factor", async || {
            metric(&page(&self.wire).await, "s3o_replication_pending") == 0.0
        })
        .await;
        reaper_is_idle_by_now(&self.wire).await;
        assert!(self.orchestrator.stop().await.success(), "a clean end");
        let folder = self.orchestrator.folder();
        let mut all = books::directories_of(folder, 1..3).await;
        all.extend(backends);
        books::check(&folder.join("catalog.db"), &all).await;
    }
}

/// A backend that is killed opens its breaker; reads and writes go on with the others and do not wait for it;
/// it comes back when it is started again.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_backend_is_left_alone_and_comes_back() {
    const OPEN_FOR: Duration = Duration::from_secs(2);
    let mut server = Seaweed::start().await;
    let bucket = server.new_bucket().await;
    let proxy = FaultProxy::start(&server.endpoint).await;
    let mut house = House::start(proxy, bucket.clone(), config("2s")).await;
    for _ in 0..5 {
        house.work().await;
    }
    server.kill();
    house.is_left_alone(OPEN_FOR).await;
    server.restart().await;
    house.becomes_whole(vec![s3("s3-0", bucket)]).await;
}

/// The same where the network swallows everything: no connection fails, and none answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_silent_is_left_alone_and_comes_back() {
    const OPEN_FOR: Duration = Duration::from_secs(10);
    let server = shared_seaweed().await;
    let bucket = server.new_bucket().await;
    let proxy = FaultProxy::start(&server.endpoint).await;
    let config = config("10s").server("backend_timeout: 5s");
    let mut house = House::start(proxy, bucket.clone(), config).await;
    for _ in 0..5 {
        house.work().await;
    }
    house.proxy.set(Fault::Stall);
    house.is_left_alone(OPEN_FOR).await;
    house.proxy.set(Fault::None);
    house.becomes_whole(vec![s3("s3-0", bucket)]).await;
}
