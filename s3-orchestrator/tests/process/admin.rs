//! The admin API and its command line, against a running process.

use std::path::{Path, PathBuf};
use std::process::Output;

use s3_client::{PutBody, PutObject, S3Client};
use serde_json::Value;

use crate::support::{Server, client, get, program, request, run, text, wait_until};

const TOKEN: &str = "a token of some length";

/// A configuration with so many directories as backends, and a token.
pub(crate) fn config(dir: &Path, backends: usize, factor: usize, more: &str) -> String {
    let path = dir.join("config.yaml");
    let disk = |at| {
        let dir = dir.display();
        format!("  - {{ type: directory, name: disk-{at}, path: \"{dir}/disk-{at}\", quota_bytes: 1GB }}\n")
    };
    let text = format!(
        "server: {{ listen_addr: \"127.0.0.1:0\" }}\n\
         database: {{ path: \"{dir}/catalog.db\" }}\n\
         buckets: [{{ name: b, credentials: [{{ access_key_id: key, secret_access_key: secret }}] }}]\n\
         replication: {{ factor: {factor} }}\n\
         ui: {{ admin_token: \"{TOKEN}\" }}\n\
         backends:\n{disks}{more}\n",
        dir = dir.display(),
        disks = (0..backends).map(disk).collect::<String>(),
    );
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

pub(crate) async fn started(config: &str) -> Server {
    let server = Server::start(config).await;
    server.ready().await;
    server
}

async fn admin(server: &Server, args: &[&str]) -> Output {
    let addr = format!("-addr=http://{}", server.addr);
    let output = program(&[&["admin", &addr], args].concat()).env("S3O_ADMIN_TOKEN", TOKEN).output();
    runtime::timeout(crate::support::PATIENCE, output).await.expect("the command ends").unwrap()
}

/// What a command that succeeds answers.
pub(crate) async fn answer(server: &Server, args: &[&str]) -> Value {
    let output = admin(server, args).await;
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a command that fails says.
async fn refusal(server: &Server, args: &[&str]) -> String {
    let output = admin(server, args).await;
    assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output.stdout));
    text(&output.stderr)
}

fn s3(server: &Server) -> S3Client {
    client(&server.addr, "b", ("key", "secret"))
}

pub(crate) async fn put(server: &Server, key: &str, data: &str) {
    let put = PutObject { key, body: PutBody::Bytes(data.to_owned().into()), metadata: &[] };
    s3(server).put_object(put).await.unwrap();
}

pub(crate) async fn read(server: &Server, key: &str) -> String {
    use futures::StreamExt;
    let mut stream = s3(server).get_object(key, None).await.unwrap().body;
    let mut data = Vec::new();
    while let Some(chunk) = stream.next().await {
        data.extend_from_slice(&chunk.unwrap());
    }
    text(&data)
}

/// All files of a bucket below a directory.
pub(crate) fn files(dir: &Path, backend: &str) -> Vec<PathBuf> {
    let Ok(found) = std::fs::read_dir(dir.join(backend).join("b")) else { return Vec::new() };
    found.map(|entry| entry.unwrap().path()).filter(|path| !path.to_string_lossy().ends_with("%m")).collect()
}

#[tokio::test]
async fn n117_strangers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = started(&config(dir.path(), 1, 1, "")).await;
    let header = |token: &str| format!("x-admin-token: {token}\r\n");
    let ask = async |method: &str, path: &str, headers: &str| {
        let (status, head, body) = request(&server.addr, method, path, headers).await;
        assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
        (status, serde_json::from_str::<Value>(&body).unwrap())
    };
    let (status, body) = ask("GET", "/admin/api/status", "").await;
    assert_eq!((status, body["error"].as_str()), (401, Some("unauthorized")));
    assert_eq!(ask("GET", "/admin/api/nothing", &header("wrong")).await.0, 401, "nothing is told");
    assert_eq!(ask("GET", "/admin/api/status", &header(TOKEN)).await.0, 200);
    for (method, path, expected) in [
        ("GET", "/admin/api/nothing", 404),
        ("GET", "/admin/", 404),
        ("POST", "/admin/api/status", 405),
        ("GET", "/admin/api/status?typo=1", 400),
        ("GET", "/admin/api/object-locations", 400),
        ("GET", "/admin/api/backends/nobody/drain", 404),
    ] {
        let (status, body) = ask(method, path, &header(TOKEN)).await;
        assert_eq!(status, expected, "{method} {path}: {body}");
        assert!(body["error"].is_string());
    }
    for _ in 0..10 {
        assert_eq!(ask("GET", "/admin/api/status", &header("guess")).await.0, 401);
    }
    assert_eq!(ask("GET", "/admin/api/status", &header(TOKEN)).await.0, 429, "guessing is slow");
}

