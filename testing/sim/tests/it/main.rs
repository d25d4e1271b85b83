//! The simulation at work: schedules, their replay, and mutations.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod guards;
mod import_guards;
mod mutations;
mod running;
mod schedules;
mod world_guards;
