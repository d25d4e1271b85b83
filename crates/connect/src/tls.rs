//! Whom to trust, and as whom to speak.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::connector::Error;

/// How to speak TLS.
#[derive(Debug, Clone, Default)]
pub struct TlsOptions {
    /// Whose certificates to trust.
    pub roots: Roots,
    /// The name that the certificate has to bear; the host's where there is none.
    pub server_name: Option<String>,
    /// Our own certificate.
    pub identity: Option<Identity>,
}

/// Whose certificates to trust.
#[derive(Debug, Clone, Default)]
pub enum Roots {
    /// The public authorities.
    #[default]
    Public,
    /// The public authorities and these, as PEM.
    PublicAnd(Vec<u8>),
    /// These alone, as PEM.
    Only(Vec<u8>),
    /// Anybody. Whoever stands in between then reads and changes everything.
    Anybody,
}

/// Our own certificate and its key, as PEM. Its `Debug` hides the key.
#[derive(Clone)]
pub struct Identity {
    /// The certificate, and those up to its authority.
    pub certificates: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(hidden)")
    }
}

pub(crate) fn client_config(options: &TlsOptions) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::options(format!("tls: {error}")))?;
    let builder = match &options.roots {
        Roots::Public => builder.with_root_certificates(public()),
        Roots::PublicAnd(pem) => builder.with_root_certificates(with_pem(public(), pem)?),
        Roots::Only(pem) => builder.with_root_certificates(with_pem(RootCertStore::empty(), pem)?),
        Roots::Anybody => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(TrustAnybody(provider)))
        }
    };
    let mut config = match &options.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let certificates = CertificateDer::pem_slice_iter(&identity.certificates)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| Error::options(format!("client certificate: {error:?}")))?;
            // The error of a key file says nothing, lest it quote the key.
            let key = PrivateKeyDer::from_pem_slice(&identity.key)
                .map_err(|_| Error::options("client key: it is no private key in PEM form"))?;
            builder
                .with_client_auth_cert(certificates, key)
                .map_err(|error| Error::options(format!("client certificate and key: {error}")))?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn public() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

fn with_pem(mut roots: RootCertStore, pem: &[u8]) -> Result<RootCertStore, Error> {
    let mut found = false;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| Error::options(format!("extra CA file: {error:?}")))?;
        roots.add(certificate).map_err(|error| Error::options(format!("extra CA file: {error}")))?;
        found = true;
    }
    if found { Ok(roots) } else { Err(Error::options("extra CA file: it holds no certificate in PEM form")) }
}

/// Takes any certificate for good.
#[derive(Debug)]
struct TrustAnybody(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