#[tokio::test]
async fn without_a_token_there_is_no_admin_api() {
    let dir = tempfile::tempdir().unwrap();
    let server = started(&crate::support::config(dir.path(), "", "")).await;
    let (status, _, body) = get(&server.addr, "/admin/api/status").await;
    assert!(status >= 400 && body.contains("<Error>"), "the S3 endpoint answers: {status} {body}");
}

#[tokio::test]
async fn n118_the_command_line_asks_and_shows() {
    let dir = tempfile::tempdir().unwrap();
    let server = started(&config(dir.path(), 2, 2, "")).await;
    put(&server, "a b/ü", "hello").await;
    let status = answer(&server, &["status"]).await;
    assert_eq!(status["db_healthy"], true);
    let first = &status["backends"][0];
    assert_eq!(
        (&first["name"], &first["object_count"], &first["bytes_used"]),
        (&"disk-0".into(), &1.into(), &5.into())
    );
    assert_eq!((&first["bytes_limit"], &first["healthy"]), (&(1u64 << 30).into(), &true.into()));
    let found = answer(&server, &["object-locations", "-key", "b/a b/ü"]).await;
    let mut places: Vec<_> =
        found["locations"].as_array().unwrap().iter().map(|at| at["backend"].as_str().unwrap()).collect();
    places.sort_unstable();
    assert_eq!(places, ["disk-0", "disk-1"]);
    let first = &found["locations"][0];
    assert_eq!(first["BackendName"], first["backend"], "the first releases' name");
    assert!(refusal(&server, &["object-locations", "-key", "b/none"]).await.contains("404"));
    let workers = answer(&server, &["workers"]).await;
    let names: Vec<_> =
        workers.as_array().unwrap().iter().map(|worker| worker["name"].as_str().unwrap()).collect();
    for name in
        ["release", "reaper/disk-0", "drain", "rebalance", "reconcile/disk-1", "uploads", "quarantine"]
    {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert_eq!(answer(&server, &["cleanup-queue"]).await["depth"], 0);
    let output = admin(&server, &["status", "-json"]).await;
    assert_eq!(text(&output.stdout).lines().count(), 1);

    assert_eq!(answer(&server, &["log-level"]).await["level"], "info");
    assert!(refusal(&server, &["log-level", "-set", "loud"]).await.contains("no level"));
    assert_eq!(answer(&server, &["log-level", "-set", "debug"]).await["level"], "debug");
    assert_eq!(answer(&server, &["log-level"]).await["level"], "debug");
}

#[tokio::test]
async fn n143_what_is_no_command_is_refused() {
    for args in [&["admin"][..], &["admin", "frobnicate"], &["admin", "drain"], &["admin", "status", "x"]] {
        let output = run(args).await;
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stderr));
    }
    let dir = tempfile::tempdir().unwrap();
    let file = config(dir.path(), 1, 1, "");
    let flag = format!("-config={file}");
    let output = run(&["admin", &flag, "status"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("there is no address"), "the port is the system's to choose");
    let nobody = run(&["admin", &flag, "-addr", "http://127.0.0.1:1", "status"]).await;
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stderr).contains("does not answer"), "{}", text(&nobody.stderr));
    let server = started(&file).await;
    let wrong = ["admin", "-addr", &format!("http://{}", server.addr), "-token", "wrong", "status"]
        .map(str::to_owned);
    let output = run(&wrong.each_ref().map(String::as_str)).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("unauthorized"));
}

