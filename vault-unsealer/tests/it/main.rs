//! The program as a process, against real clusters of OpenBao.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod alarms;
mod brakes;
mod cluster;
mod command_line;
mod holders;
mod names;
mod unsealer;
