//! A storm of requests that are dropped anywhere, on backends and a catalog that lose answers: afterwards
//! every object is one that somebody wrote, whole, and nothing is charged or stored that no row names.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod lossy;

use std::collections::HashSet;
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use backend::{
    Backend, ErrorKind, Fault, FaultBackend, Faults, MemoryBackend, Operation, Timeout, TimeoutOptions,
};
use catalog::{Client, Precondition, ReplicaState, Want};
use common::{House, Plan, bytes, key};
use engine::{CopyObject, CopyPart, EngineError, ReadConditions, Settings, Source};
use lossy::lossy_catalog;
use runtime::Chance;

const REQUESTS: usize = 60;
const CLIENTS: u64 = 8;

struct Storm {
    house: House,
    faults: Vec<Arc<Faults>>,
    lose: Arc<AtomicU32>,
    /// Everything that an object may be.
    written: Mutex<HashSet<Vec<u8>>>,
}

impl Storm {
    async fn new(seed: u64) -> Self {
        let faults: Vec<_> = (0..3).map(|_| Faults::none()).collect();
        let lose = Arc::new(AtomicU32::new(0));
        let (counter, plans) = (Arc::clone(&lose), faults.clone());
        let plan = Plan {
            backends: 3,
            settings: Settings {
                factor: 2,
                window_bytes: 20_000,
                memory_budget_bytes: 60_000,
                stall_timeout: Duration::from_millis(50),
                part_bytes_min: 1,
                ..Settings::default()
            },
            quota: Some(3_000_000),
            put_bytes_max: Some(50_000),
            wrap: Box::new(move |index, store: Arc<MemoryBackend>| -> Arc<dyn Backend> {
                let faulty = Arc::new(FaultBackend::new(store, Arc::clone(&plans[index])));
                let wait = Duration::from_millis(200);
                Arc::new(Timeout::new(
                    faulty,
                    TimeoutOptions { answer: wait, stall: wait, rate_bytes_min: 0 },
                ))
            }),
            wrap_catalog: Box::new(move |inner| lossy_catalog(inner, &counter)),
            ..Plan::default()
        };
        let house = House::build(plan).await;
        house.put("source", &bytes(120_000, 1)).await.unwrap();
        for (index, faults) in faults.iter().enumerate() {
            faults.at_random(
                Chance::seeded(seed + index as u64),
                [
                    (Operation::Put, Fault::AnswerLost, 0.04),
                    (Operation::Put, Fault::Refuse(ErrorKind::Unavailable), 0.04),
                    (Operation::Put, Fault::BreakAtChunk(1), 0.04),
                    (Operation::Put, Fault::Stall, 0.02),
                    (Operation::Get, Fault::BreakAtChunk(0), 0.05),
                    (Operation::Delete, Fault::AnswerLost, 0.1),
                    (Operation::DeleteMany, Fault::AnswerLost, 0.1),
                ],
            );
        }
        Self { house, faults, lose, written: Mutex::default() }
    }

    /// A new body, noted before it is sent.
    fn body(&self, chance: &Chance) -> Vec<u8> {
        let size = [0, 10, 10_000, 30_000, 120_000][chance.below(5) as usize];
        let data = bytes(size, chance.next_u64());
        self.note(data.clone());
        data
    }

    fn note(&self, data: Vec<u8>) {
        self.written.lock().unwrap().insert(data);
    }

