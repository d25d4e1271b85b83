//! What is promised of short and surplus blobs, of proofs, and of the brake.

use std::time::Duration;

use types::{BlobId, ReplicaId, Timestamp};

use super::world::{World, key, now, state};
use crate::{
    BrakeSettings, BucketId, CommitMove, CommitPut, Content, Postponed, ReplicaRow, ReplicaState, Retire,
    Retired, WriteOutcome,
};

async fn rows_of(w: &World, blob: BlobId) -> Vec<ReplicaRow> {
    let rows = w.catalog.replicas(None, 1000).await.unwrap();
    rows.into_iter().filter(|row| row.blob == blob).collect()
}

async fn put(w: &World, name: &str) -> BlobId {
    let Content::Blob(blob) = w.put(name, 5).await.state.content else { panic!("one blob") };
    blob
}

/// Makes so many of a blob's live replicas suspect.
async fn spoil(w: &World, blob: BlobId, number: usize) {
    for row in rows_of(w, blob).await.iter().filter(|row| row.state == ReplicaState::Live).take(number) {
        w.catalog.mark_suspect(w.ids.change(), row.replica, "checksum").await.unwrap();
    }
}

async fn short(w: &World, at: Timestamp, limit: u32) -> Vec<BlobId> {
    w.catalog.short_blobs(at, limit).await.unwrap().due.into_iter().map(|short| short.blob).collect()
}

async fn make_another(w: &World, blob: BlobId) {
    let targets: Vec<_> = (0..3).map(|at| w.target(blob, at, 5, None)).collect();
    let target = w.catalog.reserve_move(blob, w.boot, targets).await.unwrap().unwrap();
    let (change, owner, replica) = (w.ids.change(), w.boot, target.replica);
    w.catalog.commit_move(CommitMove { change, owner, blob, replica, version: None }).await.unwrap();
}

pub(super) async fn n64_the_most_endangered_come_first_and_a_failing_one_starves_nobody(w: World) {
    let (one, none, whole) = (put(&w, "one").await, put(&w, "none").await, put(&w, "whole").await);
    spoil(&w, one, 1).await;
    spoil(&w, none, 2).await;
    assert_eq!(short(&w, now(), 9).await, [none, one]);
    assert_eq!(short(&w, now(), 1).await, [none]);
    let later = now().plus(Duration::from_mins(5));
    let failed = |blob| Postponed { blob, retry_at: later, error: "no source".to_owned() };
    w.catalog.postpone_repairs(vec![failed(none), failed(whole)]).await.unwrap();
    assert_eq!(short(&w, now(), 9).await, [one]);
    let shortage = w.catalog.short_blobs(later, 9).await.unwrap();
    assert_eq!((shortage.due[0].blob, shortage.due[0].attempts), (none, 1));
    assert_eq!(w.catalog.short_blobs(now(), 9).await.unwrap().next, Some(later));
    // What changes its danger makes it due at once.
    make_another(&w, none).await;
    assert_eq!(short(&w, now(), 9).await.len(), 2);
    make_another(&w, one).await;
    assert_eq!(short(&w, now(), 9).await, [none]);
    w.delete(&["none"]).await;
    assert_eq!(short(&w, later, 9).await, []);
}

pub(super) async fn a_short_commit_is_in_the_queue(w: World) {
    let reserved = w.reserve(5, 2).await;
    let outcome = |at| match at {
        0 => WriteOutcome::Live { version: None },
        _ => WriteOutcome::Doomed { arrives_until: None },
    };
    let put = w.put_of(&key("k"), &[], state(5));
    w.catalog.commit_put(CommitPut { blobs: vec![reserved.with(outcome)], ..put }).await.unwrap();
    assert_eq!(short(&w, now(), 9).await, [reserved.blob]);
}

pub(super) async fn a_change_of_the_factor_is_marked_step_by_step(w: World) {
    let mut blobs = Vec::new();
    for at in 0..5 {
        blobs.push(put(&w, &at.to_string()).await);
    }
    assert_eq!(w.catalog.surplus_blobs(None, 9).await.unwrap(), []);
    let mut steps = 0;
    while w.catalog.remark_wanted(1, 2).await.unwrap() {
        steps += 1;
    }
    assert_eq!(steps, 3);
    assert!(!w.catalog.remark_wanted(1, 2).await.unwrap(), "once is enough");
    let all = w.catalog.surplus_blobs(None, 9).await.unwrap();
    assert_eq!(all.len(), 5);
    assert_eq!(w.catalog.surplus_blobs(Some(all[1]), 2).await.unwrap(), all[2..4]);
    while w.catalog.remark_wanted(3, 100).await.unwrap() {}
    assert_eq!(short(&w, now(), 9).await.len(), 5);
    assert_eq!(w.catalog.surplus_blobs(None, 9).await.unwrap(), []);
}

