//! Backends: where bytes lie.
//!
//! [`Backend`] is whole operations on whole blobs: put a stream of known length, get a range, head,
//! delete, list, copy. Drivers (`s3`, `directory`, `memory`) speak to one kind of store each;
//! decorators wrap any of them. A backend knows nothing of buckets, keys or replicas: only paths.
//! Every driver passes the one conformance suite in `suite`.

mod allowance;
mod attach;
mod body;
mod breaker;
mod contract;
mod directory;
mod error;
mod fault;
mod memory;
mod meter;
mod operation;
mod retry;
mod s3;
#[cfg(any(test, feature = "suite"))]
pub mod suite;
mod timeout;

pub use allowance::{
    ASKS_MAX, Allowance, Ask, BORDER_MARGIN, CLOCK_TOLERANCE, Cover, CoverAsk, Hand, Needs, Piece, Present,
    Purse, Shortage, UNLIMITED, apart,
};
pub use attach::{AttachError, Attached, Claim, attach, read_markers};
pub use body::{Body, BodyError, ByteStream, collect};
pub use breaker::CircuitBreaker;
pub use contract::{
    Backend, Deleted, Download, Entry, ListPage, MetadataEntry, Profile, PutOptions, PutReceipt, Stat,
};
pub use directory::{DirectoryBackend, DirectoryOptions};
pub use error::{BackendError, ErrorKind, Reaction, Verdict};
pub use fault::{Fault, FaultBackend, Faults};
pub use memory::MemoryBackend;
pub use meter::{Direction, Meter, MeterSink, Outcome};
pub use operation::Operation;
pub use retry::{Retry, RetryOptions};
pub use s3::{S3Backend, S3Options};
/// How the S3 driver speaks to a provider.
pub use s3_client::{ClientOptions, Credentials, PoolOptions, Timeouts};
pub use timeout::{Timeout, TimeoutOptions};
