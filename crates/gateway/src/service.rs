//! The gateway: from a request's head to the last byte of its answer.
//!
//! A request passes, in this order: rate limit, target and operation, form of the signature, admission, the
//! signature itself (in `s3s`), access to the bucket, the operation. Its body is not touched before the
//! operation asks for it, so a client that waits for `100 Continue` sends nothing in vain.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use engine::Engine;
use http::header::{CONTENT_LENGTH, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use runtime::{Chance, Clock};
use s3s::StdError;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::sync::Semaphore;
use tracing::Instrument;

use crate::admission::{Admission, Budget, Rejection};
use crate::answer::{self, About};
use crate::auth::{Directory, Secrets};
use crate::body::{AnswerBody, ClientBody};
use crate::call::Call;
use crate::client_ip::client_ip;
use crate::error::{Code, Fault, Outcome};
use crate::framing::Reframer;
use crate::observe::{Observer, Ticket};
use crate::operation::{self, Operation};
use crate::options::GatewayOptions;
use crate::query::Query;
use crate::rate_limit::RateLimit;
use crate::route::{AnyBucket, NoOperation, Router};
use crate::target::Target;
use crate::{post, signing};

/// The S3 wire over an engine. One for the process; `call` is for each request of each connection.
pub struct Gateway {
    shared: Arc<Shared>,
    s3: S3Service,
}

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) directory: Arc<ArcSwap<Directory>>,
    pub(crate) options: GatewayOptions,
    pub(crate) clock: Clock,
    pub(crate) chance: Chance,
    pub(crate) xml_budget: Budget,
    pub(crate) forms: Arc<Semaphore>,
    admission: Admission,
    rate_limit: Option<RateLimit>,
    observer: Arc<dyn Observer>,
    host_id: String,
}

impl Gateway {
    /// Puts a gateway together.
    #[must_use]
    pub fn new(
        engine: Engine,
        directory: Directory,
        options: GatewayOptions,
        (clock, chance): (Clock, Chance),
        observer: Arc<dyn Observer>,
    ) -> Self {
        let directory = Arc::new(ArcSwap::from_pointee(directory));
        let shared = Arc::new(Shared {
            engine,
            directory: Arc::clone(&directory),
            xml_budget: Budget::new(options.xml_budget_bytes),
            forms: Arc::new(Semaphore::new(options.forms_max.max(1))),
            admission: Admission::new(&options.admission, chance.clone()),
            rate_limit: options.rate_limit.clone().map(RateLimit::new),
            host_id: format!("{:032x}", chance.next_u128()),
            options,
            clock,
            chance,
            observer,
        });
        let mut builder = S3ServiceBuilder::new(NoOperation);
        builder.set_auth(Secrets(directory));
        builder.set_validation(AnyBucket);
        builder.set_route(Router(Arc::clone(&shared)));
        let mut config = S3Config::default();
        config.normalize_forward_slash_path = false;
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        Self { shared, s3: builder.build() }
    }

    /// Puts other buckets and credentials in force, for all requests from now on.
    pub fn set_directory(&self, directory: Directory) {
        self.shared.directory.store(Arc::new(directory));
    }

    /// Answers one request. The request is over when the answer's body is dropped.
    pub async fn call<B>(&self, request: Request<B>, peer: SocketAddr) -> Response<AnswerBody>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError>,
    {
        let shared = &self.shared;
        let (parts, body) = request.into_parts();
        let remote = client_ip(peer.ip(), &parts.headers, &shared.options.trusted_proxies);
        let request_id = request_id(&parts.headers, &shared.chance);
        let mut ticket = Ticket::new(Arc::clone(&shared.observer), request_id, &parts.method, remote);
        let span = tracing::info_span!("request", request_id = ticket.record.request_id);
        let resource = parts.uri.path().to_owned();
        let head = parts.method == Method::HEAD;
        let outcome = Box::pin(self.answer(parts, body, &mut ticket)).instrument(span).await;
        let response = outcome.unwrap_or_else(|fault| {
            ticket.record.error = Some(describe(&fault));
            ticket.record.limited = fault.limited;
            let about = About {
                resource: &resource,
                request_id: &ticket.record.request_id,
                host_id: &shared.host_id,
            };
            answer::of_fault(&fault, &about, head)
        });
        shared.seal(response, ticket)
    }

