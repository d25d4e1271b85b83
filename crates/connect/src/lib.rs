//! New connections to one server: name, TCP, TLS. What is said on them is the business of whoever asks.
//!
//! The name is looked up for each connection, so that a server that moves is followed. Every wait has a bound.
//! TLS is rustls with ring, 1.2 and later.

mod connector;
pub mod srv;
mod stream;
mod tls;

pub use connector::{Connector, Error, Stage};
pub use stream::Stream;
pub use tls::{Identity, Roots, TlsOptions};
