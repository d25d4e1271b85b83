//! The real tool against real clusters of OpenBao, real disks and a real S3 server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod bad_days;
mod daemon;
mod destinations;
mod gate;
mod logins;
mod orchestrator;
mod restore;
mod runs;
mod world;