    async fn check(&self, name: &str) {
        match self.house.get(name).await {
            Ok(data) => assert!(self.written.lock().unwrap().contains(&data), "nobody wrote this {name}"),
            Err(EngineError::NoSuchKey | EngineError::Unavailable(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn multipart(&self, chance: &Chance, name: &str) {
        let house = &self.house;
        let upload = house.begin_upload(name).await;
        let (a, b) = (self.body(chance), self.body(chance));
        let source = bytes(120_000, 1);
        let range = (chance.below(60_000), 60_000 + chance.below(60_000));
        let slice = &source[range.0 as usize..=range.1 as usize];
        self.note([&a[..], slice, &b[..]].concat());
        let copy = CopyPart {
            source: Source {
                bucket: house.bucket.clone(),
                key: key("source"),
                conditions: ReadConditions::default(),
            },
            range: Some(range),
            bucket: house.bucket.clone(),
            key: key(name),
            upload,
            number: 5,
        };
        let (p1, p5, p9) = futures::join!(
            house.put_part(name, upload, 1, &a),
            house.engine.copy_part(copy),
            house.put_part(name, upload, 9, &b)
        );
        if let (Ok(p1), Ok(p5), Ok(p9)) = (&p1, &p5, &p9)
            && chance.below(4) > 0
        {
            let _ = house.complete(name, upload, &[(1, p1), (5, p5), (9, p9)]).await;
        } else {
            let _ = house.engine.abort_upload(&house.bucket, &key(name), upload).await;
        }
    }

    async fn request(&self, chance: &Chance) {
        let house = &self.house;
        let names = ["a", "b", "c"];
        let name = names[chance.below(3) as usize];
        match chance.below(7) {
            0..=2 => {
                let data = self.body(chance);
                let _ = house.put(name, &data).await;
            }
            3 => drop(house.delete(name).await),
            4 => {
                let copy = CopyObject {
                    source: Source {
                        bucket: house.bucket.clone(),
                        key: key(names[chance.below(3) as usize]),
                        conditions: ReadConditions::default(),
                    },
                    bucket: house.bucket.clone(),
                    key: key(name),
                    precondition: Precondition::default(),
                    replace_metadata: None,
                    replace_tags: None,
                    checksum: None,
                    client: Client::default(),
                };
                let _ = house.engine.copy_object(copy).await;
            }
            5 => self.check(name).await,
            _ => self.multipart(chance, name).await,
        }
    }

    async fn client(&self, seed: u64) {
        let chance = Chance::seeded(seed);
        for _ in 0..REQUESTS {
            if chance.below(10) == 0 {
                self.lose.store(1, Ordering::SeqCst);
            }
            let polls = if chance.below(3) == 0 { chance.below(30) as usize } else { usize::MAX };
            drop_at_poll(polls, self.request(&chance)).await;
        }
    }
}

async fn drop_at_poll<F: Future>(polls: usize, future: F) {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        future.as_mut().poll(cx).map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_leaves_only_what_was_written() {
    for round in 0..4 {
        let seed = Chance::from_os().next_u64() >> 8;
        println!("round {round}, seed {seed}");
        let storm = Arc::new(Storm::new(seed).await);
        let engine = storm.house.engine.clone();
        let reaper = runtime::spawn(async move {
            loop {
                // The catalog loses answers here; the next step goes on.
                let _ = engine.reap_step().await;
                runtime::sleep(Duration::from_millis(5)).await;
            }
        });
        let clients = (0..CLIENTS).map(|client| {
            let storm = Arc::clone(&storm);
            runtime::spawn(async move { storm.client(seed + 100 + client).await })
        });
        for client in futures::future::join_all(clients).await {
            client.unwrap();
        }
        drop(reaper);
        storm.faults.iter().for_each(|faults| faults.clear());
        storm.lose.store(0, Ordering::SeqCst);
        for name in ["a", "b", "c"] {
            match storm.house.get(name).await {
                Err(EngineError::NoSuchKey) => {}
                data => {
                    assert!(storm.written.lock().unwrap().contains(&data.unwrap()), "nobody wrote {name}")
                }
            }
        }
        // Deletes whose answer was lost are tried again after a while.
        for _ in 0..600 {
            storm.house.reap().await;
            let rows = storm.house.catalog.replicas(None, 100_000).await.unwrap();
            if rows.iter().all(|row| matches!(row.state, ReplicaState::Live | ReplicaState::Suspect)) {
                break;
            }
            runtime::sleep(Duration::from_millis(50)).await;
        }
        storm.house.audit().await;
        assert_eq!(storm.house.get_want("source", Want::Whole).await.unwrap(), bytes(120_000, 1));
    }
}
