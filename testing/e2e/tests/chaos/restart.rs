//! The orderly end, and the next process.

use std::time::Duration;

use testkit::wire::{Call, Wire, WireClient};
use testkit::{ConfigBuilder, Orchestrator};

use crate::books;
use crate::support::METRICS;
use crate::value::{Run, Value};

const UPLOADS: u64 = 12;
const LENGTH: usize = 600_000;

fn config() -> ConfigBuilder {
    ConfigBuilder::new().directories(2).factor(2).bucket("b").more(METRICS)
}

/// An upload that has sent half of its body.
struct Half {
    wire: Wire,
    call: Call,
    value: Value,
}

impl Half {
    async fn begin(client: &WireClient, number: u64) -> Self {
        let value = Value::of(Run { number, length: LENGTH });
        let call = Call::put(&format!("/b/half-{number}"), value.bytes());
        let mut wire = Wire::connect(&client.address).await.unwrap();
        wire.write(&client.signed(&call).bytes).await.unwrap();
        wire.write(&call.body[..LENGTH / 2]).await.unwrap();
        Self { wire, call, value }
    }
}

/// Waits until so many requests are under way.
async fn wait_for_requests(client: &WireClient, count: u64) {
    let deadline = runtime::instant_now() + Duration::from_secs(30);
    loop {
        let page = client.plain("GET", "/metrics").await.success("metrics").text();
        let puts = page.lines().find_map(|line| line.strip_prefix("s3o_inflight_requests{method=\"PUT\"} "));
        if puts.and_then(|text| text.parse().ok()).unwrap_or(0) >= count {
            return;
        }
        assert!(runtime::instant_now() < deadline, "requests do not arrive");
        runtime::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_uploads_finish_and_the_next_process_waits() {
    let mut first = Orchestrator::start(config()).await;
    let client = first.wire();
    let mut halves = Vec::new();
    for number in 0..UPLOADS {
        halves.push(Half::begin(&client, number).await);
    }
    wait_for_requests(&client, UPLOADS).await;

    // A second process on the same catalog lives, and is not ready.
    let mut second = first.start_beside().await;
    let probe = second.wire();
    assert_eq!(probe.plain("GET", "/health").await.status, 200);
    assert_eq!(probe.plain("GET", "/health/ready").await.status, 503);
    assert_eq!(
        probe.ask(&Call::get("/b/half-0")).await.status,
        503,
        "it serves nothing before it owns the catalog"
    );

    first.process().signal("TERM");
    // Half of them send the rest, half of them vanish.
    let mut acknowledged = Vec::new();
    for (index, mut half) in halves.into_iter().enumerate() {
        if index % 2 == 1 {
            continue;
        }
        let answer = half.wire.exchange(&half.call.body[LENGTH / 2..], "PUT").await;
        let answer = answer.expect("an upload under way is answered").success("the rest of an upload");
        assert_eq!(answer.etag(), half.value.etag);
        acknowledged.push(half);
    }
    let status = first.process().ended(Duration::from_secs(30)).await;
    assert!(status.success(), "{status}");

    second.ready().await;
    for half in &acknowledged {
        let held = probe.ask(&Call::get(&half.call.path)).await.success(&half.call.path);
        assert!(held.body == half.value.bytes(), "{} is another", half.call.path);
    }
    let listed = probe.ask(&Call::get("/b").query("list-type", "2")).await.success("list").elements("Key");
    assert_eq!(listed.len(), acknowledged.len(), "what vanished left nothing: {listed:?}");
    crate::support::reaper_is_idle(&probe).await;
    assert!(second.stop().await.success());
    let backends = books::directories(first.folder(), 2).await;
    books::check(&first.folder().join("catalog.db"), &backends).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_process_takes_over_after_a_crash() {
    let mut first = Orchestrator::start(config()).await;
    let client = first.wire();
    let value = Value::of(Run { number: 1, length: 100_000 });
    client.ask(&Call::put("/b/k", value.bytes())).await.success("put");
    let mut second = first.start_beside().await;
    assert_eq!(second.wire().plain("GET", "/health/ready").await.status, 503);
    first.process().signal("KILL");
    second.ready().await;
    let held = second.wire().ask(&Call::get("/b/k")).await.success("get");
    assert!(held.body == value.bytes());
    second.wire().ask(&Call::put("/b/k", "new")).await.success("put");
}

/// A second signal ends the process at once, whatever is under way; the data survives that as any crash.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigterm_ends_it_at_once() {
    let mut orchestrator = Orchestrator::start(config()).await;
    orchestrator.allow_log("came again");
    let client = orchestrator.wire();
    client.ask(&Call::put("/b/kept", "kept")).await.success("put");
    let half = Half::begin(&client, 7).await;
    wait_for_requests(&client, 1).await;
    orchestrator.process().signal("TERM");
    // It has begun to drain once it accepts nobody.
    while Wire::connect(&client.address).await.is_ok() {
        runtime::sleep(Duration::from_millis(10)).await;
    }
    orchestrator.process().signal("TERM");
    let status = orchestrator.process().ended(Duration::from_secs(20)).await;
    assert_eq!(status.code(), Some(143), "{status}");
    drop(half);
    orchestrator.kill_and_restart().await;
    let client = orchestrator.wire();
    assert_eq!(client.ask(&Call::get("/b/kept")).await.success("get").text(), "kept");
    assert_eq!(client.ask(&Call::get("/b/half-7")).await.status, 404);
}
