//! The catalog is lost while thousands of objects lie on the backends; it is rebuilt, and what it shows is compared,
//! object by object, with what clients were told.

mod decided;

use std::collections::BTreeMap;
use std::path::Path;

use futures::{StreamExt, stream};
use runtime::Chance;
use testkit::wire::{Answer, Call, WireClient};
use testkit::{ConfigBuilder, Orchestrator};

use crate::books;
use crate::support::{METRICS, page, reaper_is_idle_by_now, seed, value_of, wait_until};
use crate::value::{Run, Value};

const DISKS: usize = 3;
const TOKEN: &str = "a token of some length";
/// Keys of the first phase, and changes of the phase that is cut short.
const KEYS: u64 = 2_000;
const AT_ONCE: usize = 16;

/// What a client was told of an object: status, the headers that say something of it, its tags, and its body.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    headers: BTreeMap<String, String>,
    tags: String,
    body: Vec<u8>,
}

fn config() -> ConfigBuilder {
    ConfigBuilder::new()
        .directories(DISKS)
        .factor(2)
        .bucket("b")
        .bucket("other")
        .more(METRICS)
        .more("journal: {interval: 50ms}")
        .more(&format!("ui: {{admin_token: \"{TOKEN}\"}}"))
        .more("write_path:\n  multipart:\n    enforce_min_part_size: false")
}

/// An object of any kind, and a change of any kind: what it does is decided by the number and by chance.
async fn change(wire: &WireClient, chance: &Chance, key: &str, number: u64) {
    let length = usize::try_from(chance.below(3_000)).expect("it is small");
    let body = Run { number, length }.bytes();
    match chance.below(20) {
        0..8 => drop(wire.ask(&Call::put(key, body)).await.success("put")),
        8..11 => drop(wire.ask(&described(Call::put(key, body), number)).await.success("put with headers")),
        11 => {
            // A key that is not there cannot be tagged, nor can it be copied.
            let tags = format!(
                "<Tagging><TagSet><Tag><Key>of</Key><Value>{number}</Value></Tag></TagSet></Tagging>"
            );
            let digest = crate::worker::content_md5(tags.as_bytes());
            let call = Call::new("PUT", key).flag("tagging").header("content-md5", &digest).body(tags);
            check_one_of(&wire.ask(&call).await, &[200, 404]);
        }
        12..14 => {
            let source = format!("/b/k{}", chance.below(KEYS));
            let mut call = Call::new("PUT", key).header("x-amz-copy-source", &source);
            if chance.happens(0.5) || source == key {
                call = described(call.header("x-amz-metadata-directive", "REPLACE"), number);
            }
            check_one_of(&wire.ask(&call).await, &[200, 404]);
        }
        14..16 => multipart(wire, key, number).await,
        _ => drop(wire.ask(&Call::new("DELETE", key)).await.success("delete")),
    }
}

fn check_one_of(answer: &Answer, expected: &[u16]) {
    assert!(expected.contains(&answer.status), "{} {}", answer.status, answer.text());
}

/// Headers and metadata of every kind.
fn described(call: Call, number: u64) -> Call {
    call.header("content-type", "text/x-kind; charset=utf-8")
        .header("cache-control", &format!("max-age={number}"))
        .header("content-disposition", "attachment; filename=\"a b.txt\"")
        .header("content-encoding", "identity")
        .header("content-language", "de, en")
        .header("expires", "Thu, 01 Dec 2044 16:00:00 GMT")
        .header("x-amz-meta-number", &number.to_string())
        .header("x-amz-meta-empty", "")
        .header("x-amz-meta-long", &"long ".repeat(60))
}

async fn multipart(wire: &WireClient, key: &str, number: u64) {
    let begin = described(Call::new("POST", key).flag("uploads"), number);
    let id = wire.ask(&begin).await.success("begin").element("UploadId").expect("an upload has an id");
    let mut parts = String::new();
    for part in 1..=3 {
        let body = Run { number: number * 10 + part, length: 2_000 }.bytes();
        let call = Call::put(key, body).query("uploadId", &id).query("partNumber", &part.to_string());
        let answer = wire.ask(&call).await.success("part");
        // One is left out.
        if part != 2 {
            let etag = answer.etag();
            parts.push_str(&format!("<Part><PartNumber>{part}</PartNumber><ETag>{etag}</ETag></Part>"));
        }
    }
    let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    wire.ask(&Call::new("POST", key).query("uploadId", &id).body(body)).await.success("complete");
}

fn key(number: u64) -> String {
    // Not all are plain.
    match number % 50 {
        0 => format!("/other/k{number}"),
        1 => format!("/b/a folder/ü {number}"),
        _ => format!("/b/k{number}"),
    }
}

/// What clients are told of a key; none where it is not there.
async fn told(wire: &WireClient, key: &str) -> Option<Told> {
    let get = wire.ask(&Call::get(key)).await;
    if get.status == 404 {
        return None;
    }
    let get = get.success(key);
    let of_the_answer = ["date", "server", "x-amz-request-id", "x-amz-id-2", "connection"];
    let headers =
        get.headers.iter().filter(|(name, _)| !of_the_answer.contains(&name.as_str())).cloned().collect();
    let tags = wire.ask(&Call::get(key).flag("tagging")).await.success("tags").text();
    Some(Told { headers, tags, body: get.body })
}