pub(super) async fn files_of_the_journal_keep_their_factor(w: World) {
    let reserved = w.reserve(5, 2).await;
    let file = w.put_of(&key("journal/1"), &[reserved], state(5));
    w.catalog.commit_put(CommitPut { bucket: BucketId::INTERNAL, ..file }).await.unwrap();
    let writing = w.reserve(5, 2).await;
    let blob = put(&w, "a").await;
    while w.catalog.remark_wanted(1, 2).await.unwrap() {}
    assert_eq!(w.catalog.surplus_blobs(None, 9).await.unwrap(), [blob]);
    // What was under way then was a file too.
    let file = w.put_of(&key("journal/2"), &[writing], state(5));
    w.catalog.commit_put(CommitPut { bucket: BucketId::INTERNAL, ..file }).await.unwrap();
    assert_eq!(w.catalog.surplus_blobs(None, 9).await.unwrap(), [blob]);
}

pub(super) async fn what_the_dead_wrote_last_is_marked(w: World) {
    while w.catalog.remark_wanted(1, 2).await.unwrap() {}
    let other = w.ids.boot();
    w.catalog.join(other, now()).await.unwrap();
    // It was started with another factor.
    let blob = put(&World { boot: other, ..w.clone() }, "a").await;
    assert!(!w.catalog.remark_wanted(1, 2).await.unwrap(), "all are marked");
    assert!(w.catalog.declare_dead(other, 0, now()).await.unwrap());
    while w.catalog.remark_wanted(1, 2).await.unwrap() {}
    assert_eq!(w.catalog.surplus_blobs(None, 9).await.unwrap(), [blob]);
    // And so where the next process outlives the last one.
    let second = put(&w, "b").await;
    w.catalog.begin_boot(w.ids.boot(), now()).await.unwrap();
    while w.catalog.remark_wanted(1, 2).await.unwrap() {}
    // Of the same millisecond, they may have any order.
    let mut both = [blob, second];
    both.sort_unstable();
    assert_eq!(w.catalog.surplus_blobs(None, 9).await.unwrap(), both);
}

pub(super) async fn n130_a_round_of_proofs_comes_to_every_replica(w: World) {
    for at in 0..4 {
        put(&w, &at.to_string()).await;
    }
    // The world's identifiers are of the real time, its times are not.
    let far = Timestamp::from_millis(1 << 46);
    let mut seen: Vec<ReplicaId> = Vec::new();
    loop {
        let page = w.catalog.scrub_page(far, 3, 100).await.unwrap();
        for unproved in &page.unproved {
            seen.push(unproved.replica);
            w.catalog.note_proved(w.ids.change(), unproved.replica, far).await.unwrap();
        }
        w.catalog.note_scrubbed(page.last).await.unwrap();
        if page.last.is_none() {
            break;
        }
    }
    let rows = w.catalog.replicas(None, 100).await.unwrap();
    assert_eq!(seen, rows.iter().map(|row| row.replica).collect::<Vec<_>>());
    let before = Timestamp::from_millis((1 << 46) - 1);
    let again = w.catalog.scrub_page(before, 3, 100).await.unwrap();
    assert_eq!((again.unproved, again.last), (Vec::new(), None), "each was proved later than that");
    let young = w.catalog.scrub_page(Timestamp::from_millis(1), 3, 100).await.unwrap();
    assert_eq!(young.unproved, [], "each was written later than that");
}

