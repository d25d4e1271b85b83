//! The one table from what went wrong inside to what an S3 client is told.
//!
//! Internal text never reaches a client: it goes to the log, the client gets the code's own words.

use std::borrow::Cow;

use catalog::Refusal;
use engine::{BodyFault, EngineError};
use http::header::{CONTENT_RANGE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};

macro_rules! codes {
    ($($name:ident $status:literal $message:literal;)*) => {
        /// The S3 error codes that we answer, each with its status and its words.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code { $($name),* }

        impl Code {
            /// The code as it stands in the XML.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// The HTTP status.
            pub(crate) fn status(self) -> StatusCode {
                let status: u16 = match self { $(Self::$name => $status),* };
                StatusCode::from_u16(status).expect("the table holds legal status codes only")
            }

            /// What it means, for people.
            pub(crate) fn message(self) -> &'static str {
                match self { $(Self::$name => $message),* }
            }

            /// The code of that name.
            pub(crate) fn parse(name: &str) -> Option<Self> {
                match name { $(stringify!($name) => Some(Self::$name),)* _ => None }
            }
        }
    };
}

codes! {
    AccessControlListNotSupported 400 "The bucket does not allow ACLs.";
    AccessDenied 403 "Access Denied";
    AuthorizationHeaderMalformed 400 "The authorization header that you provided is not valid.";
    AuthorizationQueryParametersError 400 "The authorization query parameters that you provided are not valid.";
    BadDigest 400 "The digest or checksum that you specified did not match what we received.";
    BucketAlreadyExists 409 "The requested bucket name is not available.";
    BucketNotEmpty 409 "The bucket that you tried to delete is not empty.";
    EntityTooLarge 400 "Your proposed upload exceeds the maximum allowed object size.";
    EntityTooSmall 400 "Your proposed upload is smaller than the minimum allowed object size.";
    IncompleteBody 400 "You did not provide the number of bytes specified by the Content-Length HTTP header.";
    InsufficientStorage 507 "No storage backend has room for the object.";
    InternalError 500 "An internal error occurred. Try again.";
    InvalidAccessKeyId 403 "The access key ID that you provided does not exist in our records.";
    InvalidArgument 400 "Invalid argument.";
    InvalidBucketName 400 "The specified bucket is not valid.";
    InvalidDigest 400 "The Content-MD5 or checksum value that you specified is not valid.";
    InvalidPart 400 "One or more of the specified parts could not be found, or has another entity tag.";
    InvalidPartNumber 416 "The requested part number is not satisfiable.";
    InvalidPartOrder 400 "The list of parts was not in ascending order.";
    InvalidPolicyDocument 400 "The content of the form does not meet the conditions specified in the policy document.";
    InvalidRange 416 "The requested range is not satisfiable.";
    InvalidRequest 400 "Invalid request.";
    InvalidStorageClass 400 "The storage class that you specified is not valid.";
    InvalidTag 400 "The tag provided was not a valid tag.";
    InvalidURI 400 "The URI could not be parsed.";
    KeyTooLongError 400 "Your key is too long.";
    MalformedPOSTRequest 400 "The body of your POST request is not well-formed multipart/form-data.";
    MalformedXML 400 "The XML that you provided was not well formed or did not validate against our published schema.";
    MaxMessageLengthExceeded 400 "Your request was too large.";
    MetadataTooLarge 400 "Your metadata headers exceed the maximum allowed metadata size.";
    MethodNotAllowed 405 "The specified method is not allowed against this resource.";
    MissingContentLength 411 "You must provide the Content-Length HTTP header.";
    NoSuchBucket 404 "The specified bucket does not exist.";
    NoSuchKey 404 "The specified key does not exist.";
    NoSuchUpload 404 "The specified multipart upload does not exist. It may have been aborted or completed.";
    NoSuchVersion 404 "The specified version does not exist.";
    NotImplemented 501 "A header or query that you provided implies functionality that is not implemented.";
    PreconditionFailed 412 "At least one of the preconditions that you specified did not hold.";
    RequestTimeTooSkewed 403 "The difference between the request time and the server's time is too large.";
    RequestTimeout 400 "Your socket connection to the server was not read from or written to within the timeout period.";
    ServiceUnavailable 503 "The service is not available at present. Please try again.";
    SignatureDoesNotMatch 403 "The request signature that we calculated does not match the signature that you provided.";
    SlowDown 503 "Please reduce your request rate.";
    UserKeyMustBeSpecified 400 "The form must contain a field named key.";
    XAmzContentSHA256Mismatch 400 "The provided x-amz-content-sha256 does not match what was computed.";
}

