//! Opens connections to one server.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::stream::Stream;
use crate::tls::{TlsOptions, client_config};

/// Opens connections to one server.
pub struct Connector {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    limit: Duration,
}

/// How far an attempt to connect came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The options make no sense: no attempt can succeed.
    Options,
    /// The name has no address.
    Name,
    /// No address took the connection.
    Tcp,
    /// The server is there, and TLS with it fails: most often its certificate is not one that we trust.
    Tls,
}

/// Why there is no connection. Nothing of a request has been sent then.
#[derive(Debug)]
pub struct Error {
    /// How far it came.
    pub stage: Stage,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub(crate) fn options(message: impl Into<String>) -> Self {
        Self { stage: Stage::Options, message: message.into(), source: None }
    }

    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

impl Connector {
    /// Connects to `host` (a name or an address, without brackets) within `limit`; in TLS where there are
    /// options for it.
    ///
    /// # Errors
    /// [`Stage::Options`] where the host has no TLS name or a certificate or key cannot be read.
    pub fn new(host: &str, port: u16, tls: Option<&TlsOptions>, limit: Duration) -> Result<Self, Error> {
        let with_name = |options: &TlsOptions| {
            let name = options.server_name.as_deref().unwrap_or(host);
            let server = ServerName::try_from(name.to_owned())
                .map_err(|error| Error::options(format!("host {name:?} has no TLS name")).caused_by(error))?;
            Ok((TlsConnector::from(Arc::new(client_config(options)?)), server))
        };
        let tls = tls.map(with_name).transpose()?;
        Ok(Self { host: host.to_owned(), port, tls, limit })
    }

    /// A new connection, or why there is none.
    ///
    /// # Errors
    /// Any stage but [`Stage::Options`].
    pub async fn connect(&self) -> Result<Stream, Error> {
        let (host, port) = (&self.host, self.port);
        let mut stage = Stage::Name;
        let opened = runtime::timeout(self.limit, self.open(&mut stage)).await;
        match opened {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => {
                let message = format!("cannot connect to {host}:{port}: {error}");
                Err(Error { stage, message, source: Some(error.into()) })
            }
            Err(runtime::Elapsed) => {
                let message = format!("no connection to {host}:{port} within {:?}", self.limit);
                Err(Error { stage, message, source: None })
            }
        }
    }

    async fn open(&self, stage: &mut Stage) -> io::Result<Stream> {
        let addresses: Vec<SocketAddr> =
            tokio::net::lookup_host((self.host.as_str(), self.port)).await?.collect();
        *stage = Stage::Tcp;
        let tcp = self.first_that_answers(&addresses).await?;
        tcp.set_nodelay(true)?;
        *stage = Stage::Tls;
        match &self.tls {
            None => Ok(Stream::Plain(tcp)),
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), tcp).await?;
                Ok(Stream::Tls(Box::new(stream)))
            }
        }
    }

    /// Tries one address after the other. Each gets its share of the time, so that one that swallows
    /// packets does not keep the next from being tried.
    async fn first_that_answers(&self, addresses: &[SocketAddr]) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let share = self.limit / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        for address in addresses {
            match runtime::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(runtime::Elapsed) => last = io::Error::new(io::ErrorKind::TimedOut, "no answer"),
            }
        }
        Err(last)
    }
}
