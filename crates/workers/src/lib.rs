//! The workers: what happens without a client asking for it.
//!
//! Each brings one thing a bit nearer to what it should be, in steps that are bounded, idempotent and
//! without input: they find their work in the catalog, act through the engine, and may be cut off anywhere
//! or run twice at once. They know no time: `table.rs` says when each one steps, and the supervisor of
//! `runtime` does it. One file per worker.

mod drain;
mod factor;
mod fleet;
mod heart;
mod lifecycle;
mod observer;
mod proof_ages;
mod quarantine;
mod reaper;
mod rebalance;
mod reclaim;
mod reconcile;
mod records;
mod release;
mod repair;
mod scrub;
mod shipper;
mod stand_in;
mod sync;
mod table;
mod trim;
mod uploads;

use std::sync::Arc;

use catalog::BackendId;

pub use drain::Drain;
pub use factor::Factor;
pub use fleet::{FleetOptions, start_fleet};
pub use heart::{Heart, HeartOptions};
pub use lifecycle::Lifecycle;
pub use observer::{Observer, RunStatus, Work};
pub use proof_ages::ProofAges;
pub use quarantine::Quarantine;
pub use reaper::Reaper;
pub use rebalance::Rebalance;
pub use reclaim::Reclaim;
pub use reconcile::Reconcile;
pub use records::Records;
pub use release::Release;
pub use repair::Repair;
pub use scrub::{Scrub, ScrubOptions};
pub use shipper::Shipper;
pub use stand_in::StandIn;
pub use sync::Importer;
pub use table::{Upkeep, start, start_heart, start_shipper, start_upkeep};
pub use trim::Trim;
pub use uploads::Uploads;

/// Tells which backends have been gone for so long that they count as not having their replicas.
pub type Gone = Arc<dyn Fn() -> Vec<BackendId> + Send + Sync>;
