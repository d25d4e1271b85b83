//! TLS, with an authority of our own.

use std::sync::Arc;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use s3_client::{ClientOptions, Error, ErrorKind, PutBody, PutObject, S3Client, Sent};
use testkit::RawServer;
use tokio_rustls::TlsAcceptor;

use crate::common::{options, read};

/// An authority, and what a server named `localhost` that it vouches for needs.
fn authority() -> (Vec<u8>, Arc<ServerConfig>) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names are legal names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a legal name");
    let certificate = params.signed_by(&key, &ca).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring knows them")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("the key is the certificate's");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (ca.pem().into_bytes(), Arc::new(config))
}

/// A server with TLS that answers everything with its own request line.
async fn echo(config: Arc<ServerConfig>) -> (RawServer, String) {
    let acceptor = TlsAcceptor::from(config);
    let server = RawServer::start(move |connection| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut connection) = connection.wrap(async |stream| acceptor.accept(stream).await).await
            else {
                return;
            };
            // N56: streams of bulk data that share one HTTP/2 connection to a backend share its window.
            assert_eq!(connection.stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
            while let Some((head, _)) = connection.read_request().await {
                let line = head.lines().next().unwrap_or_default().to_owned();
                connection.answer("200 OK", &[], line.as_bytes()).await;
            }
        }
    })
    .await;
    let endpoint = server.endpoint.replace("http://127.0.0.1", "https://localhost");
    (server, endpoint)
}

async fn put(client: &S3Client) -> Result<s3_client::Stored, Error> {
    let body = PutBody::Bytes(Bytes::from_static(b"bytes"));
    client.put_object(PutObject { key: "k", body, metadata: &[] }).await
}

#[tokio::test]
async fn n56_an_extra_authority_is_trusted_bodies_go_unsigned_in_http_1() {
    let (ca, config) = authority();
    let (server, endpoint) = echo(config).await;
    let client = S3Client::new(ClientOptions { extra_ca_pem: Some(ca), ..options(&endpoint) }).unwrap();
    put(&client).await.unwrap();
    let object = client.get_object("k", None).await.unwrap();
    assert_eq!(read(object.body).await.unwrap(), "GET /b/k HTTP/1.1");
    assert!(server.heads()[0].contains("x-amz-content-sha256: UNSIGNED-PAYLOAD"), "{:?}", server.heads());
}

#[tokio::test]
async fn a_stranger_gets_nothing() {
    let (_, config) = authority();
    let (server, endpoint) = echo(config).await;
    let (other_ca, _) = authority();
    for extra_ca_pem in [None, Some(other_ca)] {
        let client = S3Client::new(ClientOptions { extra_ca_pem, ..options(&endpoint) }).unwrap();
        let error = put(&client).await.unwrap_err();
        assert_eq!((error.kind, error.sent), (ErrorKind::NoAnswer, Sent::Never), "{error}");
    }
    assert_eq!(server.heads(), Vec::<String>::new());
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let (ca, config) = authority();
    let (server, endpoint) = echo(config).await;
    let endpoint = endpoint.replace("localhost", "127.0.0.1");
    let client = S3Client::new(ClientOptions { extra_ca_pem: Some(ca), ..options(&endpoint) }).unwrap();
    assert_eq!(put(&client).await.unwrap_err().sent, Sent::Never);
    assert_eq!(server.heads(), Vec::<String>::new());
}

#[tokio::test]
async fn n38_plain_http_signs_what_is_whole_in_memory() {
    let server = RawServer::start(|mut connection| async move {
        while connection.read_request().await.is_some() {
            connection.answer("200 OK", &[], b"").await;
        }
    })
    .await;
    put(&S3Client::new(options(&server.endpoint)).unwrap()).await.unwrap();
    let unsigned = ClientOptions { unsigned_payload: Some(true), ..options(&server.endpoint) };
    put(&S3Client::new(unsigned).unwrap()).await.unwrap();
    let hashes: Vec<bool> = server.heads().iter().map(|head| head.contains("UNSIGNED-PAYLOAD")).collect();
    assert_eq!(hashes, [false, true]);
}
