//! Requests to the store, and its answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::stream;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};

use super::objects::{Intake, Object, Objects};
use super::xml;

type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// What lies here was always written just now; nobody who measures looks at it.
const MODIFIED: HeaderValue = HeaderValue::from_static("Wed, 01 Jan 2025 00:00:00 GMT");
const METADATA: &str = "x-amz-meta-";
const COPY_SOURCE: &str = "x-amz-copy-source";
/// Objects of a page of a listing.
const PAGE: usize = 1_000;

/// Answers a request.
pub(super) async fn answer(objects: &Objects, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
    let key = xml::percent_decode(key);
    let query = request.uri().query().unwrap_or_default().to_owned();
    match (request.method().clone(), key.is_empty()) {
        (Method::PUT, false) => put(objects, bucket, &key, request).await,
        (Method::GET, false) => get(objects, bucket, &key, request.headers(), true),
        (Method::HEAD, false) => get(objects, bucket, &key, request.headers(), false),
        (Method::DELETE, false) => {
            objects.remove(bucket, &key);
            status(StatusCode::NO_CONTENT)
        }
        (Method::POST, true) => delete_many(objects, bucket, request).await,
        (Method::GET, true) if query.starts_with("versioning") => {
            document(StatusCode::OK, xml::VERSIONING.to_owned())
        }
        (Method::GET, true) => list(objects, bucket, &query),
        (Method::PUT | Method::HEAD, true) => status(StatusCode::OK),
        _ => error(StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
    }
}

async fn put(objects: &Objects, bucket: &str, key: &str, request: Request<Incoming>) -> Response<Body> {
    let (parts, mut body) = request.into_parts();
    if let Some(source) = parts.headers.get(COPY_SOURCE) {
        return copy(objects, bucket, key, source);
    }
    let mut intake = Intake::new(objects);
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(bytes)) => {
                objects.counts.bytes_in.fetch_add(bytes.len() as u64, Ordering::SeqCst);
                intake.push(bytes).await;
            }
            Ok(Err(_)) => {}
            Err(_) => return error(StatusCode::BAD_REQUEST, "IncompleteBody"),
        }
    }
    let etag = objects.put(bucket, key, intake.finish(), metadata(&parts.headers));
    let mut response = status(StatusCode::OK);
    response.headers_mut().insert(ETAG, etag_header(etag));
    response
}

fn metadata(headers: &HeaderMap) -> Vec<(String, String)> {
    let entries = headers.iter().filter(|(name, _)| name.as_str().starts_with(METADATA));
    entries
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

fn copy(objects: &Objects, bucket: &str, key: &str, source: &HeaderValue) -> Response<Body> {
    let source = xml::percent_decode(source.to_str().unwrap_or_default().trim_start_matches('/'));
    let found = source.split_once('/').and_then(|(bucket, key)| objects.get(bucket, key));
    let Some(object) = found else { return error(StatusCode::NOT_FOUND, "NoSuchKey") };
    let etag = object.etag;
    objects.insert(bucket, key, object);
    document(StatusCode::OK, xml::copied(etag))
}

fn get(objects: &Objects, bucket: &str, key: &str, headers: &HeaderMap, with_body: bool) -> Response<Body> {
    let Some(object) = objects.get(bucket, key) else { return error(StatusCode::NOT_FOUND, "NoSuchKey") };
    let asked = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let range = match asked.map(|text| parse_range(text, object.length)) {
        None => None,
        Some(Some(range)) => Some(range),
        Some(None) => return error(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange"),
    };
    let (first, length) = range.unwrap_or((0, object.length));
    let mut response =
        if with_body { pieces(objects, &object, first, length) } else { status(StatusCode::OK) };
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, length.into());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(LAST_MODIFIED, MODIFIED);
    headers.insert(ETAG, etag_header(object.etag));
    for (name, value) in object.metadata.iter() {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    if range.is_some() {
        let text = format!("bytes {first}-{}/{}", first + length - 1, object.length);
        headers.extend(HeaderValue::try_from(text).map(|value| (CONTENT_RANGE, value)));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

/// The first byte and the number of bytes of `bytes=A-B`, which is the only form that the driver sends.
fn parse_range(text: &str, length: u64) -> Option<(u64, u64)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && first < length).then(|| (first, last.min(length - 1) - first + 1))
}

fn pieces(objects: &Objects, object: &Object, first: u64, length: u64) -> Response<Body> {
    let counts = Arc::clone(&objects.counts);
    let mut wanted = Vec::new();
    let (mut at, end) = (0_u64, first + length);
    for piece in object.pieces.iter() {
        let (from, to) = (at.max(first), (at + piece.len() as u64).min(end));
        if from < to {
            let index = |offset: u64| usize::try_from(offset - at).unwrap_or(usize::MAX);
            wanted.push(piece.slice(index(from)..index(to)));
        }
        at += piece.len() as u64;
    }
    let stream = stream::iter(wanted.into_iter().map(move |piece| {
        counts.bytes_out.fetch_add(piece.len() as u64, Ordering::SeqCst);
        Ok(Frame::data(piece))
    }));
    Response::new(StreamBody::new(stream).boxed_unsync())
}

fn list(objects: &Objects, bucket: &str, query: &str) -> Response<Body> {
    let value = |name: &str| {
        let pair = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
        pair.map(|(_, value)| xml::percent_decode(value)).unwrap_or_default()
    };
    let max = value("max-keys").parse().unwrap_or(PAGE).min(PAGE);
    let mut found = objects.list(bucket, &value("prefix"), &value("continuation-token"), max + 1);
    let more = found.len() > max;
    found.truncate(max);
    document(StatusCode::OK, xml::listing(&found, more))
}

async fn delete_many(objects: &Objects, bucket: &str, request: Request<Incoming>) -> Response<Body> {
    let Ok(body) = request.into_body().collect().await else {
        return error(StatusCode::BAD_REQUEST, "IncompleteBody");
    };
    let body = body.to_bytes();
    let keys = xml::keys_of(&String::from_utf8_lossy(&body));
    for key in &keys {
        objects.remove(bucket, key);
    }
    document(StatusCode::OK, xml::deleted(&keys))
}

fn etag_header(etag: u64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{etag:016x}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Full::default().boxed_unsync());
    *response.status_mut() = status;
    response
}

fn document(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Full::from(text).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

fn error(status: StatusCode, code: &str) -> Response<Body> {
    document(status, xml::error(code))
}
