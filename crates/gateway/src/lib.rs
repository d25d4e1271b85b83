//! The S3 wire: credentials, admission, rate limit, the table of errors, thin operations over the engine.
//!
//! `service.rs` takes a request from its head to the last byte of its answer. The `s3s` crate verifies
//! signatures and takes off the aws-chunked framing; what it leaves to its users is here. `operation.rs` is
//! the table of operations, `ops/` has a file for each, `error.rs` is the one table of error codes.

mod admission;
mod answer;
mod auth;
mod body;
mod call;
mod checksums;
mod client_ip;
mod conditions;
mod copy_source;
mod dates;
mod error;
mod form;
mod framing;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod headers;
mod observe;
mod operation;
mod ops;
mod options;
mod percent;
mod post;
mod query;
mod rate_limit;
mod route;
mod service;
mod signing;
mod tagging;
mod target;
mod xml;

pub use admission::{AdmissionOptions, Rejection};
pub use auth::{Credential, DeclaredBucket, Directory, DirectoryError};
pub use body::AnswerBody;
pub use client_ip::{Network, NetworkError, client_ip};
pub use observe::{Observer, RequestRecord, Unobserved};
pub use options::GatewayOptions;
pub use rate_limit::RateLimitOptions;
pub use service::Gateway;
