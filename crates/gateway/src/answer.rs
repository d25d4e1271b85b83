//! Answers.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use types::ETag;

use crate::error::{Code, Fault};
use crate::xml::Writer;

/// The answer of an operation.
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: StatusCode,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: s3s::Body,
}

impl Answer {
    /// An answer without a body.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: s3s::Body::empty() }
    }

    /// 200 without a body.
    pub(crate) fn ok() -> Self {
        let mut answer = Self::empty(StatusCode::OK);
        answer.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        answer
    }

    /// 200 with XML.
    pub(crate) fn xml(document: String) -> Self {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(document.len()));
        Self { status: StatusCode::OK, headers, body: Bytes::from(document).into() }
    }

    /// The same with a header.
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The same with an `ETag`.
    pub(crate) fn with_etag(self, etag: &ETag) -> Self {
        self.with(ETAG, etag_value(etag))
    }
}

/// A tag as a header.
pub(crate) fn etag_value(etag: &ETag) -> HeaderValue {
    let mut text = String::with_capacity(48);
    text.push('"');
    text.push_str(etag.as_str());
    text.push('"');
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Names what was not there when the answer was made. It may be as old as the outage.
const DEGRADED: HeaderName = HeaderName::from_static("x-s3o-degraded");

/// The same, said to be what was known before the catalog was gone.
pub(crate) fn as_degraded(mut response: http::Response<s3s::Body>) -> http::Response<s3s::Body> {
    response.headers_mut().insert(DEGRADED, HeaderValue::from_static("catalog"));
    response
}

/// What an error tells about the request.
pub(crate) struct About<'a> {
    /// The path as it came.
    pub(crate) resource: &'a str,
    /// The request's id.
    pub(crate) request_id: &'a str,
    /// Ours.
    pub(crate) host_id: &'a str,
}

/// The answer to a request that was not carried out.
pub(crate) fn of_fault(fault: &Fault, about: &About<'_>, head: bool) -> http::Response<s3s::Body> {
    let mut response = http::Response::new(s3s::Body::empty());
    *response.status_mut() = fault.code.status();
    for (name, value) in &fault.headers {
        response.headers_mut().insert(name, value.clone());
    }
    if fault.degraded {
        response.headers_mut().insert(DEGRADED, HeaderValue::from_static("catalog"));
    }
    // An answer to HEAD has no body, and its length would be a guess.
    if !head {
        let document = error_document(fault, about);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(document.len()));
        *response.body_mut() = Bytes::from(document).into();
    }
    response
}

fn error_document(fault: &Fault, about: &About<'_>) -> String {
    let mut writer = Writer::new(512);
    writer.element("Error", |w| {
        w.text("Code", fault.code.as_str());
        w.text("Message", fault.message());
        for (name, value) in &fault.details {
            w.text(name, value);
        }
        w.text("Resource", about.resource);
        w.text("RequestId", about.request_id);
        w.text("HostId", about.host_id);
    });
    writer.finish()
}

/// Reads an error that `s3s` answered, to answer it in our form.
pub(crate) fn fault_of(response: &http::Response<s3s::Body>) -> Fault {
    let bytes = response.body().bytes().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let element = |name: &str| -> Option<&str> {
        let start = text.find(&format!("<{name}>"))? + name.len() + 2;
        let end = text[start..].find(&format!("</{name}>"))?;
        Some(&text[start..start + end])
    };
    let name = element("Code").unwrap_or_default();
    let code = Code::parse(name).unwrap_or_else(|| match response.status().as_u16() {
        400..=499 => Code::InvalidRequest,
        501 => Code::NotImplemented,
        _ => Code::InternalError,
    });
    let fault = Fault::from(code).with_log(format!("{name}: {}", element("Message").unwrap_or_default()));
    match element("Message") {
        // Its words may quote the request: escaped already, so only plain ones are passed on.
        Some(message) if code != Code::InternalError && !message.contains(['&', '<']) => {
            Fault { message: Some(message.to_owned().into()), ..fault }
        }
        _ => fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_where_and_which_request() {
        let about = About { resource: "/b/a&b", request_id: "id", host_id: "host" };
        let fault = Fault::new(Code::NoSuchKey, "gone").with_detail("Key", "a<b");
        let document = error_document(&fault, &about);
        for part in [
            "<Code>NoSuchKey</Code><Message>gone</Message><Key>a&lt;b</Key>",
            "<Resource>/b/a&amp;b</Resource><RequestId>id</RequestId><HostId>host</HostId>",
        ] {
            assert!(document.contains(part), "{document}");
        }
        assert!(of_fault(&fault, &about, true).body().bytes().unwrap().is_empty());
    }

    #[test]
    fn an_error_of_s3s_is_understood() {
        let error = s3s::S3Error::with_message(s3s::S3ErrorCode::RequestTimeTooSkewed, "too far");
        let fault = fault_of(&error.to_http_response().unwrap());
        assert_eq!((fault.code, fault.message()), (Code::RequestTimeTooSkewed, "too far"));
        let error = s3s::S3Error::new(s3s::S3ErrorCode::SignatureDoesNotMatch);
        let fault = fault_of(&error.to_http_response().unwrap());
        assert_eq!(fault.message(), Code::SignatureDoesNotMatch.message());
    }
}
