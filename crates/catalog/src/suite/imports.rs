//! What is promised of imports.

use types::ReplicaPath;

use super::world::{World, blocks, key, md5, now, state};
use crate::{Import, Refusal, Settled, SettledOutcome, Want};

fn import(w: &World, backend: usize, name: &str, size: u64) -> Import {
    Import {
        change: w.ids.change(),
        backend: w.backends[backend],
        path: ReplicaPath::parse(name).unwrap(),
        stamp: "tag".to_owned(),
        blob: w.ids.blob(),
        replica: w.ids.replica(),
        charge: size + 1,
        quota: Some(100),
        bucket: w.bucket,
        key: key(name),
        state: state(size),
        md5: md5(size),
        blocks: blocks(size),
        wanted: 2,
    }
}

pub(super) async fn what_lies_on_a_backend_becomes_an_object_and_is_charged(w: World) {
    let asked = import(&w, 1, "old/name", 7);
    for _ in 0..2 {
        let made = w.catalog.import(asked.clone()).await.unwrap();
        assert_eq!((made.object.key.as_str(), made.object.state.size), ("old/name", 7));
        assert_eq!(w.charged().await, 8, "the same change is one");
    }
    w.audit().await;
    let found = w.catalog.locate(w.bucket, &key("old/name"), Want::Whole).await.unwrap().unwrap();
    assert_eq!(found.pieces[0].replicas[0].path, asked.path, "where it lay");
    assert_eq!(found.pieces[0].blocks, blocks(7));
    assert_eq!(w.totals().await.under_replicated, 1, "repair makes the other");
    let other = ReplicaPath::parse("other").unwrap();
    let known = w.catalog.imports_at(w.backends[1], &[other, asked.path.clone()]).await.unwrap();
    assert_eq!(known[0], None);
    let known = known[1].clone().unwrap();
    assert_eq!((known.replica, known.size, known.stamp.as_str()), (asked.replica, 7, "tag"));
    assert_eq!(w.catalog.import_of(asked.replica).await.unwrap(), Some(known));
    assert_eq!(w.catalog.imports_at(w.backends[0], std::slice::from_ref(&asked.path)).await.unwrap(), [None]);
    w.delete(&["old/name"]).await;
    assert!(w.catalog.import_of(asked.replica).await.unwrap().is_some(), "until it is gone");
    w.reap_all().await;
    assert_eq!(w.catalog.import_of(asked.replica).await.unwrap(), None);
    w.nothing_is_left().await;
    // Something else may come to lie there.
    w.catalog.import(import(&w, 1, "old/name", 5)).await.unwrap();
    assert_eq!(w.charged().await, 6);
}

pub(super) async fn an_import_takes_neither_a_key_nor_a_path_nor_more_than_the_quota(w: World) {
    w.put("taken", 1).await;
    let before = w.charged().await;
    let refused = async |import: Import| w.catalog.import(import).await.unwrap_err().refusal().cloned();
    assert_eq!(refused(import(&w, 0, "taken", 1)).await, Some(Refusal::PreconditionFailed));
    assert_eq!(refused(import(&w, 0, "large", 100)).await, Some(Refusal::OutOfSpace { size: 101 }));
    w.catalog.start_drain(w.ids.change(), w.backends[2], now()).await.unwrap();
    assert_eq!(refused(import(&w, 2, "drained", 1)).await, Some(Refusal::OutOfSpace { size: 2 }));
    assert_eq!(w.charged().await, before, "nothing happened");
    w.catalog.import(import(&w, 0, "path", 1)).await.unwrap();
    let again = Import { key: key("another"), ..import(&w, 0, "path", 1) };
    assert_eq!(refused(again).await, Some(Refusal::Changed("the path")));
    assert_eq!(w.charged().await, before + 2);
    // What is doomed and not yet gone is not imported again.
    w.delete(&["path"]).await;
    assert_eq!(refused(import(&w, 0, "path", 1)).await, Some(Refusal::Changed("the path")));
    let doomed = w.catalog.claim_doomed(&[w.backends[0]], w.catalog.horizon(), now(), 9).await.unwrap();
    let gone = |replica| Settled { replica, outcome: SettledOutcome::Gone };
    let settled = doomed.iter().map(|doomed| gone(doomed.replica)).collect();
    w.catalog.settle_doomed(w.ids.change(), settled).await.unwrap();
    w.catalog.import(import(&w, 0, "path", 1)).await.unwrap();
    w.audit().await;
}
