//! What a client is told when it is built. Everything is checked then, nothing at call time.

use std::net::IpAddr;
use std::time::Duration;

use connect::TlsOptions;
use http::{HeaderValue, Uri};

use crate::error::{Error, ErrorKind};

/// One node, and how to speak to it.
#[derive(Debug, Clone)]
pub struct VaultOptions {
    /// `https://host[:port]`, with the prefix of a proxy where there is one.
    pub address: String,
    /// The namespace that calls go to.
    pub namespace: Option<String>,
    /// Whom to trust, and as whom to speak.
    pub tls: TlsOptions,
    /// Whether tokens and keys may travel in the clear beyond this machine.
    pub allow_plain_http: bool,
    /// How long to wait for what.
    pub timeouts: Timeouts,
}

impl VaultOptions {
    /// Usual settings for a node.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            namespace: None,
            tls: TlsOptions::default(),
            allow_plain_http: false,
            timeouts: Timeouts::default(),
        }
    }
}

/// How long to wait for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For a whole call that is no stream.
    pub call: Duration,
    /// For the head of the answer to a stream: a restore is answered when it is done.
    pub answer: Duration,
    /// For the next byte of a stream.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            call: Duration::from_secs(30),
            answer: Duration::from_secs(600),
            stall: Duration::from_secs(60),
        }
    }
}

/// Where requests go, ready for use.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub tls: bool,
    /// What DNS is asked for: without port or brackets.
    pub host: String,
    pub port: u16,
    /// What the `Host` header says.
    pub host_header: HeaderValue,
    /// What stands before `/v1`.
    pub prefix: String,
    /// As errors and logs name it.
    pub text: String,
}

impl Address {
    pub(crate) fn parse(options: &VaultOptions) -> Result<Self, Error> {
        let text = options.address.trim_end_matches('/');
        // Whatever stands before an @ may be a password.
        let shown = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
        let bad = |why: &str| Error::new(ErrorKind::Invalid, shown, "address", format!("{shown:?} {why}"));
        let uri: Uri = text.parse().map_err(|_| bad("is not a URL like https://host:8200"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("does not begin with https:// or http://")),
        };
        let authority = uri.authority().ok_or_else(|| bad("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("holds credentials"));
        }
        if uri.query().is_some() {
            return Err(bad("has a query"));
        }
        let host = authority.host();
        if host.is_empty() {
            return Err(bad("names no host"));
        }
        let host_only = host.trim_start_matches('[').trim_end_matches(']');
        if !tls && !options.allow_plain_http && !is_loopback(host_only) {
            return Err(bad("would send secrets in the clear: use https, or set allow_plain_http"));
        }
        if authority.port_u16().is_none() && authority.as_str() != host {
            return Err(bad("has no legal port"));
        }
        Ok(Self {
            tls,
            host: host_only.to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            host_header: HeaderValue::from_str(authority.as_str()).map_err(|_| bad("has an illegal host"))?,
            prefix: uri.path().trim_end_matches('/').to_owned(),
            text: text.to_owned(),
        })
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(address: &str, allow_plain_http: bool) -> Result<Address, String> {
        let options = VaultOptions { allow_plain_http, ..VaultOptions::new(address) };
        Address::parse(&options).map_err(|error| error.to_string())
    }

    fn check(address: &str, host: &str, port: u16, prefix: &str) {
        let read = parse(address, false).unwrap();
        assert_eq!((read.host.as_str(), read.port, read.prefix.as_str()), (host, port, prefix));
    }

    #[test]
    fn addresses_are_read() {
        check("https://vault.example.org:8200", "vault.example.org", 8200, "");
        check("https://vault.example.org/", "vault.example.org", 443, "");
        check("https://proxy/vault", "proxy", 443, "/vault");
        check("http://127.0.0.1:8200", "127.0.0.1", 8200, "");
        check("http://[::1]:8200", "::1", 8200, "");
        check("http://localhost:8200", "localhost", 8200, "");
    }

    #[test]
    fn plain_http_beyond_this_machine_needs_a_setting() {
        let refused = parse("http://10.0.0.7:8200", false).unwrap_err();
        assert!(refused.contains("allow_plain_http"), "{refused}");
        assert!(parse("http://10.0.0.7:8200", true).is_ok());
        // A name that only looks like the loopback's.
        assert!(parse("http://127.0.0.1.example.org:8200", false).is_err());
    }

    #[test]
    fn what_cannot_be_an_address_is_refused() {
        for bad in ["", "10.0.0.7:8200", "ftp://x", "https://", "https://x?y", "https://x:port"] {
            assert!(parse(bad, true).is_err(), "{bad:?} was accepted");
        }
        let refused = parse("https://user:hunter2@x", true).unwrap_err();
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}
