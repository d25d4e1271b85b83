//! What the tests share.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use s3_client::{
    BodyStream, BoxError, ClientOptions, Credentials, Download, Error, PutBody, S3Client, Timeouts,
};

/// Waits that a test can wait for.
pub(crate) fn short() -> Timeouts {
    let limit = Duration::from_secs(1);
    Timeouts {
        acquire: limit,
        connect: Duration::from_secs(5),
        response_header: limit,
        stall: limit,
        small_operation: Duration::from_secs(5),
        copy: Duration::from_secs(5),
    }
}

/// How to speak to bucket `b` at this endpoint.
pub(crate) fn options(endpoint: &str) -> ClientOptions {
    let credentials =
        Credentials { access_key_id: "key".into(), secret_access_key: "secret".into(), session_token: None };
    ClientOptions { timeouts: short(), ..ClientOptions::new(endpoint, "b", credentials) }
}

/// A client of bucket `b` at this endpoint.
pub(crate) fn client(endpoint: &str) -> S3Client {
    S3Client::new(options(endpoint)).expect("the options are legal")
}

/// Bytes that differ from offset to offset.
pub(crate) fn pattern(size: usize) -> Bytes {
    (0..size).map(|i| u8::try_from((i * 31 + i / 251) % 251).expect("a remainder below 251")).collect()
}

/// A body in chunks.
pub(crate) fn chunked(data: &Bytes, chunk_bytes: usize) -> PutBody {
    let chunks: Vec<Result<Bytes, BoxError>> = (0..data.len())
        .step_by(chunk_bytes)
        .map(|start| Ok(data.slice(start..data.len().min(start + chunk_bytes))))
        .collect();
    PutBody::Stream { length: data.len() as u64, stream: stream::iter(chunks).boxed() }
}

/// A body of this length whose chunks are given one by one.
pub(crate) fn streamed(length: usize, stream: BodyStream) -> PutBody {
    PutBody::Stream { length: length as u64, stream }
}

/// Reads all of a download.
pub(crate) async fn read(mut body: Download) -> Result<Bytes, Error> {
    let mut all = Vec::new();
    while let Some(chunk) = body.next().await {
        all.extend_from_slice(&chunk?);
    }
    Ok(all.into())
}
