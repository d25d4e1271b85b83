//! An S3 client that does what it is told, also what no client should: for races, crashes and bad input.
//!
//! It shares no code with the product, so that the two cannot agree on the same mistake.

mod answer;
mod chunks;
mod connection;
mod sign;

use std::io;

pub use answer::Answer;
pub use chunks::{SignedChunks, unsigned_chunks};
pub use connection::Wire;
pub use sign::{Keys, SignedHead, amz_date, encode, sha256_hex};
use types::Timestamp;

/// The word in place of a body's hash where its signature does not cover it.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// One request, before it is signed.
#[derive(Debug, Clone)]
pub struct Call {
    /// The method.
    pub method: String,
    /// The path, not encoded: `/bucket/key`.
    pub path: String,
    /// The query, not encoded; `None` is a name without `=`.
    pub query: Vec<(String, Option<String>)>,
    /// Headers beside those that signing adds. One that signing would add replaces it.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Call {
    /// A request without a body.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// A PUT of these bytes.
    #[must_use]
    pub fn put(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("PUT", path).body(body)
    }

    /// A GET.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// With a query parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), Some(value.to_owned())));
        self
    }

    /// With a query parameter that has no value: `?uploads`.
    #[must_use]
    pub fn flag(mut self, name: &str) -> Self {
        self.query.push((name.to_owned(), None));
        self
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The value of a header that was given.
    #[must_use]
    pub fn given(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// Sends signed requests to one server, each on a connection of its own unless told otherwise.
#[derive(Debug, Clone)]
pub struct WireClient {
    /// `127.0.0.1:PORT`.
    pub address: String,
    /// Who signs.
    pub keys: Keys,
}

impl WireClient {
    /// A client of the server at this endpoint, which speaks http.
    ///
    /// # Panics
    /// Where it speaks something else.
    #[must_use]
    pub fn new(endpoint: &str, keys: Keys) -> Self {
        let address = endpoint.strip_prefix("http://").expect("the raw client speaks http only");
        Self { address: address.trim_end_matches('/').to_owned(), keys }
    }

    /// Signs and sends a request, and reads the whole answer.
    ///
    /// # Errors
    /// Where the connection fails before the answer is whole.
    pub async fn send(&self, call: &Call) -> io::Result<Answer> {
        Wire::connect(&self.address).await?.send(&self.signed(call), call).await
    }

    /// The same where nothing may go wrong with the connection.
    ///
    /// # Panics
    /// Where it does.
    pub async fn ask(&self, call: &Call) -> Answer {
        let what = format!("{} {}", call.method, call.path);
        self.send(call).await.unwrap_or_else(|error| panic!("{what}: no answer: {error}"))
    }

    /// The head of a request, signed now.
    #[must_use]
    pub fn signed(&self, call: &Call) -> SignedHead {
        self.signed_at(call, runtime::Clock::system().now())
    }

    /// The head of a request, signed at another time.
    #[must_use]
    pub fn signed_at(&self, call: &Call, at: Timestamp) -> SignedHead {
        self.keys.sign(call, &self.address, at)
    }

    /// The target (path and query) that lets whoever holds it send this request for a while.
    #[must_use]
    pub fn presigned(&self, call: &Call, at: Timestamp, expires_s: u32) -> String {
        self.keys.presign(call, &self.address, at, expires_s)
    }

    /// Sends a request that needs no signature of its own: method, target as it stands, no body.
    ///
    /// # Panics
    /// Where the connection fails before the answer is whole.
    pub async fn plain(&self, method: &str, target: &str) -> Answer {
        let head =
            format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", self.address);
        let mut wire = Wire::connect(&self.address).await.expect("the server accepts connections");
        wire.write(head.as_bytes()).await.expect("a head fits the socket");
        wire.answer_to(method).await.unwrap_or_else(|error| panic!("{method} {target}: no answer: {error}"))
    }
}
