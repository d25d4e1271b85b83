//! The client: makes requests, signs them, tells answers from errors.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use connect::{Connector, Roots, TlsOptions};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use runtime::Clock;

use crate::answers::{ErrorBody, error_body, shortened};
use crate::body::{Progress, PutBody, RequestBody};
use crate::encode::{AmzDate, Slash, canonical_query, percent_encode, retry_after};
use crate::error::{Error, ErrorKind, Sent, classify};
use crate::exchange::{Answer, exchange};
use crate::options::{ClientOptions, Endpoint, Timeouts};
use crate::pool::Pool;
use crate::sign::{EMPTY_SHA256, Signable, Signer, UNSIGNED_PAYLOAD, sha256_hex};

/// Largest error body that is read; what is longer is no S3 error.
const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;

const AMZ_CONTENT_SHA256: &str = "x-amz-content-sha256";
const AMZ_DATE: &str = "x-amz-date";
const AMZ_SECURITY_TOKEN: &str = "x-amz-security-token";

/// A client of one bucket. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct S3Client {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) endpoint: Endpoint,
    pub(crate) bucket: String,
    pub(crate) timeouts: Timeouts,
    pub(crate) clock: Clock,
    /// Set when the server once refused to delete many at once.
    pub(crate) single_deletes: AtomicBool,
    pub(crate) pool: Arc<Pool>,
    pub(crate) signer: Signer,
    user_agent: HeaderValue,
    sign_whole_bodies: bool,
}

/// A request before it is signed.
pub(crate) struct Outgoing<'a> {
    pub operation: &'static str,
    pub method: Method,
    /// The object; `None` for the bucket itself.
    pub key: Option<&'a str>,
    pub query: &'a mut [(&'a str, &'a str)],
    /// Names in lower case.
    pub headers: Vec<(HeaderName, &'a str)>,
    pub body: PutBody,
}

impl<'a> Outgoing<'a> {
    pub(crate) fn new(operation: &'static str, method: Method, key: Option<&'a str>) -> Self {
        Self {
            operation,
            method,
            key,
            query: &mut [],
            headers: Vec::new(),
            body: PutBody::Bytes(Bytes::new()),
        }
    }

    fn writes(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD)
    }
}

impl S3Client {
    /// A client with these options. Connects to nothing yet.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where an option makes no sense.
    pub fn new(options: ClientOptions) -> Result<Self, Error> {
        let endpoint = Endpoint::parse(&options)?;
        if options.unsigned_payload == Some(false) {
            return Err(Error::invalid(
                "unsigned_payload: false would need each chunk of a body signed, which is not built; \
                 leave it out, or set it to true",
            ));
        }
        for (what, text) in [
            ("access key id", &options.credentials.access_key_id),
            ("secret access key", &options.credentials.secret_access_key),
        ] {
            if text.is_empty() || text.chars().any(|c| !c.is_ascii_graphic()) {
                return Err(Error::invalid(format!(
                    "the {what} is empty or holds characters that no key has"
                )));
            }
        }
        let region = if options.region.is_empty() { "us-east-1" } else { options.region.as_str() };
        let connector = connector(&endpoint, &options)?;
        Ok(Self {
            inner: Arc::new(Inner {
                user_agent: HeaderValue::from_str(&options.user_agent)
                    .map_err(|_| Error::invalid("the user agent is no legal header"))?,
                sign_whole_bodies: !endpoint.tls && options.unsigned_payload.is_none(),
                endpoint,
                signer: Signer::new(options.credentials, region.to_owned()),
                bucket: options.bucket,
                pool: Pool::new(connector, options.pool, options.timeouts.clone()),
                timeouts: options.timeouts,
                clock: options.clock,
                single_deletes: AtomicBool::new(false),
            }),
        })
    }

    /// The bucket that this is a client of.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.inner.bucket
    }
}

impl std::fmt::Debug for S3Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "S3Client({}, {})", self.inner.endpoint.host_text, self.inner.bucket)
    }
}

