//! The seams to the world: time, chance, tasks.
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
mod tasks;

pub use chance::Chance;
pub use clock::{Clock, Elapsed, Instant, instant_now, sleep, sleep_until, timeout};
pub use ids::Ids;
pub use shutdown::{Phase, Shutdown};
pub use tasks::{Server, Task, serve, spawn, spawn_blocking, spawn_thread};