/// A request that was not carried out, in the client's words.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The code.
    pub(crate) code: Code,
    /// Words better than the code's own.
    pub(crate) message: Option<Cow<'static, str>>,
    /// Further elements of the XML.
    pub(crate) details: Vec<(&'static str, String)>,
    /// Headers of the answer.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// What happened inside, for the log only.
    pub(crate) log: Option<String>,
    /// A limit of a backend's owner was in the way.
    pub(crate) limited: bool,
    /// It was decided on what was known before the catalog was gone.
    pub(crate) degraded: bool,
}

/// What a step of a request gives.
pub(crate) type Outcome<T> = Result<T, Fault>;

impl Fault {
    /// The code with words of its own.
    pub(crate) fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { message: Some(message.into()), ..Self::from(code) }
    }

    /// An argument that is not valid.
    pub(crate) fn argument(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// A request that makes no sense.
    pub(crate) fn request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidRequest, message)
    }

    /// Something that we do not do, and do not pretend to.
    pub(crate) fn not_implemented(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::NotImplemented, what)
    }

    /// Too much at once; come back in a second.
    pub(crate) fn slow_down() -> Self {
        Self::from(Code::SlowDown).with_header(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// The range does not exist in `size` bytes.
    pub(crate) fn range(size: u64) -> Self {
        let mut fault = Self::from(Code::InvalidRange);
        fault.details.push(("ActualObjectSize", size.to_string()));
        let value = HeaderValue::try_from(format!("bytes */{size}")).expect("digits make a header");
        fault.with_header(CONTENT_RANGE, value)
    }

    /// The same with a header.
    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The same with another element in the XML.
    pub(crate) fn with_detail(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.details.push((name, value.into()));
        self
    }

    /// The same with text for the log.
    pub(crate) fn with_log(mut self, text: impl Into<String>) -> Self {
        self.log = Some(text.into());
        self
    }

    /// What the client reads.
    pub(crate) fn message(&self) -> &str {
        self.message.as_deref().unwrap_or(self.code.message())
    }
}

impl From<Code> for Fault {
    fn from(code: Code) -> Self {
        Self {
            code,
            message: None,
            details: Vec::new(),
            headers: Vec::new(),
            log: None,
            limited: false,
            degraded: false,
        }
    }
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::NoSuchKey => Code::NoSuchKey.into(),
            EngineError::NoSuchUpload => Code::NoSuchUpload.into(),
            EngineError::PreconditionFailed => Code::PreconditionFailed.into(),
            EngineError::RangeNotSatisfiable { size } => Self::range(size),
            EngineError::NoSuchPart => Code::InvalidPartNumber.into(),
            EngineError::Remembered(error) => Self { degraded: true, ..Self::from(*error) },
            EngineError::Body(fault) => fault.into(),
            EngineError::TooLarge { size, size_max } => Self::from(Code::EntityTooLarge)
                .with_detail("ProposedSize", size.to_string())
                .with_detail("MaxSizeAllowed", size_max.to_string()),
            EngineError::OutOfSpace { .. } => {
                Self::from(Code::InsufficientStorage).with_log(error.to_string())
            }
            EngineError::LimitReached { ref retry_after } => {
                let seconds = retry_after.as_millis().div_ceil(1000).max(1);
                let value = HeaderValue::try_from(seconds.to_string()).expect("digits make a header");
                let message = "The limits of the storage backends are reached until their period ends.";
                let fault = Self::new(Code::SlowDown, message).with_header(RETRY_AFTER, value);
                Self { limited: true, ..fault.with_log(error.to_string()) }
            }
            EngineError::Completion(refusal) => refusal.into(),
            EngineError::TooManyUploads { .. } => {
                Self::new(Code::SlowDown, "The bucket has as many open multipart uploads as it may have.")
            }
            EngineError::Unavailable(text) => Self::from(Code::ServiceUnavailable)
                .with_header(RETRY_AFTER, HeaderValue::from_static("1"))
                .with_log(text),
            EngineError::Internal(text) => Self::from(Code::InternalError).with_log(text),
        }
    }
}

