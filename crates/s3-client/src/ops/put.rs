//! Storing.

use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderName, Method};

use crate::body::{PutBody, prove_empty};
use crate::client::{Outgoing, S3Client, text_of};
use crate::error::{Error, ErrorKind, Sent};

/// What to store.
#[derive(Debug)]
pub struct PutObject<'a> {
    /// Under which key.
    pub key: &'a str,
    /// The bytes.
    pub body: PutBody,
    /// User metadata: names in lower case without `x-amz-meta-`, values in ASCII.
    pub metadata: &'a [(String, String)],
}

/// What the server said when it had stored an object.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Entity tag, without quotes. Not to be taken for an MD5.
    pub etag: Option<String>,
    /// The version that it made, where the bucket keeps versions.
    pub version: Option<String>,
}

impl S3Client {
    /// Stores an object in one request, which is sent at most once.
    ///
    /// # Errors
    /// [`Error::nothing_happened`] tells whether the object may be there all the same, now or later.
    pub async fn put_object(&self, mut put: PutObject<'_>) -> Result<Stored, Error> {
        if let Err(error) = prove_empty(&mut put.body).await {
            return Err(Error::new(ErrorKind::Body, Sent::Never, error.to_string()).with_source(error));
        }
        let mut outgoing = Outgoing::new("put", Method::PUT, Some(put.key));
        outgoing.body = put.body;
        outgoing.headers.reserve(put.metadata.len() + 1);
        // Never anything else: some providers would decompress or convert it on the way back.
        outgoing.headers.push((CONTENT_TYPE, "application/octet-stream"));
        for (name, value) in put.metadata {
            outgoing.headers.push((metadata_header(name)?, value));
        }
        let answer = self.inner.send(outgoing).await?;
        let stored = Stored {
            etag: text_of(&answer.headers, ETAG).map(|etag| etag.trim_matches('"').to_owned()),
            version: text_of(&answer.headers, "x-amz-version-id").filter(|id| id != "null"),
        };
        // An answer to a PUT has no body; where it has one, its connection is not worth keeping.
        drop(answer.body);
        Ok(stored)
    }
}

fn metadata_header(name: &str) -> Result<HeaderName, Error> {
    let header = format!("x-amz-meta-{name}");
    HeaderName::from_lowercase(header.as_bytes())
        .map_err(|_| Error::invalid(format!("metadata name {name:?} is no header name in lower case")))
}
