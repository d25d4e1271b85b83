//! The simulation: the product's engine, workers and catalog in a world that a seed decides.
//!
//! A [`Plan`] is drawn from a seed: backends and how badly they behave, what clients do, when the process is
//! killed. A [`Simulation`] carries it out on one thread, with a paused clock, every task held up at random at the
//! points of `runtime::simulation`, so that a seed replays exactly. What clients were told is written down and
//! judged afterwards ([`history`]), and so is what lies on the providers (`laws`): they keep their own truth.
//!
//! `docs/simulation.md` says what is modelled, what is not, and how to read a seed that fails.

#![expect(clippy::unwrap_used, reason = "a simulation fails by panicking")]

mod body;
mod catalogs;
mod client;
mod cuts;
mod decisions;
mod deed;
mod driver;
mod expiring;
mod factors;
mod fault;
mod foreign;
mod gate;
pub mod history;
mod imports;
mod instances;
mod laws;
mod limits;
mod operator;
mod outage;
mod plan;
mod process;
mod provider;
mod restored;
mod shrink;
mod sign;
mod simulation;
mod upload;
mod workers;
mod world;

pub use catalogs::{CatalogFate, CatalogsPlan};
pub use cuts::{Cut, Cuts};
pub use deed::Deed;
pub use factors::FactorChange;
pub use fault::Fault;
pub use foreign::Tag;
pub use imports::{ForeignPlan, ImportOrder, ImportsPlan};
pub use instances::{InstancesPlan, Stop};
pub use laws::{Law, Violation};
pub use limits::LimitsPlan;
pub use outage::{BreakersPlan, Outage};
pub use plan::{Ask, BackendPlan, Crash, Event, Op, PartPlan, Plan, UploadEnd, Verb, Window};
pub use shrink::shrink;
pub use sign::Sign;
pub use simulation::{Outcome, Simulation};
pub use workers::{Command, ExpiryPlan, Order, UpkeepPlan, WorkersPlan};
