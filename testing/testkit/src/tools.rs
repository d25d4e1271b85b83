//! Programs that `tools/test-env` installs.

use std::path::{Path, PathBuf};

/// The path of a program of a group.
///
/// # Panics
/// Where it is not installed, with the command that installs it.
#[must_use]
pub fn tool(group: &str, name: &str) -> PathBuf {
    let program = cache_folder().join("s3-orchestrator/venv").join(group).join("bin").join(name);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/test-env");
    let script = script.canonicalize().unwrap_or(script);
    assert!(
        program.is_file(),
        "{} is missing: install it with `{} {group}`",
        program.display(),
        script.display()
    );
    program
}

fn cache_folder() -> PathBuf {
    let named = std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
    named.unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").expect("HOME is set where tests run")).join(".cache")
    })
}
