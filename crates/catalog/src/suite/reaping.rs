//! What the end of bytes promises.

use std::time::Duration;

use types::Timestamp;

use super::world::{World, key, now, state};
use crate::{ReplicaState, Settled, SettledOutcome, Want};

pub(super) async fn what_a_reader_may_hold_is_not_given_out(w: World) {
    w.put("a", 1).await;
    w.put("b", 2).await;
    w.delete(&["a"]).await;
    let noted = w.catalog.horizon();
    w.delete(&["b"]).await;
    let claimed = |horizon| {
        let w = w.clone();
        async move { w.catalog.claim_doomed(&w.backends, horizon, now(), 9).await.unwrap() }
    };
    assert_eq!(claimed(0).await, []);
    let older = claimed(noted).await;
    assert_eq!(older.iter().map(|doomed| doomed.charged).collect::<Vec<_>>(), [1, 1]);
    let all = claimed(w.catalog.horizon()).await;
    assert_eq!(all.iter().map(|doomed| doomed.charged).collect::<Vec<_>>(), [1, 1, 2, 2], "oldest first");
    assert_eq!(all, claimed(w.catalog.horizon()).await, "asking claims nothing");
    let first = w.catalog.claim_doomed(&w.backends, w.catalog.horizon(), now(), 1).await.unwrap();
    assert_eq!(first, all[..1]);
    let one = w.catalog.claim_doomed(&w.backends[1..2], w.catalog.horizon(), now(), 9).await.unwrap();
    assert!(one.len() == 2 && one.iter().all(|doomed| doomed.backend == w.backends[1]));
    assert!(w.catalog.next_doomed(&w.backends).await.unwrap().is_some());
    assert_eq!(w.catalog.next_doomed(&[]).await.unwrap(), None, "others do not count");
    w.nothing_is_left().await;
    assert_eq!(w.catalog.next_doomed(&w.backends).await.unwrap(), None);
}

pub(super) async fn a_delete_that_failed_is_tried_again(w: World) {
    w.put("a", 5).await;
    w.delete(&["a"]).await;
    assert!(w.catalog.next_doomed(&w.backends).await.unwrap().unwrap() <= now());
    let later = now().plus(Duration::from_mins(1));
    let due = |at: Timestamp| {
        let w = w.clone();
        async move { w.catalog.claim_doomed(&w.backends, w.catalog.horizon(), at, 9).await.unwrap() }
    };
    let doomed = due(now()).await;
    let failed = SettledOutcome::Failed { retry_at: later, error: "timeout".to_owned() };
    let settled = vec![
        Settled { replica: doomed[0].replica, outcome: failed },
        Settled { replica: doomed[1].replica, outcome: SettledOutcome::Gone },
    ];
    let change = w.ids.change();
    for _ in 0..2 {
        w.catalog.settle_doomed(change, settled.clone()).await.unwrap();
        assert_eq!(w.charged().await, 5);
        assert_eq!(due(now()).await, []);
        assert_eq!(w.catalog.next_doomed(&w.backends).await.unwrap(), Some(later));
        let again = due(later).await;
        assert_eq!((again.len(), again[0].replica, again[0].attempts), (1, doomed[0].replica, 1));
    }
    w.nothing_is_left().await;
}

pub(super) async fn only_what_is_doomed_is_settled(w: World) {
    w.put("a", 5).await;
    let live = w.catalog.replicas(None, 1).await.unwrap()[0].replica;
    let settled = vec![Settled { replica: live, outcome: SettledOutcome::Gone }];
    w.catalog.settle_doomed(w.ids.change(), settled).await.unwrap();
    assert_eq!((w.charged().await, w.count(ReplicaState::Live).await), (10, 2));
}

