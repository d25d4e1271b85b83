//! Repair, trimming, proofs and the brake over memory backends that fail.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use backend::{Backend, Body, ErrorKind, Fault, FaultBackend, Faults, MemoryBackend, Operation, PutOptions};
use bytes::Bytes;
use catalog::{BackendId, BrakeSettings, ReplicaRow, ReplicaState};
use common::{House, Plan, bytes};
use engine::{RepairOptions, Repaired, Scrubbed, Settings, StoodIn};
use types::ReplicaPath;

const OPTIONS: RepairOptions = RepairOptions { batch: 50, at_once: 5 };

/// A house whose backends fail as told.
async fn faulty(backends: usize, settings: Settings) -> (House, Vec<Arc<Faults>>) {
    let faults: Vec<_> = (0..backends).map(|_| Faults::none()).collect();
    let given = faults.clone();
    let wrap = move |index: usize, store: Arc<MemoryBackend>| -> Arc<dyn Backend> {
        Arc::new(FaultBackend::new(store, Arc::clone(&given[index])))
    };
    let plan = Plan { backends, settings, wrap: Box::new(wrap), ..Plan::default() };
    (House::build(plan).await, faults)
}

fn factor(factor: u32) -> Settings {
    Settings { factor, ..Settings::default() }
}

fn id(house: &House, store: usize) -> BackendId {
    house.engine.places()[store].id
}

async fn rows(house: &House, state: ReplicaState) -> Vec<ReplicaRow> {
    let rows = house.catalog.replicas(None, 100_000).await.unwrap();
    rows.into_iter().filter(|row| row.state == state).collect()
}

/// Where the replicas of the only blob on a backend lie.
async fn path_on(house: &House, store: usize) -> ReplicaPath {
    let live = rows(house, ReplicaState::Live).await;
    live.into_iter().find(|row| row.backend == id(house, store)).unwrap().path
}

async fn overwrite(house: &House, store: usize, path: &ReplicaPath, data: &[u8]) {
    house.stores[store].delete(path).await.unwrap();
    let body = Body::from_bytes(Bytes::copy_from_slice(data));
    house.stores[store].put(path, body, PutOptions::default()).await.unwrap();
}

async fn repair(house: &House) -> Repaired {
    house.engine.repair_step(OPTIONS, &[]).await.unwrap()
}

/// Scrubs until so many replicas are suspect: what was written in this very millisecond is left out.
async fn scrub_until(house: &House, suspect: usize) {
    while rows(house, ReplicaState::Suspect).await.len() < suspect {
        house.engine.scrub_step(10, Duration::ZERO).await.unwrap();
    }
}

/// A round that comes to so many replicas: what was written in this very millisecond is left out.
async fn scrub_round(house: &House, replicas: u64) -> Scrubbed {
    loop {
        let scrubbed = house.engine.scrub_step(10, Duration::ZERO).await.unwrap();
        if scrubbed.proved + scrubbed.wrong + scrubbed.deferred == replicas {
            return scrubbed;
        }
        assert_eq!(scrubbed.wrong, 0, "some were left out, and what was looked at is wrong already");
    }
}

#[tokio::test]
async fn a_replica_that_was_lost_is_made_again_and_the_suspect_one_goes() {
    let (house, _) = faulty(3, factor(2)).await;
    let data = bytes(5_000_000, 1);
    house.put("k", &data).await.unwrap();
    let lost = path_on(&house, 0).await;
    house.stores[0].delete(&lost).await.unwrap();
    assert_eq!(house.get("k").await.unwrap(), data);
    let repaired = repair(&house).await;
    assert_eq!((repaired.made, repaired.failed), (1, 0));
    assert_eq!(rows(&house, ReplicaState::Live).await.len(), 2);
    assert_eq!(rows(&house, ReplicaState::Suspect).await, []);
    assert_eq!(repair(&house).await, Repaired::default(), "nothing is left to do");
    house.audit().await;
    assert_eq!(house.get("k").await.unwrap(), data);
}

#[tokio::test]
async fn with_two_backends_the_new_replica_takes_the_place_of_the_bad_one() {
    let (house, _) = faulty(2, factor(2)).await;
    let data = bytes(300_000, 2);
    house.put("k", &data).await.unwrap();
    let bad = path_on(&house, 1).await;
    let mut flipped = data.clone();
    flipped[200_000] ^= 1;
    overwrite(&house, 1, &bad, &flipped).await;
    scrub_until(&house, 1).await;
    assert_eq!(rows(&house, ReplicaState::Suspect).await.len(), 1);
    assert_eq!(repair(&house).await.made, 1);
    house.audit().await;
    assert_eq!(house.live().await, [1, 1]);
    let scrubbed = scrub_round(&house, 2).await;
    assert_eq!((scrubbed.proved, scrubbed.wrong), (2, 0));
}

