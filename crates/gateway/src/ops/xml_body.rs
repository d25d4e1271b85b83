//! Bodies of XML: read whole, within a budget, and proved as any other body.

use bytes::{Bytes, BytesMut};
use engine::BodyFault;
use futures::StreamExt;

use crate::checksums;
use crate::error::{Code, Fault, Outcome};
use crate::route::Verified;
use crate::xml::Element;

/// For 10,000 parts with checksums, or 1,000 keys of 1,024 bytes that are all escaped.
pub(super) const LONG_BYTES_MAX: u64 = 8 << 20;
/// For everything else.
pub(super) const SHORT_BYTES_MAX: u64 = 64 << 10;

/// Reads a body with this root.
pub(super) async fn read_xml(request: &mut Verified, root: &str, bytes_max: u64) -> Outcome<Element> {
    Element::read(&read_bytes(request, bytes_max).await?, root)
}

/// Reads a body whole.
pub(super) async fn read_bytes(request: &mut Verified, bytes_max: u64) -> Outcome<Bytes> {
    let length = request.call.length.ok_or(Fault::from(Code::MissingContentLength))?;
    if length > bytes_max {
        return Err(Code::MaxMessageLengthExceeded.into());
    }
    // The tree of a document takes a few times its bytes.
    let _memory = request.shared.xml_budget.take(length).await?;
    let expected = checksums::expected(&request.headers, request.trailing.take())?;
    let mut stream = request.take_body();
    let mut bytes = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk?);
        if bytes.len() as u64 > length {
            return Err(BodyFault::TooLong { expected: length }.into());
        }
    }
    if (bytes.len() as u64) < length {
        return Err(BodyFault::TooShort { expected: length, got: bytes.len() as u64 }.into());
    }
    checksums::prove(&bytes, expected)?;
    Ok(bytes.freeze())
}
