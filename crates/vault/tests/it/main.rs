//! The client against real servers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod dev;
mod logins;
mod raft;
mod recorded;
mod wire;