#[tokio::test]
async fn n131_a_part_is_proved_and_repaired_like_any_blob() {
    let (house, _) = faulty(3, factor(2)).await;
    let data = bytes(300_000, 3);
    let upload = house.begin_upload("k").await;
    let part = house.put_part("k", upload, 1, &data).await.unwrap();
    house.complete("k", upload, &[(1, &part)]).await.unwrap();
    let bad = path_on(&house, 1).await;
    let mut flipped = data.clone();
    flipped[200_000] ^= 1;
    overwrite(&house, 1, &bad, &flipped).await;
    scrub_until(&house, 1).await;
    assert_eq!(repair(&house).await.made, 1);
    assert_eq!(rows(&house, ReplicaState::Live).await.len(), 2);
    assert_eq!(rows(&house, ReplicaState::Suspect).await, []);
    house.audit().await;
    assert_eq!(house.get("k").await.unwrap(), data);
}

#[tokio::test]
async fn two_bad_replicas_whose_bad_blocks_differ_make_a_good_one() {
    let (house, _) = faulty(3, factor(2)).await;
    let data = bytes(400_000, 3);
    house.put("k", &data).await.unwrap();
    for (store, at) in [(0, 10), (1, 399_999)] {
        let path = path_on(&house, store).await;
        let mut flipped = data.clone();
        flipped[at] ^= 0x80;
        overwrite(&house, store, &path, &flipped).await;
    }
    scrub_until(&house, 2).await;
    assert_eq!(rows(&house, ReplicaState::Live).await, []);
    assert_eq!(repair(&house).await.made, 1);
    assert_eq!(repair(&house).await.made, 1);
    assert_eq!(rows(&house, ReplicaState::Live).await.len(), 2);
    assert_eq!(house.get("k").await.unwrap(), data);
    house.audit().await;
}

#[tokio::test]
async fn n64_a_poisoned_blob_waits_longer_each_time_and_starves_nobody() {
    let (house, _) = faulty(2, factor(2)).await;
    house.put("poisoned", &bytes(1000, 1)).await.unwrap();
    let poisoned = rows(&house, ReplicaState::Live).await[0].blob;
    house.put("good", &bytes(1000, 2)).await.unwrap();
    let live = rows(&house, ReplicaState::Live).await;
    for row in live.iter().filter(|row| row.blob == poisoned || row.backend == id(&house, 0)) {
        let store = usize::from(row.backend == id(&house, 1));
        overwrite(&house, store, &row.path, &[0; 1000]).await;
    }
    scrub_until(&house, 3).await;
    // The most endangered one is first in line, and in vain.
    let one = RepairOptions { batch: 1, at_once: 1 };
    let first = house.engine.repair_step(one, &[]).await.unwrap();
    assert_eq!((first.made, first.failed), (0, 1));
    let second = house.engine.repair_step(one, &[]).await.unwrap();
    assert_eq!((second.made, second.failed), (1, 0));
    let third = house.engine.repair_step(one, &[]).await.unwrap();
    assert!(third.looked_at <= 1 && house.get("good").await.is_ok());
    house.get("poisoned").await.unwrap_err();
}