pub(super) async fn a_manifest_dissolves_step_by_step(w: World) {
    w.put_blobs("k", &[1; 10]).await;
    w.delete(&["k"]).await;
    assert_eq!(w.count(ReplicaState::Doomed).await, 0);
    let dissolve = |horizon, limit| {
        let w = w.clone();
        async move { w.catalog.dissolve_manifests(w.ids.change(), horizon, limit).await.unwrap() }
    };
    let horizon = w.catalog.horizon();
    assert!(!dissolve(horizon - 1, 100).await, "a reader holds it");
    assert_eq!(w.count(ReplicaState::Doomed).await, 0);
    assert!(dissolve(horizon, 4).await);
    assert_eq!(w.count(ReplicaState::Doomed).await, 8);
    w.audit().await;
    assert!(dissolve(horizon, 4).await);
    assert!(!dissolve(horizon, 4).await);
    assert_eq!(w.count(ReplicaState::Doomed).await, 20);
    w.nothing_is_left().await;
}

pub(super) async fn a_reader_goes_on_with_a_manifest_that_dissolves(w: World) {
    w.put_blobs("k", &[1; 70]).await;
    let found = w.catalog.locate(w.bucket, &key("k"), Want::Whole).await.unwrap().unwrap();
    let crate::Content::Manifest(manifest) = found.object.state.content else { panic!("several blobs") };
    w.put("k", 1).await;
    let rest = w.catalog.pieces(manifest, 64).await.unwrap();
    assert!(rest.len() == 6 && rest.iter().all(|piece| piece.replicas.len() == 2));
}

pub(super) async fn suspicion_falls_on_live_replicas_only(w: World) {
    w.put("k", 5).await;
    let writing = w.reserve(6, 1).await;
    w.catalog.mark_suspect(w.ids.change(), writing.targets[0].replica, "x").await.unwrap();
    assert_eq!((w.count(ReplicaState::Writing).await, w.count(ReplicaState::Suspect).await), (1, 0));
    let rows = w.catalog.replicas(None, 9).await.unwrap();
    let live = rows.iter().find(|row| row.state == ReplicaState::Live).unwrap().replica;
    let change = w.ids.change();
    for _ in 0..2 {
        w.catalog.mark_suspect(change, live, "x").await.unwrap();
        w.catalog.mark_suspect(w.ids.change(), live, "x").await.unwrap();
    }
    assert_eq!((w.count(ReplicaState::Live).await, w.count(ReplicaState::Suspect).await), (1, 1));
    w.audit().await;
}

pub(super) async fn records_are_forgotten_in_time(w: World) {
    let upload = w.upload("k").await;
    w.part(upload, "k", 1, 5).await;
    w.complete(upload, "k", &[1]).await;
    let open = w.upload("open").await;
    let reserved = w.reserve(3, 1).await;
    let put = w.put_of(&key("put"), &[reserved], state(3));
    w.catalog.commit_put(put.clone()).await.unwrap();
    let start = Timestamp::default();
    assert!(!w.catalog.expire_records(now(), start, 100).await.unwrap(), "settled now, not before");
    assert!(w.complete(upload, "k", &[1]).await.already);
    let after = now().plus(Duration::from_secs(1));
    assert!(!w.catalog.expire_records(after, start, 100).await.unwrap());
    let forgotten = w.catalog.complete_upload(w.complete_of(upload, "k", &[1])).await;
    assert_eq!(forgotten.unwrap_err().refusal(), Some(&crate::Refusal::NoSuchUpload));
    assert!(w.catalog.find_upload(open, w.bucket, &key("open")).await.unwrap().is_some());

    assert_eq!(w.catalog.commit_put(put.clone()).await.unwrap().object.change, put.change);
    let end = Timestamp::from_millis(1 << 47);
    assert!(!w.catalog.expire_records(start, end, 100).await.unwrap());
    assert_eq!(w.catalog.commit_put(put.clone()).await.unwrap().object.change, put.change, "not yet shipped");
    let unshipped = w.catalog.unshipped(100, u64::MAX).await.unwrap().lines;
    w.catalog.mark_shipped(unshipped.into_iter().map(|line| line.change).collect()).await.unwrap();
    while w.catalog.expire_records(start, end, 2).await.unwrap() {}
    assert!(w.catalog.commit_put(put).await.is_err(), "no longer recorded");
}
