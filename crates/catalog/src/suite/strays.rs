//! What is promised of strays.

use std::time::Duration;

use types::ReplicaPath;

use super::world::{Reserved, World, blocks, key, md5, now, state};
use crate::{
    Fate, Refusal, ReplicaState, RestoreQuarantined, Retire, Retired, Stray, StrayTimes, TakenIn, ToProve,
    Want, WriteOutcome,
};

fn stray(w: &World, size: u64) -> Stray {
    let (blob, replica) = (w.ids.blob(), w.ids.replica());
    let path = ReplicaPath::parse(&format!("photos/k~{blob}.{replica}")).unwrap();
    Stray { replica, blob, path, size, charge: size + 1, settled: true }
}

fn times() -> StrayTimes {
    StrayTimes {
        proved_from: now().plus(Duration::from_mins(15)),
        kept_until: now().plus(Duration::from_hours(720)),
    }
}

async fn take_in(w: &World, backend: usize, strays: &[Stray]) -> TakenIn {
    w.catalog.take_in(w.ids.change(), w.backends[backend], strays.to_vec(), times()).await.unwrap()
}

fn quarantined(quarantined: u32) -> TakenIn {
    TakenIn { replicas: 0, quarantined }
}

fn restore(w: &World, stray: &Stray, name: &str) -> RestoreQuarantined {
    RestoreQuarantined {
        change: w.ids.change(),
        replica: stray.replica,
        bucket: w.bucket,
        key: key(name),
        state: state(stray.size),
        md5: md5(stray.size),
        blocks: blocks(stray.size),
        wanted: 2,
    }
}

pub(super) async fn a_stray_is_charged_and_waits(w: World) {
    let strays = [stray(&w, 5), stray(&w, 7)];
    let change = w.ids.change();
    let until = times().kept_until;
    for _ in 0..2 {
        let new = w.catalog.take_in(change, w.backends[0], strays.to_vec(), times()).await.unwrap();
        assert_eq!((new, w.charged().await), (quarantined(2), 14), "the same change is one");
    }
    assert_eq!(take_in(&w, 0, &strays[..1]).await, quarantined(0), "what is known is no stray");
    let young = Stray { settled: false, ..stray(&w, 5) };
    assert_eq!(take_in(&w, 0, &[young]).await, quarantined(0), "it may still be on its way");
    let all = w.catalog.quarantined(None, 10).await.unwrap();
    let first = all.iter().find(|row| row.replica == strays[0].replica).unwrap();
    assert_eq!((first.size, first.charged, first.until, first.name.as_str()), (5, 6, until, "one"));
    assert_eq!(w.catalog.quarantined(Some(all[0].replica), 10).await.unwrap(), all[1..]);
    let known = w.catalog.known_replicas(&[w.ids.replica(), strays[1].replica]).await.unwrap();
    assert_eq!(known[0], None);
    let known = known[1].clone().unwrap();
    assert_eq!((known.state, &known.path, known.size), (ReplicaState::Quarantined, &strays[1].path, 7));
    assert!(w.catalog.claim_doomed(&w.backends, w.catalog.horizon(), until, 9).await.unwrap().is_empty());
    let change = w.ids.change();
    for _ in 0..2 {
        let doomed = w.catalog.doom_quarantined(change, vec![strays[0].replica, w.ids.replica()]).await;
        assert_eq!(doomed.unwrap(), 1);
        assert_eq!(w.count(ReplicaState::Quarantined).await, 1);
    }
    assert_eq!(w.catalog.expire_quarantined(w.ids.change(), now(), 9).await.unwrap(), 0);
    assert_eq!(w.catalog.expire_quarantined(w.ids.change(), until, 9).await.unwrap(), 1);
    w.nothing_is_left().await;
}

pub(super) async fn a_row_that_came_meanwhile_makes_no_stray(w: World) {
    // It was listed, then committed, and only then judged.
    let reserved: Reserved = w.reserve(5, 1).await;
    let target = &reserved.targets[0];
    let seen =
        Stray { replica: target.replica, blob: reserved.blob, path: target.path.clone(), ..stray(&w, 5) };
    assert_eq!(take_in(&w, 0, &[seen]).await, quarantined(0));
    let put = w.put_of(&key("k"), &[reserved], state(5));
    w.catalog.commit_put(put).await.unwrap();
    assert_eq!((w.count(ReplicaState::Live).await, w.charged().await), (1, 5));
}

pub(super) async fn a_stray_becomes_an_object(w: World) {
    let strays = [stray(&w, 5), stray(&w, 0), stray(&w, 7)];
    take_in(&w, 1, &strays).await;
    w.put("taken", 1).await;
    let taken = w.catalog.restore_quarantined(restore(&w, &strays[0], "taken")).await.unwrap_err();
    assert_eq!(taken.refusal(), Some(&Refusal::PreconditionFailed));
    assert_eq!(w.count(ReplicaState::Quarantined).await, 3, "nothing happened");
    for (at, stray) in strays[..2].iter().enumerate() {
        let name = format!("free-{at}");
        let request = restore(&w, stray, &name);
        for _ in 0..2 {
            let made = w.catalog.restore_quarantined(request.clone()).await.unwrap();
            assert_eq!((made.object.key.as_str(), made.object.state.size), (&*name, stray.size));
        }
        w.audit().await;
    }
    let found = w.catalog.locate(w.bucket, &key("free-0"), Want::Whole).await.unwrap().unwrap();
    assert_eq!(found.pieces[0].replicas[0].path, strays[0].path);
    assert_eq!(w.totals().await.under_replicated, 2, "repair makes the others");
    let twice = w.catalog.restore_quarantined(restore(&w, &strays[0], "again")).await.unwrap_err();
    assert_eq!(twice.refusal(), Some(&Refusal::Changed("the replica")));
    w.delete(&["free-0", "free-1", "taken"]).await;
    w.catalog.doom_quarantined(w.ids.change(), vec![strays[2].replica]).await.unwrap();
    w.nothing_is_left().await;
}