impl From<BodyFault> for Fault {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::Silent(_) => Self::from(Code::RequestTimeout).with_log(fault.to_string()),
            BodyFault::Disconnected(_) | BodyFault::TooShort { .. } => {
                Self::from(Code::IncompleteBody).with_log(fault.to_string())
            }
            BodyFault::TooLong { .. } => {
                Self::new(Code::IncompleteBody, "The body has more bytes than the headers announced.")
            }
            BodyFault::BadDigest(what) => Self::new(
                Code::BadDigest,
                format!("The {what} that you specified did not match what we received."),
            ),
            BodyFault::BadContentSha256 => Code::XAmzContentSHA256Mismatch.into(),
            BodyFault::BadSignature => Code::SignatureDoesNotMatch.into(),
            BodyFault::Malformed(text) => Self::request(format!("The body is malformed: {text}")),
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::InvalidPart { number } => {
                Self::from(Code::InvalidPart).with_detail("PartNumber", number.to_string())
            }
            Refusal::InvalidPartOrder => Code::InvalidPartOrder.into(),
            Refusal::PartTooSmall { number, size, least } => Self::from(Code::EntityTooSmall)
                .with_detail("PartNumber", number.to_string())
                .with_detail("ProposedSize", size.to_string())
                .with_detail("MinSizeAllowed", least.to_string()),
            Refusal::BadCompletion { code, message } => {
                Self::new(Code::parse(code).unwrap_or(Code::InvalidRequest), message)
            }
            // All others have a variant of their own at the engine.
            other => EngineError::from(other).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(error: EngineError, code: &str, status: u16) {
        let fault = Fault::from(error);
        assert_eq!((fault.code.as_str(), fault.code.status().as_u16()), (code, status));
    }

    #[test]
    fn each_error_has_its_code() {
        check(EngineError::NoSuchKey, "NoSuchKey", 404);
        check(EngineError::RangeNotSatisfiable { size: 3 }, "InvalidRange", 416);
        check(EngineError::OutOfSpace { size: 3 }, "InsufficientStorage", 507);
        check(EngineError::Body(BodyFault::BadDigest("MD5")), "BadDigest", 400);
        check(EngineError::Body(BodyFault::Disconnected("reset".into())), "IncompleteBody", 400);
        check(EngineError::Body(BodyFault::Silent(Duration::from_secs(1))), "RequestTimeout", 400);
        check(EngineError::Completion(Refusal::InvalidPartOrder), "InvalidPartOrder", 400);
        check(EngineError::Unavailable("x".into()), "ServiceUnavailable", 503);
        let refusal = Refusal::BadCompletion { code: "InvalidPart", message: "m".into() };
        check(EngineError::Completion(refusal), "InvalidPart", 400);
    }

    #[test]
    fn a_limit_says_when_it_starts_over() {
        for (millis, seconds) in [(0, "1"), (1_001, "2"), (2_678_400_000, "2678400")] {
            let retry_after = Duration::from_millis(millis);
            let fault = Fault::from(EngineError::LimitReached { retry_after });
            assert_eq!((fault.code.as_str(), fault.code.status().as_u16()), ("SlowDown", 503));
            let header = fault.headers.iter().find(|(name, _)| *name == RETRY_AFTER).unwrap();
            assert_eq!(header.1, seconds);
        }
    }

    #[test]
    fn internal_text_stays_inside() {
        let fault = Fault::from(EngineError::Internal("row 7 of table x".into()));
        assert!(!fault.message().contains("row 7"));
        assert_eq!(fault.log.as_deref(), Some("row 7 of table x"));
    }
}
