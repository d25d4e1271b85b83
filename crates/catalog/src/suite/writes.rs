//! What writes promise.

use types::ETag;

use super::world::{LATE_MS, Reserved, World, etag, key, now, state};
use crate::{
    AddReplica, CatalogError, Checksums, Client, CommitPut, Committed, Content, Fate, MatchTags, NewBlob,
    ObjectHeaders, Precondition, Refusal, ReplicaState, Reserve, ReserveFor, SetTags, Want, WriteOutcome,
};

fn if_none_match() -> Precondition {
    Precondition { if_match: None, if_none_match: Some(MatchTags::Any) }
}

fn if_match(tag: &ETag) -> Precondition {
    Precondition { if_match: Some(MatchTags::Tags(vec![tag.clone()])), if_none_match: None }
}

fn live(at: &Reserved) -> Vec<Fate> {
    at.all_live().fates
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, CatalogError>, expected: &Refusal) {
    assert_eq!(answer.expect_err("refused").refusal(), Some(expected));
}

pub(super) async fn the_first_targets_with_room_are_taken(w: World) {
    let quota = Some(100);
    let first = w.try_reserve(60, 2, quota).await.unwrap();
    assert_eq!(first.targets.iter().map(|t| t.backend).collect::<Vec<_>>(), w.backends[..2]);
    let second = w.try_reserve(60, 2, quota).await.unwrap();
    assert_eq!(second.targets.iter().map(|t| t.backend).collect::<Vec<_>>(), w.backends[2..]);
    refused(w.try_reserve(60, 2, quota).await.map(|r| r.targets), &Refusal::OutOfSpace { size: 60 });
    assert_eq!(w.charged().await, 180, "a refused reservation charges nothing");
    let exact = w.try_reserve(40, 3, quota).await.unwrap();
    assert_eq!(exact.targets.len(), 3, "up to the last byte");
    for reserved in [first, second, exact] {
        w.catalog.let_go(w.boot, live(&reserved)).await.unwrap();
    }
    w.nothing_is_left().await;
}

pub(super) async fn fewer_than_the_least_is_nothing(w: World) {
    let blob = w.ids.blob();
    let mut targets = vec![w.target(blob, 0, 50, Some(60)), w.target(blob, 1, 50, Some(40))];
    targets.push(w.target(blob, 0, 5, None));
    let purpose = w.object_request(&key("k"), 50, Precondition::default());
    let mut reserve = Reserve { blob, owner: w.boot, size: 50, purpose, targets, wanted: 3, least: 2 };
    refused(w.catalog.reserve(reserve.clone()).await, &Refusal::OutOfSpace { size: 50 });
    assert_eq!(w.charged().await, 0);
    reserve.least = 1;
    let taken = w.catalog.reserve(reserve.clone()).await.unwrap();
    assert_eq!(taken.len(), 1, "one replica of a blob on a backend");
    let again = w.catalog.reserve(reserve).await.unwrap();
    assert_eq!(again[0].replica, taken[0].replica, "repeated: the same");
    assert_eq!(w.charged().await, 50);
}

pub(super) async fn only_the_living_write(w: World) {
    let reserved = w.reserve(5, 1).await;
    let put = w.put_of(&key("k"), std::slice::from_ref(&reserved), state(5));
    let next = w.ids.boot();
    w.catalog.begin_boot(next, now()).await.unwrap();
    refused(w.try_reserve(5, 1, None).await.map(|r| r.blob), &Refusal::Changed("the owner"));
    refused(w.catalog.commit_put(put.clone()).await, &Refusal::Changed("the owner"));
    let stolen = CommitPut { owner: next, ..put };
    refused(w.catalog.commit_put(stolen).await, &Refusal::Changed("a replica"));
    assert!(w.catalog.begin_boot(w.boot, now()).await.is_err(), "the dead stay dead");
    assert_eq!(w.get("k").await, None);
    // What it was writing may still arrive.
    let doomed = w.catalog.claim_doomed(&w.backends, w.catalog.horizon(), now(), 9).await.unwrap();
    assert_eq!(doomed, []);
    assert_eq!(
        w.catalog.next_doomed(&w.backends).await.unwrap().unwrap().as_millis(),
        now().as_millis() + LATE_MS
    );
    let due = types::Timestamp::from_millis(now().as_millis() + LATE_MS);
    let doomed = w.catalog.claim_doomed(&w.backends, w.catalog.horizon(), due, 9).await.unwrap();
    assert_eq!(doomed.len(), 1);
    w.nothing_is_left().await;
}

