//! What the companions of a vault have in common: they hold what opens it.
//!
//! So no process that serves strangers may use this crate (`testkit/tests/layering.rs` holds that). What is promised:
//!
//! - [`harden`]: no core dump, no debugger, no page in the swap.
//! - Shares ([`Shares`]) live as long as the value that holds them, are told apart by hashes, and are never put into
//!   words; sources ([`Source`]) are asked when shares are needed, and each fails alone.
//! - What is told to others (logs, [`Exposition`], [`listen`], [`send`], [`Progress`]) is bounded, in time and in number.

mod exposition;
mod harden;
mod listener;
mod logs;
mod post;
mod progress;
pub mod settings;
mod shares;
mod sources;

pub use exposition::{Exposition, KIND};
pub use harden::harden;
pub use listener::{Page, listen};
pub use logs::start_logs;
pub use post::{check_url, send};
pub use progress::Progress;
pub use shares::{Share, ShareId, Shares, texts_in};
pub use sources::{Source, check_readers, fetch};
