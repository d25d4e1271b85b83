//! What answers on the main listener: health, metrics, and behind them the S3 endpoint.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use gateway::Gateway;
use http::header::{CONNECTION, HOST, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use runtime::Chance;

use crate::admin::AdminDoor;
use crate::health::{Health, plain};
use crate::lingering::Lingering;
use crate::metrics::MetricsPage;
use crate::refusal;
use crate::server::Answer;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The main listener.
pub(crate) struct Front {
    health: Arc<Health>,
    metrics: Option<MetricsPage>,
    admin: Option<AdminDoor>,
    domains: Vec<String>,
    ids: Chance,
    gateway: OnceLock<Gateway>,
}

impl Front {
    /// Health and metrics answer at once, S3 requests only once there is a gateway.
    pub(crate) fn new(
        health: Arc<Health>,
        metrics: Option<MetricsPage>,
        admin: Option<AdminDoor>,
        domains: Vec<String>,
    ) -> Self {
        Self { health, metrics, admin, domains, ids: Chance::from_os(), gateway: OnceLock::new() }
    }

    /// From now on, S3 requests are answered, and the process is ready.
    pub(crate) fn open(&self, gateway: Gateway, house: ::admin::House) {
        // A process opens once.
        let _ = self.gateway.set(gateway);
        if let Some(door) = &self.admin {
            door.open(house);
        }
        self.health.set_started();
    }

    /// Whether the request names a bucket by its host: then its path is a key, whatever it spells.
    fn is_for_a_bucket<B>(&self, request: &Request<B>) -> bool {
        let header = || request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let Some(host) = request.uri().host().or_else(header) else { return false };
        names_a_bucket(host, &self.domains)
    }

    /// The door that a request goes through, where it is for the admin API.
    fn door(&self, request: &Request<Incoming>) -> Option<&AdminDoor> {
        let for_a_bucket = !self.domains.is_empty() && self.is_for_a_bucket(request);
        self.admin.as_ref().filter(|_| !for_a_bucket && AdminDoor::is_for(request.uri().path()))
    }

    /// The answer to an S3 request before there is a gateway.
    fn starting<B>(&self, request: &Request<B>) -> Response<AnswerBody> {
        let id = refusal::request_id(&self.ids);
        let message = "The server is starting. Please try again.";
        let document = refusal::document("ServiceUnavailable", message, &id);
        let mut answer = plain(StatusCode::SERVICE_UNAVAILABLE, "application/xml", document);
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        let id = HeaderValue::try_from(id).expect("a request id is hexadecimal");
        answer.headers_mut().insert("x-amz-request-id", id);
        whole(request, answer)
    }

    async fn own_answer(&self, request: &Request<Incoming>) -> Option<Response<Bytes>> {
        if !self.domains.is_empty() && self.is_for_a_bucket(request) {
            return None;
        }
        let path = request.uri().path();
        if let Some(answer) = self.health.answer(path) {
            return Some(answer);
        }
        match &self.metrics {
            Some(page) => page.answer(request).await,
            None => None,
        }
    }
}

/// `bucket.domain` or `bucket.domain:port`, for one of our domains.
fn names_a_bucket(host: &str, domains: &[String]) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).as_bytes();
    domains.iter().any(|domain| {
        let domain = domain.as_bytes();
        name.len() > domain.len() + 1
            && name[name.len() - domain.len()..].eq_ignore_ascii_case(domain)
            && name[name.len() - domain.len() - 1] == b'.'
    })
}

impl Answer for Front {
    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<AnswerBody> {
        let version = request.version();
        if let Some(door) = self.door(&request) {
            return door.answer(request, peer).await;
        }
        let mut response = match (self.own_answer(&request).await, self.gateway.get()) {
            (Some(answer), _) => whole(&request, answer),
            (None, Some(gateway)) => {
                let (parts, body) = request.into_parts();
                let body = Lingering::new(body, &parts.headers);
                gateway.call(Request::from_parts(parts, body), peer).await.map(AnswerBody::S3)
            }
            (None, None) => self.starting(&request),
        };
        if version < Version::HTTP_2 && !self.health.is_ready() {
            // Who keeps connections finds one elsewhere before this one is drained.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// An answer whose body is at hand; a HEAD request gets its head.
pub(crate) fn whole<B>(request: &Request<B>, answer: Response<Bytes>) -> Response<AnswerBody> {
    let is_head = request.method() == Method::HEAD;
    answer.map(|body| AnswerBody::Whole(Full::new(if is_head { Bytes::new() } else { body })))
}

/// The body of any answer.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are the large one, and a box would be an allocation each"
)]
pub(crate) enum AnswerBody {
    /// One that is at hand.
    Whole(Full<Bytes>),
    /// One of the S3 endpoint.
    S3(gateway::AnswerBody),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::S3(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::S3(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::S3(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_name_a_bucket() {
        let domains = ["s3.example.com".to_owned()];
        for (host, expected) in [
            ("b.s3.example.com", true),
            ("b.S3.Example.com:9000", true),
            ("s3.example.com", false),
            (".s3.example.com", false),
            ("bs3.example.com", false),
            ("10.0.0.1:9000", false),
            ("[::1]", false),
        ] {
            assert_eq!(names_a_bucket(host, &domains), expected, "{host}");
        }
    }
}
