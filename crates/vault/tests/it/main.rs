//! The client against real servers.

#![expect(missing_docs, reason = "a test binary has no readers of its documentation")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod dev;
mod raft;
mod wire;
