//! AWS signature version 4, with the signing key of the day kept.
//!
//! Our own hundred lines rather than a library: they know that our paths and queries are canonical
//! already, and derive the key once a day instead of once a request.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use ring::{digest, hmac};
use types::Timestamp;

use crate::encode::{AmzDate, canonical_query};

/// The hash of a body whose bytes the signature does not cover.
pub(crate) const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
/// The SHA-256 of no bytes.
pub(crate) const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// An access key. Never shown: not by `Debug`, not in an error.
#[derive(Clone)]
pub struct Credentials {
    /// The public half.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: String,
    /// What accompanies a temporary key.
    pub session_token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// What is signed of a request. Everything is in canonical form already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signable<'a> {
    pub method: &'a str,
    /// Encoded, with its leading slash.
    pub path: &'a str,
    /// Sorted and encoded, without question mark.
    pub query: &'a str,
    /// Names in lower case, sorted.
    pub headers: &'a [(&'a str, &'a str)],
    /// SHA-256 of the body in hex, or a word instead.
    pub payload_hash: &'a str,
}

/// Signs requests with one key for one region.
pub(crate) struct Signer {
    credentials: Credentials,
    region: String,
    of_the_day: Mutex<Option<DayKey>>,
}

struct DayKey {
    day: [u8; 8],
    key: hmac::Key,
}

impl Signer {
    pub(crate) fn new(credentials: Credentials, region: String) -> Self {
        Self { credentials, region, of_the_day: Mutex::new(None) }
    }

    pub(crate) fn session_token(&self) -> Option<&str> {
        self.credentials.session_token.as_deref()
    }

    /// The value of the `Authorization` header.
    pub(crate) fn authorization(&self, request: &Signable<'_>, date: &AmzDate) -> String {
        let signature = self.signature(&canonical_request(request), date);
        let mut out = String::with_capacity(256);
        let _ = write!(
            out,
            "{ALGORITHM} Credential={}/{}/{}/s3/aws4_request,SignedHeaders=",
            self.credentials.access_key_id,
            date.day(),
            self.region
        );
        push_header_names(&mut out, request.headers);
        out.push_str(",Signature=");
        out.push_str(&signature);
        out
    }

    /// The query that lets whoever holds it send this request within `expires_s` seconds from `now`.
    pub(crate) fn presigned_query(
        &self,
        method: &str,
        host: &str,
        path: &str,
        now: Timestamp,
        expires_s: u32,
    ) -> String {
        let date = AmzDate::at(now);
        let credential =
            format!("{}/{}/{}/s3/aws4_request", self.credentials.access_key_id, date.day(), self.region);
        let expires = expires_s.to_string();
        let mut pairs = vec![
            ("X-Amz-Algorithm", ALGORITHM),
            ("X-Amz-Credential", &credential),
            ("X-Amz-Date", date.as_str()),
            ("X-Amz-Expires", &expires),
            ("X-Amz-SignedHeaders", "host"),
        ];
        pairs.extend(self.session_token().map(|token| ("X-Amz-Security-Token", token)));
        let mut query = canonical_query(&mut pairs);
        let headers = [("host", host)];
        let request =
            Signable { method, path, query: &query, headers: &headers, payload_hash: UNSIGNED_PAYLOAD };
        let signature = self.signature(&canonical_request(&request), &date);
        query.push_str("&X-Amz-Signature=");
        query.push_str(&signature);
        query
    }

    fn signature(&self, canonical_request: &str, date: &AmzDate) -> String {
        let mut text = String::with_capacity(160);
        let _ =
            write!(text, "{ALGORITHM}\n{}\n{}/{}/s3/aws4_request\n", date.as_str(), date.day(), self.region);
        push_hex(&mut text, digest::digest(&digest::SHA256, canonical_request.as_bytes()).as_ref());
        let mut signature = String::with_capacity(64);
        push_hex(&mut signature, hmac::sign(&self.key_of(date), text.as_bytes()).as_ref());
        signature
    }

    fn key_of(&self, date: &AmzDate) -> hmac::Key {
        let day: [u8; 8] = date.day().as_bytes().try_into().expect("a day has eight digits");
        let mut kept = self.of_the_day.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.day == day) {
            return kept.key.clone();
        }
        let key = self.derive(date.day());
        *kept = Some(DayKey { day, key: key.clone() });
        key
    }

    fn derive(&self, day: &str) -> hmac::Key {
        let first = format!("AWS4{}", self.credentials.secret_access_key);
        let mut key = hmac::Key::new(hmac::HMAC_SHA256, first.as_bytes());
        for step in [day, &self.region, "s3", "aws4_request"] {
            key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, step.as_bytes()).as_ref());
        }
        key
    }
}

fn canonical_request(request: &Signable<'_>) -> String {
    let mut out = String::with_capacity(512);
    for line in [request.method, request.path, request.query] {
        out.push_str(line);
        out.push('\n');
    }
    for (name, value) in request.headers {
        out.push_str(name);
        out.push(':');
        push_collapsed(&mut out, value);
        out.push('\n');
    }
    out.push('\n');
    push_header_names(&mut out, request.headers);
    out.push('\n');
    out.push_str(request.payload_hash);
    out
}

