//! Crashes, races and hostile clients, against the real process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_bodies;
mod bad_requests;
mod books;
mod crash;
mod history;
mod races;
mod restart;
mod site;
mod support;
mod upload;
mod value;
mod weaknesses;
mod worker;
