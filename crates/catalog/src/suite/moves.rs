//! What is promised of replicas that are made of others.

use super::world::World;
use crate::{
    BackendId, CommitMove, Fate, Held, Refusal, ReplicaState, Retire, Retired, Target, WriteOutcome,
};

/// Puts an object at factor 2; gives its replica on the first backend.
async fn put(w: &World, name: &str) -> Held {
    w.put(name, 5).await;
    let page = w.catalog.held(w.backends[0], None, 100).await.unwrap();
    page.held.into_iter().next_back().unwrap()
}

async fn reserve(w: &World, held: &Held, targets: Vec<Target>) -> Option<BackendId> {
    let taken = w.catalog.reserve_move(held.blob, w.boot, targets).await.unwrap();
    taken.map(|target| target.backend)
}

fn commit(w: &World, held: &Held, target: &Target) -> CommitMove {
    let (change, owner, replica) = (w.ids.change(), w.boot, target.replica);
    CommitMove { change, owner, blob: held.blob, replica, version: None }
}

pub(super) async fn n6_a_backend_that_has_the_blob_gets_no_second_replica(w: World) {
    let held = put(&w, "k").await;
    let targets: Vec<_> = (0..3).map(|at| w.target(held.blob, at, 5, None)).collect();
    let none = targets[..2].to_vec();
    assert_eq!(reserve(&w, &held, none).await, None, "both have it");
    for _ in 0..2 {
        assert_eq!(reserve(&w, &held, targets.clone()).await, Some(w.backends[2]), "asked again, the same");
    }
    let other = vec![w.target(held.blob, 2, 5, None)];
    assert_eq!(reserve(&w, &held, other).await, None, "one is on its way");
    assert_eq!(w.charged().await, 15);
    let made = commit(&w, &held, &targets[2]);
    for _ in 0..2 {
        w.catalog.commit_move(made.clone()).await.unwrap();
        assert_eq!(w.count(ReplicaState::Live).await, 3);
    }
    w.audit().await;
    let least = 2;
    let retire = Retire { change: w.ids.change(), replica: held.replica, least, except: Vec::new() };
    assert_eq!(w.catalog.retire_replica(retire).await.unwrap(), Retired::Doomed);
    let source = w.catalog.move_source(held.blob).await.unwrap().unwrap();
    let places: Vec<_> = source.replicas().iter().map(|at| at.backend).collect();
    assert_eq!((places.len(), source.piece.blob_size, source.wanted), (2, 5, 2));
    w.delete(&["k"]).await;
    assert_eq!(w.catalog.move_source(held.blob).await.unwrap(), None);
    w.nothing_is_left().await;
}

pub(super) async fn a_move_of_what_was_deleted_meanwhile_leaves_nothing(w: World) {
    let held = put(&w, "k").await;
    let target = w.target(held.blob, 2, 5, None);
    reserve(&w, &held, vec![target.clone()]).await;
    w.delete(&["k"]).await;
    let refused = w.catalog.commit_move(commit(&w, &held, &target)).await.unwrap_err();
    assert_eq!(refused.refusal(), Some(&Refusal::Changed("the blob")));
    let outcome = WriteOutcome::Live { version: None };
    w.catalog.let_go(w.boot, vec![Fate { replica: target.replica, outcome }]).await.unwrap();
    let late = w.catalog.reserve_move(held.blob, w.boot, vec![w.target(held.blob, 2, 5, None)]).await;
    assert_eq!(late.unwrap_err().refusal(), Some(&Refusal::Changed("the blob")));
    w.nothing_is_left().await;
}

pub(super) async fn a_move_keeps_to_quotas_drains_and_owners(w: World) {
    let held = put(&w, "k").await;
    let small = w.target(held.blob, 2, 5, Some(4));
    assert_eq!(reserve(&w, &held, vec![small]).await, None);
    w.catalog.start_drain(w.ids.change(), w.backends[2], super::world::now()).await.unwrap();
    assert_eq!(reserve(&w, &held, vec![w.target(held.blob, 2, 5, None)]).await, None);
    w.catalog.cancel_drain(w.ids.change(), w.backends[2]).await.unwrap();
    let target = w.target(held.blob, 2, 5, Some(5));
    assert_eq!(reserve(&w, &held, vec![target.clone()]).await, Some(w.backends[2]));
    let stranger = CommitMove { owner: w.ids.boot(), ..commit(&w, &held, &target) };
    assert!(w.catalog.commit_move(stranger).await.is_err());
    let boot = w.ids.boot();
    w.catalog.begin_boot(boot, super::world::now()).await.unwrap();
    let dead = w.catalog.commit_move(commit(&w, &held, &target)).await.unwrap_err();
    assert_eq!(dead.refusal(), Some(&Refusal::Changed("the owner")));
    let revived = CommitMove { owner: boot, ..commit(&w, &held, &target) };
    let doomed = w.catalog.commit_move(revived).await.unwrap_err();
    assert_eq!(doomed.refusal(), Some(&Refusal::Changed("a replica")), "its row was doomed with its owner");
    w.delete(&["k"]).await;
    w.nothing_is_left().await;
}
