//! What drains and moves promise.

use super::world::{World, key, now, state};
use crate::{
    AddReplica, BackendId, Drain, Held, OnBackend, Precondition, Refusal, Removed, ReplicaState, Retire,
    Retired, WriteOutcome,
};

fn retire(w: &World, held: &Held, least: u32, except: &[BackendId]) -> Retire {
    Retire { change: w.ids.change(), replica: held.replica, least, except: except.to_vec() }
}

/// All that a backend holds, found in pages of so many rows.
async fn held(w: &World, backend: usize, rows_max: u32) -> Vec<Held> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = w.catalog.held(w.backends[backend], after, rows_max).await.unwrap();
        all.extend(page.held);
        let Some(next) = page.next else { return all };
        assert!(after < Some(next), "a page goes on behind the last one");
        after = Some(next);
    }
}

async fn drain_of(w: &World, backend: usize) -> Option<Drain> {
    let drains = w.catalog.drains().await.unwrap();
    drains.into_iter().find(|drain| drain.backend == w.backends[backend])
}

async fn reserved_on(w: &World, factor: u32) -> Vec<BackendId> {
    let reserved = w.reserve(1, factor).await;
    let fates = reserved.with(|_| WriteOutcome::Unsent).fates;
    w.catalog.let_go(w.boot, fates).await.unwrap();
    reserved.targets.iter().map(|target| target.backend).collect()
}

pub(super) async fn a_draining_backend_takes_nothing_new(w: World) {
    w.put("k", 5).await;
    w.catalog.start_drain(w.ids.change(), w.backends[0], now()).await.unwrap();
    assert_eq!(reserved_on(&w, 3).await, w.backends[1..]);
    let mine = w.reserve(2, 1).await;
    let add = AddReplica {
        blob: mine.blob,
        owner: w.boot,
        targets: vec![w.target(mine.blob, 0, 2, None), w.target(mine.blob, 2, 2, None)],
    };
    let added = w.catalog.add_replica(add).await.unwrap().unwrap();
    assert_eq!(added.backend, w.backends[2], "a replacement neither");
    let fates = mine.with(|_| WriteOutcome::Unsent).fates;
    w.catalog.let_go(w.boot, fates).await.unwrap();
    let lost = crate::Fate { replica: added.replica, outcome: WriteOutcome::Unsent };
    w.catalog.let_go(w.boot, vec![lost]).await.unwrap();

    let later = now().plus(std::time::Duration::from_secs(5));
    w.catalog.start_drain(w.ids.change(), w.backends[0], later).await.unwrap();
    let drain = drain_of(&w, 0).await.unwrap();
    assert_eq!((drain.since, drain.name.as_str()), (now(), "one"), "it goes on as it began");
    assert_eq!(drain.left, OnBackend { live: 1, bytes: 5, ..OnBackend::default() });
    assert!(w.get("k").await.is_some());

    assert!(w.catalog.cancel_drain(w.ids.change(), w.backends[0]).await.unwrap());
    assert!(!w.catalog.cancel_drain(w.ids.change(), w.backends[0]).await.unwrap());
    assert_eq!(reserved_on(&w, 3).await, w.backends);
    let nobody = w.catalog.start_drain(w.ids.change(), BackendId(999), now()).await.unwrap_err();
    assert_eq!(nobody.refusal(), Some(&Refusal::Changed("the backend")));
}

