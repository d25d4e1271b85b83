//! A thin S3 client: signing, streaming, listing, errors.
//!
//! It knows one bucket at one endpoint and does whole operations on it. What it promises:
//!
//! - A request is sent at most once. Where a pooled connection turns out to be closed before it took
//!   anything, the untouched request goes to the next one; from the first byte on there is no second try.
//!   Repeating reads is the business of whoever calls.
//! - [`Error::nothing_happened`] is true only where that is certain; an answer that is lost is an unknown
//!   outcome.
//! - Bodies are streams in both directions and never collected. A body that fails leaves the server with
//!   fewer bytes than it was promised, never with a clean end.
//! - Every wait and every buffer has a bound, in [`Timeouts`] and [`PoolOptions`].
//!
//! HTTP/1.1 only: a connection per request in flight, each with its own back-pressure.

mod answers;
mod body;
mod client;
mod encode;
mod error;
mod exchange;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod ops;
mod options;
mod pool;
mod sign;
mod xml;

pub use answers::{Gone, ListedObject, ObjectInfo, ObjectPage, Versioning};
pub use body::{BodyStream, PutBody};
pub use client::S3Client;
pub use error::{BoxError, Error, ErrorKind, Failure, Sent};
pub use exchange::Download;
pub use ops::{Object, OpenUpload, PutObject, Stored, StoredPart, UploadPart};
pub use options::{ClientOptions, PoolOptions, Timeouts};
pub use sign::Credentials;
