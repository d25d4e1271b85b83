//! AWS signature version 4, straight from its specification.

use ring::{digest, hmac};
use time::OffsetDateTime;
use time::macros::format_description;
use types::Timestamp;

use super::{Call, UNSIGNED_PAYLOAD};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const REGION: &str = "us-east-1";

/// An access key and its secret.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The public half.
    pub access: String,
    /// The secret half.
    pub secret: String,
}

/// The head of a request, ready to be sent.
#[derive(Debug, Clone)]
pub struct SignedHead {
    /// The bytes, with the empty line that ends them.
    pub bytes: Vec<u8>,
    /// Its signature, which the first chunk of a signed stream is chained to.
    pub signature: String,
    /// When it was signed, as `x-amz-date` spells it.
    pub date: String,
}

impl Keys {
    /// A key pair.
    #[must_use]
    pub fn new(access: &str, secret: &str) -> Self {
        Self { access: access.to_owned(), secret: secret.to_owned() }
    }

    pub(super) fn sign(&self, call: &Call, host: &str, at: Timestamp) -> SignedHead {
        let date = call.given("x-amz-date").map_or_else(|| amz_date(at), str::to_owned);
        let hash = call.given("x-amz-content-sha256").map_or_else(|| sha256_hex(&call.body), str::to_owned);
        let mut headers: Vec<(String, String)> = vec![
            ("host".to_owned(), host.to_owned()),
            ("x-amz-content-sha256".to_owned(), hash.clone()),
            ("x-amz-date".to_owned(), date.clone()),
        ];
        if call.given("content-length").is_none() && call.given("transfer-encoding").is_none() {
            headers.push(("content-length".to_owned(), call.body.len().to_string()));
        }
        for (name, value) in &call.headers {
            let name = name.to_ascii_lowercase();
            headers.retain(|(added, _)| *added != name);
            headers.push((name, value.clone()));
        }
        headers.sort();
        let query = canonical_query(call);
        let path = encode(&call.path, true);
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let lines: String =
            headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let canonical = format!("{}\n{path}\n{query}\n{lines}\n{names}\n{hash}", call.method);
        let signature = self.signature(&canonical, &date);
        let credential = format!("{}/{}", self.access, scope(&date));
        let mut head = format!("{} {} HTTP/1.1\r\n", call.method, target(&path, &query));
        for (name, value) in &headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!(
            "authorization: {ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}\r\n\r\n"
        ));
        SignedHead { bytes: head.into_bytes(), signature, date }
    }

    pub(super) fn presign(&self, call: &Call, host: &str, at: Timestamp, expires_s: u32) -> String {
        let date = amz_date(at);
        let call = call
            .clone()
            .query("X-Amz-Algorithm", ALGORITHM)
            .query("X-Amz-Credential", &format!("{}/{}", self.access, scope(&date)))
            .query("X-Amz-Date", &date)
            .query("X-Amz-Expires", &expires_s.to_string())
            .query("X-Amz-SignedHeaders", "host");
        let (path, query) = (encode(&call.path, true), canonical_query(&call));
        let canonical = format!("{}\n{path}\n{query}\nhost:{host}\n\nhost\n{UNSIGNED_PAYLOAD}", call.method);
        format!("{}&X-Amz-Signature={}", target(&path, &query), self.signature(&canonical, &date))
    }

    fn signature(&self, canonical: &str, date: &str) -> String {
        let text = format!("{ALGORITHM}\n{date}\n{}\n{}", scope(date), sha256_hex(canonical.as_bytes()));
        self.seal(date, &text)
    }

    /// Signs a text with the key of its day.
    pub(super) fn seal(&self, date: &str, text: &str) -> String {
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for step in [&date[..8], REGION, "s3", "aws4_request", text] {
            let sealed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), step.as_bytes());
            key = sealed.as_ref().to_vec();
        }
        hex::encode(key)
    }
}

/// Day, region, service and end of a credential.
pub(super) fn scope(date: &str) -> String {
    format!("{}/{REGION}/s3/aws4_request", &date[..8])
}

fn target(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

fn canonical_query(call: &Call) -> String {
    let mut pairs: Vec<String> = call
        .query
        .iter()
        .map(|(name, value)| {
            format!("{}={}", encode(name, false), encode(value.as_deref().unwrap_or_default(), false))
        })
        .collect();
    pairs.sort();
    pairs.join("&")
}

/// Percent-encodes as S3 wants it.
#[must_use]
pub fn encode(text: &str, keep_slash: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (keep_slash && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The SHA-256 of bytes, in hex.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

/// A moment as `x-amz-date` spells it.
///
/// # Panics
/// Where it lies beyond the calendar.
#[must_use]
pub fn amz_date(at: Timestamp) -> String {
    let seconds = i64::try_from(at.as_secs()).expect("the calendar holds it");
    let moment = OffsetDateTime::from_unix_timestamp(seconds).expect("the calendar holds it");
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    moment.format(&format).expect("the format has only parts that every moment has")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the S3 documentation ("Signature calculations for the Authorization header").
    #[test]
    fn the_documented_put() {
        let keys = Keys::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let at = Timestamp::from_millis(1_369_353_600_000);
        let call = Call::new("GET", "/").query("prefix", "J").query("max-keys", "2");
        // The example signs no length.
        let call = call.header("transfer-encoding", "");
        let head = keys.sign(&call, "examplebucket.s3.amazonaws.com", at);
        assert_eq!(head.date, "20130524T000000Z");
        let presigned = keys.presign(&Call::get("/test.txt"), "examplebucket.s3.amazonaws.com", at, 86_400);
        let signature = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        assert!(presigned.ends_with(signature), "{presigned}");
    }
}
