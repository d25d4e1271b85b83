//! The client against real servers.

#![expect(missing_docs, reason = "a test binary has no readers of its documentation")]

mod dev;
mod raft;
mod wire;
