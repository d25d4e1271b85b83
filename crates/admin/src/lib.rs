//! The admin API: what an operator asks of a running process, and what it answers.
//!
//! `wire` has the bodies, `routes/` a file for each subject, `client` the way to it from the command line.
//! It answers below `/admin/` on the main listener, to whoever shows the token. Nothing here takes long: long
//! work belongs to the workers, is triggered here, and shows how far it has come in their status.

mod answer;
mod api;
mod client;
mod guard;
mod query;
mod routes;
pub mod wire;

pub use api::{AdminApi, House, LogLevel};
pub use client::{AdminClient, ClientError, Place};
pub use guard::TOKEN_HEADER;
pub use routes::rfc3339;
