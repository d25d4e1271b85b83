//! Why a verb was not carried out.

use types::BucketName;

/// A verb that was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The transaction saw a reason not to happen, and changed nothing.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database cannot be reached or has no room; nothing happened.
    #[error("the catalog is not available: {0}")]
    Unavailable(String),
    /// The transaction may or may not have happened. Repeat it with the same change id.
    #[error("the catalog's answer was lost: {0}")]
    Unknown(String),
    /// The database holds, or answered, what it never should. A human has to look.
    #[error("the catalog is damaged: {0}")]
    Damaged(String),
}

/// Reasons that a transaction finds in the data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `If-Match` or `If-None-Match` does not hold.
    #[error("a precondition does not hold")]
    PreconditionFailed,
    /// There is no such object (also: `If-Match` on a key without an object).
    #[error("there is no such object")]
    NoSuchKey,
    /// There is no such upload, or it is not open, or it belongs to another key.
    #[error("there is no such upload")]
    NoSuchUpload,
    /// A listed part was not uploaded, or has another ETag.
    #[error("part {number} was not uploaded or has another entity tag")]
    InvalidPart {
        /// The first part that does not fit.
        number: u32,
    },
    /// Listed parts do not rise.
    #[error("the parts are not in ascending order")]
    InvalidPartOrder,
    /// A part other than the last is too small.
    #[error("part {number} has {size} bytes, fewer than {least}")]
    PartTooSmall {
        /// The part.
        number: u32,
        /// Its bytes.
        size: u64,
        /// The least allowed, in bytes.
        least: u64,
    },
    /// The completion does not fit what was uploaded; the text is for the client.
    #[error("{message}")]
    BadCompletion {
        /// The S3 error code to answer.
        code: &'static str,
        /// What does not fit.
        message: String,
    },
    /// Not enough backends have room.
    #[error("no backend has room for {size} bytes")]
    OutOfSpace {
        /// Bytes asked for.
        size: u64,
    },
    /// The bucket has as many open uploads as it may have.
    #[error("bucket {bucket} has {open_max} open uploads, the most it may have")]
    TooManyUploads {
        /// The bucket.
        bucket: BucketName,
        /// The limit.
        open_max: u64,
    },
    /// A source, replica or owner is no longer what the caller saw: start over.
    #[error("{0} has changed meanwhile")]
    Changed(&'static str),
    /// No replica was left that would make the blob durable.
    #[error("no replica of the blob is live")]
    NothingLive,
}

impl CatalogError {
    /// The refusal, where this is one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}
