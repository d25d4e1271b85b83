//! The daemon: by a schedule, with numbers, until it is told to end.

use std::time::Duration;

use runtime::instant_now;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{assert_free_of, command, directory, files, folder, shared, snapshots};

const WITHIN: Duration = Duration::from_secs(90);

async fn fetch(port: u16, path: &str) -> Option<String> {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_runs_by_its_schedule_and_ends_in_good_order() {
    let (world, home) = (shared().await, folder());
    let disk = home.path().join("disk");
    let [port] = testkit::free_ports();
    let config = world.config(2, &format!(
        "destinations:\n{}schedule: {{interval: 1s, jitter: 100ms}}\nmetrics: {{listen: \"127.0.0.1:{port}\"}}\n\
         retention: {{last: 2}}\n", directory("disk", &disk)
    ));
    let jwt = world.jwt("vault-backup");
    let mut child = command(home.path(), &config, &["daemon"], &[("JWT", &jwt)]).spawn().unwrap();
    let deadline = instant_now() + WITHIN;
    let metrics = loop {
        let metrics = fetch(port, "/metrics").await.unwrap_or_default();
        let runs =
            metrics.lines().find_map(|line| line.strip_prefix("vault_snapshot_runs_total{outcome=\"ok\"} "));
        if runs.and_then(|runs| runs.trim().parse().ok()).is_some_and(|runs: u32| runs >= 3) {
            break metrics;
        }
        assert!(instant_now() < deadline, "it does not run: {metrics}");
        runtime::sleep(Duration::from_millis(100)).await;
    };
    for name in [
        "last_success_age_seconds ",
        "last_verified_age_seconds ",
        "size_bytes ",
        "index ",
        "stage_seconds{stage=\"stream\"} ",
        "destination_failures_total{destination=\"disk\"} 0",
    ] {
        assert!(metrics.contains(&format!("\nvault_snapshot_{name}")), "{name} is missing in {metrics}");
    }
    assert!(fetch(port, "/health").await.unwrap().starts_with("HTTP/1.1 200"));
    let pid = child.id().unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let cores = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(
        cores.split_whitespace().skip(4).take(2).collect::<Vec<_>>(),
        ["0", "0"],
        "it may dump its core"
    );
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    let locked_kib: u64 = locked.trim().trim_end_matches(" kB").parse().unwrap();
    let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();

    let signalled =
        std::process::Command::new("kill").args(["-s", "TERM", &pid.to_string()]).status().unwrap();
    assert!(signalled.success());
    let status = runtime::timeout(WITHIN, child.wait()).await.expect("it ends").unwrap();
    assert!(status.success(), "{status}");
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).await.unwrap();
    let mut secrets = world.cluster.shares.clone();
    secrets.extend([world.cluster.root_token.clone(), jwt]);
    for (place, text) in [("the metrics", &metrics), ("the command line", &arguments), ("the log", &log)] {
        assert_free_of(&secrets, place, text);
    }
    let is_locked = !log.contains("memory is not locked");
    assert!(is_locked || log.contains("CAP_IPC_LOCK"), "{log}");
    assert_eq!(is_locked, locked_kib > 0, "{log}");
    assert!(snapshots(&disk).len() <= 3, "nothing was thinned out");
    let half_done = files(&disk).into_iter().find(|path| path.to_string_lossy().contains(".partial"));
    assert_eq!(half_done, None);
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = instant_now() + WITHIN;
    while !is_so() {
        assert!(instant_now() < deadline, "{what}");
        runtime::sleep(Duration::from_millis(50)).await;
    }
}

/// SIGHUP reads the configuration anew: the next run goes by it. One that cannot be used changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_makes_it_read_its_configuration_anew() {
    let (world, home) = (shared().await, folder());
    let [one, two] = ["one", "two"].map(|name| home.path().join(name));
    let config = |disk: &std::path::Path, schedule: &str| {
        world.config(0, &format!("destinations:\n{}schedule: {{{schedule}}}\n", directory("disk", disk)))
    };
    let log = std::fs::File::create(home.path().join("log")).unwrap();
    let mut daemon = command(
        home.path(),
        &config(&one, "interval: 24h"),
        &["daemon"],
        &[("JWT", &world.jwt("vault-backup"))],
    );
    let mut child = daemon.stderr(log).spawn().unwrap();
    let pid = child.id().unwrap().to_string();
    let hang_up = |text: &str| {
        std::fs::write(home.path().join("config.yaml"), text).unwrap();
        assert!(std::process::Command::new("kill").args(["-s", "HUP", &pid]).status().unwrap().success());
    };
    let logged = |text: &str| std::fs::read_to_string(home.path().join("log")).unwrap().contains(text);
    until("it takes the first at once", || snapshots(&one).len() == 1).await;
    hang_up("destinations: []\n");
    until("a bad one is refused", || logged("the old configuration stays")).await;
    hang_up(&config(&two, ""));
    until("one without a schedule is refused", || logged("there is no schedule")).await;
    hang_up(&config(&two, "interval: 1s"));
    until("the new one is followed", || !snapshots(&two).is_empty()).await;
    assert_eq!(snapshots(&one).len(), 1);
    assert!(std::process::Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
    assert!(runtime::timeout(WITHIN, child.wait()).await.expect("it ends").unwrap().success());
}
