//! Bodies: streams of bytes whose length is known beforehand.

use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};

/// Why a body ended before its length was reached. Always the giver's fault, never the backend's.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the body ended early: {0}")]
pub struct BodyError(pub String);

/// Chunks of a body, in order.
pub type ByteStream<E = BodyError> = Pin<Box<dyn Stream<Item = Result<Bytes, E>> + Send>>;

/// A body on its way to a backend. The stream yields exactly `length` bytes, or fails: a driver that
/// sees it fail must leave nothing visible at the path.
pub struct Body {
    /// Bytes in the body.
    pub length: u64,
    /// The bytes.
    pub stream: ByteStream,
}

impl Body {
    /// A body that is in memory already.
    #[must_use]
    pub fn from_bytes(bytes: Bytes) -> Self {
        let length = bytes.len() as u64;
        let chunks = (!bytes.is_empty()).then_some(Ok(bytes));
        Self { length, stream: Box::pin(stream::iter(chunks)) }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({} bytes)", self.length)
    }
}

/// Reads a whole stream into memory, up to `bytes_max`. For small things: markers, tests.
///
/// # Errors
/// The stream's own, or `None` where it is longer than allowed.
pub async fn collect<E>(mut stream: ByteStream<E>, bytes_max: usize) -> Result<Option<Bytes>, E> {
    let mut all = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        if all.len() + chunk.len() > bytes_max {
            return Ok(None);
        }
        all.extend_from_slice(&chunk);
    }
    Ok(Some(all.freeze()))
}
