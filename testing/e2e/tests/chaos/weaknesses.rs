//! What the Go program got wrong and nothing else here tests. `docs/weaknesses.md` has the whole list.

use testkit::wire::{Answer, Call, UNSIGNED_PAYLOAD, Wire, WireClient};
use testkit::{ConfigBuilder, Orchestrator};

use crate::books;
use crate::support::{METRICS, reaper_is_idle};
use crate::value::{Run, Value};

const DISKS: usize = 2;

async fn start(config: ConfigBuilder) -> (Orchestrator, WireClient) {
    let orchestrator =
        Orchestrator::start(config.directories(DISKS).factor(2).bucket("b").more(METRICS)).await;
    let wire = orchestrator.wire();
    (orchestrator, wire)
}

async fn end(mut orchestrator: Orchestrator) {
    reaper_is_idle(&orchestrator.wire()).await;
    assert!(orchestrator.stop().await.success(), "a clean end");
    let backends = books::directories(orchestrator.folder(), DISKS).await;
    books::check(&orchestrator.folder().join("catalog.db"), &backends).await;
}

/// How many replicas of a key lie on the disks.
fn replicas(orchestrator: &Orchestrator, key: &str) -> usize {
    let start = format!("{key}~");
    let of_key = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&start) && !name.ends_with("%m")
    };
    let disks = (0..DISKS).map(|disk| orchestrator.folder().join(format!("disk-{disk}/b")));
    disks.map(|disk| books::files(&disk).iter().filter(|path| of_key(path)).count()).sum()
}

fn value(number: u64, length: usize) -> Value {
    Value::of(Run { number, length })
}

/// A large overwrite for which there is no room is refused before its body is sent, and what it would have
/// replaced stays. (A small body is proved first, in memory.) (N54: that is 507, not 502.)
#[tokio::test(flavor = "multi_thread")]
async fn n2_n54_n55_an_overwrite_without_room_costs_nothing() {
    let (orchestrator, wire) = start(ConfigBuilder::new().each_backend("quota_bytes: 20000000")).await;
    let old = value(1, 9_000_000);
    wire.ask(&Call::put("/b/k", old.bytes())).await.success("put");
    let call = Call::new("PUT", "/b/k").header("content-length", "12000000");
    let call = call.header("x-amz-content-sha256", UNSIGNED_PAYLOAD);
    let mut waiting = Wire::connect(&wire.address).await.unwrap();
    waiting.write(&wire.signed(&call).bytes).await.unwrap();
    let refused = waiting.answer_to("PUT").await.expect("the answer does not wait for the body");
    assert_eq!((refused.status, refused.code().as_str()), (507, "InsufficientStorage"));
    assert!(wire.ask(&Call::get("/b/k")).await.success("get").body == old.bytes());
    // What is deleted makes room again, once it is gone.
    wire.ask(&Call::new("DELETE", "/b/k")).await.success("delete");
    reaper_is_idle(&wire).await;
    wire.ask(&Call::put("/b/k", value(2, 19_000_000).bytes())).await.success("put into the room");
    end(orchestrator).await;
}

