//! One S3 endpoint over many storage backends.

mod admin;
mod cli;
mod commands;
mod connection;
mod front;
mod health;
mod lingering;
mod logging;
mod memory;
mod metrics;
mod refusal;
mod server;
mod signals;
mod tls;
mod wiring;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(std::env::args_os().skip(1).collect())
}
