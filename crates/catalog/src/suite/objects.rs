//! What reads promise.

use types::{BackendName, BucketName, ByteRange};

use super::world::{World, blocks, key, names, now, state};
use crate::{BackendSpec, Content, ListPosition, ListQuery, ReplicaState, Want, WriteOutcome};

pub(super) async fn what_was_put_is_located(w: World) {
    let reserved = w.reserve(200_000, 2).await;
    let mut wanted = state(200_000);
    wanted.headers.content_type = Some("text/plain".to_owned());
    wanted.metadata = vec![("a".to_owned(), "b\0c".to_owned())];
    wanted.tags = vec![("t".to_owned(), String::new())];
    wanted.checksums.crc32 = Some("AAAAAA==".to_owned());
    wanted.client.invocation = Some("call".to_owned());
    let put = w.put_of(&key("a/\0b"), std::slice::from_ref(&reserved), wanted.clone());
    let change = put.change;
    let made = w.catalog.commit_put(put).await.unwrap();
    wanted.content = Content::Blob(reserved.blob);
    assert_eq!((made.already, &made.object.state, made.object.change), (false, &wanted, change));

    let found = w.catalog.locate(w.bucket, &key("a/\0b"), Want::Whole).await.unwrap().unwrap();
    assert_eq!(found.object, made.object);
    assert_eq!(found.bucket, BucketName::parse("photos").unwrap());
    assert_eq!(found.range, Ok(ByteRange::whole(200_000)));
    let [piece] = &found.pieces[..] else { panic!("one piece: {:?}", found.pieces) };
    assert_eq!((piece.range, piece.blob_offset), (ByteRange::whole(200_000), 0));
    assert_eq!((piece.blob, piece.blob_size), (reserved.blob, 200_000));
    assert_eq!(piece.blocks, blocks(200_000));
    let paths: Vec<_> = piece.replicas.iter().map(|at| (at.replica, at.backend, at.path.clone())).collect();
    let mut expected: Vec<_> =
        reserved.targets.iter().map(|t| (t.replica, t.backend, t.path.clone())).collect();
    expected.sort_by_key(|(replica, ..)| *replica);
    assert_eq!(paths, expected);
    assert!(w.catalog.locate(w.other_bucket, &key("a/\0b"), Want::State).await.unwrap().is_none());
}

pub(super) async fn ranges_are_those_of_http(w: World) {
    w.put("k", 10).await;
    w.put("empty", 0).await;
    let from = |start, last| Want::From { start, last };
    let cases = [
        ("k", Want::State, Some((0, 0))),
        ("k", from(0, None), Some((0, 10))),
        ("k", from(3, Some(5)), Some((3, 3))),
        ("k", from(9, Some(99)), Some((9, 1))),
        ("k", from(10, None), None),
        ("k", Want::Last(3), Some((7, 3))),
        ("k", Want::Last(30), Some((0, 10))),
        ("k", Want::Last(0), None),
        ("k", Want::Part(1), Some((0, 10))),
        ("k", Want::Part(2), None),
        ("empty", Want::Whole, Some((0, 0))),
        ("empty", from(0, None), None),
        ("empty", Want::Last(1), None),
        ("empty", Want::Part(1), Some((0, 0))),
    ];
    for (name, want, expected) in cases {
        let found = w.catalog.locate(w.bucket, &key(name), want).await.unwrap().unwrap();
        assert_eq!(found.range.ok().map(|r| (r.start, r.length)), expected, "{name} {want:?}");
        assert_eq!(found.parts, None, "{name} {want:?}");
        let has_bytes = expected.is_some_and(|(_, length)| length > 0);
        assert_eq!(found.pieces.len(), usize::from(has_bytes), "{name} {want:?}");
    }
}

