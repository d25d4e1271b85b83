//! The engine: the only crate that sees both bytes and records.
//!
//! One file per verb. A write is reserve, stream, commit (`put.rs`, `write.rs`, `targets.rs`); a read is
//! locate, stream (`get.rs`); what is no longer needed is removed by the reaper (`reaper.rs`). Decisions
//! are pure functions: `placement.rs` chooses backends, `completion.rs` decides on a multipart upload,
//! `conditions.rs` on a conditional read.

mod common_time;
mod completion;
mod conditions;
mod copy;
mod describe;
mod digest;
mod drain;
mod engine;
mod error;
mod freeze;
mod get;
mod hashers;
mod health;
mod held;
mod import;
mod intake;
mod internal;
mod lifecycle;
mod limits;
mod list;
mod liveness;
mod locate;
mod moving;
mod multipart;
mod newest;
mod placement;
mod put;
mod quarantine;
mod readers;
mod reaper;
mod rebalance;
mod rebuild;
mod recent;
mod reclaim;
mod reconcile;
mod remove;
mod repair;
mod revocable;
mod scrub;
mod seen;
mod shipping;
mod stand_in;
mod standing;
mod stats;
mod targets;
mod unshipped;
mod upkeep;
mod window;
mod words;
mod write;

pub use common_time::common_time;
pub use digest::{checksum_of, md5_of};
pub use drain::DrainedPage;
pub use engine::{Engine, Occupancy, Parts, Place};
pub use error::{BodyFault, EngineError};
pub use import::{ImportCounts, ImportJob, ImportRun};
pub use lifecycle::{Expired, ExpiryRule};
pub use limits::{BackendLimits, FlushSettings, Grants, UsageOf};
pub use liveness::{Heartbeat, Watched};
pub use newest::{Reserved, ShippedFile};
pub use reaper::{Reaped, Step};
pub use rebalance::{Balance, RebalancePlan, Rebalanced};
pub use rebuild::{Choices, FoundCatalogs, Plan, PlanError, RebuildError, find, plan, rebuild};
pub use reclaim::Reclaimed;
pub use reconcile::{Found, Reconciling};
pub use repair::{RepairOptions, Repaired};
pub use scrub::Scrubbed;
pub use shipping::{Segment, Shelf, Snapshot};
pub use stand_in::{Footing, StoodIn};
pub use stats::{FleetCounts, ImportDecision};
pub use upkeep::UpkeepCounts;
pub use words::{
    Algorithm, Bucket, CompleteUpload, CopyObject, CopyPart, CreateUpload, DeleteObjects, Expected,
    GetObject, Incoming, IncomingStream, ListedPart, Opened, OpenedBody, PutObject, PutPart, Read,
    ReadConditions, Settings, Source, Stored, StoredPart, Strategy, TrailerChecksums,
};
