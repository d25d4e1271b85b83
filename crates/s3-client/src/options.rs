//! What a client is told when it is built. Everything is checked then, nothing at request time.

use std::time::Duration;

use http::{HeaderValue, Uri};
use runtime::Clock;

use crate::error::Error;
use crate::sign::Credentials;

/// One bucket at one provider, and how to speak to it.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// `https://host[:port]` or `http://host[:port]`, without a path.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// The region that requests are signed for; `us-east-1` where it is empty.
    pub region: String,
    /// The key that requests are signed with.
    pub credentials: Credentials,
    /// `https://host/bucket/key` (true) or `https://bucket.host/key` (false).
    pub path_style: bool,
    /// Whether signatures leave out the bytes of bodies. `None`: yes over https and for streams, no over
    /// plain http for what is whole in memory. `Some(false)` is refused: it would need each chunk signed.
    pub unsigned_payload: Option<bool>,
    /// Certificate authorities to trust besides the public ones, as PEM.
    pub extra_ca_pem: Option<Vec<u8>>,
    /// What the client calls itself.
    pub user_agent: String,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// How many connections to hold.
    pub pool: PoolOptions,
    /// Where the time comes from.
    pub clock: Clock,
}

impl ClientOptions {
    /// Usual settings for a bucket.
    #[must_use]
    pub fn new(endpoint: impl Into<String>, bucket: impl Into<String>, credentials: Credentials) -> Self {
        Self {
            endpoint: endpoint.into(),
            bucket: bucket.into(),
            region: String::new(),
            credentials,
            path_style: true,
            unsigned_payload: None,
            extra_ca_pem: None,
            user_agent: concat!("s3-client/", env!("CARGO_PKG_VERSION")).into(),
            timeouts: Timeouts::default(),
            pool: PoolOptions::default(),
            clock: Clock::system(),
        }
    }
}

/// How long to wait for what. Nothing waits without a bound, except for the giver of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// For one of the bounded connections to be free.
    pub acquire: Duration,
    /// For a new connection: name, TCP and TLS together.
    pub connect: Duration,
    /// For the head of the answer, from the moment that the whole request is sent.
    pub response_header: Duration,
    /// For the next byte to be taken or to come, in the middle of a body.
    pub stall: Duration,
    /// For the whole of a small operation: head, delete, list, what a bucket is.
    pub small_operation: Duration,
    /// For a copy within the server, or putting the parts of an upload together: either may take its time for a
    /// large object.
    pub copy: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            acquire: Duration::from_secs(30),
            connect: Duration::from_secs(10),
            response_header: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            small_operation: Duration::from_secs(60),
            copy: Duration::from_secs(600),
        }
    }
}

/// How many connections to hold, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolOptions {
    /// Connections in use at once; further requests wait.
    pub connections_max: usize,
    /// Connections kept while idle.
    pub idle_max: usize,
    /// For how long an idle connection is kept. Below the patience of servers, so that it is rarely they
    /// who close first.
    pub idle_timeout: Duration,
    /// Largest read buffer of one connection, in bytes; it gathers as much of a body that goes out.
    pub read_buffer_bytes_max: usize,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            connections_max: 200,
            idle_max: 100,
            idle_timeout: Duration::from_secs(15),
            read_buffer_bytes_max: 128 * 1024,
        }
    }
}

/// Where requests go, ready for use.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub tls: bool,
    /// What DNS is asked for: without port or brackets.
    pub host: String,
    pub port: u16,
    /// What the `Host` header says.
    pub host_header: HeaderValue,
    pub host_text: String,
    /// What stands before an encoded key: `/bucket/` or `/`.
    pub key_prefix: String,
    /// The path of the bucket itself, without a closing slash in path style.
    pub bucket_path: String,
}

impl Endpoint {
    pub(crate) fn parse(options: &ClientOptions) -> Result<Self, Error> {
        let text = options.endpoint.as_str();
        let bad = |why: &str| Error::invalid(format!("endpoint {text:?} {why}"));
        let uri: Uri = text.parse().map_err(|_| bad("is not a URL like https://host:port"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("does not begin with https:// or http://")),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("has a path; name the bucket in its own field"));
        }
        let authority = uri.authority().ok_or_else(|| bad("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("holds credentials; they have their own fields"));
        }
        let host = authority.host();
        if host.is_empty() {
            return Err(bad("names no host"));
        }
        check_bucket(&options.bucket)?;
        let default_port = if tls { 443 } else { 80 };
        let port = authority.port_u16().unwrap_or(default_port);
        let host = if options.path_style { host.to_owned() } else { format!("{}.{host}", options.bucket) };
        let host_text = if port == default_port { host.clone() } else { format!("{host}:{port}") };
        let bucket_path = if options.path_style { format!("/{}", options.bucket) } else { String::from("/") };
        Ok(Self {
            tls,
            port,
            host_header: HeaderValue::from_str(&host_text).map_err(|_| bad("has an illegal host"))?,
            key_prefix: if options.path_style { format!("{bucket_path}/") } else { bucket_path.clone() },
            bucket_path,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            host_text,
        })
    }
}

/// Bucket names go into paths and host names as they are.
fn check_bucket(name: &str) -> Result<(), Error> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(legal) {
        return Err(Error::invalid(format!(
            "bucket {name:?} may hold letters, digits, '-', '_' and '.' only, and not begin with a dot"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(endpoint: &str, bucket: &str, path_style: bool) -> Result<Endpoint, String> {
        let credentials =
            Credentials { access_key_id: "a".into(), secret_access_key: "s".into(), session_token: None };
        let options = ClientOptions { path_style, ..ClientOptions::new(endpoint, bucket, credentials) };
        Endpoint::parse(&options).map_err(|error| error.to_string())
    }

    fn check(endpoint: &str, path_style: bool, host_header: &str, connect: (&str, u16), key_prefix: &str) {
        let read = parse(endpoint, "b", path_style).unwrap();
        assert_eq!(read.host_text, host_header);
        assert_eq!((read.host.as_str(), read.port), connect);
        assert_eq!(read.key_prefix, key_prefix);
    }

    #[test]
    fn endpoints_are_read() {
        check("https://s3.example.org", true, "s3.example.org", ("s3.example.org", 443), "/b/");
        check("https://s3.example.org/", false, "b.s3.example.org", ("b.s3.example.org", 443), "/");
        check("http://127.0.0.1:9000", true, "127.0.0.1:9000", ("127.0.0.1", 9000), "/b/");
        check("http://[::1]:9000", true, "[::1]:9000", ("::1", 9000), "/b/");
        check("https://s3.example.org:443", true, "s3.example.org", ("s3.example.org", 443), "/b/");
    }

    #[test]
    fn what_cannot_be_an_endpoint_is_refused() {
        for bad in
            ["", "s3.example.org", "ftp://x", "https://x/prefix", "https://x?y", "https://u:p@x", "https://"]
        {
            assert!(parse(bad, "b", true).is_err(), "{bad:?} was accepted");
        }
        for bad in ["", "a/b", "..", "a b", "ü"] {
            assert!(parse("https://x", bad, true).is_err(), "{bad:?} was accepted");
        }
    }
}