pub(super) async fn an_object_of_many_blobs_is_located_piece_by_piece(w: World) {
    let sizes: Vec<u64> = (1..=100).collect();
    let object = w.put_blobs("k", &sizes).await;
    let Content::Manifest(manifest) = object.state.content else { panic!("{object:?}") };
    let want = Want::From { start: 2, last: None };
    let found = w.catalog.locate(w.bucket, &key("k"), want).await.unwrap().unwrap();
    assert_eq!(found.pieces.len(), 64);
    assert_eq!(found.pieces[0].range, ByteRange::new(1, 2), "the piece that holds byte 2");
    let end = found.pieces[63].range.end();
    let more = w.catalog.pieces(manifest, end).await.unwrap();
    assert_eq!(more.len(), 100 - 65);
    assert_eq!(more[0].range.start, end);
    assert_eq!(more.last().unwrap().range.end(), object.state.size);
    assert!(w.catalog.pieces(manifest, object.state.size).await.unwrap().is_empty());
    let want = Want::From { start: 4, last: Some(5) };
    let found = w.catalog.locate(w.bucket, &key("k"), want).await.unwrap().unwrap();
    assert_eq!(found.pieces.len(), 1, "no piece outside the range");
    assert_eq!(w.catalog.object_parts(manifest, 0, 10).await.unwrap(), None);
    let found = w.catalog.locate(w.bucket, &key("k"), Want::Part(1)).await.unwrap().unwrap();
    assert_eq!((found.range, found.parts), (Ok(ByteRange::whole(object.state.size)), None));
    w.delete(&["k"]).await;
    w.nothing_is_left().await;
    assert!(w.catalog.pieces(manifest, 0).await.unwrap().is_empty());
}

pub(super) async fn suspect_replicas_are_served_last(w: World) {
    w.put("k", 5).await;
    let pieces = w.catalog.locate(w.bucket, &key("k"), Want::Whole).await.unwrap().unwrap().pieces;
    let first = pieces[0].replicas[0].replica;
    w.catalog.mark_suspect(w.ids.change(), first, "checksum differs").await.unwrap();
    let pieces = w.catalog.locate(w.bucket, &key("k"), Want::Whole).await.unwrap().unwrap().pieces;
    let states: Vec<_> = pieces[0].replicas.iter().map(|at| at.state).collect();
    assert_eq!(states, [ReplicaState::Live, ReplicaState::Suspect]);
    assert_eq!(pieces[0].replicas[1].replica, first);
    assert_eq!(w.totals().await.under_replicated, 1);
    let last = pieces[0].replicas[0].replica;
    w.catalog.mark_suspect(w.ids.change(), last, "checksum differs").await.unwrap();
    let pieces = w.catalog.locate(w.bucket, &key("k"), Want::Whole).await.unwrap().unwrap().pieces;
    assert_eq!(pieces[0].replicas.len(), 2, "better than nothing");
    w.delete(&["k"]).await;
    w.nothing_is_left().await;
}

pub(super) async fn n72_a_page_is_in_the_order_of_bytes(w: World) {
    for name in ["b", "a/2", "a/1", "B", "ä", "a\0", "a", "a/"] {
        w.put(name, 1).await;
    }
    let all = ["B", "a", "a\0", "a/", "a/1", "a/2", "b", "ä"];
    assert_eq!(names(&w.list("", None, 100).await), all);
    assert_eq!(names(&w.list("", Some("/"), 100).await), ["B", "a", "a\0", "a/*", "b", "ä"]);
    assert_eq!(names(&w.list("a/", Some("/"), 100).await), ["a/", "a/1", "a/2"]);
    assert_eq!(names(&w.list("A", None, 100).await), [""; 0]);
    let page = w.list("", None, 8).await;
    assert!(!page.truncated, "exactly the rest is not truncated");
    let page = w.list("", Some("/"), 4).await;
    assert!(page.truncated);
    assert_eq!(page.next(), Some(ListPosition::Prefix("a/".to_owned())));
    assert_eq!(w.list("", None, 0).await, crate::ListPage::default());
}

pub(super) async fn a_page_goes_on_where_the_last_one_ended(w: World) {
    for name in ["a", "b/1", "b/2", "b/3", "c", "d/x/1", "d/x/2", "d/y"] {
        w.put(name, 1).await;
    }
    let expect = [
        (None, None, vec!["a", "b/1", "b/2", "b/3", "c", "d/x/1", "d/x/2", "d/y"]),
        (None, Some("/"), vec!["a", "b/*", "c", "d/*"]),
        (Some("d/"), Some("/"), vec!["d/x/*", "d/y"]),
        (None, Some("x/"), vec!["a", "b/1", "b/2", "b/3", "c", "d/x/*", "d/y"]),
    ];
    for (prefix, delimiter, expected) in expect {
        for limit in 1..=9 {
            let mut query = ListQuery {
                bucket: w.bucket,
                prefix: prefix.unwrap_or_default().to_owned(),
                delimiter: delimiter.map(str::to_owned),
                after: None,
                limit,
            };
            let mut seen = Vec::new();
            loop {
                let page = w.catalog.list(&query).await.unwrap();
                seen.extend(names(&page));
                let next = page.next();
                if next.is_none() {
                    break;
                }
                query.after = next;
            }
            assert_eq!(seen, expected, "{delimiter:?} by {limit}");
        }
    }
}

