//! A quiet process: it asks its backends nothing, and hardly uses the processor.

use std::time::Duration;

use bench::store::Store;
use bench::usage::cpu_time;
use testkit::wire::Call;
use testkit::{ConfigBuilder, Orchestrator};

use crate::support::{METRICS, PATIENCE};
use crate::worker::BUCKET;

/// For how long nothing is asked before the process counts as quiet: longer than anything here is put off.
const QUIET: u32 = 10;
const WATCHED: Duration = Duration::from_secs(30);
/// Of one core: 0.5 %.
const SHARE: u32 = 200;

fn config() -> ConfigBuilder {
    ConfigBuilder::new().factor(2).bucket(BUCKET).more(METRICS).more("journal: {interval: 1s}")
}

/// Waits until `counts` have been the same for a while, then looks at what the process does for a while longer.
async fn check(config: ConfigBuilder, counts: impl Fn() -> Vec<[u64; 3]>) {
    let mut orchestrator = Orchestrator::start(config).await;
    let wire = orchestrator.wire();
    for number in 0..30 {
        let path = format!("/{BUCKET}/k{}", number % 10);
        let call =
            if number % 7 == 0 { Call::new("DELETE", &path) } else { Call::put(&path, vec![7; 10_000]) };
        assert!(wire.send(&call).await.unwrap().status < 300);
    }
    let quiet = async {
        let (mut known, mut since) = (counts(), 0);
        while since < QUIET {
            runtime::sleep(Duration::from_secs(1)).await;
            let now = counts();
            since = if now == known { since + 1 } else { 0 };
            known = now;
        }
    };
    runtime::timeout(PATIENCE, quiet).await.expect("it has nothing to do for ever");

    let process = orchestrator.process().id();
    let (before, spent) = (counts(), cpu_time(process));
    runtime::sleep(WATCHED).await;
    assert_eq!(counts(), before, "requests, egress and ingress of each backend");
    let used = cpu_time(process) - spent;
    println!("{used:?} of the processor in {WATCHED:?}");
    assert!(used <= WATCHED / SHARE, "{used:?} of the processor in {WATCHED:?}");
    assert!(orchestrator.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn n126_a_quiet_process_sends_no_request_and_hardly_works() {
    let stores = [Store::start().await, Store::start().await];
    let config = stores
        .iter()
        .enumerate()
        .fold(config(), |config, (index, store)| config.s3(store.options(&format!("bucket-{index}"))));
    let config = config.each_backend("late_arrival_bound: 1s");
    check(config, || stores.iter().map(Store::counts).collect()).await;
}

/// Directories are cheap to ask, so what is put off is put off for a shorter time.
#[tokio::test(flavor = "multi_thread")]
async fn over_directories_it_hardly_works_either() {
    check(config().directories(2), Vec::new).await;
}
