//! A change whose answer was lost is repeated, and happens once.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;

use super::faults::LosesAnswers;
use super::world::{World, etag, key, now, state};
use crate::{
    AbortUpload, Catalog, CatalogError, CopyPart, ListPage, MatchTags, Precondition, ReplicaRow, Reserve,
    SetTags, Settled, SettledOutcome, Target, Totals,
};

/// All that can be seen of a world from outside.
async fn sight(w: &World) -> (ListPage, Vec<ReplicaRow>, Totals) {
    let rows = w.catalog.replicas(None, 10_000).await.unwrap();
    (w.list("", None, 1000).await, rows, w.totals().await)
}

/// Does it twice: the answers are alike, and the second time changes nothing.
async fn twice<T, Answer>(w: &World, what: &str, call: impl Fn() -> Answer) -> T
where
    T: Debug,
    Answer: Future<Output = Result<T, CatalogError>>,
{
    let before = sight(w).await;
    let first = call().await.unwrap();
    let between = sight(w).await;
    assert_ne!(before, between, "{what} changes something");
    let second = call().await.unwrap();
    assert_eq!(format!("{first:?}"), format!("{second:?}"), "{what}");
    assert_eq!(between, sight(w).await, "{what}");
    first
}

pub(super) async fn every_change_happens_once(w: World) {
    let c = &w.catalog;
    let put = w.put_of(&key("k"), &[w.reserve(5, 2).await, w.reserve(6, 2).await], state(11));
    let made = twice(&w, "put", || c.commit_put(put.clone())).await.object;
    let copy = w.copy_of(&made, "copy");
    twice(&w, "copy", || c.copy_object(copy.clone())).await;
    let tags = vec![("a".to_owned(), "b".to_owned())];
    let set = SetTags { change: w.ids.change(), bucket: w.bucket, key: key("k"), tags };
    c.set_tags(set.clone()).await.unwrap();
    let revision = c.set_tags(set.clone()).await.unwrap().revision;
    assert_eq!(w.get("k").await.unwrap().revision, revision);

    let create = w.upload_of("up");
    let upload = create.upload.upload;
    twice(&w, "create", || c.create_upload(create.clone())).await;
    let part = w.part_of(upload, "up", 1, &[w.reserve(7, 2).await]);
    twice(&w, "part", || c.commit_part(part.clone())).await;
    let source = w.get("copy").await.unwrap();
    let range = types::ByteRange::new(2, 5);
    let copied = CopyPart {
        change: w.ids.change(),
        at: now(),
        source_bucket: w.bucket,
        source_key: key("copy"),
        source_change: source.change,
        range,
        upload,
        bucket: w.bucket,
        key: key("up"),
        number: 2,
        manifest: w.ids.manifest(),
        opaque_etag: types::ETag::from_text("00112233445566778899aabbccddeeff"),
    };
    let first = c.copy_part(copied.clone()).await.unwrap();
    assert_eq!(c.copy_part(copied).await.unwrap(), first);
    let complete = w.complete_of(upload, "up", &[1, 2]);
    twice(&w, "complete", || c.complete_upload(complete.clone())).await;

    let create = w.upload_of("gone");
    c.create_upload(create.clone()).await.unwrap();
    let upload = create.upload.upload;
    let abort = AbortUpload { change: w.ids.change(), at: now(), upload, bucket: w.bucket, key: key("gone") };
    twice(&w, "abort", || c.abort_upload(abort.clone())).await;

    let delete = w.delete_of(&["up", "none", "k", "copy"]);
    twice(&w, "delete", || c.delete_objects(delete.clone())).await;
    let (change, horizon) = (w.ids.change(), c.horizon());
    assert!(twice(&w, "dissolve", || c.dissolve_manifests(change, horizon, 4)).await, "there is more");
    let doomed = c.claim_doomed(&w.backends, c.horizon(), now(), 9).await.unwrap();
    let gone = |one: &crate::Doomed| Settled { replica: one.replica, outcome: SettledOutcome::Gone };
    let (change, settled) = (w.ids.change(), doomed.iter().map(gone).collect::<Vec<_>>());
    twice(&w, "settle", || c.settle_doomed(change, settled.clone())).await;
    assert_eq!(c.commit_put(put).await.unwrap().object, made, "its answer, though it is deleted since");
    w.nothing_is_left().await;
}

/// Repeats what was answered with `Unknown`.
async fn insist<T, Answer>(call: impl Fn() -> Answer) -> T
where
    Answer: Future<Output = Result<T, CatalogError>>,
{
    loop {
        match call().await {
            Err(CatalogError::Unknown(_)) => {}
            other => return other.unwrap_or_else(|error| panic!("{error}")),
        }
    }
}

pub(super) async fn lost_answers_lose_nothing(w: World) {
    let lossy: Arc<dyn Catalog> = Arc::new(LosesAnswers::new(Arc::clone(&w.catalog), 2));
    let mut sizes = Vec::new();
    for size in 1..20 {
        let name = format!("k{}", size % 7);
        let purpose = w.object_request(&key(&name), size, Precondition::default());
        let blob = w.ids.blob();
        let targets = vec![w.target(blob, 0, size, None), w.target(blob, 1, size, None)];
        let reserve = Reserve { blob, owner: w.boot, size, purpose, targets, wanted: 2, least: 2 };
        let targets = insist(|| lossy.reserve(reserve.clone())).await;
        let put = w.put_of(&key(&name), &[super::world::Reserved { blob, size, targets }], state(size));
        let made = insist(|| lossy.commit_put(put.clone())).await;
        assert!(!made.already);
        sizes.push((name, size));
    }
    for (name, size) in &sizes[12..] {
        assert_eq!(w.get(name).await.unwrap().state.size, *size);
    }
    let delete = w.delete_of(&["k0", "k1", "k2", "k3", "k4", "k5", "k6"]);
    let answers = insist(|| lossy.delete_objects(delete.clone())).await;
    assert!(answers.iter().all(|answer| *answer == Ok(true)), "{answers:?}");
    w.nothing_is_left().await;
}

pub(super) async fn a_reservation_is_given_again_whatever_became_of_its_condition(w: World) {
    w.put("k", 1).await;
    let held = w.catalog.replicas(None, 1).await.unwrap().remove(0);
    let blob = w.ids.blob();
    let if_match = Precondition { if_match: Some(MatchTags::Tags(vec![etag(1)])), if_none_match: None };
    let reserve = Reserve {
        blob,
        owner: w.boot,
        size: 7,
        purpose: w.object_request(&key("k"), 7, if_match),
        targets: vec![w.target(blob, 0, 7, None)],
        wanted: 1,
        least: 1,
    };
    let replicas = |taken: Vec<Target>| taken.iter().map(|target| target.replica).collect::<Vec<_>>();
    let first = w.catalog.reserve(reserve.clone()).await.unwrap();
    let place = w.target(held.blob, 2, 1, None);
    let moving = w.catalog.reserve_move(held.blob, w.boot, vec![place.clone()]).await.unwrap();
    // Who asked got no answer; meanwhile the object is gone.
    w.delete(&["k"]).await;
    let again = w.catalog.reserve(reserve).await.unwrap();
    assert_eq!(replicas(first), replicas(again));
    let moving_again = w.catalog.reserve_move(held.blob, w.boot, vec![place]).await.unwrap();
    assert_eq!(replicas(Vec::from_iter(moving)), replicas(Vec::from_iter(moving_again)));
}
