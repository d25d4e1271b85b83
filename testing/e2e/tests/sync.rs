//! What lies in a bucket of a provider or in a directory since before becomes objects, where it lies: real process,
//! real S3 server, real files.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use s3_client::{PutBody, PutObject, S3Client};
use testkit::wire::{Call, WireClient};
use testkit::{ConfigBuilder, Orchestrator, Seaweed};

const TOKEN: &str = "a token of some length";
const PATIENCE: Duration = Duration::from_secs(120);

async fn command(orchestrator: &Orchestrator, args: &[&str]) -> (bool, serde_json::Value, String) {
    let mut command = tokio::process::Command::new(Orchestrator::program());
    command.args(args).env("S3O_ADMIN_ADDR", &orchestrator.endpoint).env("S3O_ADMIN_TOKEN", TOKEN);
    let output = command.stdin(Stdio::null()).output();
    let output = runtime::timeout(PATIENCE, output).await.expect("the command ends").unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), serde_json::from_slice(&output.stdout).unwrap_or_default(), stderr)
}

async fn sync(orchestrator: &Orchestrator, more: &[&str]) -> serde_json::Value {
    let (success, answer, stderr) = sync_of(orchestrator, "s3-0", more).await;
    assert!(success, "{answer} {stderr}");
    answer
}

async fn sync_of(
    orchestrator: &Orchestrator,
    backend: &str,
    more: &[&str],
) -> (bool, serde_json::Value, String) {
    command(orchestrator, &[&["sync", "-backend", backend, "-bucket", "b"], more].concat()).await
}

