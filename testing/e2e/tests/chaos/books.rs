//! The books of a process that has ended, compared with what lies on its backends.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use backend::{Backend, ClientOptions, DirectoryBackend, DirectoryOptions, S3Backend, S3Options};
use catalog::sqlite::{Options, Sqlite};
use catalog::{Ledger, ReplicaRow, ReplicaState};
use types::BackendName;

/// Rows read at a time.
const PAGE: u32 = 1000;
/// What is ours on a backend and no replica.
const MARKERS: &str = ".s3-orchestrator/marker/";
/// The journal on its way: the end of the process may have cut it short.
const INTERNAL: &str = ".s3-orchestrator/";

/// Bytes by path.
type Lying = BTreeMap<String, u64>;

/// Proves that the ledger equals what lies on the backends: every row is live and there with its bytes, nothing
/// else is, and all sums are right. `backends` are in the order of the configuration.
pub(crate) async fn check(catalog: &Path, backends: &[Box<dyn Backend>]) {
    let catalog = Sqlite::open(catalog, Options::default()).await.expect("the process has ended");
    assert_eq!(catalog.audit().await.unwrap(), Vec::<String>::new(), "the books do not add up");
    let totals = catalog.totals().await.unwrap();
    for backend in backends {
        let book = totals.backends.iter().find(|book| &book.name == backend.name()).expect("it was attached");
        let (mut rows, mut under_way, mut after) = (Lying::new(), Lying::new(), None);
        loop {
            let page = catalog.replicas(after, PAGE).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.replica);
            for row in page.iter().filter(|row| row.backend == book.backend) {
                let path = row.path.as_str().to_owned();
                if row.state != ReplicaState::Live && path.starts_with(INTERNAL) {
                    under_way.insert(path, row.charged);
                    continue;
                }
                assert_eq!(row.state, ReplicaState::Live, "the reaper left {row:?}");
                rows.insert(path, row.charged);
            }
        }
        let lying = walk(&**backend).await;
        let strays: Vec<_> = lying
            .iter()
            .filter(|(path, _)| !rows.contains_key(*path) && !under_way.contains_key(*path))
            .collect();
        assert!(strays.is_empty(), "{}: no row names {strays:?}", backend.name());
        let missing: Vec<_> = rows.iter().filter(|(path, size)| lying.get(*path) != Some(size)).collect();
        assert!(missing.is_empty(), "{}: the ledger has what is not there: {missing:?}", backend.name());
        let charged: u64 = rows.values().chain(under_way.values()).sum();
        assert_eq!(book.charged, charged, "{}: the charge", backend.name());
    }
}

/// Proves that every live row is there with its bytes, whatever else may lie there.
pub(crate) async fn check_live(catalog: &Path, backends: &[Box<dyn Backend>]) {
    let catalog = Sqlite::open(catalog, Options::default()).await.expect("the process has ended");
    let totals = catalog.totals().await.unwrap();
    for backend in backends {
        let book = totals.backends.iter().find(|book| &book.name == backend.name()).expect("it was attached");
        let lying = walk(&**backend).await;
        let (mut live, mut after) = (0, None);
        loop {
            let page = catalog.replicas(after, PAGE).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.replica);
            let is_live = |row: &&ReplicaRow| row.backend == book.backend && row.state == ReplicaState::Live;
            for row in page.iter().filter(is_live) {
                let size = lying.get(row.path.as_str());
                assert_eq!(size, Some(&row.charged), "{}: {row:?} is not there", backend.name());
                live += 1;
            }
        }
        println!("{}: {live} live replicas", backend.name());
    }
}

async fn walk(backend: &dyn Backend) -> Lying {
    let (mut lying, mut cursor) = (Lying::new(), None);
    loop {
        let page = backend.list("", cursor.as_deref()).await.expect("a backend can be listed");
        for entry in page.entries {
            if !entry.path.as_str().starts_with(MARKERS) {
                lying.insert(entry.path.as_str().to_owned(), entry.size);
            }
        }
        match page.next {
            Some(next) => cursor = Some(next),
            None => return lying,
        }
    }
}

/// The directories `disk-0` and so on of an orchestrator that has ended. Says what they must not hold.
pub(crate) async fn directories(folder: &Path, count: usize) -> Vec<Box<dyn Backend>> {
    directories_of(folder, 0..count).await
}

/// Those with these numbers, where other backends come before them.
pub(crate) async fn directories_of(folder: &Path, numbers: Range<usize>) -> Vec<Box<dyn Backend>> {
    let mut backends: Vec<Box<dyn Backend>> = Vec::new();
    for index in numbers {
        let name = format!("disk-{index}");
        backends.push(directory(&name, &folder.join(&name)).await);
    }
    backends
}

/// Buckets at S3 servers, the backends `s3-0` and so on of a configuration.
pub(crate) fn buckets(buckets: [ClientOptions; 2]) -> Vec<Box<dyn Backend>> {
    let backend = |(index, bucket)| -> Box<dyn Backend> {
        let name = BackendName::parse(&format!("s3-{index}")).unwrap();
        Box::new(S3Backend::new(name, S3Options::new(bucket)).unwrap())
    };
    buckets.into_iter().enumerate().map(backend).collect()
}

/// One directory of this name.
pub(crate) async fn directory(name: &str, root: &Path) -> Box<dyn Backend> {
    check_files(root);
    let options = DirectoryOptions::new(root);
    let opened = DirectoryBackend::open(BackendName::parse(name).unwrap(), options).await;
    Box::new(opened.expect("the process has ended"))
}

/// No temporary file is left, and no metadata without its object.
fn check_files(root: &Path) {
    for file in files(root) {
        let path = file.display().to_string();
        assert!(!path.contains("/.s3-orchestrator-tmp/"), "a temporary file is left: {path}");
        if let Some(object) = path.strip_suffix("%m") {
            let beside = Path::new(object).exists() || Path::new(&format!("{object}%f")).exists();
            assert!(beside, "metadata without its object: {path}");
        }
    }
}

/// All files below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    // A folder may go while it is walked.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// The comparison itself: it finds a file more, a file less, and one that was cut.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_books_are_found() {
    use testkit::wire::Call;
    use testkit::{ConfigBuilder, Orchestrator};

    let mut orchestrator = Orchestrator::start(ConfigBuilder::new().directories(1).bucket("b")).await;
    orchestrator.wire().ask(&Call::put("/b/k", vec![1; 1000])).await.success("put");
    assert!(orchestrator.stop().await.success());
    let folder = orchestrator.folder().to_owned();
    compare(&folder).await.expect("nothing is wrong yet");
    let found = files(&folder.join("disk-0/b"));
    let replica = found.iter().find(|path| !path.display().to_string().ends_with("%m")).unwrap();
    let stray = replica.with_file_name("stray~01ARZ3NDEKTSV4RRFFQ69G5FAV.01ARZ3NDEKTSV4RRFFQ69G5FAV");
    fs::copy(replica, &stray).unwrap();
    compare(&folder).await.expect_err("a stray");
    fs::remove_file(&stray).unwrap();
    compare(&folder).await.expect("it is gone");
    fs::write(replica, "short").unwrap();
    compare(&folder).await.expect_err("a replica that was cut");
    fs::remove_file(replica).unwrap();
    compare(&folder).await.expect_err("a replica that is lost");
}

/// Whether the books of a folder with one directory are right.
#[cfg(test)]
async fn compare(folder: &Path) -> Result<(), tokio::task::JoinError> {
    let folder = folder.to_owned();
    let checking = async move { check(&folder.join("catalog.db"), &directories(&folder, 1).await).await };
    runtime::spawn(checking).await
}