pub(super) async fn a_refused_commit_changes_nothing(w: World) {
    let before = w.put("k", 1).await;
    let reserved = w.reserve(5, 2).await;
    let mut put = w.put_of(&key("k"), std::slice::from_ref(&reserved), state(5));
    put.precondition = if_none_match();
    refused(w.catalog.commit_put(put.clone()).await, &Refusal::PreconditionFailed);
    put.precondition = if_match(&etag(2));
    refused(w.catalog.commit_put(put.clone()).await, &Refusal::PreconditionFailed);
    (put.key, put.precondition) = (key("other"), if_match(&etag(1)));
    refused(w.catalog.commit_put(put.clone()).await, &Refusal::NoSuchKey);
    put.precondition = Precondition::default();
    put.blobs = vec![reserved.with(|_| WriteOutcome::Doomed { arrives_until: None })];
    refused(w.catalog.commit_put(put.clone()).await, &Refusal::NothingLive);
    assert_eq!(w.count(ReplicaState::Writing).await, 2, "the caller lets go");
    assert_eq!(w.get("k").await.unwrap(), before);
    (put.key, put.precondition) = (key("k"), if_match(&etag(1)));
    put.blobs = vec![reserved.all_live()];
    let after = w.catalog.commit_put(put).await.unwrap().object;
    assert!(after.revision > before.revision);
    w.delete(&["k"]).await;
    w.nothing_is_left().await;
}

pub(super) async fn a_reservation_is_refused_early(w: World) {
    w.put("k", 1).await;
    let ask = |name: &str, precondition| w.object_request(&key(name), 7, precondition);
    let reserve = |purpose| {
        let w = w.clone();
        async move { w.reserve_for(purpose, 7, 1, None).await.map(|reserved| reserved.blob) }
    };
    refused(reserve(ask("k", if_none_match())).await, &Refusal::PreconditionFailed);
    refused(reserve(ask("k", if_match(&etag(7)))).await, &Refusal::PreconditionFailed);
    refused(reserve(ask("none", if_match(&etag(7)))).await, &Refusal::NoSuchKey);
    let part = ReserveFor::Part { upload: w.ids.upload(), bucket: w.bucket, key: key("k") };
    refused(reserve(part).await, &Refusal::NoSuchUpload);
    reserve(ask("k", if_match(&etag(1)))).await.unwrap();
}

pub(super) async fn what_failed_is_doomed_and_what_never_left_is_gone(w: World) {
    let reserved = w.reserve(10, 3).await;
    let until = now().plus(std::time::Duration::from_mins(1));
    let mut put = w.put_of(&key("k"), &[], state(10));
    put.blobs = vec![reserved.with(|at| match at {
        0 => WriteOutcome::Live { version: Some("v1".to_owned()) },
        1 => WriteOutcome::Doomed { arrives_until: Some(until) },
        _ => WriteOutcome::Unsent,
    })];
    w.catalog.commit_put(put).await.unwrap();
    assert_eq!(w.charged().await, 20);
    assert_eq!(w.totals().await.under_replicated, 1);
    let horizon = w.catalog.horizon();
    assert_eq!(w.catalog.claim_doomed(&w.backends, horizon, now(), 9).await.unwrap(), []);
    assert_eq!(w.catalog.next_doomed(&w.backends).await.unwrap(), Some(until));
    assert_eq!(w.catalog.claim_doomed(&w.backends, horizon, until, 9).await.unwrap().len(), 1);
}

pub(super) async fn letting_go_frees_what_was_reserved(w: World) {
    let reserved = w.reserve(10, 3).await;
    let fates = reserved.with(|at| match at {
        0 => WriteOutcome::Live { version: None },
        1 => WriteOutcome::Doomed { arrives_until: None },
        _ => WriteOutcome::Unsent,
    });
    for _ in 0..2 {
        w.catalog.let_go(w.boot, fates.fates.clone()).await.unwrap();
        assert_eq!((w.charged().await, w.count(ReplicaState::Doomed).await), (20, 2));
    }
    let unsent = w.reserve(10, 2).await;
    w.catalog.let_go(w.boot, unsent.with(|_| WriteOutcome::Unsent).fates).await.unwrap();
    w.audit().await;
    let put = w.put_of(&key("k"), &[reserved], state(10));
    refused(w.catalog.commit_put(put).await, &Refusal::Changed("a replica"));
    w.nothing_is_left().await;
}

