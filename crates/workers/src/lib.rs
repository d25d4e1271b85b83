//! The workers: what happens without a client asking for it.
//!
//! Each brings one thing a bit nearer to what it should be, in steps that are bounded, idempotent and
//! without input: they find their work in the catalog, act through the engine, and may be cut off anywhere
//! or run twice at once. They know no time: `table.rs` says when each one steps, and the supervisor of
//! `runtime` does it. One file per worker.

use std::sync::Arc;

use catalog::BackendId;

mod factor;
mod observer;
mod reaper;
mod records;
mod release;
mod repair;
mod scrub;
mod stand_in;
mod table;
mod trim;

pub use factor::Factor;
pub use observer::{Observer, RunStatus, Work};
pub use reaper::Reaper;
pub use records::Records;
pub use release::Release;
pub use repair::Repair;
pub use scrub::{Scrub, ScrubOptions};
pub use stand_in::StandIn;
pub use table::{Upkeep, start, start_upkeep};
pub use trim::Trim;

/// Tells which backends have been gone for so long that they count as not having their replicas.
pub type Gone = Arc<dyn Fn() -> Vec<BackendId> + Send + Sync>;