/// What clients are told of everything, and how the listings name it.
async fn all_told(wire: &WireClient) -> BTreeMap<String, Option<Told>> {
    let asking = (0..KEYS).map(|number| async move { (key(number), told(wire, &key(number)).await) });
    stream::iter(asking).buffer_unordered(AT_ONCE).collect().await
}

async fn listings(wire: &WireClient) -> Vec<String> {
    let mut listed = Vec::new();
    for bucket in ["/b", "/other"] {
        let mut after = String::new();
        loop {
            let call = Call::get(bucket).query("list-type", "2").query("start-after", &after);
            let page = wire.ask(&call).await.success("list");
            let keys = page.elements("Key");
            let sizes = page.elements("Size");
            listed.extend(keys.iter().zip(sizes).map(|(key, size)| format!("{bucket}/{key} {size}")));
            match keys.last() {
                Some(last) => after.clone_from(last),
                None => break,
            }
        }
    }
    listed
}

fn check_same(before: &BTreeMap<String, Option<Told>>, after: &BTreeMap<String, Option<Told>>) {
    let different: Vec<_> = before.iter().filter(|(key, told)| after.get(*key) != Some(told)).collect();
    for (key, told) in different.iter().take(3) {
        println!("{key}\n  was {told:?}\n  is  {:?}", after.get(*key));
    }
    assert!(different.is_empty(), "{} of {} are another", different.len(), before.len());
}

async fn shipped(wire: &WireClient) {
    wait_until("all is shipped", async || {
        value_of(&page(wire).await, "s3o_journal_unshipped_age_seconds") == Some(0.0)
    })
    .await;
}

/// Runs `rebuild`; first as a look, which changes nothing.
fn rebuild(folder: &Path) {
    let look = Orchestrator::run_in_folder(folder, &["rebuild", "-config", "config.yaml"]);
    let said = String::from_utf8_lossy(&look.stdout).into_owned();
    assert!(look.status.success() && said.contains("nothing was changed"), "{said}");
    let done = Orchestrator::run_in_folder(folder, &["rebuild", "-config", "config.yaml", "-execute"]);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    println!("{}", said.lines().rev().take(6).collect::<Vec<_>>().join("\n"));
}

fn lose_catalog(folder: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(folder.join(format!("catalog.db{suffix}")));
    }
}

/// Gives up what a rebuild found and nothing names, as an operator may.
async fn settle_quarantine(orchestrator: &Orchestrator) -> usize {
    let addr = format!("-addr={}", orchestrator.endpoint);
    let admin = |args: &[&str]| {
        let token = format!("-token={TOKEN}");
        let output = Orchestrator::run_in_folder(
            orchestrator.folder(),
            &[&["admin", "-json", &addr, &token], args].concat(),
        );
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let mut settled = 0;
    loop {
        let listed = admin(&["quarantine", "list"]);
        let ids: Vec<&str> = listed
            .split("\"id\":\"")
            .skip(1)
            .filter_map(|rest| rest.split_once('"').map(|(id, _)| id))
            .collect();
        if ids.is_empty() {
            return settled;
        }
        for id in ids {
            admin(&["quarantine", "delete", id]);
            settled += 1;
        }
    }
}

/// Thousands of objects of every kind; the catalog vanishes at a random moment under load. What was shipped is there
/// again, exactly; a key that was being changed is as it was, or as one of these changes left it. Then a catalog
/// from earlier is put back, and rebuilt in its turn: exactly.
#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_lost_under_load_comes_back_object_by_object() {
    let chance = Chance::seeded(seed());
    let mut orchestrator = Orchestrator::start(config()).await;
    orchestrator.allow_log("\"level\":\"WARN\"");
    let wire = orchestrator.wire();
    let keys =
        (0..2 * KEYS).map(|number| (number, key(if number < KEYS { number } else { chance.below(KEYS) })));
    let (client, luck) = (&wire, &chance);
    let changing = keys.map(|(number, key)| async move { change(client, luck, &key, number).await });
    stream::iter(changing).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    shipped(&wire).await;
    let before = all_told(&wire).await;
    println!("{} objects", before.values().flatten().count());

    // Some keys go on being changed until it is killed; each change is known before it is made.
    let hot: Vec<String> = (0..20).map(key).collect();
    let (until, mut last) = (50 + chance.below(100), BTreeMap::<String, Vec<Option<Value>>>::new());
    for number in 0..until {
        let (key, number) = (&hot[usize::try_from(number % 20).unwrap()], 1_000_000 + number);
        if chance.happens(0.3) {
            last.entry(key.clone()).or_default().push(None);
            wire.ask(&Call::new("DELETE", key)).await.success("delete");
        } else {
            let run = Run { number, length: 500 };
            last.entry(key.clone()).or_default().push(Some(Value::of(run)));
            wire.ask(&Call::put(key, run.bytes())).await.success("put");
        }
    }
    orchestrator
        .kill_and_restart_after(async |folder| {
            lose_catalog(folder);
            rebuild(folder);
        })
        .await;
    let wire = orchestrator.wire();
    let mut after = all_told(&wire).await;
    for (key, changes) in &last {
        let is = after.remove(key).expect("it was asked for").map(|told| told.body);
        let was = before[key].as_ref().map(|told| told.body.clone());
        let is_one = is == was || changes.iter().any(|change| is == change.as_ref().map(Value::bytes));
        assert!(is_one, "{key} is what it never was");
    }
    let cold: BTreeMap<_, _> = before.iter().filter(|(key, _)| !last.contains_key(*key)).collect();
    check_same(&cold.into_iter().map(|(key, told)| (key.clone(), told.clone())).collect(), &after);

    // An old catalog comes back.
    shipped(&wire).await;
    orchestrator
        .kill_and_restart_after(async |folder| {
            std::fs::create_dir(folder.join("old")).unwrap();
            for suffix in ["", "-wal"] {
                let name = format!("catalog.db{suffix}");
                let _ = std::fs::copy(folder.join(&name), folder.join("old").join(&name));
            }
        })
        .await;
    let wire = orchestrator.wire();
    for number in 0..200 {
        change(&wire, &chance, &key(chance.below(KEYS)), 2_000_000 + number).await;
    }
    shipped(&wire).await;
    let (before, listed) = (all_told(&wire).await, listings(&wire).await);
    orchestrator
        .kill_and_restart_after(async |folder| {
            lose_catalog(folder);
            for suffix in ["", "-wal"] {
                let name = format!("catalog.db{suffix}");
                let _ = std::fs::copy(folder.join("old").join(&name), folder.join(&name));
            }
            rebuild(folder);
        })
        .await;
    let wire = orchestrator.wire();
    check_same(&before, &all_told(&wire).await);
    assert_eq!(listings(&wire).await, listed);

    println!("{} strays were given up", settle_quarantine(&orchestrator).await);
    wait_until("every blob has its factor", async || {
        value_of(&page(&wire).await, "s3o_replication_pending") == Some(0.0)
    })
    .await;
    reaper_is_idle_by_now(&wire).await;
    assert!(orchestrator.stop().await.success(), "a clean end");
    let backends = books::directories(orchestrator.folder(), DISKS).await;
    books::check(&orchestrator.folder().join("catalog.db"), &backends).await;
}