pub(super) async fn n14_n16_the_last_replica_is_never_retired(w: World) {
    w.put("k", 5).await;
    let (first, second) = (&held(&w, 0, 100).await[0], &held(&w, 1, 100).await[0]);
    assert_eq!((first.size, first.wanted, first.state), (5, 2, ReplicaState::Live));
    assert_eq!(first.others, [(w.backends[1], ReplicaState::Live)]);
    assert!(first.is_on(w.backends[1]) && !first.is_on(w.backends[2]));
    assert_eq!(first.live_elsewhere(|_| true), 1);
    // N15: a replica on a backend that drains as well is none to rely on.
    let others = w.catalog.retire_replica(retire(&w, first, 1, &w.backends[1..2])).await.unwrap();
    assert_eq!(others, Retired::Needed { others: 0 });
    let too_few = w.catalog.retire_replica(retire(&w, first, 2, &[])).await.unwrap();
    assert_eq!(too_few, Retired::Needed { others: 1 });
    assert_eq!(w.catalog.retire_replica(retire(&w, first, 1, &[])).await.unwrap(), Retired::Doomed);
    assert_eq!(w.catalog.retire_replica(retire(&w, first, 1, &[])).await.unwrap(), Retired::Gone);
    // N7: what was enough a moment ago is counted again.
    let last = w.catalog.retire_replica(retire(&w, second, 0, &[])).await.unwrap();
    assert_eq!(last, Retired::Needed { others: 0 });
    assert_eq!(w.totals().await.under_replicated, 1, "repair is told");
    w.catalog.mark_suspect(w.ids.change(), second.replica, "flipped").await.unwrap();
    let suspect = w.catalog.retire_replica(retire(&w, second, 0, &[])).await.unwrap();
    assert_eq!(suspect, Retired::Needed { others: 0 }, "a suspect one may be the last as well");
    w.delete(&["k"]).await;
    assert_eq!(w.catalog.retire_replica(retire(&w, second, 0, &[])).await.unwrap(), Retired::Gone);
    w.nothing_is_left().await;
}

pub(super) async fn n7_n138_of_racing_moves_one_wins(w: World) {
    for round in 0..20 {
        let name = format!("k{round}");
        w.put(&name, 3).await;
        let both = [held(&w, 0, 1000).await, held(&w, 1, 1000).await].concat();
        let mine: Vec<_> = both.into_iter().filter(|held| held.live_elsewhere(|_| true) == 1).collect();
        assert_eq!(mine.len(), 2, "those of earlier rounds have one replica left");
        let race = mine.into_iter().map(|held| {
            let w = w.clone();
            runtime::spawn(async move { w.catalog.retire_replica(retire(&w, &held, 1, &[])).await.unwrap() })
        });
        let mut doomed = 0;
        for one in race.collect::<Vec<_>>() {
            doomed += u32::from(one.await.unwrap() == Retired::Doomed);
        }
        assert_eq!(doomed, 1);
        w.audit().await;
    }
}

pub(super) async fn what_a_backend_holds_is_read_page_by_page(w: World) {
    for at in 0..9 {
        w.put(&format!("k{at}"), at).await;
    }
    let reserved = w.reserve(4, 3).await;
    let put = w.put_of(&key("three"), &[reserved], state(4));
    w.catalog.commit_put(put).await.unwrap();
    w.delete(&["k3", "k4"]).await;
    for rows_max in [1, 2, 7, 100] {
        assert_eq!(held(&w, 0, rows_max).await.len(), 8);
        let third = held(&w, 2, rows_max).await;
        assert_eq!(third.iter().map(|held| (held.size, held.others.len())).collect::<Vec<_>>(), [(4, 2)]);
    }
    w.catalog.start_drain(w.ids.change(), w.backends[2], now()).await.unwrap();
    let third = &held(&w, 2, 100).await[0];
    w.catalog.retire_replica(retire(&w, third, 2, &[])).await.unwrap();
    let drain = drain_of(&w, 2).await.unwrap();
    assert_eq!((drain.moved, drain.moved_bytes, drain.left.doomed), (1, 4, 1));
    assert!(drain.left.is_drained());
}

