//! Where snapshots are stored: directories and buckets, several at once.
//!
//! A file has its name only once it is whole and durable: a run that dies leaves nothing that looks like a snapshot.
//! One destination that fails, or stands still, is let go alone ([`FanOut`]). What lies in a file is never looked at
//! here: whether it may be relied on is the business of `snapshot`.

mod bucket;
mod destination;
mod directory;
mod fan_out;
mod place;
mod prune;

pub use destination::{Destination, Held};
pub use directory::read_file;
pub use fan_out::FanOut;
pub use place::{File, Place, Upload};
pub use prune::Decision;