    async fn answer<B>(&self, parts: Parts, body: B, ticket: &mut Ticket) -> Outcome<Response<s3s::Body>>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError>,
    {
        let shared = &self.shared;
        shared.check_rate(ticket)?;
        let call = Arc::new(shared.read_head(&parts, ticket)?);
        if call.operation != Operation::PostObject {
            let authority = parts.uri.authority().map(http::uri::Authority::as_str);
            signing::check(&parts.headers, &call.query, authority, &shared.options.region)?;
        }
        let write = !matches!(parts.method, Method::GET | Method::HEAD);
        ticket.place = shared.admission.enter(write).await.map_err(|reason| shared.reject(reason))?;
        let body = shared.wrap(&parts.headers, body, &call, ticket)?;
        let response = if call.operation == Operation::PostObject {
            post::post_object(shared, &call, &parts.headers, body).await.map(into_response)
        } else {
            self.verify_and_route(parts, body, &call).await
        };
        let note = call.take_note();
        ticket.record.backends = note.backends;
        ticket.record.access_key = note.access_key;
        let degraded = note.degraded || note.fault.as_ref().is_some_and(|fault| fault.degraded);
        ticket.record.degraded = degraded;
        match note.fault {
            Some(fault) => Err(Fault { degraded, ..fault }),
            None if note.degraded => response.map(answer::as_degraded),
            None => response,
        }
    }

    /// Hands the request to `s3s`, which verifies the signature and then calls our route.
    async fn verify_and_route(
        &self,
        parts: Parts,
        body: s3s::Body,
        call: &Arc<Call>,
    ) -> Outcome<Response<s3s::Body>> {
        let mut request = Request::from_parts(parts, body);
        request.extensions_mut().insert(Arc::clone(call));
        match self.s3.call(request).await {
            // The route leaves its errors in the note; this one is of `s3s` itself.
            Ok(response) if response.status().is_client_error() || response.status().is_server_error() => {
                Err(answer::fault_of(&response))
            }
            Ok(response) => Ok(response),
            Err(error) => {
                let error: StdError = error.into();
                Err(Fault::from(Code::InternalError).with_log(error.to_string()))
            }
        }
    }
}

impl Shared {
    fn check_rate(&self, ticket: &Ticket) -> Outcome<()> {
        match &self.rate_limit {
            Some(limit) if !limit.allow(ticket.record.remote, runtime::instant_now()) => {
                Err(self.reject(Rejection::RateLimited))
            }
            _ => Ok(()),
        }
    }

    fn reject(&self, reason: Rejection) -> Fault {
        self.observer.rejected(reason);
        Fault::slow_down().with_log(format!("not admitted: {reason:?}"))
    }

    fn read_head(&self, parts: &Parts, ticket: &mut Ticket) -> Outcome<Call> {
        if parts.headers.len() > self.options.header_values_max {
            return Err(Fault::request("The request has too many headers."));
        }
        let host = match parts.headers.get(HOST) {
            Some(value) => value.to_str().ok(),
            None => parts.uri.authority().map(http::uri::Authority::as_str),
        };
        let target = Target::parse(parts.uri.path(), host, &self.options.domains)?;
        ticket.record.bucket = target.bucket().cloned();
        ticket.record.key = target.key().cloned();
        let query = Query::parse(parts.uri.query())?;
        let operation = operation::resolve(&parts.method, &target, &query, &parts.headers)?;
        ticket.record.operation = operation.as_str();
        let mut call = Call::new(operation, target, query);
        call.host = host.map(str::to_owned);
        call.length = announced_length(&parts.headers)?;
        Ok(call)
    }

    fn wrap<B>(&self, headers: &HeaderMap, body: B, call: &Arc<Call>, ticket: &Ticket) -> Outcome<s3s::Body>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError>,
    {
        let framing = match streaming(headers) {
            Some(signed) => {
                let length = call.length.ok_or(Fault::from(Code::MissingContentLength))?;
                Some(Reframer::new(signed, length))
            }
            None if body.is_end_stream() => return Ok(s3s::Body::empty()),
            None => None,
        };
        let (bytes, idle) = (Arc::clone(&ticket.bytes_in), self.options.body_idle_timeout);
        Ok(s3s::Body::http_body_unsync(ClientBody::new(body, Arc::clone(call), bytes, idle, framing)))
    }

