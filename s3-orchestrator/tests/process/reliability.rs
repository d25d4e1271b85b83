//! The procedures of docs/reliability.md, carried out as they are written.

use s3_client::{ClientOptions, Credentials, S3Client};
use serde_json::Value;
use testkit::MovedClock;

use crate::admin::{answer, config, files, put, read, started};
use crate::support::{Server, get, program, wait_until};

const METRICS: &str = "telemetry: { metrics: { enabled: true } }";
/// A backend that fails is left alone, and looked for again before a test gets impatient. Reads avoid it for half a
/// minute after a failure, so several in a row would take minutes.
const BREAKER: &str = "backend_circuit_breaker: { enabled: true, failure_threshold: 1, open_timeout: 1s }";
const DAY_S: i64 = 24 * 3600;

async fn metric(server: &Server, name: &str) -> Option<f64> {
    let page = get(&server.addr, "/metrics").await.2;
    let line = page.lines().find_map(|line| line.strip_prefix(name).filter(|rest| rest.starts_with(' ')))?;
    line.trim().parse().ok()
}

/// What is shown of one worker or backend.
async fn shown(server: &Server, command: &str, name: &str) -> Value {
    let all = answer(server, &[command]).await;
    let list = all.get("backends").unwrap_or(&all).as_array().unwrap().clone();
    list.into_iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name} is not shown"))
}

/// "When a disk or a provider is lost", steps 1 to 3 where the disk comes back: first as it was, then empty.
#[tokio::test]
async fn what_a_lost_disk_held_is_made_elsewhere_and_trimmed_when_it_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = config(dir.path(), 3, 2, &format!("{BREAKER}\n{METRICS}"));
    let text = std::fs::read_to_string(&path).unwrap();
    let quick = "factor: 2, worker_interval: 500ms, unhealthy_threshold: 2s";
    std::fs::write(&path, text.replace("factor: 2", quick)).unwrap();
    let server = started(&path).await;
    let mut keys: Vec<String> = (0..12).map(|number| format!("k{number}")).collect();
    for key in &keys {
        put(&server, key, &format!("bytes of {key}")).await;
    }
    let are_read = async |keys: &[String]| {
        for key in keys {
            assert_eq!(read(&server, key).await, format!("bytes of {key}"));
        }
    };
    let held = |disk: &str| files(dir.path(), disk).len();
    assert_eq!((held("disk-0"), held("disk-1"), held("disk-2")), (12, 12, 0));

    // 1. Nothing has to be done at once.
    let (disk, away) = (dir.path().join("disk-0"), dir.path().join("away"));
    std::fs::rename(&disk, &away).unwrap();
    are_read(&keys).await;
    put(&server, "while", "bytes of while").await;
    keys.push("while".to_owned());
    // 2. What it held is made elsewhere.
    wait_until("what it held is made elsewhere", async || {
        // A backend that nobody asks is not known to be gone.
        are_read(&keys).await;
        held("disk-2") == keys.len()
    })
    .await;
    assert_eq!(shown(&server, "status", "disk-0").await["healthy"], false);
    // A file of the journal may lie there as well.
    assert!(shown(&server, "status", "disk-2").await["object_count"].as_u64().unwrap() >= 13);
    wait_until("the workers say so", async || shown(&server, "workers", "stand-in").await["done"] == 12)
        .await;
    wait_until("nothing is short", async || metric(&server, "s3o_replication_pending").await == Some(0.0))
        .await;
    assert!(!disk.exists(), "nothing was written where it was");

    // 3. It comes back: what is too many is trimmed.
    std::fs::rename(&away, &disk).unwrap();
    wait_until("it is found to be back", async || {
        // By a request: nobody asks it otherwise.
        put(&server, "k0", "bytes of k0").await;
        shown(&server, "status", "disk-0").await["healthy"] == true
    })
    .await;
    let held_by_all = || ["disk-0", "disk-1", "disk-2"].map(held).iter().sum::<usize>();
    wait_until("what is too many is gone", async || held_by_all() == 2 * keys.len()).await;
    wait_until("nothing is counted as too many", async || {
        answer(&server, &["replication"]).await["over_replicated"] == 0
    })
    .await;
    are_read(&keys).await;

    // 3. It comes back empty: it is refused, and counts as missing.
    let (before, elsewhere) = (held("disk-0"), held("disk-1") + held("disk-2"));
    assert!(before > 0, "this disk is among those that were kept");
    std::fs::rename(&disk, &away).unwrap();
    std::fs::create_dir(&disk).unwrap();
    wait_until("it is found to be gone", async || {
        put(&server, "k0", "bytes of k0").await;
        are_read(&keys).await;
        shown(&server, "status", "disk-0").await["healthy"] == false
    })
    .await;
    wait_until("what it held is made elsewhere", async || held("disk-1") + held("disk-2") == 2 * keys.len())
        .await;
    are_read(&keys).await;
    assert!(elsewhere < 2 * keys.len());
    assert_eq!(shown(&server, "status", "disk-0").await["healthy"], false);
    assert_eq!(held("disk-0"), 0, "it is not used");
}

