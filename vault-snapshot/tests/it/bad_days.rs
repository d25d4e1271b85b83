//! Leaders that die, streams that are cut, answers that end too early.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::TryStreamExt;
use runtime::instant_now;
use serde_json::json;
use testkit::{RawServer, shared_seaweed};
use tokio::net::TcpListener;
use vault::Secret;

use crate::destinations::bucket;
use crate::gate::{Gate, Obstacle};
use crate::world::{World, directory, files, folder, run, shared, snapshots};

const WITHIN: Duration = Duration::from_secs(90);

/// The leader dies in the middle of the stream: the next one is found and asked, and what is stored is whole. The
/// destination holds the stream until the leader is dead, so that it cannot be over before.
#[tokio::test(flavor = "multi_thread")]
async fn the_leader_dies_in_the_middle_of_the_stream() {
    let (mut world, home) = (World::start(3, 40).await, folder());
    let options = shared_seaweed().await.new_bucket().await;
    let target = options.endpoint.rsplit(':').next().unwrap().parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = Gate::start(listener, target, Obstacle::HoldRequests(1 << 20), 1).await;
    let disk = home.path().join("disk");
    let leader = world.cluster.leader().await;
    let more = format!(
        "destinations:\n{}{}",
        directory("disk", &disk),
        bucket("s3", &options, &format!("http://{}", gate.address))
    );
    let config = world.config((leader + 1) % 3, &more);
    let jwt = world.jwt("vault-backup");
    let running = {
        let (home, config) = (home.path().to_owned(), config.clone());
        runtime::spawn(async move { run(&home, &config, &["run"], &[("JWT", &jwt)], "").await })
    };
    let deadline = instant_now() + WITHIN;
    while gate.held.load(Ordering::SeqCst) == 0 {
        assert!(instant_now() < deadline, "the stream never reached the bucket");
        runtime::sleep(Duration::from_millis(20)).await;
    }
    world.cluster.kill(leader);
    gate.release();
    let ran = running.await.unwrap().with_code(0);
    assert!(ran.err.contains("asking for a new snapshot"), "the leader was not missed: {}", ran.err);
    assert_eq!(snapshots(&disk), [ran.out.trim()]);
    run(home.path(), &config, &["verify", "-all"], &[], "").await.with_code(0);
    constant_memory(&world, home.path(), &disk, (leader + 1) % 3).await;
    let open = s3_client::S3Client::new(options).unwrap().list_multipart_uploads("").await.unwrap();
    assert_eq!(open, [], "the upload of the broken stream is still open");
}

/// A snapshot takes less memory than it has bytes.
async fn constant_memory(world: &World, home: &std::path::Path, disk: &std::path::Path, node: usize) {
    const MEASURE: &str = "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); \
                           print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)";
    let path = home.join("config.yaml");
    std::fs::write(&path, world.config(node, &format!("destinations:\n{}", directory("disk", disk))))
        .unwrap();
    let mut python = tokio::process::Command::new("python3");
    python.args(["-c", MEASURE, env!("CARGO_BIN_EXE_vault-snapshot"), "run", "-config"]).arg(&path);
    let output = python.env("JWT", world.jwt("vault-backup")).output().await.unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{err}");
    let (name, kib) = out.trim().split_once('\n').unwrap();
    let size = std::fs::metadata(disk.join(name)).unwrap().len();
    let used = kib.trim().parse::<u64>().unwrap() * 1024;
    assert!(size > 40 << 20 && used < size, "{used} bytes of memory for {size} of a snapshot");
}

/// How an answer is broken.
#[derive(Clone, Copy)]
enum Flaw {
    /// It ends after so many of its bytes, cleanly.
    Ends(fn(usize) -> usize),
    /// It stands still in the middle.
    StandsStill,
}