pub(super) async fn a_listing_may_start_anywhere(w: World) {
    for name in ["a", "b/1", "b/2", "c"] {
        w.put(name, 1).await;
    }
    let cases = [
        (ListPosition::Key("b/".to_owned()), Some("/"), vec!["c"]),
        (ListPosition::Key("b/1".to_owned()), Some("/"), vec!["b/*", "c"]),
        (ListPosition::Key("b/1".to_owned()), None, vec!["b/2", "c"]),
        (ListPosition::Key("b/".to_owned()), None, vec!["b/1", "b/2", "c"]),
        (ListPosition::Prefix("b/".to_owned()), None, vec!["c"]),
        (ListPosition::Key("zzz".to_owned()), None, vec![]),
        (ListPosition::Key(String::new()), None, vec!["a", "b/1", "b/2", "c"]),
    ];
    for (after, delimiter, expected) in cases {
        let query = ListQuery {
            bucket: w.bucket,
            prefix: String::new(),
            delimiter: delimiter.map(str::to_owned),
            after: Some(after.clone()),
            limit: 10,
        };
        assert_eq!(names(&w.catalog.list(&query).await.unwrap()), expected, "{after:?} {delimiter:?}");
    }
}

pub(super) async fn n71_buckets_that_differ_in_case_are_apart(w: World) {
    w.put("k", 1).await;
    let query = |bucket| ListQuery { bucket, prefix: String::new(), delimiter: None, after: None, limit: 9 };
    assert_eq!(w.catalog.list(&query(w.other_bucket)).await.unwrap().lines, Vec::new());
    assert_eq!(w.catalog.list(&query(w.bucket)).await.unwrap().lines.len(), 1);
}

pub(super) async fn names_keep_their_numbers(w: World) {
    let names = ["new", "Photos", "photos"].map(|name| BucketName::parse(name).unwrap());
    let buckets = w.catalog.sync_buckets(&names, now()).await.unwrap();
    assert_eq!(buckets[1..], [w.other_bucket, w.bucket]);
    assert!(!buckets[1..].contains(&buckets[0]));
    let spec = |name| BackendSpec { name: BackendName::parse(name).unwrap(), late_arrival_ms: 1 };
    let backends = w.catalog.sync_backends(&[spec("three"), spec("four"), spec("one")]).await.unwrap();
    assert_eq!((backends[0], backends[2]), (w.backends[2], w.backends[0]));
    let known: Vec<_> = w.catalog.charged().await.unwrap().into_iter().map(|(id, _, _)| id).collect();
    assert_eq!(known, [&w.backends[..], &backends[1..2]].concat());
    let identity = w.catalog.identity().await.unwrap();
    assert_eq!((identity, identity.epoch), (w.catalog.identity().await.unwrap(), 1));
}

pub(super) async fn the_ledger_is_read_page_by_page(w: World) {
    let reserved = w.reserve(7, 3).await;
    let fate = |at| match at {
        0 => WriteOutcome::Live { version: None },
        1 => WriteOutcome::Doomed { arrives_until: None },
        _ => WriteOutcome::Unsent,
    };
    let mut put = w.put_of(&key("k"), &[], state(7));
    put.blobs = vec![reserved.with(fate)];
    w.catalog.commit_put(put).await.unwrap();
    let writing = w.reserve(5, 1).await;
    let first = w.catalog.replicas(None, 2).await.unwrap();
    let rest = w.catalog.replicas(Some(first[1].replica), 2).await.unwrap();
    let rows = [first, rest].concat();
    assert!(rows.is_sorted_by_key(|row| row.replica));
    let row = |replica| rows.iter().find(|row| row.replica == replica).unwrap();
    let live = row(reserved.targets[0].replica);
    assert_eq!((live.state, live.charged, live.owner), (ReplicaState::Live, 7, None));
    assert_eq!(row(reserved.targets[1].replica).state, ReplicaState::Doomed);
    let written = row(writing.targets[0].replica);
    assert_eq!((written.state, written.owner), (ReplicaState::Writing, Some(w.boot)));
    assert_eq!(rows.len(), 3, "the row of what was never sent went");
}