pub(super) async fn a_target_that_failed_is_replaced(w: World) {
    let reserved = w.reserve(10, 2).await;
    let offer =
        |w: &World| vec![w.target(reserved.blob, 0, 10, None), w.target(reserved.blob, 2, 10, Some(10))];
    let add = AddReplica { blob: reserved.blob, owner: w.boot, targets: offer(&w) };
    let added = w.catalog.add_replica(add.clone()).await.unwrap().unwrap();
    assert_eq!(added.backend, w.backends[2], "the first backend has one already");
    let again = w.catalog.add_replica(add).await.unwrap().unwrap();
    assert_eq!(again.replica, added.replica, "repeated: the same");
    let full = AddReplica { blob: reserved.blob, owner: w.boot, targets: offer(&w) };
    assert!(w.catalog.add_replica(full).await.unwrap().is_none());
    let unknown = AddReplica { blob: w.ids.blob(), owner: w.boot, targets: offer(&w) };
    refused(w.catalog.add_replica(unknown).await, &Refusal::Changed("the blob"));

    let failed = Fate { replica: reserved.targets[1].replica, outcome: WriteOutcome::Unsent };
    w.catalog.let_go(w.boot, vec![failed]).await.unwrap();
    let targets = vec![w.target(reserved.blob, 1, 10, None)];
    let add = AddReplica { blob: reserved.blob, owner: w.boot, targets };
    assert!(w.catalog.add_replica(add).await.unwrap().is_some(), "its backend is free again");
    assert_eq!(w.charged().await, 30);
}

pub(super) async fn an_overwrite_dooms_what_it_replaced(w: World) {
    let horizon = w.catalog.horizon();
    w.put("k", 1).await;
    assert_eq!(w.catalog.horizon(), horizon, "nothing was doomed");
    let old = w.put("k", 1).await;
    assert!(w.catalog.horizon() > horizon);
    let new = w.put("k", 2).await;
    assert!(new.revision > old.revision);
    assert_eq!((w.count(ReplicaState::Live).await, w.count(ReplicaState::Doomed).await), (2, 4));
    assert_eq!(w.charged().await, 8, "charged until it is gone");
    w.reap_all().await;
    assert_eq!(w.charged().await, 4);
    w.delete(&["k"]).await;
    let again = w.put("k", 3).await;
    assert!(again.revision > new.revision, "a revision never repeats");
    w.delete(&["k"]).await;
    w.nothing_is_left().await;
}

pub(super) async fn a_blob_without_bytes_is_a_blob(w: World) {
    w.put("empty", 0).await;
    w.put_blobs("mixed", &[0, 5, 0, 6]).await;
    w.put_blobs("nothing", &[0, 0]).await;
    w.audit().await;
    let mixed = w.catalog.locate(w.bucket, &key("mixed"), Want::Whole).await.unwrap().unwrap();
    assert_eq!(mixed.pieces.iter().map(|piece| piece.range.start).collect::<Vec<_>>(), [0, 5]);
    w.delete(&["empty", "mixed", "nothing"]).await;
    w.nothing_is_left().await;
}

pub(super) async fn n53_deletes_answer_one_by_one(w: World) {
    w.put("a", 1).await;
    w.put("b", 2).await;
    let mut delete = w.delete_of(&["a", "none", "a", "b", "b", "none"]);
    delete.items[3].precondition = if_match(&etag(9));
    delete.items[4].precondition = if_match(&etag(2));
    delete.items[5].precondition = if_match(&etag(2));
    let answers = w.catalog.delete_objects(delete).await.unwrap();
    let expected =
        [Ok(true), Ok(false), Ok(false), Err(Refusal::PreconditionFailed), Ok(true), Err(Refusal::NoSuchKey)];
    assert_eq!(answers, expected);
    w.nothing_is_left().await;
}

