//! What a snapshot of Vault is: whether it is whole, how it is sealed and opened on its way, what it is called,
//! when the next one is due, and which ones stay.
//!
//! Nothing here speaks to a server, touches a file or asks what time it is: bytes, names and moments come in as
//! values. [`check`] is the judge that everything else relies on.

mod before;
mod check;
mod intake;
mod name;
mod pipe;
mod record;
mod retention;
#[cfg(test)]
mod retention_tests;
mod schedule;

pub use before::{refuse_backwards, size_alarm};
pub use check::{Broken, Checked, Meta, SealConfig, check};
pub use intake::{Checking, Chunks, ReadBack, Sealing, Unreadable, opened, read_back, sum_up};
pub use name::{Line, SnapshotName, print_age, print_time, utc};
pub use record::{Acknowledged, Record};
pub use retention::reasons;
pub use schedule::{Cron, next_run};
