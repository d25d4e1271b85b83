//! One GET to a server that may not be there yet.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::certificate::Authority;

/// Longest wait for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The status of a GET, or none where there is no answer.
pub(super) async fn status(address: &str, path: &str, authority: Option<&Authority>) -> Option<u16> {
    let asked = async {
        let stream = TcpStream::connect(address).await.ok()?;
        match authority {
            None => ask(stream, address, path).await,
            Some(authority) => {
                let name = ServerName::try_from("localhost").expect("a name");
                let stream = connector(authority).connect(name, stream).await.ok()?;
                ask(stream, address, path).await
            }
        }
    };
    runtime::timeout(ANSWER_WITHIN, asked).await.ok().flatten()
}

fn connector(authority: &Authority) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate.clone()).expect("the certificate is ours");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.expect("ring has them all").with_root_certificates(roots).with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, host: &str, path: &str) -> Option<u16> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.ok()?;
    std::str::from_utf8(&head).ok()?.strip_prefix("HTTP/1.1 ")?.parse().ok()
}