pub(super) async fn a_copy_shares_the_bytes(w: World) {
    let source = w.put("source", 7).await;
    let charged = w.charged().await;
    let copied = w.copy(&source, "copy").await.object;
    assert_eq!(w.charged().await, charged);
    assert_eq!(copied.state, source.state);
    let mut replaced = w.copy_of(&source, "copy");
    replaced.bucket = w.other_bucket;
    let headers = ObjectHeaders { content_type: Some("a/b".to_owned()), ..ObjectHeaders::default() };
    replaced.replace_metadata = Some((headers.clone(), vec![("m".to_owned(), "n".to_owned())]));
    replaced.replace_tags = Some(vec![("t".to_owned(), "u".to_owned())]);
    let sums = Checksums { crc32c: Some("AAAAAA==".to_owned()), ..Checksums::default() };
    replaced.replace_checksums = Some(sums.clone());
    let other = w.catalog.copy_object(replaced).await.unwrap().object;
    assert_eq!((&other.state.headers, other.state.tags.len(), other.state.metadata.len()), (&headers, 1, 1));
    assert_eq!((&other.state.content, &other.state.checksums), (&source.state.content, &sums));
    w.delete(&["source", "copy"]).await;
    assert_eq!(w.count(ReplicaState::Live).await, 2, "the third one holds it");
    let mut last = w.delete_of(&["copy"]);
    last.bucket = w.other_bucket;
    w.catalog.delete_objects(last).await.unwrap();
    w.nothing_is_left().await;
}

pub(super) async fn a_copy_sees_the_source_that_its_caller_saw(w: World) {
    let old = w.put("k", 7).await;
    let copy = w.copy_of(&old, "copy");
    let mut onto_itself = w.copy_of(&old, "k");
    onto_itself.replace_tags = Some(vec![("a".to_owned(), "b".to_owned())]);
    let same = w.catalog.copy_object(onto_itself).await.unwrap().object;
    assert_eq!(same.state.content, old.state.content);
    assert_eq!(w.count(ReplicaState::Doomed).await, 0);
    refused(w.catalog.copy_object(copy).await, &Refusal::Changed("the source"));
    let mut guarded = w.copy_of(&same, "k");
    guarded.precondition = if_none_match();
    refused(w.catalog.copy_object(guarded).await, &Refusal::PreconditionFailed);
    let copy = w.copy_of(&same, "copy");
    w.delete(&["k"]).await;
    refused(w.catalog.copy_object(copy).await, &Refusal::NoSuchKey);
    w.nothing_is_left().await;
}

pub(super) async fn tags_change_and_nothing_else(w: World) {
    let old = w.put("k", 7).await;
    let tags = vec![("a".to_owned(), "b".to_owned())];
    let set = |key, tags| SetTags { change: w.ids.change(), bucket: w.bucket, key, tags };
    let new = w.catalog.set_tags(set(key("k"), tags.clone())).await.unwrap();
    assert!(new.revision > old.revision && new.change != old.change);
    assert_eq!(new.state, crate::ObjectState { tags, ..old.state.clone() });
    assert_eq!(w.get("k").await, Some(new));
    let none = w.catalog.set_tags(set(key("k"), Vec::new())).await.unwrap();
    assert_eq!(none.state, old.state);
    refused(w.catalog.set_tags(set(key("none"), Vec::new())).await, &Refusal::NoSuchKey);
}

/// A put of one call of an SDK, with `If-None-Match: *`.
async fn conditional(w: &World, invocation: &str, size: u64) -> (Reserved, CommitPut) {
    let mut wanted = state(size);
    wanted.client = Client { access_key: "AKIA".to_owned(), invocation: Some(invocation.to_owned()) };
    let purpose = ReserveFor::Object {
        bucket: w.bucket,
        key: key("k"),
        precondition: Precondition::default(),
        client: wanted.client.clone(),
        size,
    };
    let reserved = w.reserve_for(purpose, size, 2, None).await.unwrap();
    let put = w.put_of(&key("k"), std::slice::from_ref(&reserved), wanted);
    (reserved, CommitPut { precondition: if_none_match(), ..put })
}

