//! TLS on the listener, with a certificate that may change while it serves.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use config::TlsVersion;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The listener's TLS.
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    present: Arc<Present>,
    files: Files,
    /// The files as they were when they were last read.
    seen: Mutex<[Option<Stamp>; 2]>,
}

/// The certificate in force.
#[derive(Debug)]
struct Present(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Present {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

#[derive(Debug, Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// What changes when a file does.
type Stamp = (Option<SystemTime>, u64);

impl Tls {
    /// Reads the files of the configuration. The error names what is wrong with which file.
    pub(crate) fn load(config: &config::Tls) -> Result<Self, String> {
        let files = Files { certificate: config.cert_file.clone(), key: config.key_file.clone() };
        let provider = Arc::new(ring::default_provider());
        let seen = files.stamps();
        let present = Arc::new(Present(ArcSwap::from_pointee(files.read(&provider)?)));
        let versions = match config.min_version {
            TlsVersion::Tls12 => &[&version::TLS13, &version::TLS12][..],
            TlsVersion::Tls13 => &[&version::TLS13],
        };
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| format!("cannot speak TLS: {error}"))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&present) as Arc<dyn ResolvesServerCert>);
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(server));
        Ok(Self { acceptor, present, files, seen: Mutex::new(seen) })
    }

    /// Shakes hands.
    pub(crate) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(stream).await
    }

    /// Takes the certificate of the files into use. A broken one leaves the present one in force.
    pub(crate) fn reload(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = self.files.stamps();
        match self.files.read(&ring::default_provider()) {
            Ok(key) => {
                self.present.0.store(Arc::new(key));
                tracing::info!("the TLS certificate {} is in use", self.files.certificate.display());
            }
            Err(error) => tracing::error!("the TLS certificate stays the one before: {error}"),
        }
    }

    /// Looks at the files every minute. Never ends.
    pub(crate) async fn watch_files(&self) {
        loop {
            runtime::sleep(LOOK_EVERY).await;
            if *self.seen.lock().unwrap_or_else(PoisonError::into_inner) != self.files.stamps() {
                self.reload();
            }
        }
    }
}

impl Files {
    fn read(&self, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_file_iter(&self.certificate).and_then(Iterator::collect).map_err(
                |error| format!("cannot read the certificate {}: {error}", self.certificate.display()),
            )?;
        if chain.is_empty() {
            return Err(format!("there is no certificate in {}", self.certificate.display()));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| format!("cannot read the private key {}: {error}", self.key.display()))?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| {
            format!(
                "the certificate {} and the key {} do not go together: {error}",
                self.certificate.display(),
                self.key.display()
            )
        })
    }

    fn stamps(&self) -> [Option<Stamp>; 2] {
        let stamp = |path: &Path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.modified().ok(), found.len()))
        };
        [stamp(&self.certificate), stamp(&self.key)]
    }
}