#[tokio::test]
async fn n32_n137_a_drain_survives_a_restart_and_ends_in_an_empty_backend() {
    let dir = tempfile::tempdir().unwrap();
    let file = config(dir.path(), 3, 2, "");
    let mut server = started(&file).await;
    for at in 0..60 {
        put(&server, &format!("k{at}"), &format!("value {at}")).await;
    }
    assert!(refusal(&server, &["drain", "disk-9"]).await.contains("no backend"));
    assert!(refusal(&server, &["remove-backend", "disk-0"]).await.contains("does not drain"), "N16");
    assert_eq!(answer(&server, &["drain-status", "disk-0"]).await["active"], false);
    assert_eq!(answer(&server, &["drain", "disk-0"]).await["status"], "drain started");
    server.signal("KILL").await;
    server.ended().await;

    let server = started(&file).await;
    assert_eq!(answer(&server, &["drain-status", "disk-0"]).await["active"], true);
    put(&server, "later", "later").await;
    wait_until("it is drained", async || {
        answer(&server, &["drain-status", "disk-0"]).await["drained"] == true
    })
    .await;
    wait_until("its bytes are gone", async || {
        answer(&server, &["drain-status", "disk-0"]).await["objects_doomed"] == 0
    })
    .await;
    let done = answer(&server, &["drain-status", "disk-0"]).await;
    assert_eq!((&done["objects_remaining"], &done["bytes_remaining"]), (&0.into(), &0.into()));
    assert!(files(dir.path(), "disk-0").is_empty());
    // What was on its way when it was killed goes a moment later.
    wait_until("each object is there twice, and nothing else", async || {
        (files(dir.path(), "disk-1").len(), files(dir.path(), "disk-2").len()) == (61, 61)
    })
    .await;
    assert_eq!(answer(&server, &["remove-backend", "disk-0"]).await["status"], "backend removed");
    put(&server, "after", "after").await;
    assert!(files(dir.path(), "disk-0").is_empty(), "nothing new comes");
    for at in 0..60 {
        assert_eq!(read(&server, &format!("k{at}")).await, format!("value {at}"));
    }
}

#[tokio::test]
async fn a_backend_that_is_gone_for_good_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let server = started(&config(dir.path(), 2, 2, "")).await;
    for at in 0..5 {
        put(&server, &format!("k{at}"), &format!("value {at}")).await;
    }
    // The disk is lost: nothing can be read from it or deleted on it.
    let disk = dir.path().join("disk-1");
    std::fs::rename(&disk, dir.path().join("lost")).unwrap();
    std::fs::write(&disk, "no directory").unwrap();
    assert!(
        refusal(&server, &["remove-backend", "--purge", "--confirm", "disk-1"])
            .await
            .contains("does not drain")
    );
    answer(&server, &["drain", "disk-1"]).await;
    wait_until("it is drained", async || {
        answer(&server, &["drain-status", "disk-1"]).await["drained"] == true
    })
    .await;
    assert!(refusal(&server, &["remove-backend", "disk-1"]).await.contains("5 waiting to be deleted"));
    let shown = answer(&server, &["remove-backend", "--purge", "disk-1"]).await;
    assert_eq!((&shown["object_count"], &shown["total_bytes"]), (&5.into(), &35.into()), "{shown}");
    let purged = answer(&server, &["remove-backend", "--purge", "--confirm", "disk-1"]).await;
    assert_eq!(purged["status"], "backend purged");
    for at in 0..5 {
        assert_eq!(read(&server, &format!("k{at}")).await, format!("value {at}"));
    }
}

