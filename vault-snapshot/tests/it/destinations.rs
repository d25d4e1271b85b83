//! Several destinations at once, and what becomes of them.

use std::sync::atomic::Ordering;

use s3_client::{ClientOptions, S3Client};
use testkit::{RawServer, shared_seaweed};

use crate::gate::{Gate, Obstacle};
use crate::world::{command, directory, files, folder, run, shared, snapshots};

/// A destination in a bucket, as YAML.
pub(crate) fn bucket(name: &str, options: &ClientOptions, endpoint: &str) -> String {
    format!(
        "  - {{name: {name}, type: s3, endpoint: \"{endpoint}\", bucket: {}, prefix: vault/, access_key_id: {}, \
         secret_access_key: \"{}\"}}\n",
        options.bucket, options.credentials.access_key_id, options.credentials.secret_access_key
    )
}

async fn keys(options: &ClientOptions) -> Vec<String> {
    let client = S3Client::new(options.clone()).unwrap();
    client.list_objects("", None).await.unwrap().objects.into_iter().map(|object| object.key).collect()
}

/// A directory and a bucket get the same bytes; where one is gone, the other gets them all the same, the exit code
/// says so, and so do the numbers that are pushed.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_does_not_stop_the_others() {
    let (world, home) = (shared().await, folder());
    let (disk, options) = (home.path().join("disk"), shared_seaweed().await.new_bucket().await);
    let secrets = [options.credentials.secret_access_key.clone()];
    let gateway = RawServer::start(|mut connection| async move {
        if connection.read_request().await.is_some_and(|(head, body)| {
            head.starts_with("PUT /metrics/job/vault_snapshot ")
                && String::from_utf8_lossy(&body)
                    .contains("vault_snapshot_destination_failures_total{destination=\"gone\"} 1")
        }) {
            connection.answer("202 Accepted", &[], b"").await;
        }
    })
    .await;
    let both =
        format!("destinations:\n{}{}", directory("disk", &disk), bucket("s3", &options, &options.endpoint));
    let config = world.config(0, &both);
    let ran = world.run(home.path(), &config, &["run"]).await.with_code(0);
    crate::world::assert_free_of(&secrets, "the output", &format!("{}{}", ran.out, ran.err));
    let name = ran.out.trim();
    assert_eq!(keys(&options).await.len(), 3);
    let object =
        S3Client::new(options.clone()).unwrap().get_object(&format!("vault/{name}"), None).await.unwrap();
    let stored: Vec<_> = futures::TryStreamExt::try_collect(object.body).await.unwrap();
    assert!(stored.concat() == std::fs::read(disk.join(name)).unwrap(), "the two copies differ");

    let [port] = testkit::free_ports();
    let gone = bucket("gone", &options, &format!("http://127.0.0.1:{port}"));
    let more = format!("{both}{gone}metrics: {{pushgateway: \"{}\"}}\n", gateway.endpoint);
    let ran = world.run(home.path(), &world.config(1, &more), &["run"]).await.with_code(3);
    assert!(ran.err.contains("error: gone:") && snapshots(&disk).len() == 2, "{ran:?}");
    assert!(!ran.err.contains("Pushgateway"), "the numbers were not taken: {ran:?}");
    assert_eq!(gateway.connections(), 1);

    let listed = run(home.path(), &config, &["list"], &[], "").await.with_code(0);
    assert_eq!(listed.out.matches(".snap ").count(), 4, "{listed:?}");
    run(home.path(), &config, &["verify", "-all"], &[], "").await.with_code(0);
}

/// A bucket that takes no byte any more is let go after `checks.stall`; the disk gets the snapshot all the same.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_stands_still_is_let_go() {
    let (world, home) = (shared().await, folder());
    let (disk, options) = (home.path().join("disk"), shared_seaweed().await.new_bucket().await);
    let gate = gate_before(&options, usize::MAX).await;
    let slow = bucket("slow", &options, &format!("http://{}", gate.address));
    let more = format!("destinations:\n{}{slow}checks: {{stall: 1s}}\n", directory("disk", &disk));
    let ran = world.run(home.path(), &world.config(0, &more), &["run"]).await.with_code(3);
    assert!(ran.err.contains("error: slow:") && gate.held.load(Ordering::SeqCst) > 0, "{ran:?}");
    assert_eq!(snapshots(&disk).len(), 1);
    assert_eq!(keys(&options).await, Vec::<String>::new());
}

