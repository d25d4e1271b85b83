//! A certificate authority of a test, and a certificate for the loopback address.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;

/// The authority's certificate, for clients.
pub(crate) const CA_FILE: &str = "ca.pem";
/// The server's certificate.
pub(crate) const CERTIFICATE_FILE: &str = "server.pem";
/// The certificate of somebody who logs in by it.
pub(crate) const CLIENT_FILE: &str = "client.pem";
/// Its key.
pub(crate) const CLIENT_KEY_FILE: &str = "client-key.pem";
/// The server's key.
pub(crate) const KEY_FILE: &str = "server-key.pem";

/// Who signed the server's certificate.
#[derive(Debug)]
pub(crate) struct Authority {
    /// Its own certificate.
    pub(crate) certificate: CertificateDer<'static>,
}

impl Authority {
    /// Makes an authority, a certificate for 127.0.0.1 and localhost, and one for a client; writes all into a folder.
    pub(crate) fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "s3-orchestrator test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key can be made");
        let authority = CertifiedIssuer::self_signed(params, key).expect("an authority can sign itself");

        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("these are names");
        params.distinguished_name.push(DnType::CommonName, "localhost");
        // Newer versions of Python demand it.
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &authority).expect("the authority can sign");

        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "a client");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let client_key = KeyPair::generate().expect("a key can be made");
        let client = params.signed_by(&client_key, &authority).expect("the authority can sign");

        let files = [
            (CLIENT_FILE, client.pem()),
            (CLIENT_KEY_FILE, client_key.serialize_pem()),
            (CA_FILE, authority.pem()),
            (CERTIFICATE_FILE, certificate.pem()),
            (KEY_FILE, key.serialize_pem()),
        ];
        for (name, text) in files {
            std::fs::write(folder.join(name), text).expect("the folder is ours");
        }
        Self { certificate: authority.der().clone() }
    }
}
