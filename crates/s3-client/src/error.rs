//! What can go wrong, by what a caller may do about it.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

/// A failed request. Small: what happened lies behind one pointer.
#[derive(Debug)]
pub struct Error(Box<Failure>);

/// What happened to a failed request.
#[derive(Debug)]
pub struct Failure {
    /// What a caller may do about it.
    pub kind: ErrorKind,
    /// How much of the request may have reached the server.
    pub sent: Sent,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// The S3 code of the answer (`NoSuchKey`), if it had one.
    pub code: Option<String>,
    /// What the server calls this request, for its support.
    pub request_id: Option<String>,
    /// What happened, in words. Never holds a secret.
    pub message: String,
    source: Option<BoxError>,
}

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no such object.
    NotFound,
    /// The server refuses us: wrong key, no permission, no such bucket, wrong region or clock.
    Denied,
    /// The server has no room for it.
    OutOfSpace,
    /// Too many requests. Nothing was done.
    Throttled {
        /// How long the server asks us to wait.
        retry_after: Option<Duration>,
    },
    /// The server cannot do this, or not with this argument. Nothing was done.
    Unsupported,
    /// The object is shorter than the range asked for.
    RangeNotSatisfiable,
    /// The server refused for another reason, definitely. Nothing was done.
    Refused,
    /// The server failed in the middle (500 and its like): it may have done it, or may still do it.
    ServerFault,
    /// No trustworthy answer came; [`Failure::sent`] says whether anything can have been done.
    NoAnswer,
    /// The body that we were given failed. The server was left with a truncated one.
    Body,
    /// The server answered something that it must not.
    Corrupt,
    /// The request or the options make no sense. Nothing was sent.
    Invalid,
}

/// How much of a request may have reached the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sent {
    /// Not a byte: no connection took it.
    Never,
    /// Its head, and perhaps a part of its body.
    Head,
    /// All of it.
    Whole,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, sent: Sent, message: impl Into<String>) -> Self {
        Self(Box::new(Failure {
            kind,
            sent,
            status: None,
            code: None,
            request_id: None,
            message: message.into(),
            source: None,
        }))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, Sent::Never, message)
    }

    pub(crate) fn never_sent(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NoAnswer, Sent::Never, message)
    }

    pub(crate) fn no_answer(sent: Sent, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NoAnswer, sent, message)
    }

    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, Sent::Whole, message)
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub(crate) fn with_status(mut self, status: http::StatusCode) -> Self {
        self.0.status = Some(status.as_u16());
        self
    }

    pub(crate) fn failure_mut(&mut self) -> &mut Failure {
        &mut self.0
    }

    /// Whether the request certainly had no effect and will have none.
    #[must_use]
    pub fn nothing_happened(&self) -> bool {
        match self.kind {
            ErrorKind::ServerFault | ErrorKind::Corrupt => false,
            ErrorKind::NoAnswer => self.sent == Sent::Never,
            _ => true,
        }
    }
}

impl Deref for Error {
    type Target = Failure;

