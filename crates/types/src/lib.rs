//! The words of the product, as validated types. No IO, no async, no clock.
//!
//! A value of one of these types is always legal: it was parsed at the edge, and
//! everything inside the house relies on it. One word means one thing everywhere: in code, SQL,
//! metrics, configuration and documents.

mod etag;
mod ids;
mod limit;
mod names;
mod range;
mod time;

pub use etag::{ETag, Md5};
pub use ids::{BlobId, BootId, ChangeId, DeploymentId, ManifestId, ReplicaId, UploadId};
pub use limit::{LimitKind, Period, Schedule, Span, Traffic};
pub use names::{BackendName, BucketName, NameError, ObjectKey, ReplicaPath};
pub use range::ByteRange;
pub use time::Timestamp;