#[tokio::test]
async fn a_drain_can_be_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let server = started(&config(dir.path(), 2, 1, "")).await;
    put(&server, "k", "v").await;
    answer(&server, &["drain", "disk-0"]).await;
    wait_until("it is drained", async || {
        answer(&server, &["drain-status", "disk-0"]).await["drained"] == true
    })
    .await;
    assert_eq!(answer(&server, &["drain-cancel", "disk-0"]).await["status"], "drain cancelled");
    assert!(refusal(&server, &["drain-cancel", "disk-0"]).await.contains("does not drain"));
    put(&server, "again", "v").await;
    // What was moved away may still wait to be deleted.
    wait_until("it has the new one alone", async || files(dir.path(), "disk-0").len() == 1).await;
    assert_eq!(files(dir.path(), "disk-1").len(), 1);
}

#[tokio::test]
async fn rebalancing_levels_the_backends() {
    let dir = tempfile::tempdir().unwrap();
    let more = "rebalance: { strategy: spread, threshold: 0.0 }";
    let server = started(&config(dir.path(), 2, 1, more)).await;
    for at in 0..10 {
        put(&server, &format!("k{at}"), "ten bytes!").await;
    }
    assert_eq!(files(dir.path(), "disk-1").len(), 0);
    let done = answer(&server, &["rebalance"]).await;
    assert_eq!(
        (&done["status"], &done["moved"], &done["failed"]),
        (&"ok".into(), &5.into(), &0.into()),
        "{done}"
    );
    wait_until("what was moved is gone", async || files(dir.path(), "disk-0").len() == 5).await;
    assert_eq!(files(dir.path(), "disk-1").len(), 5);
    for at in 0..10 {
        assert_eq!(read(&server, &format!("k{at}")).await, "ten bytes!");
    }
}

#[tokio::test]
async fn n26_n27_a_stray_is_found_shown_and_restored() {
    let dir = tempfile::tempdir().unwrap();
    let server = started(&config(dir.path(), 1, 1, "")).await;
    put(&server, "mine", "mine").await;
    let folder = dir.path().join("disk-0/b");
    // As an older catalog may have left them: a blob and a replica of long ago that no row names.
    let old = "01HF7YAT00000000000000000";
    std::fs::write(folder.join(format!("lost~{old}1.{old}2")), "lost and found").unwrap();
    std::fs::write(folder.join(format!("junk~{old}3.{old}4")), "junk").unwrap();
    std::fs::write(folder.join("somebodys%f"), "not ours").unwrap();
    let done = answer(&server, &["reconcile", "-backend", "disk-0"]).await;
    assert_eq!(done["status"], "ok", "{done}");
    let list = answer(&server, &["quarantine", "list"]).await;
    let items = list["items"].as_array().unwrap();
    let keys: Vec<_> = items.iter().map(|item| item["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["b/lost", "b/junk"]);
    assert!(s3(&server).head_object("lost").await.is_err(), "never visible by itself");
    let id = |at: usize| items[at]["id"].as_str().unwrap();
    assert!(refusal(&server, &["quarantine", "restore", id(0), "-key", "b/mine"]).await.contains("409"));
    assert_eq!(answer(&server, &["quarantine", "restore", id(0)]).await["status"], "restored");
    assert_eq!(read(&server, "lost").await, "lost and found");
    assert_eq!(answer(&server, &["quarantine", "delete", id(1)]).await["status"], "deleted");
    assert!(refusal(&server, &["quarantine", "delete", id(1)]).await.contains("404"));
    wait_until("it is deleted", async || files(dir.path(), "disk-0").len() == 3).await;
    assert!(folder.join("somebodys%f").exists());
    assert_eq!(answer(&server, &["quarantine", "list"]).await["items"], Value::Array(Vec::new()));
}

#[tokio::test]
async fn n133_what_is_too_young_does_not_expire() {
    let dir = tempfile::tempdir().unwrap();
    let more = "lifecycle: { rules: [{ prefix: tmp/, expiration_days: 1 }] }";
    let server = started(&config(dir.path(), 1, 1, more)).await;
    put(&server, "tmp/a", "young").await;
    let done = answer(&server, &["lifecycle"]).await;
    assert_eq!((&done["status"], &done["deleted"]), (&"ok".into(), &0.into()), "{done}");
    assert_eq!(read(&server, "tmp/a").await, "young");
}
