//! Entrances for fuzz targets: each takes what a stranger may send to a parser, and checks what must hold.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::{FutureExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use s3s::post_policy::PostPolicy;

use crate::form::FormReader;
use crate::framing::Reframer;
use crate::query::Query;
use crate::target::Target;
use crate::xml::Element;
use crate::{checksums, conditions, copy_source, headers, operation, percent, signing, tagging};

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

/// The head of a request: method, path and query in the first line, then headers. The HTTP library has
/// read it as far as that.
///
/// # Panics
/// Where a key that was read does not come back from its own encoding.
pub fn head(text: &str) {
    let mut lines = text.lines();
    let mut first = lines.next().unwrap_or_default().split(' ');
    let method = Method::from_bytes(first.next().unwrap_or_default().as_bytes()).unwrap_or(Method::GET);
    let (path, query) = first.next().map_or(("/", None), |target| match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    });
    let map: HeaderMap = lines
        .filter_map(|line| line.split_once(':'))
        .filter_map(|(name, value)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value.trim()).ok()?))
        })
        .collect();
    let host = map.get("host").and_then(|host| host.to_str().ok());
    let (Ok(target), Ok(query)) =
        (Target::parse(path, host, &["example.com".to_owned()]), Query::parse(query))
    else {
        return;
    };
    if let Target::Object(bucket, key) = &target {
        let again = format!("/{bucket}/{}", percent::encode(key.as_str()));
        assert_eq!(Target::parse(&again, None, &[]).ok().as_ref(), Some(&target), "{again}");
    }
    let _ = operation::resolve(&method, &target, &query, &map);
    let _ = signing::check(&map, &query, None, "eu-west-1");
    let _ = (headers::object_headers(&map), headers::metadata(&map), headers::refuse_unsupported(&map));
    let _ = (checksums::expected(&map, None), tagging::of_headers(&map), conditions::of_read(&map));
    let _ = conditions::of_write(&map);
}

/// A browser's form: the first byte says how large its buffers are.
///
/// # Panics
/// Where more is read than is allowed.
pub fn form(data: &[u8]) {
    let Some((&piece, body)) = data.split_first() else { return };
    let chunks: Vec<_> =
        body.chunks(usize::from(piece).max(1)).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
    let reading = async {
        let mut reader = FormReader::new(stream::iter(chunks), "multipart/form-data; boundary=B").ok()?;
        reader.fields().await.ok()?;
        reader.file(1000).await.ok()
    };
    // All of it is at hand: nothing is waited for.
    let file = Box::pin(reading).now_or_never().expect("a stream of what is at hand never waits");
    assert!(file.is_none_or(|file| file.len() <= 1000));
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