pub(super) async fn a_clients_own_retry_is_a_success(w: World) {
    let (_, first) = conditional(&w, "call 1", 5).await;
    let (_, second) = conditional(&w, "call 1", 5).await;
    let (_, other_call) = conditional(&w, "call 2", 5).await;
    let (_, other_size) = conditional(&w, "call 1", 6).await;
    let won = w.catalog.commit_put(first).await.unwrap();
    for _ in 0..2 {
        let retried = w.catalog.commit_put(second.clone()).await.unwrap();
        assert!(retried.already);
        assert_eq!(retried.object, won.object);
        assert_eq!(w.count(ReplicaState::Doomed).await, 2, "what the retry wrote");
    }
    refused(w.catalog.commit_put(other_call).await, &Refusal::PreconditionFailed);
    refused(w.catalog.commit_put(other_size).await, &Refusal::PreconditionFailed);
    let client = won.object.state.client.clone();
    let ask = |size| ReserveFor::Object {
        bucket: w.bucket,
        key: key("k"),
        precondition: if_none_match(),
        client: client.clone(),
        size,
    };
    assert!(w.reserve_for(ask(5), 5, 1, None).await.is_ok(), "may be a retry");
    let answer = w.reserve_for(ask(6), 6, 1, None).await.map(|reserved| reserved.blob);
    refused(answer, &Refusal::PreconditionFailed);

    let mut copy = w.copy_of(&won.object, "copy");
    (copy.precondition, copy.client) = (if_none_match(), client);
    let first = w.catalog.copy_object(copy.clone()).await.unwrap();
    copy.change = w.ids.change();
    let second = w.catalog.copy_object(copy).await.unwrap();
    assert_eq!((first.already, second.already, second.object), (false, true, first.object));
}

pub(super) async fn one_of_many_conditional_writes_wins(w: World) {
    let mut puts = Vec::new();
    for size in 1..=50 {
        let reserved = w.reserve(size, 2).await;
        let mut put = w.put_of(&key("k"), std::slice::from_ref(&reserved), state(size));
        put.precondition = if_none_match();
        let w = w.clone();
        puts.push(runtime::spawn(async move {
            let answer = w.catalog.commit_put(put).await;
            if let Err(error) = &answer {
                assert_eq!(error.refusal(), Some(&Refusal::PreconditionFailed));
                w.catalog.let_go(w.boot, live(&reserved)).await.unwrap();
            }
            answer.ok()
        }));
    }
    let mut won: Vec<Committed> = Vec::new();
    for put in puts {
        won.extend(put.await.unwrap());
    }
    assert_eq!(won.len(), 1);
    assert_eq!(w.get("k").await.unwrap(), won[0].object);
    w.delete(&["k"]).await;
    w.nothing_is_left().await;
}

pub(super) async fn no_race_exceeds_a_quota(w: World) {
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let w = w.clone();
            runtime::spawn(async move { w.try_reserve(7, 1, Some(100)).await.map(|reserved| reserved.blob) })
        })
        .collect();
    let mut taken = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => taken += 1,
            Err(error) => assert_eq!(error.refusal(), Some(&Refusal::OutOfSpace { size: 7 })),
        }
    }
    assert_eq!(taken, 3 * 14, "14 times 7 bytes go into 100, on three backends");
    let charged = w.catalog.charged().await.unwrap();
    assert!(charged.iter().all(|(_, _, bytes)| *bytes == 98), "{charged:?}");
}

pub(super) async fn readers_see_one_whole_state(w: World) {
    w.put("k", 1).await;
    let writer = {
        let w = w.clone();
        runtime::spawn(async move {
            for size in 2..60 {
                w.put("k", size).await;
            }
        })
    };
    let mut last = 0;
    while last < 59 {
        let found = w.catalog.locate(w.bucket, &key("k"), Want::Whole).await.unwrap().unwrap();
        let state = found.object.state;
        assert_eq!(state.etag, etag(state.size));
        assert_eq!(found.pieces.len(), 1);
        assert_eq!(found.pieces[0].blob_size, state.size);
        assert_eq!(found.pieces[0].replicas.len(), 2);
        assert_eq!(Content::Blob(found.pieces[0].blob), state.content);
        assert!(state.size >= last, "never back");
        last = state.size;
        runtime::sleep(std::time::Duration::from_micros(50)).await;
    }
    writer.await.unwrap();
}

pub(super) async fn only_a_blob_of_ones_own_is_committed(w: World) {
    let object = w.put("k", 5).await;
    let Content::Blob(blob) = object.state.content else { panic!("{object:?}") };
    // Somebody else's blob: it is referenced already, and its replicas are live.
    let foreign = Reserved { blob, size: 5, targets: vec![w.target(blob, 0, 5, None)] };
    let put = w.put_of(&key("other"), &[foreign], state(5));
    refused(w.catalog.commit_put(put).await, &Refusal::Changed("a replica"));
    let none = NewBlob { fates: Vec::new(), ..w.reserve(5, 1).await.all_live() };
    let mut put = w.put_of(&key("other"), &[], state(5));
    put.blobs = vec![none];
    refused(w.catalog.commit_put(put).await, &Refusal::NothingLive);
}