/// The disk of a backend is unmounted under a running process, so that an empty folder is in its place: nothing is
/// written there, nothing of it is believed lost, and when it is mounted again everything is as before.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_unmounted_is_missing_and_not_empty() {
    let breaker = "backend_circuit_breaker: {enabled: true, failure_threshold: 3, open_timeout: 1s}";
    let mut orchestrator = Orchestrator::start(config().more(breaker)).await;
    orchestrator.allow_log("\"level\":\"WARN\"");
    orchestrator.allow_log("has lost its marker: is its disk mounted");
    let wire = orchestrator.wire();
    let value = |number| Value::of(Run { number, length: 20_000 });
    for number in 0..60 {
        wire.ask(&Call::put(&format!("/b/k{number}"), value(number).bytes())).await.success("put");
    }
    let disk = orchestrator.folder().join("disk-0");
    let away = orchestrator.folder().join("away");
    std::fs::rename(&disk, &away).unwrap();
    std::fs::create_dir(&disk).unwrap();
    for number in 0..60 {
        let read = wire.ask(&Call::get(&format!("/b/k{number}"))).await.success("get");
        assert!(read.body == value(number).bytes(), "{number} is another");
        let new = number + 100;
        wire.ask(&Call::put(&format!("/b/k{new}"), value(new).bytes())).await.success("put");
    }
    // Nor does a new process take it for the disk.
    orchestrator.kill_and_restart().await;
    let wire = orchestrator.wire();
    for number in (0..60).chain(100..160) {
        let read = wire.ask(&Call::get(&format!("/b/k{number}"))).await.success("get");
        assert!(read.body == value(number).bytes(), "{number} is another");
    }
    let is_ours = |path: &std::path::PathBuf| !path.ends_with(".s3-orchestrator-lock");
    let strangers: Vec<_> = books::files(&disk).into_iter().filter(is_ours).collect();
    assert!(strangers.is_empty(), "written into the empty folder: {strangers:?}");
    std::fs::remove_dir_all(&disk).unwrap();
    std::fs::rename(&away, &disk).unwrap();
    wait_until("everything is as before", async || {
        // It is found to be back by a request.
        wire.ask(&Call::put("/b/again", "again")).await.success("put");
        let metrics = page(&wire).await;
        let is_zero = |name: &str| value_of(&metrics, name) == Some(0.0);
        is_zero("s3o_replication_pending") && is_zero("s3o_circuit_breaker_state{name=\"disk-0\"}")
    })
    .await;
    reaper_is_idle_by_now(&wire).await;
    assert!(orchestrator.stop().await.success(), "a clean end");
    let backends = books::directories(orchestrator.folder(), DISKS).await;
    books::check(&orchestrator.folder().join("catalog.db"), &backends).await;
}