/// Not-modified answers, ranges, and clients that go away in the middle of a body are no sign of a bad replica.
#[tokio::test(flavor = "multi_thread")]
async fn n8_reads_that_end_early_cost_no_replica() {
    let (orchestrator, wire) = start(ConfigBuilder::new()).await;
    let held = value(1, 8 << 20);
    wire.ask(&Call::put("/b/k", held.bytes())).await.success("put");
    for _ in 0..20 {
        let same = Call::get("/b/k").header("if-none-match", &held.etag);
        assert_eq!(wire.ask(&same).await.status, 304);
        let range = Call::get("/b/k").header("range", "bytes=70000-70009");
        assert_eq!(wire.ask(&range).await.body, held.bytes()[70_000..70_010]);
        assert_eq!(
            wire.ask(&Call::get("/b/k").header("range", "bytes=99999999-")).await.code(),
            "InvalidRange"
        );
        let mut gone = Wire::connect(&wire.address).await.unwrap();
        gone.write(&wire.signed(&Call::get("/b/k")).bytes).await.unwrap();
        drop(gone);
    }
    assert_eq!(replicas(&orchestrator, "k"), 2);
    assert!(wire.ask(&Call::get("/b/k")).await.success("get").body == held.bytes());
    end(orchestrator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n13_all_replicas_are_there_when_a_write_is_answered() {
    let (orchestrator, wire) = start(ConfigBuilder::new()).await;
    for round in 0..10 {
        let key = format!("k{round}");
        wire.ask(&Call::put(&format!("/b/{key}"), value(round, 50_000).bytes())).await.success("put");
        assert_eq!(replicas(&orchestrator, &key), 2, "after {round} writes");
    }
    // An overwrite is no worse.
    wire.ask(&Call::put("/b/k0", "new")).await.success("overwrite");
    assert!(replicas(&orchestrator, "k0") >= 2, "two of the new state, and the old one until it is reaped");
    reaper_is_idle(&wire).await;
    assert_eq!(replicas(&orchestrator, "k0"), 2);
    end(orchestrator).await;
}

async fn begin(wire: &WireClient, path: &str) -> String {
    let answer = wire.ask(&Call::new("POST", path).flag("uploads")).await.success("create");
    answer.element("UploadId").expect("it has an id")
}

async fn complete(wire: &WireClient, path: &str, upload: &str, parts: &[(u32, String)]) -> Answer {
    let parts: String = parts
        .iter()
        .map(|(number, etag)| format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"))
        .collect();
    let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    wire.ask(&Call::new("POST", path).query("uploadId", upload).body(body)).await
}

/// Parts that a completion does not name are deleted (the Go program kept their bytes and dropped their rows).
#[tokio::test(flavor = "multi_thread")]
async fn n29_parts_that_a_completion_leaves_out_are_deleted() {
    let (orchestrator, wire) = start(ConfigBuilder::new()).await;
    let upload = begin(&wire, "/b/k").await;
    let mut parts = Vec::new();
    for number in 1..=4 {
        let part = Call::put("/b/k", value(u64::from(number), 5 << 20).bytes()).query("uploadId", &upload);
        let answer = wire.ask(&part.query("partNumber", &number.to_string())).await.success("part");
        parts.push((number, answer.etag().to_owned()));
    }
    parts.retain(|(number, _)| number % 2 == 0);
    complete(&wire, "/b/k", &upload, &parts).await.success("complete");
    reaper_is_idle(&wire).await;
    assert_eq!(replicas(&orchestrator, "k"), 4, "two parts, twice");
    let held = wire.ask(&Call::get("/b/k")).await.success("get");
    assert!(held.body == [value(2, 5 << 20).bytes(), value(4, 5 << 20).bytes()].concat());
    end(orchestrator).await;
}

/// Requests to backends so far, of any kind.
async fn backend_requests(wire: &WireClient) -> u64 {
    requests_with(wire, "").await
}

/// Those that read an object.
async fn backend_reads(wire: &WireClient) -> u64 {
    requests_with(wire, "operation=\"get\"").await
}

async fn requests_with(wire: &WireClient, label: &str) -> u64 {
    let page = wire.plain("GET", "/metrics").await.success("metrics").text();
    let counts = page.lines().filter(|line| line.starts_with("s3o_backend_requests_total{"));
    let counts = counts.filter(|line| line.contains(label));
    counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// The journal is shipped once, and not again while a test runs: a put and a listing on each of two disks.
const SHIPPED_ONCE: &str = "journal: { interval: 1h }";
const SHIPPING_REQUESTS: u64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn n47_head_list_and_refused_reads_touch_no_backend() {
    let (orchestrator, wire) = start(ConfigBuilder::new().more(SHIPPED_ONCE)).await;
    let held = value(1, 10_000);
    wire.ask(&Call::put("/b/k", held.bytes())).await.success("put");
    let (before, reads) = (backend_requests(&wire).await, backend_reads(&wire).await);
    assert!(before >= 2, "the two puts are counted");
    for _ in 0..10 {
        let head = wire.ask(&Call::new("HEAD", "/b/k")).await.success("head");
        assert_eq!((head.etag(), head.header("content-length")), (held.etag.as_str(), Some("10000")));
        wire.ask(&Call::get("/b").query("list-type", "2")).await.success("list");
        assert_eq!(wire.ask(&Call::get("/b/k").header("if-none-match", &held.etag)).await.status, 304);
        assert_eq!(wire.ask(&Call::get("/b/absent")).await.code(), "NoSuchKey");
    }
    assert!(backend_requests(&wire).await <= before + SHIPPING_REQUESTS, "none of the forty made a request");
    assert_eq!(backend_reads(&wire).await, reads);
    wire.ask(&Call::get("/b/k")).await.success("get");
    assert_eq!(backend_reads(&wire).await, reads + 1, "one request for one read");
    end(orchestrator).await;
}

/// Bodies of requests may be as large as S3 allows: 1,000 keys of 1,000 bytes are more than a megabyte.
#[tokio::test(flavor = "multi_thread")]
async fn n108_large_requests_are_legal() {
    let (orchestrator, wire) = start(ConfigBuilder::new()).await;
    wire.ask(&Call::put("/b/kept", "kept")).await.success("put");
    let last = format!("999{}", "k".repeat(1000));
    wire.ask(&Call::put(&format!("/b/{last}"), "gone")).await.success("put");
    let keys: String =
        (0..1000).map(|index| format!("<Object><Key>{index}{}</Key></Object>", "k".repeat(1000))).collect();
    let body = format!("<Delete>{keys}</Delete>");
    let digest = crate::worker::content_md5(body.as_bytes());
    let call = Call::new("POST", "/b").flag("delete").header("content-md5", &digest).body(body);
    let answer = wire.ask(&call).await.success("delete");
    assert_eq!(answer.elements("Key").len(), 1000);
    assert_eq!(wire.ask(&Call::get(&format!("/b/{last}"))).await.status, 404);
    assert_eq!(wire.ask(&Call::get("/b/kept")).await.text(), "kept");
    end(orchestrator).await;
}

/// A multipart object is not bound by the largest single PUT. Its parts are copies, which move no byte.
#[tokio::test(flavor = "multi_thread")]
async fn n111_an_object_may_be_larger_than_5_gib() {
    const PART: usize = 64 << 20;
    const PARTS: usize = 96;
    let (orchestrator, wire) = start(ConfigBuilder::new().more(SHIPPED_ONCE)).await;
    let source = value(1, PART);
    wire.ask(&Call::put("/b/source", source.bytes())).await.success("put");
    let before = backend_requests(&wire).await;
    let upload = begin(&wire, "/b/large").await;
    let mut parts = Vec::new();
    for number in 1..=u32::try_from(PARTS).unwrap() {
        let copy = Call::new("PUT", "/b/large").header("x-amz-copy-source", "/b/source");
        let copy = copy.query("uploadId", &upload).query("partNumber", &number.to_string());
        let answer = wire.ask(&copy).await.success("copy a part");
        parts.push((number, answer.element("ETag").expect("a copied part has a tag")));
    }
    complete(&wire, "/b/large", &upload, &parts).await.success("complete");
    assert!(backend_requests(&wire).await <= before + SHIPPING_REQUESTS, "no byte was moved");
    // The parts outlive their source.
    wire.ask(&Call::new("DELETE", "/b/source")).await.success("delete");
    let head = wire.ask(&Call::new("HEAD", "/b/large")).await.success("head");
    assert_eq!(head.header("content-length"), Some((PART * PARTS).to_string().as_str()));
    assert!(head.etag().ends_with(&format!("-{PARTS}\"")), "{}", head.etag());
    // Across the border of two parts, beyond 5 GiB.
    let border = PART * (PARTS - 1);
    let range = format!("bytes={}-{}", border - 100, border + 99);
    let read = wire.ask(&Call::get("/b/large").header("range", &range)).await.success("range");
    let bytes = source.bytes();
    assert_eq!(read.body, [&bytes[PART - 100..], &bytes[..100]].concat());
    end(orchestrator).await;
}

/// HEAD, GET and the two listings agree on an object.
#[tokio::test(flavor = "multi_thread")]
async fn n96_n112_all_views_agree_on_an_object() {
    let (orchestrator, wire) = start(ConfigBuilder::new()).await;
    let held = value(1, 12_345);
    wire.ask(&Call::put("/b/k", held.bytes())).await.success("put");
    let (head, get) = (wire.ask(&Call::new("HEAD", "/b/k")).await, wire.ask(&Call::get("/b/k")).await);
    for name in ["last-modified", "etag", "content-length"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    for listing in [Call::get("/b"), Call::get("/b").query("list-type", "2")] {
        let listed = wire.ask(&listing).await.success("list");
        assert_eq!(listed.element("ETag").as_deref(), Some(held.etag.as_str()));
        assert_eq!(listed.element("Size").as_deref(), Some("12345"));
        let modified = listed.element("LastModified").expect("it has one");
        // `Sun, 22 Nov 2026 09:38:33 GMT` and `2026-11-22T09:38:33.123Z`: the same second.
        let time = head.header("last-modified").unwrap().split(' ').nth(4).unwrap().to_owned();
        assert!(modified.contains(&format!("T{time}")) && modified.ends_with('Z'), "{modified} and {time}");
    }
    end(orchestrator).await;
}

/// The list of weaknesses names tests that exist.
#[test]
fn every_named_test_exists() {
    let root = testkit::workspace();
    let list = std::fs::read_to_string(root.join("docs/weaknesses.md")).unwrap();
    let mut named = 0;
    for (file, test) in list.split('`').skip(1).step_by(2).filter_map(|code| code.split_once("::")) {
        let source =
            std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(source.contains(&format!("fn {test}(")), "{file} has no test {test}");
        named += 1;
    }
    assert!(named > 50, "only {named} tests are named");
    for number in 1..=138 {
        let mut rows = list.lines().filter_map(|line| line.strip_prefix("| N"));
        let row =
            rows.find(|row| covers(row, number)).unwrap_or_else(|| panic!("N{number} is not in the list"));
        // One of the tests that it names, where it names any, bears the number.
        let in_a_name = |name: &str| name.split('_').any(|word| word == format!("n{number}"));
        let mut tests = row.split('`').skip(1).step_by(2).filter_map(|code| code.split_once("::")).peekable();
        assert!(
            tests.peek().is_none() || tests.any(|(_, test)| in_a_name(test)),
            "no test is named after N{number}"
        );
    }
}

/// Whether the first cell of a row (`N1 |`, `N6, N7 |`, `N20 to N25 |`, without its first letter) names a number.
fn covers(row: &str, number: u32) -> bool {
    let cell = row.split('|').next().unwrap_or_default().replace('N', "");
    if let Some((first, last)) = cell.split_once(" to ") {
        return (first.trim().parse().unwrap()..=last.trim().parse().unwrap()).contains(&number);
    }
    cell.split(',').any(|text| text.trim().parse() == Ok(number))
}
