//! The property behind a lost catalog: whatever was done and whenever it was shipped, what is rebuilt shows
//! what was there.

use std::path::Path;

use types::{DeploymentId, Timestamp};

use super::{Config, Drive, Op, Strategy, TestRunner, ops, prop};
use crate::sqlite::{Glance, Options, Rebuild, Sqlite};
use crate::suite::World;
use crate::{
    BucketId, Catalog, Identity, ListQuery, Listed, ListedUpload, Names, PartsQuery, Rebuilding,
    SnapshotCursor, UploadsQuery, Want,
};

const CASES: u32 = 48;
/// So small that a snapshot takes many pages, and others write in between.
const PAGE_BYTES: u64 = 600;

/// What happens between two operations.
#[derive(Debug, Clone)]
enum Between {
    Nothing,
    /// A segment of at most so many entries; `false`: the process is killed before they are marked.
    Ship(u32, bool),
    /// A page of a snapshot; the first one begins it.
    Page,
}

fn between() -> impl Strategy<Value = Between> {
    proptest::prop_oneof![
        3 => proptest::prelude::Just(Between::Nothing),
        3 => (1..9_u32, prop::bool::weighted(0.8)).prop_map(|(rows, marks)| Between::Ship(rows, marks)),
        4 => proptest::prelude::Just(Between::Page),
    ]
}

/// What lies on the backends.
#[derive(Default)]
struct Shipped {
    segments: Vec<Vec<String>>,
    snapshot: Option<Snapshot>,
}

struct Snapshot {
    /// Number of the last change before it.
    first: u64,
    /// Segments from here on complete it.
    segment: usize,
    pages: Vec<Vec<String>>,
    next: Option<SnapshotCursor>,
}

impl Shipped {
    async fn step(&mut self, w: &World, between: &Between) {
        match between {
            Between::Nothing => {}
            Between::Ship(rows, marks) => {
                let unshipped = w.catalog.unshipped(*rows, u64::MAX).await.unwrap();
                assert!(unshipped.lines.is_sorted_by_key(|line| line.seq));
                let changes = unshipped.lines.iter().map(|line| line.change).collect();
                self.segments.push(unshipped.lines.into_iter().map(|line| line.text).collect());
                if *marks {
                    w.catalog.mark_shipped(changes).await.unwrap();
                }
            }
            Between::Page => {
                if self.snapshot.is_none() {
                    let first = w.catalog.last_sequence().await.unwrap();
                    let (segment, next) = (self.segments.len(), Some(SnapshotCursor::start()));
                    self.snapshot = Some(Snapshot { first, segment, pages: Vec::new(), next });
                }
                let snapshot = self.snapshot.as_mut().unwrap();
                if let Some(from) = snapshot.next.take() {
                    let page = w.catalog.snapshot_page(from, PAGE_BYTES).await.unwrap();
                    let fits = |lines: &[String]| {
                        lines.iter().map(|line| line.len() as u64 + 1).sum::<u64>() <= PAGE_BYTES
                    };
                    assert!(page.lines.len() <= 1 || fits(&page.lines), "{:?}", page.lines);
                    snapshot.pages.push(page.lines);
                    snapshot.next = page.next;
                }
            }
        }
    }

    async fn finish(&mut self, w: &World) {
        while self.snapshot.as_ref().is_some_and(|snapshot| snapshot.next.is_some()) {
            self.step(w, &Between::Page).await;
        }
        self.step(w, &Between::Ship(u32::MAX, true)).await;
        assert!(w.catalog.unshipped(1, 1).await.unwrap().lines.is_empty());
    }

    async fn rebuild(&self, path: &Path, names: &Names) -> Sqlite {
        let deployment = DeploymentId::from_bytes([7; 16]);
        let source = self.snapshot.as_ref().map_or("nothing".to_owned(), |found| found.first.to_string());
        let begin = async || Rebuild::begin(path, Identity { deployment, epoch: 2 }, &source).await.unwrap();
        let mut rebuild = begin().await;
        let mut glance = Box::new(Glance::default());
        let lines = |file: &Vec<String>| file.clone();
        let (after, segments) = self.snapshot.as_ref().map_or((0, 0), |found| (found.first, found.segment));
        for (number, page) in self.snapshot.iter().flat_map(|found| &found.pages).enumerate() {
            let page = lines(page);
            let page: Vec<&str> = page.iter().map(String::as_str).collect();
            rebuild.apply(&format!("page {number}"), names, &page, None).unwrap();
            glance.apply("page", names, &page, None).unwrap();
        }
        for (number, segment) in self.segments[segments..].iter().enumerate() {
            let segment: Vec<&str> = segment.iter().map(String::as_str).collect();
            let name = format!("segment {number}");
            rebuild.apply(&name, names, &segment, Some(after)).unwrap();
            glance.apply(&name, names, &segment, Some(after)).unwrap();
            // Stopped and begun again.
            drop(rebuild);
            rebuild = begin().await;
            assert_eq!(rebuild.applied().unwrap().as_deref(), Some(&*name));
        }
        let rebuilt = Box::new(rebuild).finish(&[], super::now()).unwrap();
        assert_eq!((rebuilt.wrong, rebuilt.unreadable), (Vec::new(), 0));
        let glanced = glance.finish(&[], super::now()).unwrap();
        assert_eq!(glanced.decided, rebuilt.decided, "a look says what a rebuild does");
        Sqlite::open(path, Options::default()).await.unwrap()
    }
}