pub(super) async fn it_is_known_how_long_ago_replicas_were_proved(w: World) {
    assert_eq!(w.catalog.proof_ages(None, 1).await.unwrap(), crate::ProofAges::default());
    let (first, second) = (put(&w, "k").await, put(&w, "l").await);
    let written = rows_of(&w, first).await[0].replica.timestamp();
    let walk = async || {
        let mut ages = w.catalog.proof_ages(None, 1).await.unwrap();
        while ages.next.is_some() {
            ages = ages.and(w.catalog.proof_ages(ages.next, 1).await.unwrap());
        }
        (ages.never_proved, ages.oldest)
    };
    assert_eq!(walk().await, (4, Some(written)));
    // What is suspect counts until it is proved or gone.
    spoil(&w, second, 1).await;
    let later = written.plus(Duration::from_secs(9));
    for row in [rows_of(&w, first).await, rows_of(&w, second).await].concat() {
        w.catalog.note_proved(w.ids.change(), row.replica, later).await.unwrap();
    }
    assert_eq!(walk().await, (0, Some(later)));
    w.delete(&["k", "l"]).await;
    assert_eq!(walk().await, (0, None), "what is doomed is nobody's to prove");
}

pub(super) async fn a_suspect_replica_that_is_proved_is_live_again(w: World) {
    let blob = put(&w, "k").await;
    spoil(&w, blob, 1).await;
    let rows = rows_of(&w, blob).await;
    let suspect = rows.iter().find(|row| row.state == ReplicaState::Suspect).unwrap();
    let change = w.ids.change();
    for _ in 0..2 {
        w.catalog.note_proved(change, suspect.replica, now()).await.unwrap();
        assert_eq!((w.count(ReplicaState::Live).await, short(&w, now(), 9).await.len()), (2, 0));
    }
    // Not where its backend has another one by now.
    spoil(&w, blob, 2).await;
    make_another(&w, blob).await;
    for row in rows_of(&w, blob).await {
        w.catalog.note_proved(w.ids.change(), row.replica, now()).await.unwrap();
    }
    w.audit().await;
}

fn brake(share_ppm: u32, floor: u64, clients: bool) -> BrakeSettings {
    BrakeSettings { share_ppm, floor, clients }
}

/// Expires these objects, as a worker does.
async fn expire(w: &World, keys: std::ops::Range<u32>) {
    let mut seen = Vec::new();
    for at in keys {
        let object = w.get(&at.to_string()).await.unwrap();
        seen.push(crate::SeenObject { key: object.key, change: object.change });
    }
    w.catalog.expire_objects(w.ids.change(), w.bucket, seen).await.unwrap();
}

async fn given_out(w: &World) -> usize {
    w.catalog.claim_doomed(&w.backends, w.catalog.horizon(), now(), 100).await.unwrap().len()
}

pub(super) async fn the_brake_holds_deletes_when_workers_doom_too_much(w: World) {
    w.catalog.set_brake(brake(200_000, 4, false)).await.unwrap();
    for at in 0..20 {
        put(&w, &at.to_string()).await;
    }
    w.delete(&["19", "18", "17", "16", "15", "14", "13", "12", "11", "10"]).await;
    assert_eq!((given_out(&w).await, w.catalog.brake().await.unwrap().engaged_at), (20, None), "clients may");
    w.reap_all().await;
    expire(&w, 0..2).await;
    assert_eq!(given_out(&w).await, 4, "a fifth of twenty");
    expire(&w, 2..3).await;
    let engaged = w.catalog.brake().await.unwrap();
    assert!(engaged.engaged_at.is_some() && engaged.doomed_in_hour == 6, "{engaged:?}");
    assert!(engaged.why.contains("6 of 20"), "{}", engaged.why);
    assert_eq!(given_out(&w).await, 0, "nothing at all");
    assert_eq!(w.catalog.next_doomed(&w.backends).await.unwrap(), None);
    w.catalog.release_brake(w.ids.change()).await.unwrap();
    assert_eq!(given_out(&w).await, 6);
    assert_eq!(w.catalog.brake().await.unwrap(), crate::BrakeState::default());
    w.reap_all().await;
}

pub(super) async fn the_brake_counts_clients_where_it_is_told_to_and_moves_never(w: World) {
    w.catalog.set_brake(brake(0, 1, true)).await.unwrap();
    let blob = put(&w, "k").await;
    put(&w, "other").await;
    make_another(&w, blob).await;
    let row = rows_of(&w, blob).await.remove(0);
    let retire = Retire { change: w.ids.change(), replica: row.replica, least: 2, except: Vec::new() };
    assert_eq!(w.catalog.retire_replica(retire).await.unwrap(), Retired::Doomed);
    assert_eq!(w.catalog.brake().await.unwrap().doomed_in_hour, 0);
    w.delete(&["other"]).await;
    assert!(w.catalog.brake().await.unwrap().engaged_at.is_some());
    w.catalog.release_brake(w.ids.change()).await.unwrap();
}
