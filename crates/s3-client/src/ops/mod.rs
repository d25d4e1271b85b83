//! The operations, one file per subject.

mod bucket;
mod copy;
mod delete;
mod get;
mod list;
mod put;

pub use get::Object;
pub use put::{PutObject, Stored};
