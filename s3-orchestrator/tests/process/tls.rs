//! TLS, and its certificate that changes.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::{Server, config, run, text, wait_until};

/// Writes a new certificate and key; gives the certificate.
fn renew(dir: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

fn tls_of(dir: &Path, more: &str) -> String {
    let dir = dir.display();
    format!(", tls: {{ cert_file: \"{dir}/cert.pem\", key_file: \"{dir}/key.pem\"{more} }}")
}

/// Asks over TLS, trusting only this certificate. Gives the answer and the protocol that was agreed on.
async fn ask(
    server: &Server,
    trusted: &CertificateDer<'static>,
    version: &'static SupportedProtocolVersion,
    protocols: &[&str],
) -> std::io::Result<(String, Option<Vec<u8>>)> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(&server.addr).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await?;
    let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    if protocol.as_deref() == Some(b"h2") {
        return Ok((String::new(), protocol));
    }
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok((text(&answer), protocol))
}

async fn is_served(server: &Server, certificate: &CertificateDer<'static>) -> bool {
    ask(server, certificate, &TLS13, &[]).await.is_ok_and(|(answer, _)| answer.contains("200 OK"))
}

#[tokio::test]
async fn a_new_certificate_is_taken_and_a_broken_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let first = renew(dir.path());
    let mut server = Server::start(&config(dir.path(), &tls_of(dir.path(), ""), "")).await;
    assert!(is_served(&server, &first).await);
    let second = renew(dir.path());
    assert!(!is_served(&server, &second).await);
    server.signal("HUP").await;
    wait_until("the second certificate is served", async || is_served(&server, &second).await).await;
    assert!(!is_served(&server, &first).await);
    std::fs::write(dir.path().join("cert.pem"), "broken").unwrap();
    server.signal("HUP").await;
    assert_eq!(server.said("stays the one before").await["level"], "ERROR");
    assert!(is_served(&server, &second).await);
    // A certificate that does not go with its key is broken as well.
    renew(dir.path());
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(dir.path().join("cert.pem"), made.cert.pem()).unwrap();
    server.signal("HUP").await;
    server.said("do not go together").await;
    assert!(is_served(&server, &second).await);
}

#[tokio::test]
async fn protocols_and_versions_are_agreed_on() {
    let dir = tempfile::tempdir().unwrap();
    let certificate = renew(dir.path());
    let server = Server::start(&config(dir.path(), &tls_of(dir.path(), ""), "")).await;
    let (_, protocol) = ask(&server, &certificate, &TLS12, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(protocol.as_deref(), Some(&b"h2"[..]));
    let (answer, protocol) = ask(&server, &certificate, &TLS13, &["http/1.1"]).await.unwrap();
    assert_eq!((answer.contains("200 OK"), protocol.as_deref()), (true, Some(&b"http/1.1"[..])));

    let dir = tempfile::tempdir().unwrap();
    let certificate = renew(dir.path());
    let strict = tls_of(dir.path(), ", min_version: \"1.3\"");
    let server = Server::start(&config(dir.path(), &strict, "")).await;
    assert!(ask(&server, &certificate, &TLS12, &[]).await.is_err());
    assert!(ask(&server, &certificate, &TLS13, &[]).await.is_ok());
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_is_fatal() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(&["-config", &config(dir.path(), &tls_of(dir.path(), ""), "")]).await;
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.starts_with("error: cannot read the certificate"), "{stderr}");
}