pub(super) async fn a_backend_is_forgotten_once_it_is_empty(w: World) {
    w.put("k", 5).await;
    let first = w.backends[0];
    let full = OnBackend { live: 1, bytes: 5, ..OnBackend::default() };
    assert_eq!(w.catalog.remove_backend(first).await.unwrap(), Removed::Occupied(full));
    let writing = w.reserve_for(w.object_request(&key("x"), 1, Precondition::default()), 1, 1, None).await;
    let writing = writing.unwrap();
    let Removed::Occupied(left) = w.catalog.remove_backend(first).await.unwrap() else {
        panic!("it is not empty");
    };
    assert_eq!((left.writing, left.live, left.bytes), (1, 1, 6));
    w.catalog.let_go(w.boot, writing.with(|_| WriteOutcome::Unsent).fates).await.unwrap();
    let replica = held(&w, 0, 100).await.remove(0);
    w.catalog.mark_suspect(w.ids.change(), replica.replica, "lost").await.unwrap();
    let Removed::Occupied(left) = w.catalog.remove_backend(first).await.unwrap() else {
        panic!("a suspect replica is still somebody's");
    };
    assert_eq!((left.suspect, left.is_drained()), (1, false));
    w.catalog.retire_replica(retire(&w, &replica, 1, &[])).await.unwrap();
    let Removed::Occupied(left) = w.catalog.remove_backend(first).await.unwrap() else {
        panic!("a doomed one is still charged");
    };
    assert_eq!((left.doomed, left.is_drained()), (1, true));
    w.reap_all().await;
    assert_eq!(w.catalog.remove_backend(first).await.unwrap(), Removed::Forgotten);
    assert_eq!(w.catalog.remove_backend(first).await.unwrap(), Removed::Unknown);
    assert_eq!(w.catalog.charged().await.unwrap().len(), 2);
    assert_eq!(reserved_on(&w, 3).await, w.backends[1..], "nothing is charged to it any more");
}

pub(super) async fn what_a_lost_backend_owes_is_given_up(w: World) {
    for at in 1..4 {
        w.put(&format!("k{at}"), at).await;
    }
    let first = w.backends[0];
    for held in held(&w, 0, 100).await {
        w.catalog.retire_replica(retire(&w, &held, 1, &[])).await.unwrap();
    }
    let refused = w.catalog.give_up_doomed(w.ids.change(), first, 9).await.unwrap_err();
    assert_eq!(refused.refusal(), Some(&Refusal::Changed("the backend")), "it has to drain");
    w.catalog.start_drain(w.ids.change(), first, now()).await.unwrap();
    let change = w.ids.change();
    for _ in 0..2 {
        assert_eq!(w.catalog.give_up_doomed(change, first, 2).await.unwrap(), 2, "once for each change");
    }
    assert_eq!(w.catalog.give_up_doomed(w.ids.change(), first, 2).await.unwrap(), 1);
    assert_eq!(w.catalog.give_up_doomed(w.ids.change(), first, 2).await.unwrap(), 0);
    w.audit().await;
    assert_eq!(w.charged().await, 6, "live ones on others stay");
    assert_eq!(w.catalog.remove_backend(first).await.unwrap(), Removed::Forgotten);
    assert_eq!(w.count(ReplicaState::Live).await, 3);
}

pub(super) async fn what_waits_to_be_deleted_is_shown(w: World) {
    assert_eq!(w.catalog.doomed(5).await.unwrap(), crate::DoomedPage::default());
    for at in 1..4 {
        w.put(&format!("k{at}"), at).await;
    }
    w.delete(&["k1", "k2", "k3"]).await;
    let page = w.catalog.doomed(2).await.unwrap();
    assert_eq!((page.depth, page.rows.len()), (6, 4), "two of each backend");
    let first = &page.rows[0];
    assert_eq!((first.attempts, &first.error), (0, &None));
    assert!(first.path.as_str().contains(&first.replica.to_string()));
    let error = "timeout".to_owned();
    let outcome = crate::SettledOutcome::Failed { retry_at: now(), error: error.clone() };
    let settled = vec![crate::Settled { replica: first.replica, outcome }];
    w.catalog.settle_doomed(w.ids.change(), settled).await.unwrap();
    let page = w.catalog.doomed(9).await.unwrap();
    let last = page.rows.last().unwrap();
    assert_eq!((last.replica, last.attempts, &last.error), (first.replica, 1, &Some(error)));
    assert_eq!((last.due, last.charged, last.name.as_str()), (now(), first.charged, first.name.as_str()));
}