/// A store that gives back something else than it was given has no snapshot: nothing points to it, and it is removed.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_back_has_to_be_what_was_stored() {
    let (world, home) = (shared().await, folder());
    let (disk, options) = (home.path().join("disk"), shared_seaweed().await.new_bucket().await);
    let target = options.endpoint.rsplit(':').next().unwrap().parse().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = Gate::start(listener, target, Obstacle::FlipAnswers(9_000), 1).await;
    let liar = bucket("liar", &options, &format!("http://{}", gate.address));
    let more = format!("destinations:\n{}{liar}", directory("disk", &disk));
    let ran = world.run(home.path(), &world.config(0, &more), &["run"]).await.with_code(3);
    assert!(ran.err.contains("error: liar: what was read back is not what was stored"), "{ran:?}");
    assert_eq!((snapshots(&disk).len(), keys(&options).await.len()), (1, 0));
}

/// Lets requests to a bucket pass, but no body of a part.
async fn gate_before(options: &ClientOptions, times: usize) -> Gate {
    let target = options.endpoint.rsplit(':').next().unwrap().parse().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    Gate::start(listener, target, Obstacle::HoldRequests(6_000), times).await
}

/// A run that is killed leaves an upload half done; once nobody can be at it any more, it is removed. What is not
/// ours, or too young, stays.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_left_is_swept() {
    let (world, home) = (shared().await, folder());
    let (disk, options) = (home.path().join("disk"), shared_seaweed().await.new_bucket().await);
    let gate = gate_before(&options, usize::MAX).await;
    let config = |endpoint: &str, more: &str| {
        world.config(
            0,
            &format!("destinations:\n{}{}{more}", directory("disk", &disk), bucket("s3", &options, endpoint)),
        )
    };
    let (held, jwt) = (config(&format!("http://{}", gate.address), ""), world.jwt("vault-backup"));
    let mut child = command(home.path(), &held, &["run"], &[("JWT", &jwt)]).spawn().unwrap();
    let deadline = runtime::instant_now() + std::time::Duration::from_secs(90);
    while gate.held.load(Ordering::SeqCst) == 0 {
        assert!(runtime::instant_now() < deadline, "nothing came to the bucket");
        runtime::sleep(std::time::Duration::from_millis(50)).await;
    }
    child.kill().await.unwrap();
    drop(gate);
    let client = S3Client::new(options.clone()).unwrap();
    let open = async || client.list_multipart_uploads("").await.unwrap().len();
    assert_eq!(open().await, 1, "the killed run left nothing to be swept");
    let foreign = client.create_multipart_upload("vault/other-0123").await.unwrap();
    let [ours, others, notes] =
        [".vault-0123abcd-20200101T000000Z-1.snap.partial", ".other.partial", ".vault-notes"];
    for name in [ours, others, notes] {
        std::fs::write(disk.join(name), "half").unwrap();
    }

    run(home.path(), &config(&options.endpoint, ""), &["prune"], &[], "").await.with_code(0);
    assert!(disk.join(ours).exists() && open().await == 2, "somebody may still be at it");
    let soon = config(&options.endpoint, "checks: {leftovers_after: 1s}\n");
    while disk.join(ours).exists() || open().await > 1 {
        assert!(runtime::instant_now() < deadline, "it is not swept");
        run(home.path(), &soon, &["prune"], &[], "").await.with_code(0);
    }
    assert!(disk.join(others).exists() && disk.join(notes).exists(), "somebody else's file was removed");
    assert_eq!(client.list_multipart_uploads("").await.unwrap()[0].upload, foreign);
}

/// A disk that is full leaves nothing behind, and stops nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_leaves_nothing() {
    let (world, home) = (shared().await, folder());
    let (disk, small) = (home.path().join("disk"), home.path().join("small"));
    std::fs::create_dir(&small).unwrap();
    let Some(_mounted) = Mounted::tmpfs(&small, "16k") else {
        panic!("a small file system cannot be mounted here: this test needs root, as in CI")
    };
    let more = format!("destinations:\n{}{}", directory("small", &small), directory("disk", &disk));
    let ran = world.run(home.path(), &world.config(0, &more), &["run"]).await.with_code(3);
    assert!(ran.err.contains("error: small:") && ran.err.contains("No space left"), "{ran:?}");
    assert_eq!((snapshots(&disk).len(), files(&small).len()), (1, 0));
    let alone = world.config(0, &format!("destinations:\n{}", directory("small", &small)));
    world.run(home.path(), &alone, &["run"]).await.with_code(1);
    assert_eq!(files(&small).len(), 0);
}