#[tokio::test]
async fn a_target_that_fails_leaves_nothing_and_the_next_try_goes_elsewhere() {
    let (house, faults) = faulty(3, factor(2)).await;
    house.put("k", &bytes(100_000, 4)).await.unwrap();
    let lost = path_on(&house, 0).await;
    house.stores[0].delete(&lost).await.unwrap();
    scrub_until(&house, 1).await;
    for backend in [0, 2] {
        faults[backend].always(Operation::Put, Fault::Refuse(ErrorKind::Unavailable));
    }
    assert_eq!(repair(&house).await.failed, 1);
    faults.iter().for_each(|faults| faults.clear());
    for _ in 0..3000 {
        if repair(&house).await.made == 1 {
            break;
        }
        runtime::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(rows(&house, ReplicaState::Live).await.len(), 2);
    house.audit().await;
}

#[tokio::test]
async fn n13_a_write_that_reached_too_few_calls_for_repair() {
    let (house, faults) = faulty(2, factor(2)).await;
    let bell = runtime::Trigger::default();
    house.engine.short().wakes(&bell);
    faults[1].always(Operation::Put, Fault::Refuse(ErrorKind::Unavailable));
    house.put("k", &bytes(1000, 5)).await.unwrap();
    runtime::timeout(Duration::from_secs(60), bell.pulled()).await.expect("repair was called");
    faults[1].clear();
    assert_eq!(repair(&house).await.made, 1);
    assert_eq!(house.live().await, [1, 1]);
    house.audit().await;
}

#[tokio::test]
async fn n14_what_a_missing_backend_held_is_made_elsewhere_and_trimmed_when_it_returns() {
    let (house, faults) = faulty(3, factor(2)).await;
    for at in 0..20 {
        house.put(&format!("k{at}"), &bytes(2000, at)).await.unwrap();
    }
    assert_eq!(house.live().await, [20, 20, 0]);
    for operation in [Operation::Get, Operation::Put, Operation::Head, Operation::List] {
        faults[0].always(operation, Fault::Refuse(ErrorKind::Unavailable));
    }
    let gone = [id(&house, 0)];
    let footing = house.engine.footing(gone.to_vec()).await.unwrap();
    let step = house.engine.stand_in_step(gone[0], &footing, None, OPTIONS).await.unwrap();
    assert_eq!(step, StoodIn { made: 20, ..StoodIn::default() });
    assert_eq!(house.live().await, [20, 20, 20]);
    // While it is away nothing of its is touched, and nothing else goes.
    assert_eq!(house.engine.trim_step(None, 100, &gone).await.unwrap().0, 0);
    faults[0].clear();
    assert_eq!(house.engine.trim_step(None, 100, &[]).await.unwrap().0, 20);
    let live = rows(&house, ReplicaState::Live).await;
    assert_eq!(live.len(), 40);
    house.audit().await;
    for at in 0..20 {
        assert_eq!(house.get(&format!("k{at}")).await.unwrap(), bytes(2000, at));
    }
}

#[tokio::test]
async fn n138_a_good_replica_never_goes_for_a_bad_one() {
    let (house, faults) = faulty(3, factor(3)).await;
    house.put("k", &bytes(1000, 6)).await.unwrap();
    let blob = rows(&house, ReplicaState::Live).await[0].blob;
    while house.catalog.remark_wanted(2, 100).await.unwrap() {}
    // Two of the three failed lately: one sound replica is fewer than are wanted.
    for backend in [0, 1] {
        faults[backend].always(Operation::Put, Fault::Refuse(ErrorKind::Unavailable));
    }
    house.put("other", &bytes(1000, 7)).await.unwrap();
    assert_eq!(house.engine.trim_step(None, 100, &[]).await.unwrap().0, 0);
    let live = rows(&house, ReplicaState::Live).await;
    assert_eq!(live.iter().filter(|row| row.blob == blob).count(), 3);
}

#[tokio::test]
async fn a_change_of_the_factor_is_followed() {
    let (house, _) = faulty(3, factor(3)).await;
    house.put("k", &bytes(1000, 8)).await.unwrap();
    while house.catalog.remark_wanted(1, 100).await.unwrap() {}
    assert_eq!(house.engine.trim_step(None, 100, &[]).await.unwrap().0, 2);
    house.audit().await;
    while house.engine.mark_factor_step().await.unwrap() {}
    assert_eq!(repair(&house).await.made + repair(&house).await.made, 2);
    assert_eq!(house.live().await, [1, 1, 1]);
    house.audit().await;
}

#[tokio::test]
async fn n8_n9_n10_a_read_that_breaks_off_is_no_reason_to_doubt_a_replica() {
    let (house, faults) = faulty(2, factor(2)).await;
    house.put("k", &bytes(500_000, 9)).await.unwrap();
    faults[0].always(Operation::Get, Fault::BreakAtChunk(0));
    let scrubbed = scrub_round(&house, 2).await;
    assert_eq!((scrubbed.proved, scrubbed.wrong, scrubbed.deferred), (1, 0, 1));
    assert_eq!(rows(&house, ReplicaState::Live).await.len(), 2);
    assert_eq!(house.stores[0].paths().len(), 2, "the marker and the replica");
}

#[tokio::test]
async fn what_was_deleted_while_it_was_repaired_is_gone() {
    let (house, _) = faulty(3, factor(2)).await;
    house.put("k", &bytes(1000, 10)).await.unwrap();
    let blob = rows(&house, ReplicaState::Live).await[0].blob;
    let lost = path_on(&house, 0).await;
    house.stores[0].delete(&lost).await.unwrap();
    scrub_until(&house, 1).await;
    house.delete("k").await;
    assert_eq!(repair(&house).await, Repaired::default());
    assert!(house.catalog.move_source(blob).await.unwrap().is_none());
    house.audit().await;
}

#[tokio::test]
async fn the_brake_holds_deletes_until_it_is_released() {
    let (house, _) = faulty(2, factor(2)).await;
    let settings = BrakeSettings { share_ppm: 100_000, floor: 0, clients: true };
    house.engine.set_brake(settings).await.unwrap();
    for at in 0..4 {
        house.put(&format!("k{at}"), &bytes(1000, at)).await.unwrap();
    }
    house.delete("k0").await;
    house.reap().await;
    assert_eq!(house.stores[0].paths().len(), 5, "the marker and all four");
    assert!(house.engine.brake().await.unwrap().engaged_at.is_some());
    house.engine.release_brake().await.unwrap();
    house.reap().await;
    assert_eq!(house.stores[0].paths().len(), 4);
    house.audit().await;
}
