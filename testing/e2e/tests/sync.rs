//! What lies in a bucket of a provider since before becomes objects, where it lies: real process, real S3 server.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::Stdio;
use std::time::Duration;

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
    let args = [&["sync", "-backend", "s3-0", "-bucket", "b"], more].concat();
    let (success, answer, stderr) = command(orchestrator, &args).await;
    assert!(success, "{answer} {stderr}");
    answer
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
        let _ = std::fs::remove_file(orchestrator.folder().join(format!("catalog.db{suffix}")));
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