fn push_header_names(out: &mut String, headers: &[(&str, &str)]) {
    for (index, (name, _)) in headers.iter().enumerate() {
        if index > 0 {
            out.push(';');
        }
        out.push_str(name);
    }
}

/// Appends without spaces at either end, and with runs of spaces as one.
fn push_collapsed(out: &mut String, value: &str) {
    let value = value.trim_matches(' ');
    if !value.contains("  ") {
        out.push_str(value);
        return;
    }
    for (index, word) in value.split(' ').filter(|word| !word.is_empty()).enumerate() {
        if index > 0 {
            out.push(' ');
        }
        out.push_str(word);
    }
}

/// The SHA-256 of a body in hex.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(64);
    push_hex(&mut out, digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(char::from(HEX[usize::from(byte >> 4)]));
        out.push(char::from(HEX[usize::from(byte & 15)]));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const NOW_MS: u64 = 1_369_353_600_000;
    const HOST: &str = "examplebucket.s3.amazonaws.com";

    fn now() -> Timestamp {
        Timestamp::from_millis(NOW_MS)
    }

    fn signer() -> Signer {
        let credentials = Credentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        };
        Signer::new(credentials, "us-east-1".into())
    }

    /// The examples of the S3 documentation ("Signature calculations for the Authorization header").
    fn check(
        method: &str,
        path: &str,
        query: &str,
        extra: &[(&str, &str)],
        payload_hash: &str,
        signature: &str,
    ) {
        let mut headers =
            vec![("host", HOST), ("x-amz-content-sha256", payload_hash), ("x-amz-date", "20130524T000000Z")];
        headers.extend(extra);
        headers.sort_unstable();
        let request = Signable { method, path, query, headers: &headers, payload_hash };
        let signed = signer().authorization(&request, &AmzDate::at(now()));
        assert!(signed.ends_with(&format!(",Signature={signature}")), "{signed}");
    }

    #[test]
    fn the_documented_get() {
        let signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        check("GET", "/test.txt", "", &[("range", "bytes=0-9")], EMPTY_SHA256, signature);
    }

    #[test]
    fn the_documented_put() {
        let hash = sha256_hex(b"Welcome to Amazon S3.");
        let extra =
            [("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
        let signature = "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd";
        check("PUT", "/test%24file.text", "", &extra, &hash, signature);
    }

    #[test]
    fn the_documented_lifecycle_query() {
        let query = canonical_query(&mut [("lifecycle", "")]);
        let signature = "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543";
        check("GET", "/", &query, &[], EMPTY_SHA256, signature);
    }

    #[test]
    fn the_documented_listing() {
        let query = canonical_query(&mut [("prefix", "J"), ("max-keys", "2")]);
        let signature = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7";
        check("GET", "/", &query, &[], EMPTY_SHA256, signature);
    }

    #[test]
    fn the_documented_presigned_url() {
        let query = signer().presigned_query("GET", HOST, "/test.txt", now(), 86_400);
        let signature = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        assert!(query.ends_with(&format!("&X-Amz-Signature={signature}")), "{query}");
        assert!(
            query
                .contains("X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request")
        );
    }

    #[test]
    fn the_key_follows_the_day() {
        let signer = signer();
        let headers = [("host", HOST)];
        let request =
            Signable { method: "GET", path: "/", query: "", headers: &headers, payload_hash: EMPTY_SHA256 };
        let sign = |at| signer.authorization(&request, &AmzDate::at(at));
        let (today, tomorrow) = (now(), now().plus(std::time::Duration::from_secs(86_400)));
        let first = sign(today);
        assert_ne!(sign(tomorrow), first);
        assert_eq!(sign(today), first, "the kept key is not tomorrow's");
    }

    #[test]
    fn credentials_are_not_shown() {
        let shown = format!("{:?}", signer().credentials);
        assert!(!shown.contains("wJalr"), "{shown}");
    }

    /// The canonical request once more, from the text of the specification and without regard to cost.
    fn slow(method: &str, path: &str, query: &str, headers: &BTreeMap<String, String>, hash: &str) -> String {
        let lines: Vec<String> = headers
            .iter()
            .map(|(name, value)| {
                let words: Vec<&str> = value.split(' ').filter(|w| !w.is_empty()).collect();
                format!("{name}:{}\n", words.join(" "))
            })
            .collect();
        let names: Vec<&str> = headers.keys().map(String::as_str).collect();
        [method, path, query, &lines.concat(), &names.join(";"), hash].join("\n")
    }

    proptest! {
        #[test]
        fn canonical_requests_equal_the_slow_ones(
            path in "/[a-zA-Z0-9%/._~-]{0,40}",
            query in "[a-z=&%0-9]{0,30}",
            headers in proptest::collection::btree_map("[a-z][a-z-]{0,12}", "[ -~]{0,20}", 1..8),
        ) {
            let pairs: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let request = Signable {
                method: "PUT", path: &path, query: &query, headers: &pairs, payload_hash: UNSIGNED_PAYLOAD,
            };
            prop_assert_eq!(canonical_request(&request), slow("PUT", &path, &query, &headers, UNSIGNED_PAYLOAD));
        }
    }
}
