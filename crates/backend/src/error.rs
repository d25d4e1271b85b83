//! What can go wrong at a backend, by what the caller may do about it.

use std::time::Duration;

use runtime::mutation;
use types::Timestamp;

/// A failed operation on a backend.
#[derive(Debug, thiserror::Error)]
#[error("backend {backend}: {operation}: {message}")]
pub struct BackendError {
    /// Which backend.
    pub backend: types::BackendName,
    /// Which operation, in lower case (`put`, `get`, ...).
    pub operation: &'static str,
    /// What kind of failure.
    pub kind: ErrorKind,
    /// What happened, for the log. Never holds a secret; never reaches a client.
    pub message: String,
    /// What lies behind it.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Nothing lies at that path.
    NotFound,
    /// The backend refuses us: wrong credentials, no permission, no such bucket.
    Denied,
    /// The backend has no room.
    OutOfSpace,
    /// Too many requests.
    Throttled {
        /// How long the backend asks us to wait.
        retry_after: Option<Duration>,
    },
    /// No grant covers the attempt: a limit that its owner set is reached, or at present nobody can tell. Nothing
    /// was sent, and it is no failure of the backend.
    LimitReached {
        /// When the limit starts over, or when to ask again.
        resets_at: Timestamp,
    },
    /// The request certainly had no effect: it was never sent whole, or was answered with a refusal.
    Unavailable,
    /// The request left and no trustworthy answer came: it may have had its effect, or may still have it.
    Unknown,
    /// The body that we were given failed. Nothing was stored.
    BadBody,
    /// The backend answered something that it must not: a wrong range, a wrong length, a truncated body.
    Corrupt,
    /// The operation or argument is not possible on this backend.
    Unsupported,
    /// The backend refused this one request, and nothing was done: it says nothing about the next one.
    Refused,
}

/// What a caller may do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// The answer is final.
    GiveUp,
    /// The same may be tried again, after the given time where one was named.
    RetryAfter(Option<Duration>),
    /// The answer was lost: what was written may be there. Doom it, use a new path.
    Abandon,
}

/// What an operation's end tells of the backend as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is there.
    Answered,
    /// It is not, or refuses us altogether.
    Failed,
    /// Nothing: it befell one object, or our own side.
    Nothing,
}

impl ErrorKind {
    /// What a caller may do next. The only place that decides about retries.
    #[must_use]
    pub fn reaction(self) -> Reaction {
        match self {
            Self::NotFound
            | Self::Denied
            | Self::OutOfSpace
            | Self::BadBody
            | Self::Unsupported
            | Self::LimitReached { .. } => Reaction::GiveUp,
            Self::Throttled { retry_after } => Reaction::RetryAfter(retry_after),
            Self::Unavailable | Self::Corrupt | Self::Refused => Reaction::RetryAfter(None),
            Self::Unknown => Reaction::Abandon,
        }
    }

    /// What it tells of the backend as a whole. The only place that decides what counts against it.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        match self {
            // It is there, and says what it has to say.
            Self::NotFound | Self::OutOfSpace => Verdict::Answered,
            // Wrong credentials are wrong for every request; throttled is what is left after retries.
            Self::Denied | Self::Throttled { .. } | Self::Unavailable | Self::Unknown => Verdict::Failed,
            // A limit of ours: it was not asked at all.
            Self::LimitReached { .. } if mutation::is_on("verdict.limit") => Verdict::Failed,
            Self::LimitReached { .. } => Verdict::Nothing,
            Self::BadBody if mutation::is_on("verdict.body") => Verdict::Failed,
            Self::BadBody | Self::Corrupt | Self::Unsupported | Self::Refused => Verdict::Nothing,
        }
    }

    /// The kind as a metric label and a log field.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Denied => "denied",
            Self::OutOfSpace => "out_of_space",
            Self::Throttled { .. } => "throttled",
            Self::LimitReached { .. } => "limit_reached",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
            Self::BadBody => "bad_body",
            Self::Corrupt => "corrupt",
            Self::Unsupported => "unsupported",
            Self::Refused => "refused",
        }
    }
}

impl BackendError {
    /// An error of this kind without a source.
    pub fn new(
        backend: &types::BackendName,
        operation: &'static str,
        kind: ErrorKind,
        message: impl Into<String>,
    ) -> Self {
        Self { backend: backend.clone(), operation, kind, message: message.into(), source: None }
    }

    /// The same with what lies behind it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}
