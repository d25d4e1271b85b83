//! The real binary: its start, its signals, its listener, its commands. S3 itself is tested elsewhere.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod admin;
mod commands;
mod demo;
mod lifecycle;
mod listener;
mod lost;
mod metrics;
mod reliability;
mod support;
mod tls;
