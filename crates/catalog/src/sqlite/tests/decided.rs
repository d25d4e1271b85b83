//! What a rebuilt catalog takes over of what was decided, and from which segments.

use std::time::Duration;

use types::{BackendName, BlobId, DeploymentId, ReplicaId, Timestamp};

use crate::sqlite::{MemoryFile, Options, Rebuild, Sqlite};
use crate::suite::World;
use crate::{
    BackendId, BackendSpec, Decided, Deployment, Fleet, Identity, Names, Rebuilding, Rebuilt, Removed, Strays,
};

fn at() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

fn in_days(days: u64) -> Timestamp {
    at().plus(Duration::from_hours(24 * days))
}

fn backends(named: &[(i64, &str)]) -> Names {
    let parse = |name: &str| BackendName::parse(name).unwrap();
    let backends = named.iter().map(|(id, name)| (BackendId(*id), parse(name))).collect();
    Names { buckets: Vec::new(), backends }
}

/// Rebuilds from segments: their lines, and the backends that their headers name.
fn rebuild(files: &[(Names, Vec<String>)]) -> Result<(Rebuilt, Sqlite), crate::CatalogError> {
    let deployment = DeploymentId::from_bytes([7; 16]);
    let file = MemoryFile::new(deployment).unwrap();
    let mut rebuild = Box::new(Rebuild::in_memory(&file, Identity { deployment, epoch: 2 }).unwrap());
    for (number, (names, lines)) in files.iter().enumerate() {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        rebuild.apply(&format!("segment {number}"), names, &lines, Some(0))?;
    }
    let rebuilt = rebuild.finish(&[], at())?;
    Ok((rebuilt, file.open_with(Options::default()).unwrap()))
}

fn line(seq: u64, items: &str) -> String {
    let change = types::ChangeId::from_bytes([9; 16]);
    format!(r#"{{"change":"{change}","seq":{seq},"entry":{{"v":1,"items":[{items}]}}}}"#)
}

fn quarantined(number: u8, until: Option<Timestamp>) -> String {
    let (replica, blob) = (ReplicaId::from_bytes([number; 16]), BlobId::from_bytes([number; 16]));
    let until = until.map_or(String::new(), |until| format!(r#","until":{}"#, until.as_millis()));
    format!(
        r#"{{"quarantined":{{"replica":"{replica}","blob":"{blob}","backend":1,"path":"b/k~{blob}.{replica}","charged":5{until}}}}}"#
    )
}

#[tokio::test]
async fn what_is_in_quarantine_is_kept_as_long_as_it_would_have_been_and_a_week() {
    let items = [quarantined(1, Some(in_days(1))), quarantined(2, Some(in_days(30))), quarantined(3, None)];
    let (rebuilt, catalog) = rebuild(&[(backends(&[(1, "one")]), vec![line(1, &items.join(","))])]).unwrap();
    let until: Vec<_> = catalog.quarantined(None, 9).await.unwrap().iter().map(|row| row.until).collect();
    let for_ever = Timestamp::from_millis(u64::try_from(i64::MAX).unwrap());
    assert_eq!(until, [in_days(7), in_days(30), for_ever], "segments from before say no time");
    let expected =
        Decided { quarantined: 2, quarantine_ends: Some(in_days(7)), held: 1, ..Decided::default() };
    assert_eq!(rebuilt.decided, expected);
}

#[tokio::test]
async fn what_a_later_release_says_is_not_passed_over() {
    let unknown =
        rebuild(&[(backends(&[]), vec![line(1, r#"{"teleported":{"backend":1}}"#)])]).err().unwrap();
    let said = unknown.to_string();
    for expected in ["segment 0", "teleported", "a later one", env!("CARGO_PKG_VERSION")] {
        assert!(said.contains(expected), "{said}");
    }
}

/// All that is not shipped, with the names as they are now.
async fn ship(w: &World) -> (Names, Vec<String>) {
    let lines = w.catalog.unshipped(u32::MAX, u64::MAX).await.unwrap().lines;
    w.catalog.mark_shipped(lines.iter().map(|line| line.change).collect()).await.unwrap();
    (w.catalog.names().await.unwrap(), lines.into_iter().map(|line| line.text).collect())
}

#[tokio::test]
async fn a_backend_that_was_forgotten_drains_no_more_and_its_name_is_free() {
    let w = World::new(std::sync::Arc::new(Sqlite::in_memory().unwrap()), 1).await;
    let [first, second, third] = w.backends[..] else { unreachable!() };
    for backend in [first, second, third] {
        w.catalog.start_drain(w.ids.change(), backend, at()).await.unwrap();
    }
    let mut files = vec![ship(&w).await];
    assert_eq!(w.catalog.remove_backend(first).await.unwrap(), Removed::Forgotten);
    assert_eq!(w.catalog.remove_backend(second).await.unwrap(), Removed::Forgotten);
    let again = BackendSpec { name: BackendName::parse("one").unwrap(), late_arrival_ms: 1 };
    let new = w.catalog.sync_backends(&[again]).await.unwrap()[0];
    assert_ne!(new, first);
    w.upload("k").await;
    files.push(ship(&w).await);

    let (rebuilt, catalog) = rebuild(&files).unwrap();
    assert_eq!(rebuilt.wrong, Vec::<String>::new());
    let names = catalog.names_of_backends().await;
    assert_eq!(names, [(third, "three".to_owned()), (new, "one".to_owned())]);
    let drains = catalog.drains().await.unwrap();
    let drains: Vec<_> = drains.iter().map(|drain| (drain.backend, drain.since)).collect();
    assert_eq!(drains, [(third, at())]);
    assert_eq!(rebuilt.decided.drains, [(BackendName::parse("three").unwrap(), at())]);
    // The number of what is gone is nobody's.
    let spec = BackendSpec { name: BackendName::parse("four").unwrap(), late_arrival_ms: 1 };
    assert!(catalog.sync_backends(&[spec]).await.unwrap()[0] > new);
}

impl Sqlite {
    async fn names_of_backends(&self) -> Vec<(BackendId, String)> {
        use crate::Shipping as _;
        let names = self.names().await.unwrap().backends;
        names.into_iter().map(|(id, name)| (id, name.as_str().to_owned())).collect()
    }
}