/// All that a client can see, and where it lies.
async fn seen(catalog: &dyn Catalog, bucket: BucketId) -> Vec<String> {
    let query = ListQuery { bucket, prefix: String::new(), delimiter: None, after: None, limit: 1000 };
    let mut seen = Vec::new();
    for line in catalog.list(&query).await.unwrap().lines {
        let Listed::Object(listed) = line else { continue };
        let located = catalog.locate(bucket, &listed.key, Want::Whole).await.unwrap().unwrap();
        let parts = match located.object.state.content {
            crate::Content::Manifest(manifest) => catalog.object_parts(manifest, 0, 9999).await.unwrap(),
            crate::Content::Blob(_) => None,
        };
        seen.push(format!("{listed:?} {located:?} {parts:?}"));
    }
    let query = UploadsQuery {
        bucket,
        prefix: String::new(),
        delimiter: None,
        after_key: None,
        after_upload: None,
        limit: 1000,
    };
    for line in catalog.list_uploads(&query).await.unwrap().lines {
        let ListedUpload::Upload(upload) = line else { continue };
        let query =
            PartsQuery { upload: upload.upload, bucket, key: upload.key.clone(), after: 0, limit: 1000 };
        let parts = catalog.list_parts(&query).await.unwrap().parts;
        seen.push(format!("{upload:?} {parts:?}"));
    }
    seen
}

/// What goes on as it was decided: what drains, since when the brake holds and why, and until when, at least, what is in
/// quarantine is kept.
async fn decided(catalog: &dyn Catalog, kept_until: Timestamp) -> Vec<String> {
    let drains = catalog.drains().await.unwrap().into_iter();
    let mut decided: Vec<String> =
        drains.map(|drain| format!("{} since {:?}", drain.name, drain.since)).collect();
    let brake = catalog.brake().await.unwrap();
    decided.push(format!("{:?} {}", brake.engaged_at, brake.why));
    for row in catalog.quarantined(None, 1000).await.unwrap() {
        let until = row.until.max(kept_until);
        decided.push(format!("{} on {} until {until:?}", row.replica, row.name));
    }
    decided
}

async fn run(seed: u64, script: Vec<(Op, Between)>) {
    let mut drive = Drive::new(seed).await;
    let mut shipped = Shipped::default();
    for (op, between) in &script {
        drive.step(op).await;
        shipped.step(&drive.w, between).await;
    }
    shipped.finish(&drive.w).await;
    let folder = tempfile::tempdir().unwrap();
    let names = drive.w.catalog.names().await.unwrap();
    let rebuilt = shipped.rebuild(&folder.path().join("catalog"), &names).await;
    let bucket = drive.w.bucket;
    assert_eq!(seen(&rebuilt, bucket).await, seen(&*drive.w.catalog, bucket).await);
    drive.compare_imports_of(&rebuilt).await;
    let a_week = super::now().plus(std::time::Duration::from_hours(7 * 24));
    let no_longer = Timestamp::default();
    assert_eq!(decided(&rebuilt, no_longer).await, decided(&*drive.w.catalog, a_week).await);
    // A completion that is repeated gets the answer that it got.
    if let Some((super::Change::Complete(complete), _)) = drive.last {
        let again = crate::CompleteUpload { change: drive.w.ids.change(), ..complete };
        let before = drive.w.catalog.complete_upload(again.clone()).await.map(|done| done.state).ok();
        use crate::Uploads as _;
        assert_eq!(rebuilt.complete_upload(again).await.map(|done| done.state).ok(), before);
    }
}

/// `CATALOG_SEED` repeats a run.
#[test]
fn a_catalog_comes_back_from_what_was_shipped() {
    let (seed, rng) = super::seeded();
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let script = ops().prop_flat_map(|ops| {
        let count = ops.len();
        prop::collection::vec(between(), count)
            .prop_map(move |between| ops.clone().into_iter().zip(between).collect::<Vec<_>>())
    });
    let outcome = runner.run(&script, |script| {
        executor.block_on(run(seed, script));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("with CATALOG_SEED={seed}: {error}"));
}
