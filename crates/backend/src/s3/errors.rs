//! What an error of the client means for a backend.

use s3_client::{Error, ErrorKind as Cause, Sent};
use types::BackendName;

use crate::{BackendError, ErrorKind};

/// Whether an operation changes what the bucket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    Write,
}

/// The error of an operation, with what lies behind it.
pub(super) fn explain(
    backend: &BackendName,
    operation: &'static str,
    effect: Effect,
    error: Error,
) -> BackendError {
    let kind = kind_of(operation, effect, error.kind, error.sent);
    BackendError::new(backend, operation, kind, error.to_string()).with_source(error)
}

fn kind_of(operation: &str, effect: Effect, cause: Cause, sent: Sent) -> ErrorKind {
    match cause {
        // A put needs nothing to be there but the bucket.
        Cause::NotFound if operation == "put" => ErrorKind::Denied,
        Cause::NotFound => ErrorKind::NotFound,
        Cause::Denied => ErrorKind::Denied,
        Cause::OutOfSpace => ErrorKind::OutOfSpace,
        Cause::Throttled { retry_after } => ErrorKind::Throttled { retry_after },
        Cause::Unsupported | Cause::Invalid => ErrorKind::Unsupported,
        // Whoever asks for a range knows how long the blob was: bytes are missing.
        Cause::RangeNotSatisfiable => ErrorKind::Corrupt,
        Cause::Body => ErrorKind::BadBody,
        Cause::Refused => ErrorKind::Refused,
        Cause::NoAnswer if sent == Sent::Never => ErrorKind::Unavailable,
        // What reads has no effect that could be unknown.
        Cause::Corrupt if effect == Effect::None => ErrorKind::Corrupt,
        Cause::NoAnswer | Cause::ServerFault if effect == Effect::None => ErrorKind::Unavailable,
        Cause::NoAnswer | Cause::ServerFault | Cause::Corrupt => ErrorKind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(operation: &str, effect: Effect, cause: Cause, sent: Sent, kind: ErrorKind) {
        assert_eq!(kind_of(operation, effect, cause, sent), kind, "{operation} {cause:?} {sent:?}");
    }

    #[test]
    fn a_write_without_answer_is_unknown_unless_it_never_left() {
        for sent in [Sent::Head, Sent::Whole] {
            check("put", Effect::Write, Cause::NoAnswer, sent, ErrorKind::Unknown);
            check("put", Effect::Write, Cause::ServerFault, sent, ErrorKind::Unknown);
            check("copy", Effect::Write, Cause::Corrupt, sent, ErrorKind::Unknown);
            check("get", Effect::None, Cause::NoAnswer, sent, ErrorKind::Unavailable);
            check("get", Effect::None, Cause::ServerFault, sent, ErrorKind::Unavailable);
        }
        check("put", Effect::Write, Cause::NoAnswer, Sent::Never, ErrorKind::Unavailable);
        check("put", Effect::Write, Cause::Refused, Sent::Head, ErrorKind::Refused);
    }

    #[test]
    fn the_rest_keeps_its_meaning() {
        check("put", Effect::Write, Cause::NotFound, Sent::Whole, ErrorKind::Denied);
        check("copy", Effect::Write, Cause::NotFound, Sent::Whole, ErrorKind::NotFound);
        check("get", Effect::None, Cause::RangeNotSatisfiable, Sent::Whole, ErrorKind::Corrupt);
        check("get", Effect::None, Cause::Corrupt, Sent::Whole, ErrorKind::Corrupt);
    }
}
