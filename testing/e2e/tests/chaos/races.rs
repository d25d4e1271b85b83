//! Many clients at once over HTTP: conditional writes have one winner, readers see whole states, a list sees
//! what was written before it.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use runtime::Task;
use testkit::wire::{Answer, Call, WireClient};
use testkit::{ConfigBuilder, Orchestrator};
use tokio::sync::Barrier;

use crate::books;
use crate::history::History;
use crate::support::{METRICS, reaper_is_idle};
use crate::value::{Run, Value, md5_hex};

const CLIENTS: u64 = 50;

async fn start() -> (Orchestrator, WireClient) {
    let config = ConfigBuilder::new()
        .directories(2)
        .factor(2)
        .bucket("races")
        .more(METRICS)
        .more("write_path:\n  multipart:\n    enforce_min_part_size: false");
    let orchestrator = Orchestrator::start(config).await;
    let wire = orchestrator.wire();
    (orchestrator, wire)
}

/// Ends the process and proves its books.
async fn end(mut orchestrator: Orchestrator) {
    reaper_is_idle(&orchestrator.wire()).await;
    assert!(orchestrator.stop().await.success(), "a clean end");
    let backends = books::directories(orchestrator.folder(), 2).await;
    books::check(&orchestrator.folder().join("catalog.db"), &backends).await;
}

/// Sends one call per client, all at once.
async fn all_at_once(wire: &WireClient, call: impl Fn(u64) -> Call) -> Vec<Answer> {
    let barrier = Arc::new(Barrier::new(usize::try_from(CLIENTS).unwrap()));
    let one = |client| {
        let (wire, call, barrier) = (wire.clone(), call(client), Arc::clone(&barrier));
        runtime::spawn(async move {
            barrier.wait().await;
            wire.ask(&call).await
        })
    };
    join((0..CLIENTS).map(one).collect()).await
}

async fn join<T>(tasks: Vec<Task<T>>) -> Vec<T> {
    let mut done = Vec::new();
    for task in tasks {
        done.push(task.await.expect("a client does not panic"));
    }
    done
}

fn count(answers: &[Answer], status: u16, code: &str) -> usize {
    answers.iter().filter(|answer| answer.status == status && answer.code() == code).count()
}

fn run(number: u64, length: usize) -> Run {
    Run { number, length }
}

