//! Crashes, races and hostile clients, against the real process.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bad_bodies;
mod bad_requests;
mod books;
mod breakers;
mod copied;
mod crash;
mod history;
mod idle;
mod outage;
mod races;
mod rebuild;
mod repair;
mod restart;
mod site;
mod storm;
mod support;
mod upload;
mod value;
mod weaknesses;
mod worker;
