//! The binary under test.

use std::path::{Path, PathBuf};

/// The `s3-orchestrator` that cargo built beside the running test.
///
/// `cargo test --workspace` builds it, for it has integration tests of its own; a run of one package's tests
/// does not, so what lies there may be old: tests of an old binary prove nothing.
pub(super) fn find() -> PathBuf {
    let test = std::env::current_exe().expect("a process knows its own file");
    // target/debug/deps/NAME-HASH
    let folder = test.ancestors().nth(2).expect("tests lie in a folder of the target directory");
    let program = folder.join("s3-orchestrator");
    let release = if folder.ends_with("release") { " --release" } else { "" };
    let build = format!("build it with `cargo build -p s3-orchestrator{release}`");
    assert!(program.is_file(), "{} is missing: {build}", program.display());
    if let Some(newer) = newer_source(&program) {
        panic!("{} is older than {}: {build}", program.display(), newer.display());
    }
    program
}

/// A source file that has changed since the binary was built, by the list that cargo leaves beside it.
fn newer_source(program: &Path) -> Option<PathBuf> {
    let built = std::fs::metadata(program).and_then(|metadata| metadata.modified()).ok()?;
    let list = std::fs::read_to_string(program.with_extension("d")).ok()?;
    let (_, sources) = list.split_once(": ")?;
    // A space within a path is escaped there.
    let sources = sources.replace("\\ ", "\0");
    sources.split_whitespace().map(|source| PathBuf::from(source.replace('\0', " "))).find(|source| {
        std::fs::metadata(source)
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|changed| changed > built)
    })
}
