//! The catalog is lost while a backend is being emptied, the brake holds all deletes and something is in quarantine. In the
//! catalog that is rebuilt all of that goes on.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use testkit::wire::{Call, WireClient};
use testkit::{ConfigBuilder, Orchestrator};

use crate::books;
use crate::support::{METRICS, page, value_of, wait_until};
use crate::value::{Run, Value};

const DISKS: usize = 3;
const TOKEN: &str = "a token of some length";
const KEYS: u64 = 40;
/// Below so many that the brake is engaged.
const FLOOR: u64 = 6;

fn config() -> ConfigBuilder {
    ConfigBuilder::new()
        .directories(DISKS)
        .factor(2)
        .bucket("b")
        .more(METRICS)
        .more("journal: {interval: 50ms}")
        .more(&format!("ui: {{admin_token: \"{TOKEN}\"}}"))
        .more(&format!("cleanup_queue: {{brake: {{share: 0.01, floor: {FLOOR}, count_clients: true}}}}"))
}

fn admin_in(folder: &Path, endpoint: &str, args: &[&str]) -> Json {
    let (addr, token) = (format!("-addr={endpoint}"), format!("-token={TOKEN}"));
    let output = Orchestrator::run_in_folder(folder, &[&["admin", "-json", &addr, &token], args].concat());
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn admin(orchestrator: &Orchestrator, args: &[&str]) -> Json {
    admin_in(orchestrator.folder(), &orchestrator.endpoint, args)
}

fn rebuild(folder: &Path, flags: &[&str]) -> String {
    let output =
        Orchestrator::run_in_folder(folder, &[&["rebuild", "-config", "config.yaml"], flags].concat());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn value(number: u64) -> Value {
    Value::of(Run { number, length: 3_000 })
}

async fn put(wire: &WireClient, number: u64) {
    wire.ask(&Call::put(&format!("/b/k{number}"), value(number).bytes())).await.success("put");
}

/// Bytes on a disk that are those of clients.
fn bodies(folder: &Path, disk: usize) -> Vec<PathBuf> {
    books::files(&folder.join(format!("disk-{disk}/b")))
}

/// What is told of decisions, whichever catalog tells it.
fn decided(orchestrator: &Orchestrator) -> (Vec<Json>, Json, Json) {
    let status = admin(orchestrator, &["status"]);
    let backends = status["backends"].as_array().unwrap().iter();
    let draining = backends.map(|backend| backend["draining"].clone()).collect();
    let brake = admin(orchestrator, &["brake"]);
    assert_eq!(status["brake_engaged"], brake["engaged"]);
    (draining, brake["engaged_at"].clone(), brake["why"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_goes_on_in_a_rebuilt_catalog() {
    let mut orchestrator = Orchestrator::start(config()).await;
    orchestrator.allow_log("\"level\":\"WARN\"");
    orchestrator.allow_log("the brake is engaged");
    let wire = orchestrator.wire();
    for number in 0..KEYS {
        put(&wire, number).await;
    }
    // Something of long ago that nobody knows.
    let folder = orchestrator.folder().to_owned();
    let old = "01HF7YAT00000000000000000";
    let stray = folder.join(format!("disk-2/b/lost~{old}1.{old}2"));
    std::fs::create_dir_all(stray.parent().unwrap()).unwrap();
    std::fs::write(&stray, "lost and found").unwrap();
    admin(&orchestrator, &["reconcile", "-backend", "disk-2"]);
    // More than a client may delete; and a backend is to become empty.
    let lying = |folder: &Path| (0..DISKS).map(|disk| bodies(folder, disk).len()).sum::<usize>();
    for number in 0..FLOOR {
        wire.ask(&Call::new("DELETE", &format!("/b/k{number}"))).await.success("delete");
    }
    admin(&orchestrator, &["drain", "disk-0"]);
    wait_until("all is shipped", async || {
        value_of(&page(&wire).await, "s3o_journal_unshipped_age_seconds") == Some(0.0)
    })
    .await;
    let was = decided(&orchestrator);
    assert_eq!(was.0, [true, false, false], "it drains");
    assert!(was.1.is_string() && !was.2.as_str().unwrap().is_empty(), "and the brake holds: {was:?}");
    let item = admin(&orchestrator, &["quarantine", "list"])["items"][0].clone();

    let (mut said, mut before) = ((String::new(), String::new()), 0);
    orchestrator
        .kill_and_restart_after(async |folder| {
            for suffix in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(folder.join(format!("catalog.db{suffix}")));
            }
            before = lying(folder);
            said = (rebuild(folder, &["-read"]), rebuild(folder, &["-execute"]));
        })
        .await;
    for said in [&said.0, &said.1] {
        assert!(said.contains("backend disk-0 is draining since"), "{said}");
        assert!(said.contains("the brake holds all deletes since"), "{said}");
        assert!(said.contains("1 replicas were in quarantine before and are deleted"), "{said}");
    }
    assert!(said.0.contains("nothing was changed"), "{}", said.0);
    let wire = orchestrator.wire();
    assert_eq!(decided(&orchestrator), was, "since the same moment, for the same reason");
    let kept = admin(&orchestrator, &["quarantine", "list"])["items"].as_array().unwrap().clone();
    let kept = kept.iter().find(|kept| kept["id"] == item["id"]).expect("it is there again");
    assert_eq!(kept["deleted_at"], item["deleted_at"], "as long as it would have been");
    assert_eq!(std::fs::read(&stray).unwrap(), b"lost and found");

    // Nothing new comes to lie where it drains, and what lies there goes on being moved away.
    for number in KEYS..2 * KEYS {
        put(&wire, number).await;
    }
    wait_until("it is emptied", async || {
        admin(&orchestrator, &["drain-status", "disk-0"])["drained"] == true
    })
    .await;
    for number in FLOOR..2 * KEYS {
        let read = wire.ask(&Call::get(&format!("/b/k{number}"))).await.success("get");
        assert!(read.body == value(number).bytes(), "{number} is another");
    }
    // All of it is there still, for the brake holds; it goes once somebody has looked.
    assert!(lying(&folder) >= before, "{} of {before} are left", lying(&folder));
    assert_eq!(admin(&orchestrator, &["brake-release"])["engaged"], false);
    wait_until("what drained is gone", async || bodies(&folder, 0).is_empty()).await;
    assert!(stray.exists());
    for left in admin(&orchestrator, &["quarantine", "list"])["items"].as_array().unwrap() {
        admin(&orchestrator, &["quarantine", "delete", left["id"].as_str().unwrap()]);
    }
    wait_until("nothing waits to be deleted", async || {
        admin(&orchestrator, &["cleanup-queue"])["depth"] == 0
    })
    .await;
    assert!(orchestrator.stop().await.success(), "a clean end");
    let backends = books::directories(&folder, DISKS).await;
    books::check_live(&folder.join("catalog.db"), &backends).await;
}
