//! `redis`: what the Go program shared counters with.

use std::time::Duration;

use crate::net::HostPort;
use crate::secret::Secret;
use crate::section::{none, or, required, section};

section! {
    /// A setting of the Go program.
    pub struct Redis {
        /// Address of the server.
        pub address: HostPort = required(),
        /// Password.
        pub password: Option<Secret> = none(),
        /// Number of the database.
        pub db: u32 = or(0_u32),
        /// Whether TLS is spoken.
        pub tls: bool = or(false),
        /// Put in front of every key.
        pub key_prefix: String = or("s3orch"),
        /// Failures in a row after which it was left alone.
        pub failure_threshold: u32 = or(3_u32),
        /// Pause before it was tried again.
        pub open_timeout: Duration = or(Duration::from_secs(15)),
    }
}
