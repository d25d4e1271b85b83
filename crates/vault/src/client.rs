//! The client of one node: makes requests, tells answers from errors.

use std::sync::Arc;

use connect::Connector;
use http::header::{CONTENT_TYPE, HOST, HeaderValue, LOCATION, USER_AGENT};
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::call::Call;
use crate::error::{Error, ErrorKind, classify};
use crate::link::{Body, Connection, Link, Lost, collect, within};
use crate::options::{Address, Timeouts, VaultOptions};

/// Largest answer that is read whole.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A client of one node. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Vault {
    inner: Arc<Inner>,
}

struct Inner {
    options: VaultOptions,
    address: Address,
    link: Link,
}

/// A whole answer.
pub(crate) struct Answer {
    pub status: u16,
    pub body: Zeroizing<Vec<u8>>,
}

/// What most answers are wrapped in.
#[derive(Deserialize)]
pub(crate) struct Wrapped<T> {
    pub data: T,
}

impl Vault {
    /// A client with these options. Connects to nothing yet.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where an option makes no sense.
    pub fn new(options: VaultOptions) -> Result<Self, Error> {
        let address = Address::parse(&options)?;
        let tls = address.tls.then_some(&options.tls);
        let connector =
            Connector::new(&address.host, address.port, tls, options.timeouts.connect).map_err(|error| {
                Error::new(ErrorKind::Invalid, &address.text, "tls", error.to_string()).caused_by(error)
            })?;
        if let Some(namespace) = &options.namespace {
            HeaderValue::from_str(namespace).map_err(|_| {
                Error::new(ErrorKind::Invalid, &address.text, "namespace", "it is no legal header")
            })?;
        }
        Ok(Self { inner: Arc::new(Inner { options, address, link: Link::new(connector) }) })
    }

    /// A client of another node, with the same options: of the leader, say.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn at(&self, address: &str) -> Result<Self, Error> {
        Self::new(VaultOptions { address: address.to_owned(), ..self.inner.options.clone() })
    }

    /// The address of its node, as errors and logs name it.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.inner.address.text
    }

    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.inner.options.timeouts
    }

    pub(crate) fn error(&self, kind: ErrorKind, call: &'static str, message: impl Into<String>) -> Error {
        Error::new(kind, self.address(), call, message)
    }

    /// Makes a call and reads its answer, whatever its status.
    pub(crate) async fn ask(&self, call: &mut Call<'_>) -> Result<(Answer, HeaderMap), Error> {
        let body = call.body.take().map_or_else(Body::empty, Body::bytes);
        let request = self.request(call, body)?;
        let limit = self.timeouts().call;
        let exchange = async {
            let (connection, response) = self.inner.link.send(request, limit).await?;
            let (head, mut incoming) = response.into_parts();
            let Some(body) = collect(&mut incoming, ANSWER_BYTES_MAX).await? else {
                let message = format!("the answer is longer than {ANSWER_BYTES_MAX} bytes");
                return Err(Lost { kind: ErrorKind::Corrupt, message, source: None });
            };
            self.inner.link.give_back(connection);
            Ok((Answer { status: head.status.as_u16(), body }, head.headers))
        };
        let (answer, headers) = within(limit, exchange).await.map_err(|lost| self.lost(call.name, lost))?;
        tracing::debug!(node = self.address(), call = call.name, status = answer.status, "answered");
        Ok((answer, headers))
    }

    /// Makes a call that has to succeed.
    pub(crate) async fn succeed(&self, mut call: Call<'_>) -> Result<Answer, Error> {
        let (answer, headers) = self.ask(&mut call).await?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        Err(self.refused(&call, &answer, &headers))
    }

    /// Makes a call that has to succeed, and reads its answer.
    pub(crate) async fn succeed_with<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, Error> {
        let name = call.name;
        let answer = self.succeed(call).await?;
        self.read_json(name, &answer)
    }

    pub(crate) fn read_json<T: DeserializeOwned>(
        &self,
        call: &'static str,
        answer: &Answer,
    ) -> Result<T, Error> {
        serde_json::from_slice(&answer.body).map_err(|error| {
            // Only where it went wrong: what serde says may quote the answer.
            let (line, column) = (error.line(), error.column());
            let message = format!("the answer is not as expected, at line {line}, column {column}");
            self.error(ErrorKind::Corrupt, call, message).with_status(answer.status)
        })
    }

    /// Sends a call whose answer, or body, is a stream.
    pub(crate) async fn open(
        &self,
        call: &Call<'_>,
        body: Body,
    ) -> Result<(Connection, Response<Incoming>), Error> {
        let request = self.request(call, body)?;
        let sent = self.inner.link.send(request, self.timeouts().answer).await;
        let (connection, mut response) = sent.map_err(|lost| self.lost(call.name, lost))?;
        let status = response.status();
        tracing::debug!(node = self.address(), call = call.name, status = status.as_u16(), "answered");
        if status.is_success() {
            return Ok((connection, response));
        }
        let reading = collect(response.body_mut(), ANSWER_BYTES_MAX);
        let body = within(self.timeouts().call, reading).await.ok().flatten().unwrap_or_default();
        let answer = Answer { status: status.as_u16(), body };
        Err(self.refused(call, &answer, response.headers()))
    }

    fn request(&self, call: &Call<'_>, body: Body) -> Result<Request<Body>, Error> {
        let address = &self.inner.address;
        let mut request = Request::builder()
            .method(&call.method)
            .uri(format!("{}/v1/{}", address.prefix, call.path))
            .header(HOST, &address.host_header)
            .header(USER_AGENT, concat!("s3-orchestrator-vault/", env!("CARGO_PKG_VERSION")))
            // Vault refuses requests without it where it is told to (against forged requests).
            .header("x-vault-request", "true");
        if !http_body::Body::is_end_stream(&body) {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(namespace) = &self.inner.options.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        if let Some(token) = call.token {
            let mut value = HeaderValue::from_str(token.expose()).map_err(|_| {
                self.error(ErrorKind::Invalid, call.name, "the token holds characters that no token has")
            })?;
            value.set_sensitive(true);
            request = request.header("x-vault-token", value);
        }
        request.body(body).map_err(|error| {
            self.error(ErrorKind::Invalid, call.name, "the path is not legal").caused_by(error)
        })
    }

    fn refused(&self, call: &Call<'_>, answer: &Answer, headers: &HeaderMap) -> Error {
        let words = call.words(&answer.body);
        let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
        self.error(classify(answer.status, &words, location), call.name, words).with_status(answer.status)
    }

    fn lost(&self, call: &'static str, lost: Lost) -> Error {
        let error = self.error(lost.kind, call, lost.message);
        match lost.source {
            Some(source) => error.caused_by(source),
            None => error,
        }
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vault({})", self.address())
    }
}
