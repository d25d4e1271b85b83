//! Measuring the product: an S3 server in memory to stand behind it, the real binary in front of that, and
//! what both cost.
//!
//! Used by the `bench` program and by the tests of memory limits.

pub mod content;
pub mod load;
pub mod multipart;
pub mod options;
pub mod product;
pub mod report;
pub mod rounds;
pub mod store;
pub mod usage;
