//! The tools of the cases: paths, bodies, and short forms of the operations.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use types::{ByteRange, ReplicaPath};

use super::Traits;
use crate::{Backend, BackendError, Body, BodyError, Entry, ErrorKind, PutOptions, collect};

/// Longest listing that a case makes.
const PAGES_MAX: usize = 10_000;

/// Why a case failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        Self(format!("{error} ({})", error.kind.as_str()))
    }
}

/// How a case ended.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Where a case works: a backend, and a part of it that is the case's own.
pub struct Bench {
    /// The backend under test.
    pub backend: Arc<dyn Backend>,
    /// Everything that the case does lies below.
    pub prefix: String,
    /// What the backend cannot do.
    pub traits: Traits,
}

impl Bench {
    /// A path of this case.
    pub(super) fn path(&self, rest: &str) -> Outcome<ReplicaPath> {
        ReplicaPath::parse(&format!("{}{rest}", self.prefix)).map_err(|error| Failure(error.to_string()))
    }

    pub(super) async fn put(&self, path: &ReplicaPath, data: &[u8]) -> Outcome {
        let body = Body::from_bytes(Bytes::copy_from_slice(data));
        self.backend.put(path, body, PutOptions::default()).await?;
        Ok(())
    }

    pub(super) async fn get(&self, path: &ReplicaPath, range: Option<ByteRange>) -> Outcome<Bytes> {
        let download = self.backend.get(path, range).await?;
        let length = download.length;
        let bytes_max = usize::try_from(length).map_err(|_| Failure("an absurd length".to_owned()))?;
        let bytes = collect(download.stream, bytes_max).await?;
        let bytes = bytes.ok_or_else(|| Failure(format!("more bytes came than the {length} announced")))?;
        ensure(bytes.len() as u64 == length, || format!("{} bytes came, not {length}", bytes.len()))?;
        Ok(bytes)
    }

    /// Everything under a prefix of this case, over all pages.
    pub(super) async fn list(&self, rest: &str) -> Outcome<Vec<Entry>> {
        let prefix = format!("{}{rest}", self.prefix);
        let (mut all, mut cursor) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let page = self.backend.list(&prefix, cursor.as_deref()).await?;
            all.extend(page.entries);
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(all),
            }
        }
        Err(Failure(format!("the listing has no end after {PAGES_MAX} pages")))
    }

    /// Checks that nothing can be seen at a path, in any way.
    pub(super) async fn absent(&self, path: &ReplicaPath) -> Outcome {
        expect_kind("head", self.backend.head(path).await, ErrorKind::NotFound)?;
        expect_kind("get", self.backend.get(path, None).await, ErrorKind::NotFound)?;
        let listed = self.list("").await?.into_iter().any(|entry| entry.path == *path);
        ensure(!listed, || format!("{path} is listed"))
    }
}

/// Fails the case unless the condition holds.
pub(super) fn ensure(condition: bool, otherwise: impl FnOnce() -> String) -> Outcome {
    if condition { Ok(()) } else { Err(Failure(otherwise())) }
}

/// Fails the case unless the operation failed in this way.
pub(super) fn expect_kind<T>(what: &str, result: Result<T, BackendError>, kind: ErrorKind) -> Outcome {
    match result {
        Err(error) if error.kind == kind => Ok(()),
        Err(error) => Err(Failure(format!(
            "{what} failed as {}, expected {}: {error}",
            error.kind.as_str(),
            kind.as_str()
        ))),
        Ok(_) => Err(Failure(format!("{what} succeeded, expected {}", kind.as_str()))),
    }
}

/// Bytes that differ from offset to offset, with a period that no buffer size shares.
pub(super) fn pattern(size: usize) -> Vec<u8> {
    let byte = |i: usize| u8::try_from((i * 31 + i / 251) % 251).unwrap_or_default();
    (0..size).map(byte).collect()
}

/// A body in chunks of this size.
pub(super) fn chunked(data: &[u8], chunk_bytes: usize) -> Body {
    let chunks: Vec<_> = data.chunks(chunk_bytes).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    Body { length: data.len() as u64, stream: Box::pin(stream::iter(chunks)) }
}

/// A body that says it has `length` bytes and yields `data`, then fails or just ends.
pub(super) fn broken(length: u64, data: &[u8], failure: Option<&str>) -> Body {
    let failure = failure.map(|reason| Err(BodyError(reason.to_owned())));
    Body { length, stream: Box::pin(chunked(data, 10_007).stream.chain(stream::iter(failure))) }
}
