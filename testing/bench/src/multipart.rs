//! Multipart uploads, which the product's own client has no need of.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use md5::{Digest as _, Md5};
use ring::{digest, hmac};
use s3_client::{BoxError, ClientOptions};
use tokio::net::TcpStream;

use crate::content::Content;

/// Longest wait for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// Parts on their way at once.
const PARTS_AT_ONCE: usize = 4;

/// Uploads parts and completes them. Returns the object's entity tag.
///
/// # Errors
/// What was refused, with the answer; a part whose entity tag is not its MD5.
pub async fn upload(to: &ClientOptions, key: &str, parts: &[Content]) -> Result<String, BoxError> {
    let path = format!("/{}/{key}", to.bucket);
    let call = |method, query: String, body| call(to, method, &path, query, body);
    let (_, created) = call(Method::POST, "uploads=".to_owned(), None).await?;
    let upload = between(&created, "<UploadId>", "</UploadId>").ok_or("no upload id")?.to_owned();
    let sending = parts.iter().enumerate().map(|(index, &part)| {
        let query = format!("partNumber={}&uploadId={upload}", index + 1);
        async move {
            let (headers, _) = call(Method::PUT, query, Some(part)).await?;
            let etag = headers.get("etag").and_then(|etag| etag.to_str().ok()).unwrap_or_default().to_owned();
            Ok::<_, BoxError>(format!(
                "<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag></Part>",
                index + 1
            ))
        }
    });
    let listed: Vec<String> = stream::iter(sending).buffered(PARTS_AT_ONCE).try_collect().await?;
    let document = format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", listed.concat());
    let query = format!("uploadId={upload}");
    let (_, completed) = send(to, Method::POST, &path, query, full(document)).await?;
    let etag = between(&completed, "<ETag>", "</ETag>").ok_or("no entity tag")?;
    Ok(etag.replace("&quot;", "").replace('"', ""))
}

/// The entity tag that an upload of these parts has to have.
#[must_use]
pub fn etag_of(parts: &[Content]) -> String {
    let mut known = std::collections::HashMap::new();
    let mut all = Md5::new();
    for part in parts {
        all.update(*known.entry(part.seed).or_insert_with(|| md5_of(*part)));
    }
    format!("{}-{}", hex::encode(all.finalize()), parts.len())
}

/// The MD5 of a body.
#[must_use]
pub fn md5_of(content: Content) -> [u8; 16] {
    let mut md5 = Md5::new();
    content.pieces().for_each(|piece| md5.update(&piece));
    md5.finalize().into()
}

type Body = (u64, stream::BoxStream<'static, Result<Bytes, BoxError>>);

fn full(text: String) -> Body {
    (text.len() as u64, stream::iter([Ok(Bytes::from(text))]).boxed())
}

async fn call(
    to: &ClientOptions,
    method: Method,
    path: &str,
    query: String,
    content: Option<Content>,
) -> Result<(HeaderMap, String), BoxError> {
    let body =
        content.map_or((0, stream::empty().boxed()), |content| (content.length, content.stream().boxed()));
    send(to, method, path, query, body).await
}

/// Sends a request on a connection of its own and reads its answer.
async fn send(
    to: &ClientOptions,
    method: Method,
    path: &str,
    query: String,
    (length, body): Body,
) -> Result<(HeaderMap, String), BoxError> {
    let host = to.endpoint.trim_start_matches("http://");
    let (date, authorization) = sign(to, host, method.as_str(), path, &query);
    let request = Request::builder()
        .method(&method)
        .uri(format!("{path}?{query}"))
        .header("host", host)
        .header("authorization", authorization)
        .header("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
        .header("x-amz-date", date)
        .header("content-length", length)
        .body(StreamBody::new(body.map_ok(Frame::data)))?;
    let stream = TcpStream::connect(host).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let _connection = runtime::spawn(connection);
    let answer = runtime::timeout(ANSWER_WITHIN, sender.send_request(request)).await;
    let (parts, body) = answer.map_err(|_| "no answer in time")??.into_parts();
    let text = String::from_utf8_lossy(&body.collect().await?.to_bytes()).into_owned();
    if parts.status != StatusCode::OK || text.contains("<Error>") {
        return Err(format!("{method} {path}?{query}: {} {text}", parts.status).into());
    }
    Ok((parts.headers, text))
}

/// Date and `Authorization` of a request (signature version 4) that leaves its body unsigned. The query has
/// to be in its canonical form.
fn sign(to: &ClientOptions, host: &str, method: &str, path: &str, query: &str) -> (String, String) {
    const SIGNED: &str = "host;x-amz-content-sha256;x-amz-date";
    let date = amz_date();
    let region = if to.region.is_empty() { "us-east-1" } else { &to.region };
    let scope = format!("{}/{region}/s3/aws4_request", &date[..8]);
    let canonical = format!(
        "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:{date}\n\n\
         {SIGNED}\nUNSIGNED-PAYLOAD"
    );
    let digest = hex::encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest}");
    let secret = format!("AWS4{}", to.credentials.secret_access_key).into_bytes();
    let signature = scope.split('/').chain([text.as_str()]).fold(secret, |key, message| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), message.as_bytes()).as_ref().to_vec()
    });
    let key = &to.credentials.access_key_id;
    let signature = hex::encode(signature);
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={key}/{scope},SignedHeaders={SIGNED},Signature={signature}");
    (date, authorization)
}

fn amz_date() -> String {
    let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
    let seconds = runtime::Clock::system().now().as_millis() / 1_000;
    let moment = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok());
    moment.and_then(|moment| moment.format(format).ok()).expect("the present has a date")
}

fn between<'a>(text: &'a str, before: &str, behind: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(behind).map(|(found, _)| found)
}