async fn until(what: &str, is: impl AsyncFn() -> bool) {
    let waiting = async {
        while !is().await {
            runtime::sleep(Duration::from_millis(100)).await;
        }
    };
    runtime::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

async fn read(wire: &WireClient, path: &str) -> Vec<u8> {
    let answer = wire.send(&Call::get(path)).await.unwrap();
    assert_eq!(answer.status, 200, "{path}");
    answer.body.to_vec()
}

/// Puts objects with a plain client, as they may have lain there for years.
async fn furnish(client: &S3Client, data: &[u8]) {
    for key in ["photos/2019/a b.jpg", "photos/2020/ü.jpg", "gone-by", "elsewhere/x"] {
        let metadata = [("colour".to_owned(), "blue".to_owned())];
        let body = PutBody::Bytes(data.to_vec().into());
        client.put_object(PutObject { key, body, metadata: &metadata }).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_a_bucket_becomes_objects_and_lives_on_as_such() {
    let seaweed = Seaweed::start().await;
    let (first, second) = (seaweed.new_bucket().await, seaweed.new_bucket().await);
    let plain = S3Client::new(first.clone()).unwrap();
    let data: Vec<u8> = (0..150_000_u32).map(|at| (at % 251) as u8).collect();
    furnish(&plain, &data).await;
    let config = ConfigBuilder::new().s3(first).s3(second).factor(2).bucket("b");
    let config = config.each_backend("late_arrival_bound: 1s").more(&format!(
        "ui: {{ admin_token: {TOKEN:?} }}\njournal: {{ interval: 100ms }}\ntelemetry: {{ metrics: {{ enabled: true }} }}"
    ));
    let mut orchestrator = Orchestrator::start(config).await;
    let wire = orchestrator.wire();

    let looked = sync(&orchestrator, &["-dry-run"]).await;
    assert_eq!((&looked["imported"], &looked["imported_bytes"]), (&4.into(), &600_000.into()), "{looked}");
    assert_eq!(wire.send(&Call::get("/b/gone-by")).await.unwrap().status, 404, "it only looked");
    let done = sync(&orchestrator, &["-prefix", "photos/"]).await;
    assert_eq!((&done["status"], &done["imported"], &done["failed"]), (&"ok".into(), &2.into(), &0.into()));
    let done = sync(&orchestrator, &[]).await;
    assert_eq!((&done["imported"], &done["known"]), (&2.into(), &2.into()), "{done}");

    let path = "/b/photos/2019/a b.jpg";
    assert_eq!(read(&wire, path).await, data);
    let head = wire.send(&Call::new("HEAD", path)).await.unwrap();
    assert_eq!(head.header("x-amz-meta-colour"), Some("blue"));
    let etag = plain.head_object("photos/2019/a b.jpg").await.unwrap().etag.unwrap();
    assert_eq!(head.header("etag"), Some(&*format!("\"{etag}\"")));
    let ranged = wire.send(&Call::get(path).header("range", "bytes=70000-70009")).await.unwrap();
    assert_eq!((ranged.status, &ranged.body[..]), (206, &data[70_000..70_010]));
    let copied =
        wire.send(&Call::put("/b/copy", Vec::new()).header("x-amz-copy-source", "b/gone-by")).await.unwrap();
    assert_eq!(copied.status, 200);
    let pending = async || {
        let page = wire.send(&Call::get("/metrics")).await.unwrap();
        String::from_utf8_lossy(&page.body).lines().any(|line| line == "s3o_replication_pending 0")
    };
    until("all have two replicas", pending).await;

    // Written over, deleted: what lay there goes too, for it is ours now.
    assert_eq!(wire.send(&Call::put("/b/elsewhere/x", b"new".to_vec())).await.unwrap().status, 200);
    assert_eq!(wire.send(&Call::new("DELETE", "/b/photos/2020/ü.jpg")).await.unwrap().status, 204);
    for key in ["elsewhere/x", "photos/2020/ü.jpg"] {
        until("it is deleted", async || plain.head_object(key).await.is_err()).await;
    }

    // The catalog is lost.
    let shipped = async || {
        let page = wire.send(&Call::get("/metrics")).await.unwrap();
        let text = String::from_utf8_lossy(&page.body).into_owned();
        let age = text.lines().find_map(|line| line.strip_prefix("s3o_journal_unshipped_age_seconds "));
        age.and_then(|age| age.parse::<f64>().ok()) == Some(0.0)
    };
    until("all is shipped", shipped).await;
    orchestrator.stop().await;
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(orchestrator.folder().join(format!("catalog.db{suffix}")));
    }
    let file = orchestrator.folder().join("config.yaml");
    let (success, answer, stderr) =
        command(&orchestrator, &["rebuild", "-execute", "-config", &file.display().to_string()]).await;
    assert!(success, "{answer} {stderr}");
    orchestrator.kill_and_restart().await;
    let wire = orchestrator.wire();
    for path in [path, "/b/gone-by", "/b/copy"] {
        assert_eq!(read(&wire, path).await, data, "{path}");
    }
    assert_eq!(read(&wire, "/b/elsewhere/x").await, b"new");
    let again = sync(&orchestrator, &[]).await;
    assert_eq!((&again["imported"], &again["known"]), (&0.into(), &2.into()), "{again}");
    assert_eq!(wire.send(&Call::new("DELETE", "/b/gone-by")).await.unwrap().status, 204);
    assert_eq!(wire.send(&Call::new("DELETE", "/b/copy")).await.unwrap().status, 204);
    until("it is deleted", async || plain.head_object("gone-by").await.is_err()).await;
}

/// Bytes of all objects below a folder, but for the marker and those that are named. Metadata, which lies beside them, is
/// not charged.
fn bytes_below(folder: &Path, without: &[&Path]) -> u64 {
    let mut sum = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with(".s3-orchestrator/marker") || path.to_string_lossy().ends_with("%m") {
            continue;
        }
        if path.is_dir() {
            sum += bytes_below(&path, without);
        } else if !without.contains(&path.as_path()) {
            // A file may be gone by now: then it counts no more.
            sum += fs::metadata(&path).map_or(0, |about| about.len());
        }
    }
    sum
}

/// Puts a file there as somebody else does, at a time that is not that of the one before.
fn place(path: &Path, data: &[u8], seconds: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, data).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_a_directory_becomes_objects_and_only_what_was_imported_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    // Files as this driver spells them: `old/a b`, `old/b`, `kept/c`, `z-large`.
    let (first, second, third, large) =
        (root.join("old/a%20b%f"), root.join("old/b%f"), root.join("kept/c%f"), root.join("z-large%f"));
    let data =
        |size: usize, seed: usize| -> Vec<u8> { (0..size).map(|at| (at * seed % 251) as u8).collect() };
    place(&first, &data(150_000, 1), 1_000_000);
    place(&second, &data(900, 2), 1_000_000);
    place(&third, &data(5_000, 3), 1_000_000);
    place(&large, &data(3_000_000, 4), 1_000_000);
    let config = ConfigBuilder::new().directory_at(root).bucket("b");
    let config = config
        .each_backend("quota_bytes: 2000000")
        .each_backend("late_arrival_bound: 1s")
        .more(&format!("ui: {{ admin_token: {TOKEN:?} }}\njournal: {{ interval: 100ms }}"));
    let orchestrator = Orchestrator::start(config).await;
    let wire = orchestrator.wire();
    // What is charged is what lies there and is ours, to the byte.
    let charged_but_for = async |what: &str, foreign: &[&Path]| {
        let is_charged = async || {
            let (_, status, _) = command(&orchestrator, &["admin", "status", "-json"]).await;
            status["backends"][0]["bytes_used"] == bytes_below(root, foreign)
        };
        until(what, is_charged).await;
    };
    charged_but_for("nothing of others is charged", &[&first, &second, &third, &large]).await;

    let (success, done, stderr) = sync_of(&orchestrator, "disk-0", &[]).await;
    assert!(!success && done["error"].as_str().unwrap().contains("quota"), "{done} {stderr}");
    assert_eq!((&done["imported"], &done["imported_bytes"]), (&3.into(), &155_900.into()), "{done}");
    charged_but_for("what was imported is charged", &[&large]).await;
    assert_eq!(read(&wire, "/b/old/a b").await, data(150_000, 1));
    assert_eq!(read(&wire, "/b/old/b").await, data(900, 2));
    assert_eq!(read(&wire, "/b/kept/c").await, data(5_000, 3));
    assert_eq!(wire.send(&Call::get("/b/z-large")).await.unwrap().status, 404);

    orchestrator.allow_log("replica is suspect");
    orchestrator.allow_log("replaced behind our back");
    // As long as the one before: only its time tells, and its bytes.
    place(&second, &data(900, 5), 2_000_000);
    let replaced = wire.send(&Call::get("/b/old/b")).await;
    assert!(!replaced.is_ok_and(|answer| answer.status == 200), "it is not what was imported");
    for key in ["/b/old/b", "/b/kept/c"] {
        assert_eq!(wire.send(&Call::new("DELETE", key)).await.unwrap().status, 204);
    }
    until("it is deleted", async || !third.exists()).await;
    charged_but_for("what is not ours any more is not charged", &[&second, &large]).await;
    assert_eq!(fs::read(&second).unwrap(), data(900, 5), "it is somebody else's");

    let (success, done, stderr) = sync_of(&orchestrator, "disk-0", &["-prefix", "old/"]).await;
    assert!(success, "{done} {stderr}");
    assert_eq!((&done["imported"], &done["known"]), (&1.into(), &1.into()), "{done}");
    assert_eq!(read(&wire, "/b/old/b").await, data(900, 5), "imported as what it is now");
    charged_but_for("it is charged again", &[&large]).await;
}
