//! The client against real servers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod dev;
mod raft;
mod wire;