/// "When a disk or a provider is lost", step by step, where it is gone for good.
#[tokio::test]
async fn a_disk_that_is_lost_for_good_is_given_up_as_the_page_says() {
    let dir = tempfile::tempdir().unwrap();
    let breaker = "backend_circuit_breaker: { enabled: true, failure_threshold: 3, open_timeout: 1s }";
    let path = config(dir.path(), 3, 2, breaker);
    let server = started(&path).await;
    let keys: Vec<String> = (0..12).map(|number| format!("k{number}")).collect();
    for key in &keys {
        put(&server, key, &format!("bytes of {key}")).await;
    }
    let are_read = async |server: &Server| {
        for key in &keys {
            assert_eq!(read(server, key).await, format!("bytes of {key}"));
        }
    };
    // 1. Nothing has to be done at once, and a start does not wait for it.
    std::fs::remove_dir_all(dir.path().join("disk-0")).unwrap();
    are_read(&server).await;
    drop(server);
    // 3. Another disk at its path is refused, and counts as missing.
    std::fs::create_dir(dir.path().join("disk-0")).unwrap();
    let server = started(&path).await;
    are_read(&server).await;
    put(&server, "new", "new").await;
    assert!(files(dir.path(), "disk-0").is_empty(), "it is not used");
    // 4. It is gone for good.
    answer(&server, &["drain", "disk-0"]).await;
    wait_until("it is drained", async || {
        answer(&server, &["drain-status", "disk-0"]).await["drained"] == true
    })
    .await;
    let purged = answer(&server, &["remove-backend", "--purge", "--confirm", "disk-0"]).await;
    assert_eq!(purged["status"], "backend purged");
    drop(server);
    let text = std::fs::read_to_string(&path).unwrap();
    let without: Vec<&str> = text.lines().filter(|line| !line.contains("name: disk-0")).collect();
    std::fs::write(&path, without.join("\n")).unwrap();
    let server = started(&path).await;
    are_read(&server).await;
    for disk in ["disk-1", "disk-2"] {
        assert_eq!(files(dir.path(), disk).len(), keys.len() + 1, "every object has its two replicas again");
    }
}

/// A server whose clock the test moves.
async fn started_with(clock: &MovedClock, config: &str) -> Server {
    let mut command = program(&["-config", config]);
    command.envs(clock.environment());
    let server = Server::run(command).await;
    server.ready().await;
    server
}

/// A client whose clock is as far ahead as that of its server: a signature of another time is refused.
fn client_ahead(server: &Server, ahead_s: i64) -> S3Client {
    let credentials = Credentials {
        access_key_id: "key".to_owned(),
        secret_access_key: "secret".to_owned(),
        session_token: None,
    };
    let mut options = ClientOptions::new(format!("http://{}", server.addr), "b", credentials);
    options.clock = options.clock.steady();
    options.clock.set_skew_ms(ahead_s * 1000);
    S3Client::new(options).unwrap()
}

/// "When deletes stand still": a rule removes more than is usual.
#[tokio::test]
async fn deletes_stand_still_until_somebody_has_looked() {
    let dir = tempfile::tempdir().unwrap();
    let rules = "lifecycle: { rules: [{ prefix: tmp, expiration_days: 7 }] }";
    let brake = "cleanup_queue: { brake: { floor: 5 } }";
    let path = config(dir.path(), 1, 1, &format!("{rules}\n{brake}\n{METRICS}"));
    let clock = MovedClock::new();
    let mut server = started_with(&clock, &path).await;
    for number in 0..20 {
        put(&server, &format!("tmp{number}"), "scratch").await;
        put(&server, &format!("k{number}"), "value").await;
    }
    let held = || files(dir.path(), "disk-0").len();
    assert_eq!((held(), metric(&server, "s3o_brake_engaged").await), (40, Some(0.0)));

    clock.set(8 * DAY_S);
    wait_until("what has expired is removed", async || {
        answer(&server, &["lifecycle"]).await;
        shown(&server, "status", "disk-0").await["doomed_count"] == 20
    })
    .await;
    is_held(&server, "k18").await;
    assert_eq!(held(), 40, "nothing is deleted");
    // Clients do not see them, but their bytes are where the queue says.
    let gone = client_ahead(&server, 8 * DAY_S);
    assert!(gone.head_object("tmp3").await.is_err());
    let queue = answer(&server, &["cleanup-queue"]).await;
    assert_eq!(queue["depth"], 21);
    let place = queue["items"][0]["ObjectKey"].as_str().unwrap();
    assert_eq!(std::fs::read_to_string(dir.path().join("disk-0").join(place)).unwrap(), "scratch");

    server.signal("TERM").await;
    assert!(server.ended().await.success());
    let server = started_with(&clock, &path).await;
    is_held(&server, "k19").await;
    assert_eq!(held(), 40, "nor after a restart");

    assert_eq!(answer(&server, &["brake-release"]).await["engaged"], false);
    wait_until("deletes go on", async || held() == 18).await;
    wait_until("it is said", async || metric(&server, "s3o_brake_engaged").await == Some(0.0)).await;
    let client = client_ahead(&server, 8 * DAY_S);
    for number in 0..18 {
        assert_eq!(client.head_object(&format!("k{number}")).await.unwrap().size, 5);
    }
}

/// The brake holds, says so and why, and what a client deletes is held as well.
async fn is_held(server: &Server, deletes: &str) {
    wait_until("the metric says so", async || metric(server, "s3o_brake_engaged").await == Some(1.0)).await;
    let brake = answer(server, &["brake"]).await;
    assert_eq!((&brake["engaged"], &brake["doomed_in_hour"]), (&true.into(), &20.into()));
    // A few files of the journal are among them.
    let why = brake["why"].as_str().unwrap();
    assert!(why.starts_with("20 of 4") && why.ends_with(" replicas were doomed within an hour"), "{why}");
    let steps = async || shown(server, "workers", "reaper/disk-0").await["steps_succeeded"].as_u64().unwrap();
    let before = steps().await;
    client_ahead(server, 8 * DAY_S).delete_object(deletes).await.unwrap();
    wait_until("the reaper tries", async || steps().await > before).await;
}
