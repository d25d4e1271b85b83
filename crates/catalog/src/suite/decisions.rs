//! What an operator decides, and what a guard decides in his place, is in the journal: so it outlives the catalog.

use std::time::Duration;

use types::{ChangeId, ReplicaPath};

use super::world::{World, now};
use crate::{BrakeSettings, SeenObject, SnapshotCursor, Stray, StrayTimes};

/// Entries that no segment holds yet, without what is said of each.
async fn entries(w: &World) -> Vec<String> {
    let unshipped = w.catalog.unshipped(u32::MAX, u64::MAX).await.unwrap();
    let changes: Vec<ChangeId> = unshipped.lines.iter().map(|line| line.change).collect();
    w.catalog.mark_shipped(changes).await.unwrap();
    let entry = |text: &str| text.split_once("\"entry\":").unwrap().1.trim_end_matches('}').to_owned();
    unshipped.lines.iter().map(|line| entry(&line.text)).collect()
}

/// The lines of a snapshot that speak of a kind of thing.
async fn in_snapshot(w: &World, kind: &str) -> usize {
    let page = w.catalog.snapshot_page(SnapshotCursor::start(), u64::MAX).await.unwrap();
    assert_eq!(page.next, None);
    page.lines.iter().filter(|line| line.contains(&format!("{{\"{kind}\":"))).count()
}

pub(super) async fn a_drain_is_in_the_journal_once(w: World) {
    entries(&w).await;
    let [start, again, cancel] = [w.ids.change(), w.ids.change(), w.ids.change()];
    for change in [start, start, again] {
        w.catalog.start_drain(change, w.backends[1], now()).await.unwrap();
    }
    let number = w.backends[1].0;
    let said = entries(&w).await;
    assert_eq!(said.len(), 1, "{said:?}");
    let expected = format!("\"items\":[{{\"drain\":{{\"backend\":{number},\"since\":{}}}", now().as_millis());
    assert!(said[0].contains(&expected), "{said:?}");
    assert_eq!(in_snapshot(&w, "drain").await, 1);
    for _ in 0..2 {
        assert!(w.catalog.cancel_drain(cancel, w.backends[1]).await.unwrap(), "the same answer");
    }
    assert!(!w.catalog.cancel_drain(w.ids.change(), w.backends[1]).await.unwrap());
    let said = entries(&w).await;
    assert!(
        said.len() == 1 && said[0].contains(&format!("{{\"drain\":{{\"backend\":{number}}}")),
        "{said:?}"
    );
    assert_eq!(in_snapshot(&w, "drain").await, 0);
}

pub(super) async fn a_brake_is_in_the_entry_of_the_doom_that_it_answers(w: World) {
    w.catalog.set_brake(BrakeSettings { share_ppm: 0, floor: 3, clients: false }).await.unwrap();
    let mut seen = Vec::new();
    for name in ["a", "b", "c"] {
        let object = w.put(name, 3).await;
        seen.push(SeenObject { key: object.key, change: object.change });
    }
    entries(&w).await;
    let mut dooms = Vec::new();
    for one in seen {
        let change = w.ids.change();
        assert_eq!(w.catalog.expire_objects(change, w.bucket, vec![one.clone()]).await.unwrap(), 1);
        dooms.push((change, one));
    }
    let said = entries(&w).await;
    let brakes: Vec<bool> = said.iter().map(|entry| entry.contains("{\"brake\":{\"since\":")).collect();
    assert_eq!(brakes, [false, true, false], "with the doom, once: {said:?}");
    assert!(said[1].contains("\"removed\"") && said[1].contains("4 of 6 replicas"), "{said:?}");
    let (change, one) = dooms[1].clone();
    assert_eq!(w.catalog.expire_objects(change, w.bucket, vec![one]).await.unwrap(), 1, "the same answer");
    assert_eq!(in_snapshot(&w, "brake").await, 1);

    let release = w.ids.change();
    for change in [release, release, w.ids.change()] {
        w.catalog.release_brake(change).await.unwrap();
    }
    let said = entries(&w).await;
    assert!(said.len() == 1 && said[0].contains("{\"brake\":{}}"), "{said:?}");
    assert_eq!(in_snapshot(&w, "brake").await, 0);
}

pub(super) async fn how_long_a_stray_is_kept_is_in_the_journal(w: World) {
    let strays: Vec<Stray> = (0..2).map(|_| a_stray(&w)).collect();
    let until = now().plus(Duration::from_hours(720));
    let times = StrayTimes { proved_from: now(), kept_until: until };
    entries(&w).await;
    w.catalog.take_in(w.ids.change(), w.backends[0], strays, times).await.unwrap();
    let said = entries(&w).await;
    assert_eq!(said[0].matches(&format!("\"until\":{}", until.as_millis())).count(), 2, "{said:?}");
    // Nothing but the operator ends this one.
    let times = StrayTimes { kept_until: now().plus(Duration::MAX), ..times };
    w.catalog.take_in(w.ids.change(), w.backends[0], vec![a_stray(&w)], times).await.unwrap();
    let said = entries(&w).await;
    assert!(said[0].contains("\"quarantined\"") && !said[0].contains("\"until\""), "{said:?}");
    assert_eq!(in_snapshot(&w, "quarantined").await, 3);

    // What holds the brake is no doom of a stray, so the answer to the same change is the same.
    w.catalog.set_brake(BrakeSettings { share_ppm: 0, floor: 1, clients: false }).await.unwrap();
    let change = w.ids.change();
    for _ in 0..2 {
        assert_eq!(w.catalog.expire_quarantined(change, until, 10).await.unwrap(), 2);
    }
    assert!(w.catalog.brake().await.unwrap().engaged_at.is_some());
}

fn a_stray(w: &World) -> Stray {
    let (blob, replica) = (w.ids.blob(), w.ids.replica());
    let path = ReplicaPath::parse(&format!("photos/k~{blob}.{replica}")).unwrap();
    Stray { replica, blob, path, size: 5, charge: 5, settled: true }
}
