//! The workers: what happens without a client asking for it.
//!
//! Each brings one thing a bit nearer to what it should be, in steps that are bounded, idempotent and
//! without input: they find their work in the catalog, act through the engine, and may be cut off anywhere
//! or run twice at once. They know no time: `table.rs` says when each one steps, and the supervisor of
//! `runtime` does it. One file per worker.

mod drain;
mod fleet;
mod lifecycle;
mod quarantine;
mod reaper;
mod rebalance;
mod reconcile;
mod records;
mod release;
mod shipper;
mod table;
mod uploads;

pub use drain::Drain;
pub use fleet::{FleetOptions, start_fleet};
pub use lifecycle::Lifecycle;
pub use quarantine::Quarantine;
pub use reaper::Reaper;
pub use rebalance::Rebalance;
pub use reconcile::Reconcile;
pub use records::Records;
pub use release::Release;
pub use shipper::Shipper;
pub use table::{start, start_shipper};
pub use uploads::Uploads;
