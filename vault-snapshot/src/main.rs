//! Snapshots of Vault and OpenBao that can be restored.
//!
//! `take.rs` is one run. What a snapshot is, and whether it is whole, is known by `crates/snapshot`; where it goes, by
//! `crates/destination`. `restore.rs` and `drill.rs` are the way back.

mod cli;
mod cluster;
mod commands;
mod daemon;
mod drill;
mod metrics;
mod restore;
mod stored;
mod take;
mod tool;
mod trouble;

use std::process::ExitCode;

/// What is freed is wiped: it may have been a token, or a key.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    cli::run(std::env::args_os().skip(1).collect())
}
