//! aws-chunked bodies, signed chunk by chunk or not, with or without a trailer.

use super::sign::{scope, sha256_hex};
use super::{Keys, SignedHead};

/// Builds a body whose chunks are signed, each chained to the one before.
#[derive(Debug)]
pub struct SignedChunks<'k> {
    keys: &'k Keys,
    date: String,
    previous: String,
    body: Vec<u8>,
}

impl<'k> SignedChunks<'k> {
    /// For the request with this head.
    #[must_use]
    pub fn new(keys: &'k Keys, head: &SignedHead) -> Self {
        Self { keys, date: head.date.clone(), previous: head.signature.clone(), body: Vec::new() }
    }

    /// Adds a chunk.
    #[must_use]
    pub fn chunk(mut self, data: &[u8]) -> Self {
        let text = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{}\n{}",
            self.date,
            scope(&self.date),
            self.previous,
            sha256_hex(b""),
            sha256_hex(data)
        );
        self.previous = self.keys.seal(&self.date, &text);
        self.body
            .extend_from_slice(format!("{:x};chunk-signature={}\r\n", data.len(), self.previous).as_bytes());
        self.body.extend_from_slice(data);
        if !data.is_empty() {
            self.body.extend_from_slice(b"\r\n");
        }
        self
    }

    /// Ends the body: the last chunk is empty.
    #[must_use]
    pub fn end(self) -> Vec<u8> {
        let mut ended = self.chunk(b"");
        ended.body.extend_from_slice(b"\r\n");
        ended.body
    }

    /// Ends the body with a signed trailer of one line: `name:value`.
    #[must_use]
    pub fn end_with_trailer(self, line: &str) -> Vec<u8> {
        let mut ended = self.chunk(b"");
        let text = format!(
            "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{}\n{}",
            ended.date,
            scope(&ended.date),
            ended.previous,
            sha256_hex(format!("{line}\n").as_bytes())
        );
        let signature = ended.keys.seal(&ended.date, &text);
        ended
            .body
            .extend_from_slice(format!("{line}\r\nx-amz-trailer-signature:{signature}\r\n\r\n").as_bytes());
        ended.body
    }
}

/// A body whose chunks are not signed, with the lines of its trailer.
#[must_use]
pub fn unsigned_chunks(chunks: &[&[u8]], trailer: &[&str]) -> Vec<u8> {
    let mut body = Vec::new();
    for chunk in chunks {
        body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n");
    for line in trailer {
        body.extend_from_slice(line.as_bytes());
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"\r\n");
    body
}
