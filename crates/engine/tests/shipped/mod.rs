//! A catalog that is shipped, lost, and made anew from the stores.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use catalog::sqlite::{Options, Rebuild, Sqlite};
use catalog::{BackendId, BackendSpec, Catalog, Deployment, Identity};
use engine::{Choices, Engine, EngineError, Found, Parts, Place, RebuildError, Step};
use runtime::{Chance, Clock, Ids};

use crate::common::House;

/// Ships all there is; gives how many segments that took.
pub async fn ship(house: &House) -> u64 {
    let mut segments = 0;
    while let Some(_segment) =
        house.engine.ship_segment(house.engine.shelf().await.unwrap().next).await.unwrap()
    {
        segments += 1;
    }
    segments
}

pub async fn snapshot(house: &House) {
    let mut snapshot = house.engine.begin_snapshot(house.engine.shelf().await.unwrap().next).await.unwrap();
    while !snapshot.is_read() {
        house.engine.snapshot_page(&mut snapshot).await.unwrap();
    }
    ship(house).await;
    assert!(house.engine.complete_snapshot(&snapshot).await.unwrap());
}

/// The catalog is gone; a new one is made from the stores, and an engine over it.
pub async fn rebuilt(house: &House) -> Result<House, RebuildError> {
    rebuilt_with(house, &Choices::default()).await
}

/// The same, as an operator decided.
pub async fn rebuilt_with(house: &House, choices: &Choices) -> Result<House, RebuildError> {
    let places = house.engine.places();
    let plan = engine::plan(&engine::find(places).await, choices).unwrap();
    let folder = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("catalog");
    let identity = Identity { deployment: plan.deployment, epoch: plan.epoch };
    let rebuild = Rebuild::begin(&path, identity, &plan.source()).await.unwrap();
    // What is doomed waits for late arrivals; of these there are none here.
    let at = house.clock.now().minus(Duration::from_mins(15));
    let done = engine::rebuild(places, &plan, Box::new(rebuild), at, |_, _, _| {}).await?;
    assert_eq!((done.wrong, done.unreadable), (Vec::<String>::new(), 0));
    let catalog = Arc::new(Sqlite::open(&path, Options::default()).await.unwrap());
    assert_eq!(catalog.identity().await.unwrap(), identity);
    // Reads open the file by its name for as long as the house stands.
    let _ = folder.keep();
    Ok(over(catalog, house).await)
}

pub async fn over(catalog: Arc<dyn Catalog>, house: &House) -> House {
    let clock = Clock::system();
    let ids = Ids::new(clock.clone(), Chance::from_os());
    let mut places: Vec<Place> = house.engine.places().to_vec();
    let specs: Vec<_> =
        places.iter().map(|place| BackendSpec { name: place.name().clone(), late_arrival_ms: 0 }).collect();
    let backends = catalog.sync_backends(&specs).await.unwrap();
    for (place, id) in places.iter_mut().zip(backends) {
        assert_eq!(place.id, id, "numbers stay what they were");
    }
    // Only now, for what waits for late arrivals waits anew from here on.
    let boot = ids.boot();
    catalog.begin_boot(boot, clock.now()).await.unwrap();
    let names = [house.bucket.name.clone(), house.other_bucket.name.clone()];
    let buckets = catalog.sync_buckets(&names, clock.now()).await.unwrap();
    assert_eq!(buckets, [house.bucket.id, house.other_bucket.id]);
    let engine = Engine::new(Parts {
        catalog: Arc::clone(&catalog),
        places,
        boot,
        settings: house.engine.settings().clone(),
        clock: clock.clone(),
        ids,
    });
    let (bucket, other_bucket) = (house.bucket.clone(), house.other_bucket.clone());
    let (stores, counted, grants) = (house.stores.clone(), Vec::new(), None);
    House { engine, catalog, stores, bucket, other_bucket, clock, counted, grants }
}

/// Compares a store with the ledger.
pub async fn reconcile(house: &House, store: usize) -> Result<Found, EngineError> {
    let mut run = house.engine.begin_reconcile(backend(house, store)).await?;
    while house.engine.reconcile_step(&mut run).await? == Step::MoreWork {}
    Ok(run.found)
}

pub fn backend(house: &House, store: usize) -> BackendId {
    house.engine.places()[store].id
}