    /// Puts on what every answer carries.
    fn seal(&self, response: Response<s3s::Body>, mut ticket: Ticket) -> Response<AnswerBody> {
        let (mut parts, body) = response.into_parts();
        ticket.record.status = parts.status.as_u16();
        let id = &ticket.record.request_id;
        let value = HeaderValue::try_from(id.as_str()).expect("a request id is hexadecimal");
        parts.headers.insert(HeaderName::from_static("x-amz-request-id"), value);
        let value = HeaderValue::try_from(self.host_id.as_str()).expect("a host id is hexadecimal");
        parts.headers.insert(HeaderName::from_static("x-amz-id-2"), value);
        parts.headers.insert(http::header::SERVER, HeaderValue::from_static("s3-orchestrator"));
        Response::from_parts(parts, AnswerBody::new(body, ticket))
    }
}

fn into_response(answer: answer::Answer) -> Response<s3s::Body> {
    let mut response = Response::new(answer.body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

/// The code, and what lies behind it, for the log. What a human should look at is said as an error.
fn describe(fault: &Fault) -> String {
    let code = fault.code.as_str();
    let text = match &fault.log {
        Some(text) => format!("{code}: {text}"),
        None => code.to_owned(),
    };
    if fault.code == Code::InternalError {
        tracing::error!("a request failed for a reason of ours: {text}");
    }
    text
}

/// A request id that a proxy gave, or a new one.
fn request_id(headers: &HeaderMap, chance: &Chance) -> String {
    let given = headers.get("x-request-id").and_then(|value| value.to_str().ok());
    match given {
        Some(id) if (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit()) => {
            id.to_owned()
        }
        _ => format!("{:032x}", chance.next_u128()),
    }
}

/// Whether the body is framed as aws-chunked, and if so whether its chunks are signed.
fn streaming(headers: &HeaderMap) -> Option<bool> {
    let value = headers.get("x-amz-content-sha256")?.to_str().ok()?;
    let form = value.strip_prefix("STREAMING-")?;
    Some(!form.starts_with("UNSIGNED"))
}

/// The bytes that a body is announced to have once its framing is off.
fn announced_length(headers: &HeaderMap) -> Outcome<Option<u64>> {
    let (name, value) = if streaming(headers).is_some() {
        let name = HeaderName::from_static("x-amz-decoded-content-length");
        (name.clone(), headers.get(name))
    } else {
        (CONTENT_LENGTH, headers.get(CONTENT_LENGTH))
    };
    let Some(value) = value else { return Ok(None) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    match digits.and_then(|text| text.parse::<u64>().ok()).filter(|length| i64::try_from(*length).is_ok()) {
        Some(length) => Ok(Some(length)),
        None => Err(Fault::argument(format!("{name} is not a number of bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_request_id_is_adopted_only_where_it_is_harmless() {
        let chance = Chance::seeded(1);
        let id = |value| request_id(&headers(&[("x-request-id", value)]), &chance);
        assert_eq!(id("deadBEEF"), "deadBEEF");
        for bad in ["", "xyz", "ab\tcd"] {
            assert_eq!(id(bad).len(), 32, "{bad}");
        }
        assert_ne!(request_id(&HeaderMap::new(), &chance), request_id(&HeaderMap::new(), &chance));
    }

    #[test]
    fn the_announced_length_is_the_decoded_one() {
        let check = |pairs: &[(&'static str, &'static str)], expected: Result<Option<u64>, Code>| {
            assert_eq!(announced_length(&headers(pairs)).map_err(|fault| fault.code), expected, "{pairs:?}");
        };
        let framed = ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
        check(&[], Ok(None));
        check(&[("content-length", "7")], Ok(Some(7)));
        check(&[framed, ("content-length", "70"), ("x-amz-decoded-content-length", "7")], Ok(Some(7)));
        check(&[framed, ("content-length", "70")], Ok(None));
        check(&[framed, ("x-amz-decoded-content-length", "7abc")], Err(Code::InvalidArgument));
        check(
            &[framed, ("x-amz-decoded-content-length", "99999999999999999999")],
            Err(Code::InvalidArgument),
        );
    }
}