impl Inner {
    /// Sends a request and returns its answer if that is a success.
    pub(crate) async fn send(&self, outgoing: Outgoing<'_>) -> Result<Answer, Error> {
        self.send_within(outgoing, &self.timeouts, None).await
    }

    /// The same, and reads all of its answer, within a limit for both.
    pub(crate) async fn call(
        &self,
        outgoing: Outgoing<'_>,
        limit: Duration,
        answer_bytes_max: usize,
    ) -> Result<(HeaderMap, Bytes), Error> {
        let operation = outgoing.operation;
        // A small operation has one limit for everything, so that of the head must not be tighter.
        let timeouts = Timeouts { response_header: limit, ..self.timeouts.clone() };
        let answer = self.send_within(outgoing, &timeouts, Some(limit)).await?;
        match runtime::timeout(limit, answer.body.collect(answer_bytes_max)).await {
            Ok(Ok(Some(bytes))) => Ok((answer.headers, bytes)),
            Ok(Ok(None)) => Err(Error::corrupt(format!(
                "the answer to {operation} is longer than {answer_bytes_max} bytes"
            ))),
            Ok(Err(error)) => Err(error),
            Err(runtime::Elapsed) => Err(Error::no_answer(
                Sent::Whole,
                format!("the answer to {operation} took longer than {limit:?}"),
            )),
        }
    }

    async fn send_within(
        &self,
        outgoing: Outgoing<'_>,
        timeouts: &Timeouts,
        limit: Option<Duration>,
    ) -> Result<Answer, Error> {
        let (operation, writes) = (outgoing.operation, outgoing.writes());
        let (request, progress) = self.sign(outgoing)?;
        let sending = exchange(&self.pool, request, &progress, timeouts);
        let answer = match limit {
            None => sending.await?,
            Some(limit) => runtime::timeout(limit, sending).await.unwrap_or_else(|runtime::Elapsed| {
                Err(Error::no_answer(progress.sent(), format!("{operation} took longer than {limit:?}")))
            })?,
        };
        self.accept(answer, operation, writes).await
    }

    /// Tells a success from everything else.
    async fn accept(&self, answer: Answer, operation: &'static str, writes: bool) -> Result<Answer, Error> {
        match answer.status {
            StatusCode::OK | StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::PARTIAL_CONTENT => {
                if answer.sent == Sent::Whole {
                    return Ok(answer);
                }
                let message = format!("{operation} was answered with success before its body was sent");
                Err(Error::no_answer(answer.sent, message).with_status(answer.status))
            }
            _ => Err(self.refusal(answer, operation, writes).await),
        }
    }

    async fn refusal(&self, answer: Answer, operation: &'static str, writes: bool) -> Error {
        let Answer { status, headers, body, sent } = answer;
        // A status alone says enough where the rest of the answer is lost.
        let read = runtime::timeout(self.timeouts.stall, body.collect(ERROR_BODY_BYTES_MAX)).await;
        let said = match read {
            Ok(Ok(Some(bytes))) => error_body(&bytes),
            _ => ErrorBody::default(),
        };
        self.failure(operation, status, &headers, said, sent, writes)
    }

    /// The error that an answer stands for.
    pub(crate) fn failure(
        &self,
        operation: &'static str,
        status: StatusCode,
        headers: &HeaderMap,
        said: ErrorBody,
        sent: Sent,
        writes: bool,
    ) -> Error {
        let message = said.message.unwrap_or_default();
        let mut kind = classify(status.as_u16(), said.code.as_deref(), &message, writes);
        if let ErrorKind::Throttled { retry_after: wait } = &mut kind {
            *wait = text_of(headers, &RETRY_AFTER).and_then(|text| retry_after(&text, self.clock.now()));
        }
        let words = if message.is_empty() {
            format!("{operation} was refused")
        } else {
            format!("{operation} was refused: {message}")
        };
        let mut error = Error::new(kind, sent, words).with_status(status);
        let failure = error.failure_mut();
        failure.code = said.code;
        failure.request_id = said.request_id.or_else(|| {
            headers.get("x-amz-request-id").map(|id| shortened(&String::from_utf8_lossy(id.as_bytes())))
        });
        error
    }

