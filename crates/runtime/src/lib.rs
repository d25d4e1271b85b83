//! The seams to the world: time, chance, tasks, and the supervisor of background work.
//!
//! Nothing outside this crate reads the time, sleeps, draws randomness or spawns (clippy's
//! `disallowed-methods` holds everyone to it), so that a simulation can own all four: it runs on
//! tokio's paused clock with a seeded [`Chance`], and takes a hand at the points of [`simulation`].

mod chance;
mod clock;
mod ids;
pub mod mutation;
mod shutdown;
pub mod simulation;
mod supervised;
mod supervisor;
mod tasks;
mod trigger;
mod worker;

pub use chance::Chance;
pub use clock::{Clock, Elapsed, Instant, instant_now, sleep, sleep_until, timeout};
pub use ids::Ids;
pub use shutdown::{Phase, Shutdown};
pub use supervisor::{RunError, Schedule, Supervisor, Workers};
pub use tasks::{Server, Task, serve, spawn, spawn_blocking, spawn_thread};
pub use trigger::{Bell, Trigger};
pub use worker::{Activity, Ended, Next, Progress, Report, Status, Step, Worker, WorkerError};