pub(super) async fn a_stray_of_another_length_is_no_replica_of_its_blob(w: World) {
    w.put("k", 5).await;
    let page = w.catalog.held(w.backends[0], None, 10).await.unwrap();
    let blob = page.held[0].blob;
    let extra = Stray { blob, ..stray(&w, 6) };
    take_in(&w, 2, std::slice::from_ref(&extra)).await;
    let refused = w.catalog.restore_quarantined(restore(&w, &extra, "other")).await.unwrap_err();
    assert_eq!(refused.refusal(), Some(&Refusal::Changed("the blob")));
    let mut retire =
        Retire { change: w.ids.change(), replica: page.held[0].replica, least: 2, except: Vec::new() };
    let needed = w.catalog.retire_replica(retire.clone()).await.unwrap();
    assert_eq!(needed, Retired::Needed { others: 1 }, "it does not count");
    retire = Retire { change: w.ids.change(), replica: extra.replica, ..retire };
    assert_eq!(w.catalog.retire_replica(retire).await.unwrap(), Retired::Gone);
    let fate = Fate { replica: extra.replica, outcome: WriteOutcome::Unsent };
    w.catalog.let_go(w.boot, vec![fate]).await.unwrap();
    assert_eq!(w.count(ReplicaState::Quarantined).await, 1);
    w.delete(&["k"]).await;
    w.reap_all().await;
    assert_eq!(w.charged().await, 7, "it waits on, whatever became of its blob");
    w.catalog.doom_quarantined(w.ids.change(), vec![extra.replica]).await.unwrap();
    w.nothing_is_left().await;
}

pub(super) async fn a_stray_of_a_known_blob_is_a_replica_of_it_once_it_is_proved(w: World) {
    w.put("k", 5).await;
    let held = w.catalog.held(w.backends[0], None, 10).await.unwrap().held.remove(0);
    let before = w.charged().await;
    // However young: it is all there, and there is one put of it.
    let found = Stray { blob: held.blob, settled: false, ..stray(&w, 5) };
    let change = w.ids.change();
    for _ in 0..2 {
        let taken = w.catalog.take_in(change, w.backends[2], vec![found.clone()], times()).await.unwrap();
        assert_eq!(taken, TakenIn { replicas: 1, quarantined: 0 });
    }
    assert_eq!(w.charged().await, before + found.charge);
    let pieces = w.catalog.locate(w.bucket, &key("k"), Want::Whole).await.unwrap().unwrap().pieces;
    let last = pieces[0].replicas.last().unwrap();
    assert_eq!((last.replica, last.state), (found.replica, ReplicaState::Suspect), "it is read last");
    let retire = Retire { change: w.ids.change(), replica: held.replica, least: 2, except: Vec::new() };
    let needed = w.catalog.retire_replica(retire).await.unwrap();
    assert_eq!(needed, Retired::Needed { others: 1 }, "it does not count yet");

    let due = times().proved_from;
    let waiting = w.catalog.to_prove(now(), 9).await.unwrap();
    assert_eq!((waiting.due, waiting.next), (Vec::new(), Some(due)));
    let later = due.plus(Duration::from_mins(5));
    w.catalog.put_off_proofs(vec![(found.replica, Some(later)), (held.replica, Some(later))]).await.unwrap();
    assert_eq!(w.catalog.to_prove(due, 9).await.unwrap().next, Some(later));
    let waiting = w.catalog.to_prove(later, 9).await.unwrap();
    assert_eq!((waiting.due[0].replica, waiting.due.len(), waiting.next), (found.replica, 1, None));
    w.catalog.note_proved(w.ids.change(), found.replica, later).await.unwrap();
    assert_eq!(w.count(ReplicaState::Live).await, 3);
    assert_eq!(w.catalog.to_prove(later, 9).await.unwrap(), ToProve::default());
    assert_eq!(w.charged().await, before + found.charge);
    w.delete(&["k"]).await;
    w.nothing_is_left().await;
}

pub(super) async fn what_is_in_quarantine_becomes_a_replica_when_its_blob_is_known(w: World) {
    // Both replicas of a write that no segment named.
    let one = stray(&w, 5);
    let other = Stray { blob: one.blob, ..stray(&w, 5) };
    take_in(&w, 0, std::slice::from_ref(&one)).await;
    take_in(&w, 1, std::slice::from_ref(&other)).await;
    w.catalog.restore_quarantined(restore(&w, &one, "k")).await.unwrap();
    let charged = w.charged().await;
    assert_eq!(take_in(&w, 0, std::slice::from_ref(&other)).await, TakenIn::default(), "it lies elsewhere");
    let again = Stray { charge: 99, ..other };
    let taken = take_in(&w, 1, std::slice::from_ref(&again)).await;
    assert_eq!(taken, TakenIn { replicas: 1, quarantined: 0 });
    assert_eq!(w.charged().await, charged, "it was charged already");
    assert_eq!(w.count(ReplicaState::Quarantined).await, 0);
    w.catalog.note_proved(w.ids.change(), again.replica, now()).await.unwrap();
    assert_eq!(w.totals().await.under_replicated, 0);
    w.delete(&["k"]).await;
    w.nothing_is_left().await;
}
