//! Instances that share a catalog.

use super::World;
use super::world::{LATE_MS, key, now, state};
use crate::{Refusal, ReplicaState};

pub(super) async fn instances_live_side_by_side(w: World) {
    let other = w.ids.boot();
    w.catalog.join(other, now()).await.unwrap();
    w.catalog.join(other, now()).await.unwrap();
    assert_eq!(w.catalog.beat(other, 7).await.unwrap(), 1);
    assert_eq!(w.catalog.beat(other, 9).await.unwrap(), 2);
    let living = w.catalog.living().await.unwrap();
    assert_eq!(living.len(), 2);
    let of = |boot| living.iter().find(|instance| instance.boot == boot).unwrap();
    assert_eq!((of(other).beats, of(other).oldest_read), (2, 9));
    assert_eq!((of(w.boot).beats, of(w.boot).began), (0, now()));
    // Both write.
    w.put("a", 1).await;
    let beside = World { boot: other, ..w.clone() };
    beside.put("b", 1).await;
}

pub(super) async fn a_heart_that_beats_is_not_declared_dead(w: World) {
    let other = w.ids.boot();
    w.catalog.join(other, now()).await.unwrap();
    let seen = w.catalog.beat(other, 0).await.unwrap();
    w.catalog.beat(other, 0).await.unwrap();
    assert!(!w.catalog.declare_dead(other, seen, now()).await.unwrap());
    assert!(w.catalog.declare_dead(other, seen + 1, now()).await.unwrap());
    assert!(!w.catalog.declare_dead(other, seen + 1, now()).await.unwrap(), "once");
}

pub(super) async fn the_dead_stay_dead_and_others_live_on(w: World) {
    let other = w.ids.boot();
    w.catalog.join(other, now()).await.unwrap();
    let beside = World { boot: other, ..w.clone() };
    let theirs = beside.reserve(5, 1).await;
    let ours = w.reserve(6, 1).await;
    assert!(w.catalog.declare_dead(other, 0, now()).await.unwrap());
    let refused = |answer: Result<(), crate::CatalogError>, what| {
        assert_eq!(answer.unwrap_err().refusal(), Some(&Refusal::Changed(what)));
    };
    refused(w.catalog.join(other, now()).await, "the boot");
    refused(w.catalog.beat(other, 0).await.map(|_| ()), "the boot");
    let put = beside.put_of(&key("theirs"), &[theirs], state(5));
    refused(w.catalog.commit_put(put).await.map(|_| ()), "the owner");
    // What it wrote may still arrive; what others write is not touched.
    let due = w.catalog.next_doomed(&w.backends).await.unwrap().unwrap();
    assert_eq!(due.as_millis(), now().as_millis() + LATE_MS);
    assert_eq!((w.count(ReplicaState::Writing).await, w.count(ReplicaState::Doomed).await), (1, 1));
    w.catalog.commit_put(w.put_of(&key("ours"), &[ours], state(6))).await.unwrap();
    assert_eq!(w.catalog.living().await.unwrap().len(), 1);
}
