//! Lost and damaged replicas, on real disks, under a real process.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use runtime::instant_now;
use testkit::wire::Call;
use testkit::{ConfigBuilder, Orchestrator};

use crate::books;
use crate::support::{METRICS, metric, page, reaper_is_idle};
use crate::value::{Run, Value};

/// Longest wait for a repair; it takes seconds.
const REPAIRED_WITHIN: Duration = Duration::from_secs(90);
const DISKS: usize = 3;

fn config() -> ConfigBuilder {
    let scrub =
        "integrity: {enabled: true, scrubber_interval: 1s, scrubber_batch_size: 1000, scrubber_min_age: 0s}";
    ConfigBuilder::new().directories(DISKS).factor(2).bucket("b").more(METRICS).more(scrub)
}

/// The files of replicas on a disk, without what says of them.
fn replicas(orchestrator: &Orchestrator, disk: usize) -> Vec<PathBuf> {
    let found = books::files(&orchestrator.folder().join(format!("disk-{disk}/b")));
    found.into_iter().filter(|path| !path.display().to_string().ends_with("%m")).collect()
}

/// Good copies of these bytes on all disks.
fn copies(orchestrator: &Orchestrator, bytes: &[u8]) -> usize {
    let all = (0..DISKS).flat_map(|disk| replicas(orchestrator, disk));
    all.filter(|path| is_copy(path, bytes)).count()
}

fn is_copy(path: &Path, bytes: &[u8]) -> bool {
    fs::metadata(path).is_ok_and(|file| file.len() == bytes.len() as u64)
        && fs::read(path).is_ok_and(|held| held == bytes)
}

async fn wait_for_copies(orchestrator: &Orchestrator, bytes: &[u8], expected: usize, what: &str) {
    let deadline = instant_now() + REPAIRED_WITHIN;
    while copies(orchestrator, bytes) < expected {
        assert!(instant_now() < deadline, "{what}: {}", orchestrator.log_tail());
        runtime::sleep(Duration::from_millis(50)).await;
    }
}

async fn end(mut orchestrator: Orchestrator) {
    reaper_is_idle(&orchestrator.wire()).await;
    assert!(orchestrator.stop().await.success(), "a clean end");
    let backends = books::directories(orchestrator.folder(), DISKS).await;
    books::check(&orchestrator.folder().join("catalog.db"), &backends).await;
}

/// N9, N13: nobody reads them, and they are whole again within seconds.
#[tokio::test(flavor = "multi_thread")]
async fn n9_a_lost_file_and_a_flipped_bit_are_found_and_made_good() {
    let orchestrator = Orchestrator::start(config()).await;
    orchestrator.allow_log("replica is suspect");
    let wire = orchestrator.wire();
    let values: Vec<Value> = (0..6).map(|number| Value::of(Run { number, length: 300_000 })).collect();
    for (at, value) in values.iter().enumerate() {
        wire.ask(&Call::put(&format!("/b/k{at}"), value.bytes())).await.success("put");
    }
    let of = |value: &Value| {
        let bytes = value.bytes();
        let all = (0..DISKS).flat_map(|disk| replicas(&orchestrator, disk));
        all.filter(|path| is_copy(path, &bytes)).collect::<Vec<_>>()
    };
    fs::remove_file(&of(&values[0])[0]).unwrap();
    let flipped = of(&values[1])[1].clone();
    let mut bytes = values[1].bytes();
    bytes[200_000] ^= 1;
    fs::write(&flipped, &bytes).unwrap();
    for value in &values[..2] {
        wait_for_copies(&orchestrator, &value.bytes(), 2, "two good copies again").await;
    }
    for (at, value) in values.iter().enumerate() {
        let held = wire.ask(&Call::get(&format!("/b/k{at}"))).await.success("get");
        assert!(held.body == value.bytes());
    }
    let metrics = page(&wire).await;
    assert!(metric(&metrics, "s3o_replication_copies_created_total") >= 2.0);
    assert!(metric(&metrics, "s3o_integrity_errors_total{operation=\"scrub\"}") >= 2.0);
    end(orchestrator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_midst_of_repairs_leaves_nothing_behind() {
    let mut orchestrator = Orchestrator::start(config()).await;
    orchestrator.allow_log("replica is suspect");
    let values: Vec<Value> = (0..30).map(|number| Value::of(Run { number, length: 1_000_000 })).collect();
    let wire = orchestrator.wire();
    for (at, value) in values.iter().enumerate() {
        wire.ask(&Call::put(&format!("/b/k{at}"), value.bytes())).await.success("put");
    }
    // A whole disk loses what it held, but not its marker.
    for path in replicas(&orchestrator, 0) {
        fs::remove_file(path).unwrap();
    }
    let deadline = instant_now() + REPAIRED_WITHIN;
    while replicas(&orchestrator, 0).len() + replicas(&orchestrator, 2).len() < 3 {
        assert!(instant_now() < deadline, "repair begins: {}", orchestrator.log_tail());
        runtime::sleep(Duration::from_millis(5)).await;
    }
    orchestrator.kill_and_restart().await;
    orchestrator.allow_log("replica is suspect");
    for value in &values {
        wait_for_copies(&orchestrator, &value.bytes(), 2, "the factor is restored").await;
    }
    let wire = orchestrator.wire();
    for (at, value) in values.iter().enumerate() {
        let held = wire.ask(&Call::get(&format!("/b/k{at}"))).await.success("get");
        assert!(held.body == value.bytes());
    }
    end(orchestrator).await;
}