#[tokio::test(flavor = "multi_thread")]
async fn n100_fifty_clients_create_one_key_and_one_wins() {
    let (orchestrator, wire) = start().await;
    for round in 0..4 {
        let key = format!("/races/once-{round}");
        let body = |client| run(client + 1, 3000).bytes();
        let answers =
            all_at_once(&wire, |client| Call::put(&key, body(client)).header("if-none-match", "*")).await;
        let winners: Vec<usize> = answers
            .iter()
            .enumerate()
            .filter(|(_, answer)| answer.status == 200)
            .map(|(client, _)| client)
            .collect();
        assert_eq!(winners.len(), 1, "{key} was won by {winners:?}");
        assert_eq!(count(&answers, 412, "PreconditionFailed") as u64, CLIENTS - 1, "{key}");
        let held = wire.ask(&Call::get(&key)).await.success("get");
        assert_eq!(held.body, body(winners[0] as u64), "the winner's bytes");
    }
    end(orchestrator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n62_of_fifty_overwrites_of_one_state_one_wins() {
    let (orchestrator, wire) = start().await;
    let first = wire.ask(&Call::put("/races/state", "first")).await.success("put").etag().to_owned();
    let answers = all_at_once(&wire, |client| {
        Call::put("/races/state", run(client + 1, 2000).bytes()).header("if-match", &first)
    })
    .await;
    assert_eq!(count(&answers, 200, ""), 1);
    assert_eq!(count(&answers, 412, "PreconditionFailed") as u64, CLIENTS - 1);
    end(orchestrator).await;
}

/// Half of the clients delete the state that they know, half replace it: exactly one of them finds it.
#[tokio::test(flavor = "multi_thread")]
async fn conditional_deletes_race_conditional_overwrites() {
    let (orchestrator, wire) = start().await;
    for round in 0..4 {
        let key = format!("/races/delete-{round}");
        let first =
            wire.ask(&Call::put(&key, format!("first {round}"))).await.success("put").etag().to_owned();
        let answers = all_at_once(&wire, |client| {
            let call = if client.is_multiple_of(2) {
                Call::new("DELETE", &key)
            } else {
                Call::put(&key, format!("{client}"))
            };
            call.header("if-match", &first)
        })
        .await;
        let winners: Vec<usize> = answers
            .iter()
            .enumerate()
            .filter(|(_, answer)| answer.status < 300)
            .map(|(client, _)| client)
            .collect();
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        // A conditional write to a key that is gone is answered 404, one to another state 412.
        assert_eq!(winners.len(), 1, "{key}: {statuses:?}");
        let held = wire.ask(&Call::get(&key)).await;
        if winners[0].is_multiple_of(2) {
            assert_eq!(held.status, 404, "the delete had won");
        } else {
            assert_eq!(held.text(), winners[0].to_string(), "the overwrite had won");
        }
    }
    end(orchestrator).await;
}

/// Writers overwrite, delete and copy while readers read: each read is of one whole state, its entity tag is
/// that of its bytes, and never one that was replaced before the read began.
#[tokio::test(flavor = "multi_thread")]
async fn n3_readers_see_one_whole_state() {
    let (orchestrator, wire) = start().await;
    let history = Arc::new(History::default());
    let done = Arc::new(AtomicBool::new(false));
    let (key, copy_source) = ("/races/read", "/races/source");
    let source = Value::of(run(77, 150_000));
    wire.ask(&Call::put(copy_source, source.bytes())).await.success("source");
    let writers = (0..6u64).map(|writer| {
        let (wire, history, source) = (wire.clone(), Arc::clone(&history), source.clone());
        runtime::spawn(async move {
            for count in 0..40u64 {
                let number = 1000 * (writer + 1) + count;
                let value = Value::of(run(number, usize::try_from(number * 37 % 300_000).unwrap()));
                let (call, value) = match count % 10 {
                    3 => (Call::new("DELETE", key), None),
                    7 => {
                        (Call::new("PUT", key).header("x-amz-copy-source", copy_source), Some(source.clone()))
                    }
                    _ => (Call::put(key, value.bytes()), Some(value)),
                };
                let write = history.begin(key, value);
                wire.ask(&call).await.success("a write");
                history.acknowledge(&write);
            }
        })
    });
    let readers = (0..6).map(|reader| {
        let (wire, history, done) = (wire.clone(), Arc::clone(&history), Arc::clone(&done));
        runtime::spawn(async move {
            let mut found = 0;
            while !done.load(Ordering::SeqCst) {
                let began = history.now();
                let answer = wire.ask(&Call::get(key)).await;
                found += usize::from(history.judge(key, began, &answer).expect("a whole state").is_some());
                if reader == 0 && answer.status == 200 {
                    assert_eq!(answer.etag(), format!("\"{}\"", md5_hex(&answer.body)));
                }
            }
            found
        })
    });
    let (writers, readers): (Vec<_>, Vec<_>) = (writers.collect(), readers.collect());
    join(writers).await;
    done.store(true, Ordering::SeqCst);
    let found: usize = join(readers).await.into_iter().sum();
    assert!(found > 50, "only {found} reads found an object");
    end(orchestrator).await;
}

/// A reader that has begun goes on reading the state that it began with, however often it is replaced.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_keeps_its_state() {
    let (orchestrator, wire) = start().await;
    let old = run(1, 24 << 20).bytes();
    wire.ask(&Call::put("/races/slow", old.clone())).await.success("put");
    let call = Call::get("/races/slow");
    let mut reader = testkit::wire::Wire::connect(&wire.address).await.unwrap();
    // The answer begins, and nobody takes the rest of it.
    reader.write(&wire.signed(&call).bytes).await.unwrap();
    for number in 2..12 {
        wire.ask(&Call::put("/races/slow", run(number, 1000).bytes())).await.success("overwrite");
    }
    wire.ask(&Call::new("DELETE", "/races/slow")).await.success("delete");
    let answer = reader.answer_to("GET").await.expect("the answer is whole");
    // It located the object at some moment, and gives that state, whichever it was.
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.etag(), format!("\"{}\"", md5_hex(&answer.body)));
    end(orchestrator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_after_a_write_sees_it() {
    let (orchestrator, wire) = start().await;
    let clients = (0..12u64).map(|client| {
        let wire = wire.clone();
        runtime::spawn(async move {
            let prefix = format!("list/{client}/");
            let mut present = BTreeSet::new();
            for count in 0..15 {
                let key = format!("{prefix}{count}");
                wire.ask(&Call::put(&format!("/races/{key}"), key.clone())).await.success("put");
                present.insert(key);
                check_list(&wire, &prefix, &present).await;
                if count % 3 == 2 {
                    let gone = present.pop_first().expect("it has three");
                    wire.ask(&Call::new("DELETE", &format!("/races/{gone}"))).await.success("delete");
                    check_list(&wire, &prefix, &present).await;
                }
            }
        })
    });
    join(clients.collect()).await;
    end(orchestrator).await;
}

async fn check_list(wire: &WireClient, prefix: &str, present: &BTreeSet<String>) {
    let call = Call::get("/races").query("list-type", "2").query("prefix", prefix);
    let listed: BTreeSet<String> =
        wire.ask(&call).await.success("list").elements("Key").into_iter().collect();
    assert_eq!(&listed, present);
}

struct Upload {
    path: String,
    id: String,
}

impl Upload {
    async fn begin(wire: &WireClient, path: &str) -> Self {
        let answer = wire.ask(&Call::new("POST", path).flag("uploads")).await.success("create");
        Self { path: path.to_owned(), id: answer.element("UploadId").expect("it has an id") }
    }

    fn part(&self, number: u32, body: Vec<u8>) -> Call {
        self.call("PUT").query("partNumber", &number.to_string()).body(body)
    }

    fn call(&self, method: &str) -> Call {
        Call::new(method, &self.path).query("uploadId", &self.id)
    }

    fn complete(&self, etags: &[String]) -> Call {
        let part = |(index, etag): (usize, &String)| {
            format!("<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag></Part>", index + 1)
        };
        let parts: String = etags.iter().enumerate().map(part).collect();
        self.call("POST").body(format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>"))
    }
}

/// Completes and aborts at once: the upload ends one way, and everybody is told so.
#[tokio::test(flavor = "multi_thread")]
async fn n35_completes_and_aborts_race() {
    let (orchestrator, wire) = start().await;
    for round in 0..6 {
        let upload = Upload::begin(&wire, &format!("/races/upload-{round}")).await;
        let mut etags = Vec::new();
        let runs = [run(round * 10 + 1, 70_000), run(round * 10 + 2, 999)];
        for (number, part) in (1..).zip(runs) {
            let answer = wire.ask(&upload.part(number, part.bytes())).await.success("part");
            etags.push(answer.etag().to_owned());
        }
        let answers = all_at_once(&wire, |client| match client % 5 {
            0 => upload.call("DELETE"),
            _ => upload.complete(&etags),
        })
        .await;
        let aborted = count(&answers, 204, "");
        let completed = count(&answers, 200, "");
        let lost = count(&answers, 404, "NoSuchUpload");
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(aborted + completed + lost, answers.len(), "{statuses:?}");
        let held = wire.ask(&Call::get(&upload.path)).await;
        let value = Value::of_parts(runs.to_vec());
        if completed > 0 {
            // Each complete is answered as the first was, for an SDK may have lost that answer.
            assert_eq!((aborted, completed), (0, 40), "{statuses:?}");
            assert_eq!((held.etag(), held.body == value.bytes()), (value.etag.as_str(), true));
        } else {
            // An abort is idempotent or finds nothing.
            assert!(aborted >= 1, "{statuses:?}");
            assert_eq!(held.status, 404, "nothing was completed");
        }
        assert_eq!(wire.ask(&upload.call("GET")).await.code(), "NoSuchUpload");
    }
    end(orchestrator).await;
}

/// The same part from all clients at once: one of them is the part, whole.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_part_is_sent_at_once() {
    let (orchestrator, wire) = start().await;
    let upload = Upload::begin(&wire, "/races/part").await;
    let answers = all_at_once(&wire, |client| upload.part(1, run(client + 1, 20_000).bytes())).await;
    assert_eq!(count(&answers, 200, "") as u64, CLIENTS);
    let listed = wire.ask(&upload.call("GET")).await.success("list parts").elements("ETag");
    assert_eq!(listed.len(), 1, "{listed:?}");
    let winner = answers.iter().position(|answer| answer.etag() == listed[0]).expect("somebody sent it");
    // Only the listed one can be completed with.
    let other = answers.iter().find(|answer| answer.etag() != listed[0]).expect("they all differ");
    let wrong = wire.ask(&upload.complete(&[other.etag().to_owned()])).await;
    assert_eq!((wrong.status, wrong.code().as_str()), (400, "InvalidPart"));
    wire.ask(&upload.complete(&listed)).await.success("complete");
    let held = wire.ask(&Call::get(&upload.path)).await.success("get");
    assert_eq!(held.body, run(winner as u64 + 1, 20_000).bytes());
    end(orchestrator).await;
}

/// PUT and DELETE of one key at once (the Go program left keys that were listed and could not be read).
#[tokio::test(flavor = "multi_thread")]
async fn n4_puts_race_deletes() {
    let (orchestrator, wire) = start().await;
    let pairs = (0..40u64).map(|index| {
        let wire = wire.clone();
        runtime::spawn(async move {
            let key = format!("/races/pair-{index}");
            let value = Value::of(run(index + 1, 5000));
            for _ in 0..4 {
                let (put, delete) = (Call::put(&key, value.bytes()), Call::new("DELETE", &key));
                let (put, delete) = both(wire.ask(&put), wire.ask(&delete)).await;
                assert_eq!((put.status, delete.status), (200, 204), "{key}");
            }
            key
        })
    });
    let keys = join(pairs.collect()).await;
    let listed = wire.ask(&Call::get("/races").query("list-type", "2")).await.success("list").elements("Key");
    for key in keys {
        let is_listed = listed.iter().any(|listed| format!("/races/{listed}") == key);
        let held = wire.ask(&Call::get(&key)).await;
        assert_eq!(held.status == 200, is_listed, "{key}: {}", held.status);
        assert!(held.status == 404 || held.body.len() == 5000, "{key}: {}", held.status);
    }
    end(orchestrator).await;
}

async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    tokio::join!(a, b)
}
