//! What several tests need.

use std::time::Duration;

use runtime::instant_now;
use testkit::wire::WireClient;

/// Lets the books be looked at from outside.
pub(crate) const METRICS: &str = "telemetry:\n  metrics:\n    enabled: true";

/// Longest wait for the reaper.
const IDLE_WITHIN: Duration = Duration::from_secs(180);
/// How old its metric may be.
const METRIC_AGE_MAX: Duration = Duration::from_secs(11);

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
    reaper_is_idle_after(wire, Duration::ZERO).await;
}

/// The same after faults, which doom late: what the metric says of the time before this was asked does not count.
pub(crate) async fn reaper_is_idle_by_now(wire: &WireClient) {
    reaper_is_idle_after(wire, METRIC_AGE_MAX).await;
}

async fn reaper_is_idle_after(wire: &WireClient, age: Duration) {
    let (began, deadline) = (instant_now(), instant_now() + IDLE_WITHIN);
    loop {
        let depth = metric(&page(wire).await, "s3o_cleanup_queue_depth");
        if depth == 0.0 && began.elapsed() >= age {
            return;
        }
        assert!(instant_now() < deadline, "the reaper still has {depth} replicas to delete");
        runtime::sleep(Duration::from_millis(200)).await;
    }
}
