//! What lies on backends that are gone, and cannot be made elsewhere: nobody is asked for it again and again, and the
//! log says it in a line.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "../../engine/tests/common/mod.rs"]
mod common;

use std::cell::Cell;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use backend::{Backend, ErrorKind, Fault, FaultBackend, Faults, MemoryBackend, Operation};
use catalog::{BackendId, ReplicaState};
use common::{House, Plan, bytes};
use engine::{RepairOptions, Settings};
use runtime::{Next, Worker};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use workers::StandIn;

const MINUTE: Duration = Duration::from_mins(1);

thread_local! {
    /// Lines that a person reads, by this test: it has a thread of its own.
    static LINES: Cell<u64> = const { Cell::new(0) };
}

/// One for all tests: what a thread without one met first would be off for the others, too.
struct Lines;

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {
        LINES.set(LINES.get() + 1);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// A house, the worker over it, and which of its backends are gone.
struct Scene {
    house: House,
    faults: Vec<Arc<Faults>>,
    gone: Arc<Mutex<Vec<usize>>>,
    worker: StandIn,
}

impl Scene {
    async fn of(backends: usize) -> Self {
        Self::with_quota(backends, None).await
    }

    async fn with_quota(backends: usize, quota: Option<u64>) -> Self {
        static TOLD: Once = Once::new();
        TOLD.call_once(|| tracing::subscriber::set_global_default(Lines).unwrap());
        let faults: Vec<_> = (0..backends).map(|_| Faults::none()).collect();
        let given = faults.clone();
        let wrap = move |index: usize, store: Arc<MemoryBackend>| -> Arc<dyn Backend> {
            Arc::new(FaultBackend::new(store, Arc::clone(&given[index])))
        };
        let settings = Settings { factor: 2, ..Settings::default() };
        let wrap = Box::new(wrap);
        let house = House::build(Plan { backends, settings, quota, wrap, ..Plan::default() }).await;
        let gone: Arc<Mutex<Vec<usize>>> = Arc::default();
        let ids: Vec<BackendId> = house.engine.places().iter().map(|place| place.id).collect();
        let tells = Arc::clone(&gone);
        let tell = move || tells.lock().unwrap().iter().map(|index| ids[*index]).collect();
        let options = RepairOptions { batch: 50, at_once: 5 };
        let worker = StandIn::new(house.engine.clone(), options, Arc::new(tell), MINUTE);
        Self { house, faults, gone, worker }
    }

    /// From now on these are gone, and no other.
    fn lose(&self, backends: &[usize]) {
        for (index, faults) in self.faults.iter().enumerate() {
            faults.clear();
            if backends.contains(&index) {
                for operation in [Operation::Get, Operation::Put, Operation::Head, Operation::List] {
                    faults.always(operation, Fault::Refuse(ErrorKind::Unavailable));
                }
            }
        }
        *self.gone.lock().unwrap() = backends.to_vec();
    }

    async fn store(&self, names: impl IntoIterator<Item = String>) {
        for name in names {
            self.house.put(&name, &bytes(2000, 1)).await.unwrap();
        }
    }

    /// Steps until the worker rests. Gives what it made and what it could not make.
    async fn look(&mut self) -> (u64, u64) {
        let (mut made, mut failed) = (0, 0);
        loop {
            let step = self.worker.step().await.unwrap();
            (made, failed) = (made + step.done, failed + step.failed);
            if step.next != Next::Now {
                return (made, failed);
            }
        }
    }

    /// Looks every minute, so often. Gives what it made and in how many of the looks it failed.
    async fn watch(&mut self, minutes: u32) -> (u64, u32) {
        let (mut made, mut in_vain) = (0, 0);
        for _ in 0..minutes {
            tokio::time::pause();
            tokio::time::advance(MINUTE).await;
            tokio::time::resume();
            let look = self.look().await;
            made += look.0;
            in_vain += u32::from(look.1 > 0);
        }
        (made, in_vain)
    }
}

fn keys(prefix: &'static str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |at| format!("{prefix}{at}"))
}

#[tokio::test]
async fn where_no_backend_is_left_nothing_is_tried_and_a_line_says_so() {
    let mut scene = Scene::of(2).await;
    scene.store(keys("k", 1200)).await;
    scene.lose(&[0]);
    LINES.set(0);
    assert_eq!(scene.look().await, (0, 1200), "the status tells how many are missing");
    assert_eq!(LINES.get(), 1, "and the log says it once");
    assert_eq!(scene.house.engine.upkeep().failed, 0, "no blob was tried");
    assert_eq!(scene.faults[0].injected_total(), 0, "nobody was asked");
    let (made, walks) = scene.watch(120).await;
    assert!(made == 0 && (5..=8).contains(&walks), "{walks} walks in two hours, further and further apart");
    assert_eq!(LINES.get(), 1 + u64::from(walks));
    assert_eq!(scene.house.engine.upkeep().failed, 0);
}

#[tokio::test]
async fn where_all_others_drain_there_is_no_walk_until_one_takes_replicas_again() {
    let mut scene = Scene::of(3).await;
    scene.store(keys("k", 3)).await;
    let others = [1, 2].map(|index| scene.house.engine.places()[index].id);
    for id in others {
        scene.house.engine.start_drain(id).await.unwrap();
    }
    scene.lose(&[0]);
    LINES.set(0);
    assert_eq!((scene.look().await, scene.watch(5).await), ((0, 0), (0, 0)));
    assert_eq!(LINES.get(), 1, "it is said once");
    scene.house.engine.cancel_drain(others[1]).await.unwrap();
    assert_eq!(scene.look().await, (3, 0), "at once");
}

#[tokio::test]
async fn a_blob_that_cannot_be_read_holds_up_no_other_and_is_asked_for_less_and_less() {
    let mut scene = Scene::of(3).await;
    scene.store(keys("poisoned", 1)).await;
    // The others lie on the first and the third.
    scene.faults[1].always(Operation::Put, Fault::Refuse(ErrorKind::Unavailable));
    scene.store(keys("sound", 5)).await;
    assert_eq!(scene.house.live().await, [6, 1, 5]);
    scene.lose(&[0]);
    scene.faults[1].always(Operation::Get, Fault::Refuse(ErrorKind::Unavailable));
    LINES.set(0);
    let first = scene.look().await;
    assert_eq!(first, (5, 1), "the others are made");
    let (made, tries) = scene.watch(120).await;
    assert!(made == 0 && (5..=9).contains(&tries), "{tries} tries in two hours");
    let asked = scene.faults[1].injected(Operation::Get, "unavailable");
    assert!(asked <= 3 * (1 + u64::from(tries)), "{asked} requests in {tries} tries");
    // Each walk says it in a line.
    assert_eq!(LINES.get(), 1 + u64::from(tries));
    scene.faults[1].clear();
    assert_eq!(scene.watch(61).await, (1, 0), "it is not given up");
}

#[tokio::test]
async fn a_change_for_the_better_is_followed_at_once() {
    let mut scene = Scene::of(4).await;
    scene.store(keys("k", 4)).await;
    assert_eq!(scene.house.live().await, [4, 4, 0, 0]);
    scene.lose(&[0, 2, 3]);
    assert_eq!(scene.look().await, (0, 4));
    let (_, in_vain) = scene.watch(30).await;
    assert!(in_vain < 8, "it rests for long: {in_vain}");
    assert_eq!(scene.look().await, (0, 0));
    // One is back that takes what is missing.
    scene.lose(&[0, 3]);
    assert_eq!(scene.look().await, (4, 0));
    assert_eq!(scene.house.live().await, [4, 4, 4, 0]);
    // Another is gone: what it held is missing once more.
    scene.lose(&[0, 1, 3]);
    let (made, failed) = scene.look().await;
    assert!(made == 0 && failed > 0, "there is no other place");
    scene.lose(&[0, 1]);
    assert_eq!(scene.look().await, (4, 0));
    assert_eq!(scene.house.live().await, [4, 4, 4, 4]);
    scene.lose(&[]);
    assert_eq!(scene.look().await, (0, 0));
    assert!(scene.worker.progress().is_none());
}

impl Scene {
    /// The replicas that a store holds vanish.
    async fn wipe(&self, store: usize) {
        for path in self.house.stores[store].paths() {
            if !path.as_str().starts_with(".s3-orchestrator/") {
                self.house.stores[store].delete(&path).await.unwrap();
            }
        }
    }

    async fn suspects(&self) -> usize {
        let rows = self.house.catalog.replicas(None, 1000).await.unwrap();
        rows.iter().filter(|row| row.state == ReplicaState::Suspect).count()
    }
}

#[tokio::test]
async fn a_stand_in_that_is_lost_while_the_worker_rests_is_made_anew_at_once() {
    let mut scene = Scene::of(4).await;
    scene.store(keys("poisoned", 1)).await;
    scene.faults[1].always(Operation::Put, Fault::Refuse(ErrorKind::Unavailable));
    scene.store(keys("sound", 2)).await;
    scene.lose(&[0]);
    scene.faults[1].always(Operation::Get, Fault::Refuse(ErrorKind::Unavailable));
    assert_eq!(scene.look().await, (2, 1));
    assert_eq!(scene.house.live().await, [3, 1, 2, 2]);
    scene.watch(30).await;
    assert_eq!(scene.look().await, (0, 0), "it rests");
    scene.wipe(3).await;
    common::until(async || {
        scene.house.engine.scrub_step(10, Duration::ZERO).await.unwrap();
        scene.suspects().await == 2
    })
    .await;
    let (made, _) = scene.look().await;
    assert_eq!((made, scene.suspects().await), (2, 0), "nothing in the books says that they are short");
}

#[tokio::test]
async fn what_is_short_in_the_books_is_left_to_repair_which_puts_it_off() {
    let mut scene = Scene::of(3).await;
    scene.store(keys("k", 2)).await;
    scene.lose(&[0]);
    scene.wipe(1).await;
    assert_eq!(scene.look().await, (0, 2), "it is found to be lost");
    assert_eq!((scene.suspects().await, scene.watch(30).await), (2, (0, 0)), "and is repair's from then on");
    let gone = [scene.house.engine.places()[0].id];
    let options = RepairOptions { batch: 50, at_once: 5 };
    let repaired = scene.house.engine.repair_step(options, &gone).await.unwrap();
    assert_eq!((repaired.looked_at, repaired.failed), (2, 2));
    let repaired = scene.house.engine.repair_step(options, &gone).await.unwrap();
    assert_eq!(repaired.looked_at, 0, "put off");
}

#[tokio::test]
async fn where_all_others_are_full_nothing_is_tried_until_there_is_room() {
    let mut scene = Scene::with_quota(3, Some(10_000)).await;
    scene.store(keys("k", 2)).await;
    scene.faults[1].always(Operation::Put, Fault::Refuse(ErrorKind::Unavailable));
    scene.store(keys("on-the-third", 5)).await;
    assert_eq!(scene.house.live().await, [5, 2, 5]);
    scene.lose(&[0]);
    assert_eq!(scene.look().await, (3, 2));
    assert_eq!(scene.house.live().await, [5, 5, 5], "both are full");
    assert_eq!((scene.watch(30).await, scene.house.engine.upkeep().failed), ((0, 0), 0), "nothing was tried");
    assert!(scene.house.delete("on-the-third4").await);
    scene.house.reap().await;
    assert_eq!(scene.look().await, (1, 1), "there is room for one, at once");
}
