//! What goes by its age.

use std::time::Duration;

use types::Timestamp;

use super::world::{World, key, now, state};
use crate::{ExpiredQuery, ObjectState, SeenObject, SetTags};

fn day(days: u64) -> Timestamp {
    now().plus(Duration::from_hours(24 * days))
}

/// Puts an object as if it had been put on that day.
async fn put_on(w: &World, name: &str, days: u64) {
    let reserved = w.reserve(1, 1).await;
    let put = w.put_of(&key(name), &[reserved], ObjectState { modified: day(days), ..state(1) });
    w.catalog.commit_put(put).await.unwrap();
}

async fn tag(w: &World, name: &str, tags: &[(&str, &str)]) {
    let tags = tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let set = SetTags { change: w.ids.change(), bucket: w.bucket, key: key(name), tags };
    w.catalog.set_tags(set).await.unwrap();
}

async fn expired(
    w: &World,
    prefix: &str,
    before: u64,
    tags: &[(&str, &str)],
    rows_max: u32,
) -> Vec<SeenObject> {
    let tags = tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let before = day(before);
    let mut query =
        ExpiredQuery { bucket: w.bucket, prefix: prefix.to_owned(), tags, before, after: None, rows_max };
    let mut all = Vec::new();
    loop {
        let page = w.catalog.expired(&query).await.unwrap();
        all.extend(page.objects);
        if page.next.is_none() {
            return all;
        }
        assert!(query.after < page.next, "a page goes on behind the last one");
        query.after = page.next;
    }
}

fn keys(seen: &[SeenObject]) -> Vec<&str> {
    seen.iter().map(|object| object.key.as_str()).collect()
}

pub(super) async fn n134_objects_expire_by_prefix_age_and_tags(w: World) {
    for (name, days) in [("tmp/a", 0), ("tmp/b", 3), ("tmp/c", 9), ("tmq", 0), ("other/tmp/a", 0)] {
        put_on(&w, name, days).await;
    }
    tag(&w, "tmp/b", &[("kind", "scratch"), ("owner", "me")]).await;
    for rows_max in [1, 2, 100] {
        assert_eq!(keys(&expired(&w, "tmp/", 9, &[], rows_max).await), ["tmp/a", "tmp/b"]);
        assert_eq!(keys(&expired(&w, "", 1, &[], rows_max).await), ["other/tmp/a", "tmp/a", "tmq"]);
        let both = &[("owner", "me"), ("kind", "scratch")];
        assert_eq!(keys(&expired(&w, "", 9, both, rows_max).await), ["tmp/b"], "tags keep the age");
        let other = &[("owner", "me"), ("kind", "other")];
        assert!(expired(&w, "", 9, other, rows_max).await.is_empty());
    }
    let old = expired(&w, "tmp/", 9, &[], 100).await;
    let change = w.ids.change();
    for _ in 0..2 {
        assert_eq!(w.catalog.expire_objects(change, w.bucket, old.clone()).await.unwrap(), 2);
        assert_eq!(super::world::names(&w.list("", None, 100).await), ["other/tmp/a", "tmp/c", "tmq"]);
    }
    assert!(expired(&w, "tmp/", 9, &[], 1).await.is_empty());
    w.delete(&["other/tmp/a", "tmp/c", "tmq"]).await;
    w.nothing_is_left().await;
}

pub(super) async fn what_changed_since_it_was_seen_does_not_expire(w: World) {
    for name in ["gone", "new", "tagged", "still"] {
        put_on(&w, name, 0).await;
    }
    let seen = expired(&w, "", 1, &[], 100).await;
    // The very same bytes and tag: only the change tells them apart.
    put_on(&w, "new", 5).await;
    tag(&w, "tagged", &[("keep", "me")]).await;
    w.delete(&["gone"]).await;
    assert_eq!(w.catalog.expire_objects(w.ids.change(), w.bucket, seen.clone()).await.unwrap(), 1);
    assert!(
        w.get("new").await.is_some() && w.get("tagged").await.is_some() && w.get("still").await.is_none()
    );
    assert_eq!(w.catalog.expire_objects(w.ids.change(), w.other_bucket, seen).await.unwrap(), 0);
}

pub(super) async fn uploads_that_nobody_goes_on_with_are_found(w: World) {
    let old = w.upload("old").await;
    let busy = w.upload("busy").await;
    let done = w.upload("done").await;
    w.part(done, "done", 1, 5).await;
    w.complete(done, "done", &[1]).await;
    let reserved = w.reserve(1, 1).await;
    let mut part = w.part_of(busy, "busy", 1, &[reserved]);
    part.part.modified = day(2);
    w.catalog.commit_part(part).await.unwrap();
    let stale = |before| {
        let w = w.clone();
        async move {
            let found = w.catalog.stale_uploads(day(before), 10).await.unwrap();
            // Two of one millisecond are in no order.
            let mut names: Vec<_> =
                found.into_iter().map(|upload| (upload.key.as_str().to_owned(), upload.upload)).collect();
            names.sort();
            names
        }
    };
    assert_eq!(stale(0).await, [], "begun at that moment is not before it");
    assert_eq!(stale(1).await, [("old".to_owned(), old)]);
    assert_eq!(stale(3).await, [("busy".to_owned(), busy), ("old".to_owned(), old)]);
    assert_eq!(w.catalog.stale_uploads(day(3), 1).await.unwrap().len(), 1);
}
