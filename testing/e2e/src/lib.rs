//! Real S3 clients against the real process.
//!
//! `clients/` has one script per client: it moves real data, compares every byte, says what it does, and ends
//! with an error at the first thing that is not as S3 has it. A [`Site`] is a running orchestrator that all
//! tests of a binary share, each client in a bucket of its own. [`Client::run`] brings the two together.

mod client;
mod data;
mod site;

pub use client::Client;
pub use data::Data;
pub use site::{Site, http_on_directories, https_on_s3};
