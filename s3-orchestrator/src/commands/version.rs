//! `version`: which program this is.

use std::process::ExitCode;

/// The version of this release.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The compiler that built it.
pub(crate) const RUSTC: &str = env!("RUSTC_VERSION");

/// Prints it in one line.
pub(crate) fn run() -> ExitCode {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    println!("s3-orchestrator {VERSION} {RUSTC} {os}/{arch}");
    ExitCode::SUCCESS
}