    fn deref(&self) -> &Failure {
        &self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match (self.status, &self.code) {
            (Some(status), Some(code)) => write!(f, " ({status} {code}")?,
            (Some(status), None) => write!(f, " ({status}")?,
            (None, _) => return Ok(()),
        }
        if let Some(id) = &self.request_id {
            write!(f, ", request {id}")?;
        }
        f.write_str(")")
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// What an answer of this status, with this code and message in its body, means. The only place that
/// decides it.
///
/// `writes` tells whether the request changes something: a gateway's bare 503 may then hide a write that
/// came through.
pub(crate) fn classify(status: u16, code: Option<&str>, message: &str, writes: bool) -> ErrorKind {
    if let Some(kind) = code.and_then(|code| classify_code(code, message)) {
        return kind;
    }
    match status {
        404 => ErrorKind::NotFound,
        301 | 302 | 307 | 308 | 401 | 403 => ErrorKind::Denied,
        405 | 414 | 501 => ErrorKind::Unsupported,
        416 => ErrorKind::RangeNotSatisfiable,
        429 => ErrorKind::Throttled { retry_after: None },
        503 if !writes => ErrorKind::Throttled { retry_after: None },
        507 => ErrorKind::OutOfSpace,
        400..=499 => ErrorKind::Refused,
        500..=599 => ErrorKind::ServerFault,
        _ => ErrorKind::Corrupt,
    }
}

fn classify_code(code: &str, message: &str) -> Option<ErrorKind> {
    Some(match code {
        "NoSuchKey" | "NoSuchVersion" => ErrorKind::NotFound,
        // How Backblaze says that the owner's own cap is reached.
        "AccessDenied" if message.to_ascii_lowercase().contains("storage cap exceeded") => {
            ErrorKind::OutOfSpace
        }
        "AccessDenied"
        | "AccountProblem"
        | "AllAccessDisabled"
        | "AuthorizationHeaderMalformed"
        | "ExpiredToken"
        | "InvalidAccessKeyId"
        | "InvalidToken"
        | "NoSuchBucket"
        | "PermanentRedirect"
        | "RequestTimeTooSkewed"
        | "SignatureDoesNotMatch"
        | "TemporaryRedirect" => ErrorKind::Denied,
        "InsufficientStorage"
        | "QuotaExceeded"
        | "StorageQuotaExceeded"
        | "XMinioAdminBucketQuotaExceeded"
        | "XMinioStorageFull" => ErrorKind::OutOfSpace,
        "BandwidthLimitExceeded"
        | "RequestLimitExceeded"
        | "ServiceUnavailable"
        | "SlowDown"
        | "SlowDownRead"
        | "SlowDownWrite"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequests" => ErrorKind::Throttled { retry_after: None },
        "EntityTooLarge"
        | "InvalidArgument"
        | "InvalidObjectName"
        | "InvalidRequest"
        | "InvalidURI"
        | "KeyTooLongError"
        | "MethodNotAllowed"
        | "NotImplemented"
        | "XMinioInvalidObjectName" => ErrorKind::Unsupported,
        "InvalidRange" => ErrorKind::RangeNotSatisfiable,
        "BadDigest"
        | "IncompleteBody"
        | "InvalidDigest"
        | "OperationAborted"
        | "PreconditionFailed"
        | "RequestTimeout"
        | "XAmzContentSHA256Mismatch" => ErrorKind::Refused,
        "InternalError" => ErrorKind::ServerFault,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, code: Option<&str>, writes: bool, kind: ErrorKind) {
        assert_eq!(classify(status, code, "", writes), kind, "{status} {code:?}");
    }

    #[test]
    fn answers_are_told_apart_by_what_to_do() {
        let throttled = ErrorKind::Throttled { retry_after: None };
        check(404, Some("NoSuchKey"), false, ErrorKind::NotFound);
        check(404, None, false, ErrorKind::NotFound);
        check(404, Some("NoSuchBucket"), false, ErrorKind::Denied);
        check(403, Some("SignatureDoesNotMatch"), true, ErrorKind::Denied);
        check(301, Some("PermanentRedirect"), true, ErrorKind::Denied);
        check(307, None, true, ErrorKind::Denied);
        check(503, Some("SlowDown"), true, throttled);
        check(429, None, true, throttled);
        check(503, None, false, throttled);
        check(503, None, true, ErrorKind::ServerFault);
        check(500, Some("InternalError"), true, ErrorKind::ServerFault);
        check(502, None, true, ErrorKind::ServerFault);
        check(504, None, false, ErrorKind::ServerFault);
        check(507, None, true, ErrorKind::OutOfSpace);
        check(403, Some("QuotaExceeded"), true, ErrorKind::OutOfSpace);
        check(501, Some("NotImplemented"), true, ErrorKind::Unsupported);
        check(416, Some("InvalidRange"), false, ErrorKind::RangeNotSatisfiable);
        check(400, Some("RequestTimeout"), true, ErrorKind::Refused);
        check(412, Some("PreconditionFailed"), true, ErrorKind::Refused);
        check(200, Some("InternalError"), true, ErrorKind::ServerFault);
        check(200, Some("SomethingNew"), true, ErrorKind::Corrupt);
    }

    #[test]
    fn a_reached_cap_is_a_lack_of_space() {
        let kind = classify(403, Some("AccessDenied"), "Storage cap exceeded, see the Caps page", true);
        assert_eq!(kind, ErrorKind::OutOfSpace);
    }

    #[test]
    fn only_a_definite_refusal_is_nothing() {
        assert!(Error::never_sent("x").nothing_happened());
        assert!(!Error::no_answer(Sent::Head, "x").nothing_happened());
        assert!(!Error::new(ErrorKind::ServerFault, Sent::Whole, "x").nothing_happened());
        assert!(Error::new(ErrorKind::Denied, Sent::Head, "x").nothing_happened());
    }
}