/// A front of a real cluster that answers the snapshot as a broken one would. It passes on nothing but what it read
/// before.
async fn broken_front(snapshot: Vec<u8>, flaw: Flaw, sound_from: usize) -> RawServer {
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    RawServer::start(move |mut connection| {
        let (snapshot, count) = (snapshot.clone(), std::sync::Arc::clone(&count));
        async move {
            while let Some((head, _)) = connection.read_request().await {
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let json: &[u8] = match path.as_str() {
                    "/v1/sys/leader" => br#"{"ha_enabled":false,"is_self":true,"leader_address":""}"#,
                    "/v1/sys/health" => {
                        br#"{"initialized":true,"sealed":false,"standby":false,"version":"1","cluster_id":"feedbeef-0","cluster_name":"c"}"#
                    }
                    "/v1/auth/jwt/login" => {
                        br#"{"auth":{"client_token":"token-of-the-front","lease_duration":60,"renewable":false,"policies":[]}}"#
                    }
                    "/v1/sys/storage/raft/snapshot" => {
                        let is_sound = count.fetch_add(1, Ordering::SeqCst) >= sound_from;
                        let length = match flaw {
                            _ if is_sound => snapshot.len(),
                            Flaw::Ends(cut) => cut(snapshot.len()),
                            Flaw::StandsStill => {
                                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", snapshot.len());
                                connection.write(head.as_bytes()).await;
                                connection.write(&snapshot[..snapshot.len() / 2]).await;
                                connection.until_closed().await;
                                return;
                            }
                        };
                        // The end of the answer is a clean one: only its content can tell.
                        connection.answer("200 OK", &["content-type: application/gzip"], &snapshot[..length]).await;
                        continue;
                    }
                    _ => b"{}",
                };
                connection.answer("200 OK", &["content-type: application/json"], json).await;
            }
        }
    })
    .await
}

async fn a_snapshot() -> Vec<u8> {
    let (world, home) = (shared().await, folder());
    let config = world.config(0, &format!("destinations:\n{}", directory("disk", &home.path().join("disk"))));
    let ran = world.run(home.path(), &config, &["run"]).await.with_code(0);
    std::fs::read(home.path().join("disk").join(ran.out.trim())).unwrap()
}

/// An answer that ends early and cleanly is no snapshot; nothing is stored, and it is asked for again.
#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_answer_is_never_stored() {
    let (snapshot, home) = (a_snapshot().await, folder());
    let disk = home.path().join("disk");
    for cut in [|length: usize| length - 1, |length| length / 2, |_| 100, |_| 0] {
        let front = broken_front(snapshot.clone(), Flaw::Ends(cut), usize::MAX).await;
        let config = format!(
            "log_level: debug\nvault: {{addresses: [\"{}\"], auth: {{role: r}}}}\nchecks: {{attempts: 2}}\ndestinations:\n{}",
            front.endpoint,
            directory("disk", &disk)
        );
        let ran = run(home.path(), &config, &["run"], &[("JWT", "header.payload.signature")], "")
            .await
            .with_code(1);
        assert!(ran.err.contains("the snapshot is not whole"), "{ran:?}");
        assert!(!ran.err.contains("token-of-the-front") && !ran.err.contains("header.payload"), "{ran:?}");
        assert_eq!(front.count("GET /v1/sys/storage/raft/snapshot "), 2);
        assert_eq!(files(&disk), Vec::<std::path::PathBuf>::new());
    }
    let front = broken_front(snapshot, Flaw::Ends(|length| length / 2), 1).await;
    let config = format!(
        "vault: {{addresses: [\"{}\"], auth: {{role: r}}}}\ndestinations:\n{}",
        front.endpoint,
        directory("disk", &disk)
    );
    run(home.path(), &config, &["run"], &[("JWT", "header.payload.signature")], "").await.with_code(0);
    assert_eq!(snapshots(&disk).len(), 1);
}

/// A proxy that cuts the connection in the middle of the stream, twice; the third time it holds.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_is_no_end() {
    let (snapshot, home) = (a_snapshot().await, folder());
    let front = broken_front(snapshot, Flaw::Ends(|length| length), 0).await;
    let target = front.endpoint.rsplit(':').next().unwrap().parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = Gate::start(listener, target, Obstacle::CutAnswers(9_000), 2).await;
    let disk = home.path().join("disk");
    let config = format!(
        "vault: {{addresses: [\"http://{}\"], auth: {{role: r}}}}\ndestinations:\n{}",
        gate.address,
        directory("disk", &disk)
    );
    let ran =
        run(home.path(), &config, &["run"], &[("JWT", "header.payload.signature")], "").await.with_code(0);
    assert_eq!(ran.err.matches("asking for a new snapshot").count(), 2, "{ran:?}");
    assert_eq!(snapshots(&disk).len(), 1);
}