    fn sign(&self, outgoing: Outgoing<'_>) -> Result<(Request<RequestBody>, Arc<Progress>), Error> {
        let hash = self.payload_hash(&outgoing.body);
        let date = AmzDate::at(self.clock.now());
        let (target, path_length) = self.target(outgoing.key, outgoing.query);
        let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(outgoing.headers.len() + 4);
        pairs.push((HOST.as_str(), &self.endpoint.host_text));
        pairs.push((AMZ_CONTENT_SHA256, &hash));
        pairs.push((AMZ_DATE, date.as_str()));
        pairs.extend(self.signer.session_token().map(|token| (AMZ_SECURITY_TOKEN, token)));
        pairs.extend(outgoing.headers.iter().map(|(name, value)| (name.as_str(), *value)));
        pairs.sort_unstable_by_key(|(name, _)| *name);
        let authorization = self.signer.authorization(
            &Signable {
                method: outgoing.method.as_str(),
                path: &target[..path_length],
                query: target.get(path_length + 1..).unwrap_or_default(),
                headers: &pairs,
                payload_hash: &hash,
            },
            &date,
        );

        let length = outgoing.body.length();
        let (body, progress) = RequestBody::new(outgoing.body);
        let mut request = Request::new(body);
        let headers = request.headers_mut();
        headers.reserve(outgoing.headers.len() + 7);
        headers.insert(HOST, self.endpoint.host_header.clone());
        headers.insert(USER_AGENT, self.user_agent.clone());
        headers.insert(AUTHORIZATION, value_of(&authorization)?);
        headers.insert(HeaderName::from_static(AMZ_DATE), value_of(date.as_str())?);
        headers.insert(HeaderName::from_static(AMZ_CONTENT_SHA256), value_of(&hash)?);
        if let Some(token) = self.signer.session_token() {
            headers.insert(HeaderName::from_static(AMZ_SECURITY_TOKEN), value_of(token)?);
        }
        if length > 0 || outgoing.method == Method::PUT {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        for (name, value) in outgoing.headers {
            headers.insert(name, value_of(value)?);
        }
        *request.method_mut() = outgoing.method;
        *request.uri_mut() = Uri::from_maybe_shared(Bytes::from(target))
            .map_err(|error| Error::invalid("the key makes no legal path").with_source(error))?;
        Ok((request, progress))
    }

    /// Path and query as they go out, and the length of the path.
    fn target(&self, key: Option<&str>, query: &mut [(&str, &str)]) -> (String, usize) {
        let mut target = match key {
            None => self.endpoint.bucket_path.clone(),
            Some(key) => {
                let mut target = String::with_capacity(self.endpoint.key_prefix.len() + key.len() * 3);
                target.push_str(&self.endpoint.key_prefix);
                percent_encode(&mut target, key, Slash::Keep);
                target
            }
        };
        let path_length = target.len();
        if !query.is_empty() {
            target.push('?');
            target.push_str(&canonical_query(query));
        }
        (target, path_length)
    }

    fn payload_hash(&self, body: &PutBody) -> std::borrow::Cow<'static, str> {
        match body {
            _ if body.length() == 0 => EMPTY_SHA256.into(),
            PutBody::Bytes(bytes) if self.sign_whole_bodies => sha256_hex(bytes).into(),
            _ => UNSIGNED_PAYLOAD.into(),
        }
    }
}

fn connector(endpoint: &Endpoint, options: &ClientOptions) -> Result<Connector, Error> {
    let roots = options.extra_ca_pem.clone().map_or(Roots::Public, Roots::PublicAnd);
    let tls = endpoint.tls.then(|| TlsOptions { roots, ..TlsOptions::default() });
    Connector::new(&endpoint.host, endpoint.port, tls.as_ref(), options.timeouts.connect)
        .map_err(|error| Error::invalid(error.to_string()).with_source(error))
}

fn value_of(text: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(text)
        .map_err(|_| Error::invalid("a header holds characters that HTTP does not allow"))
}

/// The text of a header, where it has one.
pub(crate) fn text_of(headers: &HeaderMap, name: impl http::header::AsHeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}
