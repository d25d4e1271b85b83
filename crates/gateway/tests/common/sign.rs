//! SigV4, written down a second time from its specification, so that the tests do not trust the code.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use ring::{digest, hmac};

use super::Ask;

/// How a body is signed.
#[derive(Clone, Debug)]
pub enum Payload {
    /// By its hash.
    Signed,
    /// By this hash, right or wrong.
    Hash(String),
    /// Not at all.
    Unsigned,
    /// In unsigned chunks of this size, with these trailers.
    Chunks(usize, Vec<(String, String)>),
    /// In signed chunks of this size; the trailers, where there are some, signed as well.
    SignedChunks(usize, Vec<(String, String)>),
}

pub fn encode_path(path: &str) -> String {
    encode(path, true)
}

pub fn encode_query(text: &str) -> String {
    encode(text, false)
}

fn encode(text: &str, slash: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || (slash && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

pub fn crc32(bytes: &[u8]) -> String {
    engine::checksum_of(engine::Algorithm::Crc32, bytes)
}

struct Signer {
    date: String,
    scope: String,
    key: Vec<u8>,
}

impl Signer {
    fn new(ask: &Ask) -> Self {
        let now = runtime::Clock::system().now().as_secs();
        let moment = time::OffsetDateTime::from_unix_timestamp(now as i64 + ask.skew).unwrap();
        let day = format!("{:04}{:02}{:02}", moment.year(), u8::from(moment.month()), moment.day());
        let date = format!("{day}T{:02}{:02}{:02}Z", moment.hour(), moment.minute(), moment.second());
        let scope = format!("{day}/{}/s3/aws4_request", ask.region);
        let mut key = hmac(format!("AWS4{}", ask.secret).as_bytes(), &day);
        for part in [ask.region.as_str(), "s3", "aws4_request"] {
            key = hmac(&key, part);
        }
        Self { date, scope, key }
    }

    fn sign(&self, kind: &str, rest: &str) -> String {
        hex::encode(hmac(&self.key, &format!("{kind}\n{}\n{}\n{rest}", self.date, self.scope)))
    }
}

pub fn build(mut ask: Ask) -> Request<Full<Bytes>> {
    let signer = Signer::new(&ask);
    let hash = match &ask.payload {
        Payload::Signed => sha256(&ask.body),
        Payload::Hash(hash) => hash.clone(),
        Payload::Unsigned => "UNSIGNED-PAYLOAD".to_owned(),
        Payload::Chunks(..) => "STREAMING-UNSIGNED-PAYLOAD-TRAILER".to_owned(),
        Payload::SignedChunks(_, trailers) if trailers.is_empty() => {
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD".to_owned()
        }
        Payload::SignedChunks(..) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER".to_owned(),
    };
    if let Payload::Chunks(_, trailers) | Payload::SignedChunks(_, trailers) = &ask.payload {
        ask.headers.push(("x-amz-decoded-content-length".into(), ask.body.len().to_string()));
        ask.headers.push(("content-encoding".into(), "aws-chunked".into()));
        for (name, _) in trailers {
            ask.headers.push(("x-amz-trailer".into(), name.clone()));
        }
    }
    let host = ("host".to_owned(), "localhost:9000".to_owned());
    if !ask.headers.iter().any(|(name, _)| name == "host") {
        ask.headers.push(host);
    }
    let signature = sign_head(&mut ask, &signer, &hash);
    let body = match ask.payload.clone() {
        Payload::Chunks(size, trailers) => frame(&ask.body, size, &trailers, None),
        Payload::SignedChunks(size, trailers) => {
            frame(&ask.body, size, &trailers, Some((&signer, signature)))
        }
        _ => ask.body.clone(),
    };
    let mut uri = encode_path(&ask.path);
    if !ask.query.is_empty() {
        uri.push('?');
        uri.push_str(&query_text(&ask.query, true));
    }
    let mut request = Request::builder().method(ask.method).uri(uri);
    let own_length = ask.unsigned.iter().any(|(name, _)| name == "content-length");
    for (name, value) in ask.headers.iter().chain(&ask.unsigned) {
        request = request.header(name, value.as_bytes());
    }
    if !own_length {
        request = request.header("content-length", body.len());
    }
    request.body(Full::new(body)).unwrap()
}

fn query_text(query: &[(String, Option<String>)], bare: bool) -> String {
    let pair = |(name, value): &(String, Option<String>)| match value {
        Some(value) => format!("{}={}", encode_query(name), encode_query(value)),
        None if bare => encode_query(name),
        None => format!("{}=", encode_query(name)),
    };
    let mut pairs: Vec<String> = query.iter().map(pair).collect();
    if !bare {
        pairs.sort();
    }
    pairs.join("&")
}

/// Puts the signature into the headers or the query.
fn sign_head(ask: &mut Ask, signer: &Signer, hash: &str) -> String {
    if ask.anonymous {
        return String::new();
    }
    if ask.presigned.is_none() {
        ask.headers.push(("x-amz-date".into(), signer.date.clone()));
        ask.headers.push(("x-amz-content-sha256".into(), hash.into()));
    }
    let mut headers: Vec<(String, String)> = Vec::new();
    for (name, value) in &ask.headers {
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        headers.push((name.to_lowercase(), value));
    }
    headers.sort_by(|a, b| a.0.cmp(&b.0));
    let mut names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    let names = names.join(";");
    let credential = format!("{}/{}", ask.key, signer.scope);
    if let Some(seconds) = ask.presigned {
        for (name, value) in [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", credential.as_str()),
            ("X-Amz-Date", signer.date.as_str()),
            ("X-Amz-Expires", &seconds.to_string()),
            ("X-Amz-SignedHeaders", names.as_str()),
        ] {
            ask.query.push((name.into(), Some(value.into())));
        }
    }
    let mut canonical =
        format!("{}\n{}\n{}\n", ask.method, encode_path(&ask.path), query_text(&ask.query, false));
    let mut last = String::new();
    for (name, value) in &headers {
        if *name == last {
            canonical.pop();
            canonical.push_str(&format!(",{value}\n"));
        } else {
            canonical.push_str(&format!("{name}:{value}\n"));
        }
        last.clone_from(name);
    }
    let hash = if ask.presigned.is_some() { "UNSIGNED-PAYLOAD" } else { hash };
    canonical.push_str(&format!("\n{names}\n{hash}"));
    let signature = signer.sign("AWS4-HMAC-SHA256", &sha256(canonical.as_bytes()));
    if ask.presigned.is_some() {
        ask.query.push(("X-Amz-Signature".into(), Some(signature.clone())));
    } else {
        let value =
            format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}");
        ask.headers.push(("authorization".into(), value));
    }
    signature
}

fn frame(
    body: &[u8],
    size: usize,
    trailers: &[(String, String)],
    signed: Option<(&Signer, String)>,
) -> Bytes {
    let mut out = Vec::new();
    let mut previous = signed.as_ref().map(|(_, seed)| seed.clone()).unwrap_or_default();
    let chunks = body.chunks(size.max(1)).chain(std::iter::once(&[][..]));
    for chunk in chunks {
        match &signed {
            Some((signer, _)) => {
                let rest = format!("{previous}\n{}\n{}", sha256(b""), sha256(chunk));
                previous = signer.sign("AWS4-HMAC-SHA256-PAYLOAD", &rest);
                out.extend_from_slice(format!("{:x};chunk-signature={previous}\r\n", chunk.len()).as_bytes());
            }
            None => out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes()),
        }
        if !chunk.is_empty() {
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\r\n");
        }
    }
    let mut canonical = String::new();
    for (name, value) in trailers {
        out.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
        canonical.push_str(&format!("{name}:{value}\n"));
    }
    if let (Some((signer, _)), false) = (&signed, trailers.is_empty()) {
        let rest = format!("{previous}\n{}", sha256(canonical.as_bytes()));
        let signature = signer.sign("AWS4-HMAC-SHA256-TRAILER", &rest);
        out.extend_from_slice(format!("x-amz-trailer-signature:{signature}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    Bytes::from(out)
}

/// The fields of a browser's form that sign this policy.
pub fn form_fields(ask: &Ask, conditions: &str, seconds: i64) -> Vec<(String, String)> {
    let signer = Signer::new(ask);
    let credential = format!("{}/{}", ask.key, signer.scope);
    let now = runtime::Clock::system().now().as_secs() as i64 + seconds;
    let end = time::OffsetDateTime::from_unix_timestamp(now).unwrap();
    let policy = format!(
        "{{\"expiration\":\"{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z\",\"conditions\":[{conditions},\
         {{\"x-amz-algorithm\":\"AWS4-HMAC-SHA256\"}},{{\"x-amz-credential\":\"{credential}\"}},{{\"x-amz-date\":\"{}\"}}]}}",
        end.year(),
        u8::from(end.month()),
        end.day(),
        end.hour(),
        end.minute(),
        end.second(),
        signer.date
    );
    let policy = STANDARD.encode(policy);
    let signature = hex::encode(hmac(&signer.key, &policy));
    [
        ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
        ("x-amz-credential", &credential),
        ("x-amz-date", &signer.date),
        ("policy", &policy),
        ("x-amz-signature", &signature),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}