/// A stream that stands still is given up after `checks.stall`, and asked for anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_stands_still_is_given_up() {
    let (snapshot, home) = (a_snapshot().await, folder());
    let front = broken_front(snapshot, Flaw::StandsStill, 1).await;
    let disk = home.path().join("disk");
    let config = format!(
        "vault: {{addresses: [\"{}\"], auth: {{role: r}}}}\nchecks: {{stall: 1s, attempts: 2}}\ndestinations:\n{}",
        front.endpoint,
        directory("disk", &disk)
    );
    let ran =
        run(home.path(), &config, &["run"], &[("JWT", "header.payload.signature")], "").await.with_code(0);
    assert!(
        ran.err.contains("stands still since 1s") && ran.err.contains("asking for a new snapshot"),
        "{ran:?}"
    );
    assert_eq!((front.count("GET /v1/sys/storage/raft/snapshot "), files(&disk).len()), (2, 3));
}

/// The token is taken away between the login and the snapshot, in the real cluster, by a front that passes everything
/// else on to it: the tool logs in again and goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_taken_away_is_replaced() {
    let (world, home) = (shared().await, folder());
    let (leader, root) = (world.leader().await, world.cluster.root());
    let front = RawServer::start(move |mut connection| {
        let (leader, root) = (leader.clone(), root.clone());
        async move {
            let kind = ["content-type: application/json"];
            while let Some((head, body)) = connection.read_request().await {
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let token = head.lines().find_map(|line| line.strip_prefix("x-vault-token: "));
                let token = Secret::from(token.unwrap_or_default());
                match path.as_str() {
                    "/v1/sys/leader" => {
                        let it = br#"{"ha_enabled":false,"is_self":true,"leader_address":""}"#;
                        connection.answer("200 OK", &kind, it).await;
                    }
                    "/v1/sys/health" => {
                        let id = leader.health().await.unwrap().cluster_id.unwrap();
                        let it =
                            json!({"initialized": true, "sealed": false, "standby": false, "cluster_id": id});
                        connection.answer("200 OK", &kind, it.to_string().as_bytes()).await;
                    }
                    "/v1/auth/jwt/login" => {
                        let body = serde_json::from_slice(&body).unwrap();
                        let it = leader.write(&Secret::default(), "auth/jwt/login", &body).await.unwrap();
                        connection.answer("200 OK", &kind, it.to_string().as_bytes()).await;
                    }
                    "/v1/sys/storage/raft/snapshot" => {
                        if !REVOKED.swap(true, Ordering::SeqCst) {
                            let gone = json!({"token": token.expose()});
                            leader.write(&root, "auth/token/revoke", &gone).await.unwrap();
                        }
                        match leader.raft_snapshot(&token).await {
                            Ok(snapshot) => {
                                let chunks: Vec<_> = snapshot.body.try_collect().await.unwrap();
                                connection.answer("200 OK", &[], &chunks.concat()).await;
                            }
                            Err(error) => {
                                let status = format!("{} No", error.status.unwrap());
                                connection
                                    .answer(&status, &kind, br#"{"errors":["permission denied"]}"#)
                                    .await;
                            }
                        }
                    }
                    _ => connection.answer("200 OK", &kind, b"{}").await,
                }
            }
        }
    })
    .await;
    let disk = home.path().join("disk");
    let config = format!(
        "log_level: debug\nvault: {{addresses: [\"{}\"], auth: {{role: snapshot}}}}\ndestinations:\n{}",
        front.endpoint,
        directory("disk", &disk)
    );
    world.run(home.path(), &config, &["run"]).await.with_code(0);
    assert_eq!(front.count("POST /v1/auth/jwt/login "), 2, "it did not log in again");
    assert_eq!(front.count("GET /v1/sys/storage/raft/snapshot "), 2);
    assert_eq!(snapshots(&disk).len(), 1);
}

static REVOKED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