struct Mounted(std::path::PathBuf);

impl Mounted {
    fn tmpfs(path: &std::path::Path, size: &str) -> Option<Self> {
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(path)
            .status();
        mount.is_ok_and(|status| status.success()).then(|| Self(path.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

/// Two years of nightly snapshots: a dry run removes nothing and says what the real one then does.
#[tokio::test]
async fn pruning_does_what_its_dry_run_says() {
    let (home, disk) = (folder(), folder());
    let mut day = time::Date::from_calendar_date(2024, time::Month::January, 1).unwrap();
    for index in 0..731 {
        let name = format!(
            "vault-0123abcd-{}{:02}{:02}T000000Z-{index}.snap",
            day.year(),
            u8::from(day.month()),
            day.day()
        );
        std::fs::write(disk.path().join(&name), "x").unwrap();
        // The newest three were never verified.
        if index < 728 {
            std::fs::write(disk.path().join(format!("{name}.json")), "{}").unwrap();
        }
        day = day.next_day().unwrap();
    }
    std::fs::write(disk.path().join("somebody-elses.snap"), "x").unwrap();
    std::fs::write(disk.path().join("vault-0123abcd.latest"), "x").unwrap();
    let config = format!(
        "destinations:\n{}retention: {{last: 2, weekly: 4, monthly: 12, yearly: 5}}\n",
        directory("disk", disk.path())
    );
    let dry = run(home.path(), &config, &["prune", "-dry-run"], &[], "").await.with_code(0);
    assert_eq!(snapshots(disk.path()).len(), 732);
    let stays: Vec<&str> = dry
        .out
        .lines()
        .filter(|line| line.contains("stays"))
        .filter_map(|line| line.split(": ").nth(1))
        .collect();
    assert!(
        dry.out.contains("20251231T000000Z-730.snap: stays: last")
            && dry.out.contains("-727.snap: stays: last verified"),
        "{}",
        &dry.out[..600]
    );
    assert!(
        dry.out.contains("20241231T000000Z-365.snap: stays: monthly, yearly")
            || dry.out.contains("20241231T000000Z-365.snap: stays: yearly")
    );

    let pruned = run(home.path(), &config, &["prune"], &[], "").await.with_code(0);
    assert_eq!(pruned.out.matches(": removed").count(), 731 - stays.len());
    let mut expected: Vec<String> = stays.iter().map(|name| (*name).to_owned()).collect();
    expected.push("somebody-elses.snap".to_owned());
    expected.sort();
    assert_eq!(snapshots(disk.path()), expected);
    let records =
        files(disk.path()).iter().filter(|path| path.extension().is_some_and(|e| e == "json")).count();
    assert_eq!(records, stays.len() - 2, "a record stays with its snapshot, and goes with it");
}

/// An index that went back is refused until somebody accepts it; a sharp drop of size is an alarm.
#[tokio::test(flavor = "multi_thread")]
async fn what_looks_like_a_loss_is_not_passed_over() {
    let (world, home) = (shared().await, folder());
    let disk = home.path().join("disk");
    let config = world.config(0, &format!("destinations:\n{}", directory("disk", &disk)));
    let first = world.run(home.path(), &config, &["run"]).await.with_code(0);
    let line = first.out.split("-20").next().unwrap().to_owned();
    // A later snapshot, as a cluster would have left it that has since lost its data.
    let later = disk.join(format!("{line}-20300101T000000Z-99999999.snap"));
    std::fs::write(&later, vec![0; 10 << 20]).unwrap();
    let refused = world.run(home.path(), &config, &["run"]).await.with_code(1);
    assert!(
        refused.err.contains("went back from 99999999") && refused.err.contains("-acknowledge"),
        "{refused:?}"
    );
    assert_eq!(snapshots(&disk).len(), 2);
    let accepted = world.run(home.path(), &config, &["run", "-acknowledge"]).await.with_code(3);
    assert!(accepted.err.contains("alarm:") && accepted.err.contains("10485760"), "{accepted:?}");
    assert_eq!(snapshots(&disk).len(), 3);
}
