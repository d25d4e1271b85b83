//! The way to the admin API of a running process, for the command line: one connection per request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::guard::TOKEN_HEADER;
use crate::wire::Failure;

/// How long a connection may take to be there.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long an answer may take: longer than any handler waits.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Why there is no answer, or not the one that was hoped for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address cannot be used.
    #[error("{0}")]
    Address(String),
    /// Nobody answered.
    #[error("{address} does not answer: {why}")]
    Unreachable {
        /// Who was asked.
        address: String,
        /// What happened.
        why: String,
    },
    /// It said no.
    #[error("{error} ({status})")]
    Refused {
        /// The status.
        status: StatusCode,
        /// What it said.
        error: String,
    },
    /// It said something else than this client understands.
    #[error("the answer cannot be read: {0}")]
    Malformed(String),
}

/// Where a process listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    tls: bool,
    host: String,
    port: u16,
}

impl Place {
    /// Reads `http://host:port`, `https://host` or `host:port`.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub fn parse(text: &str) -> Result<Self, ClientError> {
        let wrong = || ClientError::Address(format!("{text:?} is no address such as http://127.0.0.1:9000"));
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(wrong()),
        };
        let authority: http::uri::Authority = rest.trim_end_matches('/').parse().map_err(|_| wrong())?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(wrong());
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { tls, host, port })
    }
}

/// Asks one process.
pub struct AdminClient {
    place: Place,
    token: String,
    tls: Option<TlsConnector>,
}

impl AdminClient {
    /// `ca_pem` holds the authorities to believe; over https there have to be some.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub fn new(place: Place, token: &str, ca_pem: Option<&[u8]>) -> Result<Self, ClientError> {
        let tls = match (place.tls, ca_pem) {
            (false, _) => None,
            (true, Some(pem)) => Some(connector(pem)?),
            (true, None) => {
                let hint = "https needs the certificate of an authority to believe: -ca FILE";
                return Err(ClientError::Address(hint.to_owned()));
            }
        };
        Ok(Self { place, token: token.to_owned(), tls })
    }

    /// Asks, and reads the answer. `route` is what stands behind `/admin/api/`.
    ///
    /// # Errors
    /// See [`ClientError`]; any status but a success is [`ClientError::Refused`].
    pub async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        route: &str,
        query: &[(&str, &str)],
        body: Bytes,
    ) -> Result<T, ClientError> {
        let mut path = format!("/admin/api/{route}");
        if !query.is_empty() {
            let pairs = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
            path = format!("{path}?{pairs}");
        }
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, format!("{}:{}", self.place.host, self.place.port))
            .header(TOKEN_HEADER, &self.token)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| ClientError::Address(format!("this cannot be asked: {error}")))?;
        let asked = runtime::timeout(ANSWER_WITHIN, self.exchange(request)).await;
        let (status, bytes) = asked.unwrap_or_else(|_| Err(self.unreachable("it takes too long")))?;
        if !status.is_success() {
            let error = match serde_json::from_slice::<Failure>(&bytes) {
                Ok(failure) => failure.error,
                Err(_) => String::from_utf8_lossy(&bytes).chars().take(200).collect(),
            };
            return Err(ClientError::Refused { status, error });
        }
        serde_json::from_slice(&bytes).map_err(|error| ClientError::Malformed(error.to_string()))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), ClientError> {
        let connecting = TcpStream::connect((self.place.host.as_str(), self.place.port));
        let stream = match runtime::timeout(CONNECT_WITHIN, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(self.unreachable(&error.to_string())),
            Err(_) => return Err(self.unreachable("no connection")),
        };
        match &self.tls {
            None => self.speak(stream, request).await,
            Some(connector) => {
                let name = ServerName::try_from(self.place.host.clone())
                    .map_err(|error| ClientError::Address(error.to_string()))?;
                let stream = connector.connect(name, stream).await;
                self.speak(stream.map_err(|error| self.unreachable(&error.to_string()))?, request).await
            }
        }
    }

    async fn speak<S>(
        &self,
        stream: S,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let failed = |error: hyper::Error| self.unreachable(&error.to_string());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let _connection = runtime::spawn(connection);
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| self.unreachable(&error.to_string()))?;
        Ok((status, body.to_bytes()))
    }

    fn unreachable(&self, why: &str) -> ClientError {
        let address = format!("{}:{}", self.place.host, self.place.port);
        ClientError::Unreachable { address, why: why.to_owned() }
    }
}

fn connector(pem: &[u8]) -> Result<TlsConnector, ClientError> {
    let wrong = |error: String| ClientError::Address(format!("the authorities cannot be used: {error}"));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| wrong(format!("{error:?}")))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("no certificate in PEM form".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, tls: bool, host: &str, port: u16) {
        assert_eq!(Place::parse(text).unwrap(), Place { tls, host: host.to_owned(), port }, "{text}");
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        check("http://127.0.0.1:9000", false, "127.0.0.1", 9000);
        check("127.0.0.1:9000/", false, "127.0.0.1", 9000);
        check("https://s3.example.com", true, "s3.example.com", 443);
        check("http://[::1]:9000", false, "::1", 9000);
        for text in ["", "http://", "ftp://x", "a b", ":9000"] {
            assert!(Place::parse(text).is_err(), "{text}");
        }
    }
}
