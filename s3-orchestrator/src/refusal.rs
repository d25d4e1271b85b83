//! Refusals that are made before the gateway sees a request.
//!
//! A head that cannot be read is refused by the HTTP library itself, with a bare status line. A client of S3
//! looks for XML and a request id, so the library's answer is exchanged on its way out. In HTTP/2, where that
//! answer is frames, larger heads than are allowed are let through to be refused here.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use runtime::Chance;

use crate::health::plain;

/// Exchanges the library's answers on one connection.
#[derive(Clone)]
pub(crate) struct Refuser {
    /// Whom they go to.
    pub peer: SocketAddr,
    /// Makes request ids.
    pub ids: Chance,
}

impl Refuser {
    /// What to send in place of what is about to be written; `None` where that is no refusal of the library.
    pub(crate) fn instead_of(&self, written: &[u8]) -> Option<Bytes> {
        let status = bare_refusal(written)?;
        Some(Bytes::from(answer(status, &self.note(status))))
    }

    /// The answer to a head that was read, and is larger than allowed.
    pub(crate) fn too_large(&self) -> Response<Bytes> {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        let id = self.note(status.as_u16());
        let (_, code, message) = words(status.as_u16());
        let mut answer = plain(status, "application/xml", document(code, message, &id));
        let id = HeaderValue::try_from(id).expect("a request id is hexadecimal");
        answer.headers_mut().insert("x-amz-request-id", id);
        answer
    }

    /// Logs a refusal; gives its request id.
    fn note(&self, status: u16) -> String {
        let id = request_id(&self.ids);
        tracing::info!(
            request_id = id,
            operation = "Unknown",
            status,
            remote = %self.peer.ip(),
            "the head of a request could not be read"
        );
        id
    }
}

/// An id for a request that the gateway does not see.
pub(crate) fn request_id(ids: &Chance) -> String {
    format!("{:032x}", ids.next_u128())
}

/// An error as S3 writes it.
pub(crate) fn document(code: &str, message: &str, request_id: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message>\
         <RequestId>{request_id}</RequestId></Error>"
    )
}

/// The status of a head that the library made: nothing of ours goes out with an error, no body and no id.
fn bare_refusal(written: &[u8]) -> Option<u16> {
    let rest = written.strip_prefix(b"HTTP/1.1 ").or_else(|| written.strip_prefix(b"HTTP/1.0 "))?;
    let status = match rest.get(..3)? {
        b"400" => 400,
        b"414" => 414,
        b"431" => 431,
        _ => return None,
    };
    let head = std::str::from_utf8(rest).ok()?.strip_suffix("\r\n\r\n")?.to_ascii_lowercase();
    let is_bare = head.split("\r\n").any(|line| line == "content-length: 0")
        && !head.contains("x-amz-request-id")
        && !head.contains("\r\n\r\n");
    is_bare.then_some(status)
}

/// Reason, code and message.
fn words(status: u16) -> (&'static str, &'static str, &'static str) {
    match status {
        414 => ("URI Too Long", "InvalidURI", "The URI of your request is too long."),
        431 => (
            "Request Header Fields Too Large",
            "RequestHeaderSectionTooLarge",
            "Your request has more headers, or larger ones, than are allowed.",
        ),
        _ => ("Bad Request", "InvalidRequest", "The head of your request cannot be read."),
    }
}

fn answer(status: u16, id: &str) -> String {
    let (reason, code, message) = words(status);
    let document = document(code, message, id);
    format!(
        "HTTP/1.1 {status} {reason}\r\nconnection: close\r\ncontent-type: application/xml\r\n\
         content-length: {}\r\nx-amz-request-id: {id}\r\nserver: s3-orchestrator\r\n\r\n{document}",
        document.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(written: &str, expected: Option<u16>) {
        assert_eq!(bare_refusal(written.as_bytes()), expected, "{written}");
    }

    #[test]
    fn only_what_the_library_refuses_is_exchanged() {
        let bare = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\
                    date: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n";
        check(bare, Some(431));
        check(&bare.replace("431", "414"), Some(414));
        check(&bare.replace("431", "400").replace("1.1", "1.0"), Some(400));
        check(&bare.replace("431", "403"), None);
        check(&bare.replace("431", "200"), None);
        check(&bare.replace("date: ", "x-amz-request-id: "), None);
        check(&bare.replace("content-length: 0", "content-length: 10"), None);
        check(&format!("{bare}<Error>"), None);
        check(&format!("{bare}{bare}"), None);
        check("HTTP/1.1 4", None);
        check("", None);
    }

    #[test]
    fn the_answer_in_its_place_is_whole() {
        let answer = answer(414, "id");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        assert!(head.starts_with("HTTP/1.1 414 ") && head.contains("x-amz-request-id: id"), "{head}");
        assert!(body.contains("<Code>InvalidURI</Code>") && body.contains("<RequestId>id</RequestId>"));
    }
}
