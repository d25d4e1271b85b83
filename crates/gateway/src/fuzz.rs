//! Entrances for fuzz targets: each takes what a stranger may send to a parser, and checks what must hold.

use std::collections::VecDeque;

use bytes::Bytes;
use s3s::post_policy::PostPolicy;

use crate::conditions;
use crate::copy_source;
use crate::framing::Reframer;
use crate::tagging;
use crate::xml::Element;

/// The aws-chunked framing: the first byte says where buffers end and whether chunks are signed.
///
/// # Panics
/// Where more comes out than the announced length allows.
pub fn reframe(data: &[u8]) {
    let Some((&first, body)) = data.split_first() else { return };
    let announced = 4096;
    let mut reframer = Reframer::new(first & 1 == 1, announced);
    let mut out = VecDeque::new();
    for piece in body.chunks(usize::from(first >> 1).max(1)) {
        if reframer.push(Bytes::copy_from_slice(piece), &mut out).is_err() {
            return;
        }
    }
    let _ = reframer.finish();
    let bytes: usize = out.iter().map(Bytes::len).sum();
    // An unsigned byte of data may become a chunk of its own: 5 bytes of framing, at most 8 KiB of trailer.
    assert!(bytes <= data.len() + 6 * 4096 + 16, "{bytes} bytes came out of {}", data.len());
}

/// `x-amz-copy-source`.
pub fn copy_source(text: &str) {
    let _ = copy_source::parse(text);
}

/// Tags as a header and as XML.
///
/// # Panics
/// Where tags that were read do not come back.
pub fn tagging(text: &str) {
    if let Ok(tags) = tagging::parse_header(text) {
        // What XML cannot carry is not compared.
        let plain = tags.iter().all(|(n, v)| !n.chars().chain(v.chars()).any(char::is_control));
        if let (true, Ok(read)) = (plain, tagging::parse_xml(tagging::to_xml(&tags).as_bytes())) {
            assert_eq!(read, tags);
        }
    }
    let _ = tagging::parse_xml(text.as_bytes());
}

/// A `Range`, resolved on an object of the given size.
///
/// # Panics
/// Where the range leaves the object.
pub fn range(text: &str, size: u64) {
    if let Some(range) = conditions::parse_range(text).and_then(|want| conditions::resolve(want, size)) {
        assert!(range.length > 0 && range.start < size && range.length <= size - range.start);
    }
}

/// The policy of a browser's form.
pub fn policy(text: &str) {
    let _ = PostPolicy::from_json(text);
    let _ = PostPolicy::from_base64(text);
}

/// A body of XML.
pub fn xml(data: &[u8]) {
    let _ = Element::read(data, "Delete");
}
