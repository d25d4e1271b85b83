//! What several tests need.

use std::time::Duration;

use runtime::instant_now;
use testkit::wire::WireClient;

/// Lets the books be looked at from outside.
pub(crate) const METRICS: &str = "telemetry:\n  metrics:\n    enabled: true";

/// Longest wait for the reaper. Its metric is up to ten seconds old.
const IDLE_WITHIN: Duration = Duration::from_secs(90);

/// What decides everything random; `S3O_SEED` replays it.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("S3O_SEED").map_or_else(
        |_| runtime::Chance::from_os().next_u64(),
        |text| text.parse().expect("S3O_SEED is a number"),
    );
    println!("S3O_SEED={seed}");
    seed
}

/// Longest wait for any state on a busy machine; reached only by a test that fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for a state.
pub(crate) async fn wait_until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let deadline = instant_now() + PATIENCE;
    while !is().await {
        assert!(instant_now() < deadline, "waited in vain until {what}");
        runtime::sleep(Duration::from_millis(50)).await;
    }
}

/// All metrics.
pub(crate) async fn page(wire: &WireClient) -> String {
    wire.plain("GET", "/metrics").await.success("metrics").text()
}

/// The value of a metric, where it is there.
pub(crate) fn value_of(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?.parse().ok()
}

/// The value of a metric that must be there.
pub(crate) fn metric(page: &str, name: &str) -> f64 {
    value_of(page, name).unwrap_or_else(|| panic!("{name} is not there:\n{page}"))
}

/// Waits until nothing is left to delete.
pub(crate) async fn reaper_is_idle(wire: &WireClient) {
    let deadline = instant_now() + IDLE_WITHIN;
    loop {
        let page = wire.plain("GET", "/metrics").await.success("metrics").text();
        let depth = page.lines().find_map(|line| line.strip_prefix("s3o_cleanup_queue_depth "));
        let depth = depth.expect("the metric is there").to_owned();
        if depth == "0" {
            return;
        }
        assert!(instant_now() < deadline, "the reaper still has {depth} replicas to delete");
        runtime::sleep(Duration::from_millis(100)).await;
    }
}
