//! The time of several instances on one catalog: the catalog's, whatever the clocks of their machines show.
//!
//! What one of them writes down (until when bytes may arrive, when an object was written) another one compares with
//! its own present. So each asks the catalog once, when it joins, and from then on follows the clock that only goes
//! forward. That of its machine may be wrong by hours, and may be set: nobody looks at it.

use std::time::Duration;

use catalog::{CatalogError, Limits};
use runtime::{Clock, mutation};

/// An answer that took longer tells the time of too long ago.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(1);
/// How often the time is asked for, where answers take longer.
const TRIES_MAX: u32 = 20;
/// So far apart may two instances tell the time: what an answer took, and as much again by which one machine runs
/// faster than another.
pub(crate) const AGREE_WITHIN: Duration = Duration::from_secs(2);

/// The clock of an instance that is to join the others on a catalog. `machine` is that of its machine.
///
/// # Errors
/// Where the catalog does not answer, or always takes longer than a second.
pub async fn common_time<C: Limits + ?Sized>(catalog: &C, machine: &Clock) -> Result<Clock, CatalogError> {
    for _ in 0..TRIES_MAX {
        let asked_at = runtime::instant_now();
        let told = catalog.time().await?;
        let took = asked_at.elapsed();
        if mutation::is_on("time.of-catalog") {
            return Ok(machine.clone());
        }
        if took <= ROUND_TRIP_MAX || mutation::is_on("time.at-once") {
            // Ahead by what the question took on its way at most, and never behind.
            return Ok(Clock::starting_at(told.plus(took)));
        }
    }
    let why = format!("the catalog takes longer than {ROUND_TRIP_MAX:?} to tell the time");
    Err(CatalogError::Unavailable(why))
}
