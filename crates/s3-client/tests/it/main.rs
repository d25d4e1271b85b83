//! The client against servers: real ones, and one that does what real ones do on bad days.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;
mod faults;
mod multipart;
mod servers;
mod tls;
