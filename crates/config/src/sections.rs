//! One file for each group of sections.

pub(crate) use backends::check_backends;
pub(crate) use buckets::check_buckets;
pub(crate) use database::POSTGRES_KEYS;

mod backends;
mod buckets;
mod database;
mod encryption;
mod formats;
mod lifecycle;
mod notifications;
mod placement;
mod redis;
mod resilience;
mod server;
mod store;
mod telemetry;
mod ui;

pub use backends::{Backend, Period, RequestPool};
pub use buckets::{Auth, Bucket, CorsRule, Credential, HttpMethod, RootCredential};
pub use database::{Database, Driver, SslMode};
pub use encryption::{Encryption, Vault};
pub use formats::{Cache, Compression, CompressionLevel, Integrity};
pub use lifecycle::{Journal, Lifecycle, LifecycleRule, Reconcile};
pub use notifications::{NotificationEndpoint, Notifications};
pub use placement::{Multipart, ParallelCopies, PendingPattern, Rebalance, Replication, Strategy, WritePath};
pub use redis::Redis;
pub use resilience::{BackendCircuitBreaker, Brake, CircuitBreaker, CleanupQueue, RateLimit, UsageFlush};
pub use server::{Admission, LogFormat, LogLevel, Server, Tls, TlsVersion};
pub use store::{CredentialSource, DirectoryStore, HttpPool, S3Store, Store, StoreType};
pub use telemetry::{Debug, FlightRecorder, Metrics, Telemetry, Tracing};
pub use ui::Ui;
