//! The configuration: YAML text in, a validated [`Config`] out, or every problem of the file at once.
//!
//! Each section is one struct, declared once: the reader, the effective configuration and the table of
//! keys in the documents come from that declaration. What a key asks for is either honoured, or
//! superseded with a warning, or refused at start because the binary does not have it yet: never
//! ignored. Which of these it is stands in one file, `built.rs`.

mod built;
mod config;
mod document;
mod expand;
mod flags;
mod keys;
mod net;
mod reader;
mod report;
mod scalar;
mod secret;
mod section;
mod sections;
mod show;
pub mod snapshot;
mod text_list;
mod tree;
mod units;

pub use built::{Feature, NotBuilt};
pub use config::{Config, Lines, Loaded};
pub use flags::with_double_dashes;
pub use keys::{KeyRow, all_keys, to_markdown};
pub use net::{HostPort, HttpUrl, Network};
pub use report::{Problem, Problems};
pub use secret::{AccessKeyId, Secret};
pub use sections::{
    Admission, Auth, Backend, BackendCircuitBreaker, Brake, Bucket, Cache, CircuitBreaker, CleanupQueue,
    Compression, CompressionLevel, CorsRule, Credential, CredentialSource, Database, Debug, DirectoryStore,
    Driver, Encryption, FlightRecorder, HttpMethod, HttpPool, Integrity, Journal, Lifecycle, LifecycleRule,
    LogFormat, LogLevel, Metrics, Multipart, NotificationEndpoint, Notifications, ParallelCopies,
    PendingPattern, Period, RateLimit, Rebalance, Reconcile, Redis, Replication, RequestPool, RootCredential,
    S3Store, Server, SslMode, Store, StoreType, Strategy, Telemetry, Tls, TlsVersion, Tracing, Ui,
    UsageFlush, Vault, WritePath,
};
pub use text_list::TextList;
pub use units::ByteSize;

/// YAML (and JSON, which is YAML) as a tree that knows its lines, for the configurations of other programs.
pub mod yaml {
    pub use crate::reader::{Problems, Section, scalar};
    pub use crate::tree::{Entry, Flaw, Kind, Node, Position, parse};
}
