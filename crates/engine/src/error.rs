//! Why a verb of the engine was not carried out.

use std::time::Duration;

use catalog::{CatalogError, Refusal};

/// A verb that was not carried out. `gateway/error.rs` is the one table to S3 codes.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no such object.
    #[error("there is no such object")]
    NoSuchKey,
    /// There is no such upload.
    #[error("there is no such upload")]
    NoSuchUpload,
    /// A condition does not hold.
    #[error("a precondition does not hold")]
    PreconditionFailed,
    /// The wanted bytes do not exist.
    #[error("the range is not within the {size} bytes of the object")]
    RangeNotSatisfiable {
        /// Bytes that there are.
        size: u64,
    },
    /// The wanted part does not exist.
    #[error("there is no part of that number")]
    NoSuchPart,
    /// The same, decided on what was known before the catalog was gone: it may be as old as the outage.
    #[error(transparent)]
    Remembered(Box<EngineError>),
    /// The body is not what the client said, or did not come whole.
    #[error(transparent)]
    Body(#[from] BodyFault),
    /// The object, or what its parts add up to, is larger than allowed.
    #[error("{size} bytes are more than the {size_max} allowed")]
    TooLarge {
        /// Bytes asked for.
        size: u64,
        /// Bytes allowed.
        size_max: u64,
    },
    /// No backend has room.
    #[error("no backend has room for {size} bytes")]
    OutOfSpace {
        /// Bytes asked for.
        size: u64,
    },
    /// The limits that the owners of the backends set are reached.
    #[error("the limits of the backends are reached, try again in {} s", retry_after.as_secs())]
    LimitReached {
        /// How long it is until one of them starts over, or can be asked about again.
        retry_after: Duration,
    },
    /// A completion, or what it lists, is refused.
    #[error(transparent)]
    Completion(Refusal),
    /// Too many open uploads in a bucket.
    #[error("the bucket has {open_max} open uploads, the most it may have")]
    TooManyUploads {
        /// The limit.
        open_max: u64,
    },
    /// Backends or the catalog cannot serve at present; the same may work later.
    #[error("{0}")]
    Unavailable(String),
    /// What never should be. A human has to look; the text is for the log.
    #[error("{0}")]
    Internal(String),
}

/// What can be wrong with a body. Always the client's side.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// The connection ended before the body did.
    #[error("the client went away: {0}")]
    Disconnected(String),
    /// The client fell silent.
    #[error("no byte came for {0:?}")]
    Silent(Duration),
    /// Fewer bytes than announced.
    #[error("the body has {got} bytes, {expected} were announced")]
    TooShort {
        /// Bytes announced.
        expected: u64,
        /// Bytes that came.
        got: u64,
    },
    /// More bytes than announced.
    #[error("the body has more than the {expected} bytes announced")]
    TooLong {
        /// Bytes announced.
        expected: u64,
    },
    /// The MD5 or another checksum is not the one that was given.
    #[error("the {0} of the body is not the one given")]
    BadDigest(&'static str),
    /// `x-amz-content-sha256` is not the hash of the body.
    #[error("the body's SHA-256 is not the one signed")]
    BadContentSha256,
    /// A chunk's or the trailer's signature is wrong.
    #[error("a chunk's signature does not match")]
    BadSignature,
    /// The framing or the trailer cannot be read.
    #[error("the body is malformed: {0}")]
    Malformed(String),
}

impl From<CatalogError> for EngineError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Refused(refusal) => refusal.into(),
            CatalogError::Unavailable(_) | CatalogError::Unknown(_) => Self::Unavailable(error.to_string()),
            CatalogError::Damaged(_) => Self::Internal(error.to_string()),
        }
    }
}

impl From<Refusal> for EngineError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::PreconditionFailed => Self::PreconditionFailed,
            Refusal::NoSuchKey => Self::NoSuchKey,
            Refusal::NoSuchUpload => Self::NoSuchUpload,
            Refusal::OutOfSpace { size } => Self::OutOfSpace { size },
            Refusal::TooManyUploads { open_max, .. } => Self::TooManyUploads { open_max },
            Refusal::InvalidPart { .. }
            | Refusal::InvalidPartOrder
            | Refusal::PartTooSmall { .. }
            | Refusal::BadCompletion { .. } => Self::Completion(refusal),
            Refusal::Changed(_) | Refusal::NothingLive => Self::Unavailable(refusal.to_string()),
        }
    }
}
