//! The workers that end bytes and records, under their supervisor: the real engine, catalog and times.

#[path = "../../engine/tests/common/mod.rs"]
mod common;

use std::sync::Arc;
use std::time::Duration;

use backend::{Backend, Fault, FaultBackend, Faults, MemoryBackend, Operation};
use common::{House, Plan, bytes};
use engine::Settings;
use runtime::{Chance, Clock, Shutdown, Supervisor};

fn supervised(house: &House) -> Supervisor {
    let mut supervisor = Supervisor::new(Clock::system(), Chance::seeded(1), Shutdown::new());
    workers::start(&mut supervisor, &house.engine);
    supervisor
}

/// Waits for a state; a minute is more than any of them takes.
async fn wait_until(what: &str, reached: impl AsyncFn() -> bool) {
    for _ in 0..3000 {
        if reached().await {
            return;
        }
        runtime::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came to this: {what}");
}

#[tokio::test]
async fn n7_n70_a_backend_that_hangs_slows_no_delete_on_another() {
    let faults = Faults::none();
    let plan_faults = Arc::clone(&faults);
    let wrap = move |index, store: Arc<MemoryBackend>| -> Arc<dyn Backend> {
        if index == 0 { Arc::new(FaultBackend::new(store, Arc::clone(&plan_faults))) } else { store }
    };
    let house = House::build(Plan { wrap: Box::new(wrap), ..Plan::default() }).await;
    let _supervisor = supervised(&house);
    house.put("k", &bytes(1000, 1)).await.unwrap();
    faults.always(Operation::Delete, Fault::Stall);
    faults.always(Operation::DeleteMany, Fault::Stall);
    house.delete("k").await;
    wait_until("the other backend is empty", async || house.stores[1].paths().len() == 1).await;
    assert_eq!(house.stores[0].paths().len(), 2, "its delete hangs");
    // Later ones too: the reaper of the other one is free.
    house.put("later", &bytes(1000, 1)).await.unwrap();
    house.delete("later").await;
    wait_until("it is empty again", async || house.stores[1].paths().len() == 1).await;
}

#[tokio::test]
async fn old_records_are_forgotten_as_fast_as_they_come() {
    let settings = Settings { journal_kept: Duration::ZERO, factor: 2, ..Settings::default() };
    let house = House::build(Plan { settings, ..Plan::default() }).await;
    for _ in 0..2500 {
        house.delete("nothing").await;
    }
    let _supervisor = supervised(&house);
    wait_until("no record is left", async || {
        let at = house.clock.now();
        !house.catalog.expire_records(at, at, 1).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn an_operator_sees_and_runs_the_workers() {
    let house = House::build(Plan::default()).await;
    let supervisor = supervised(&house);
    let workers = supervisor.workers();
    let names: Vec<String> = workers.status().into_iter().map(|status| status.name).collect();
    for name in ["release", "reaper/store-0", "reaper/store-1", "records"] {
        assert!(names.iter().any(|found| found == name), "{name} in {names:?}");
        assert!(workers.run(name, 10).await.is_ok());
    }
    assert!(workers.status().iter().all(|status| status.consecutive_failures == 0));
}
