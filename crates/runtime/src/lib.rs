//! The seams to the world: time, chance, tasks; and the breaker, which decides by time and chance.
//!
//! Nothing outside this crate reads the time, sleeps, draws randomness or spawns (clippy's
//! `disallowed-methods` holds everyone to it), so that a simulation can own all four: it runs on
//! tokio's paused clock with a seeded [`Chance`].

mod breaker;
mod chance;
mod clock;
mod ids;
mod shutdown;
mod tasks;

pub use breaker::{
    Breaker, BreakerOptions, BreakerState, BreakerWatch, Permit, Readiness, Refused, Transition, Unwatched,
};
pub use chance::Chance;
pub use clock::{Clock, Elapsed, Instant, instant_now, sleep, sleep_until, timeout};
pub use ids::Ids;
pub use shutdown::{Phase, Shutdown};
pub use tasks::{Task, spawn, spawn_blocking, spawn_thread};
