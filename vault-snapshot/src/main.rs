//! Snapshots of Vault and OpenBao that can be restored.

mod check;
mod cli;
mod cluster;
mod commands;
mod daemon;
mod drill;
mod fan_out;
mod intake;
mod listener;
mod logging;
mod metrics;
mod name;
mod pipe;
mod place;
mod progress;
mod record;
mod restore;
mod retention;
#[cfg(test)]
mod retention_tests;
mod schedule;
mod stored;
mod take;
mod trouble;

use std::process::ExitCode;

/// What is freed is wiped: it may have been a token, or a key.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    cli::run(std::env::args_os().skip(1).collect())
}
