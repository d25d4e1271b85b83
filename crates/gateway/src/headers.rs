//! Headers that are stored with an object, and how they are given back.

use catalog::{Client, Metadata, Object, ObjectHeaders};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE,
    ETAG, EXPIRES, LAST_MODIFIED,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::answer::etag_value;
use crate::dates;
use crate::error::{Code, Fault, Outcome};
use crate::query::Query;
use crate::tagging;

/// Who owns everything here: there are no accounts.
pub(crate) const OWNER: &str = "s3-orchestrator";

/// Most bytes of user metadata, names and values together.
const METADATA_BYTES_MAX: usize = 2048;
/// What an object is where its writer did not say.
const CONTENT_TYPE_DEFAULT: &str = "binary/octet-stream";
/// Prefix of user metadata.
const META: &str = "x-amz-meta-";

/// Classes whose objects are read at once, as all of ours are. What clients read only after a restore, or
/// what belongs to special buckets, would be a promise that we do not keep.
const STORAGE_CLASSES: &[&str] =
    &["STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"];

const ACLS: &[&str] = &[
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "log-delivery-write",
];

/// A header's text. Bytes that are not UTF-8 are taken as Latin-1, so nothing is refused. Empty is absent.
pub(crate) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?;
    (!value.is_empty()).then(|| decode(value))
}

/// A header's text where it is plain ASCII, without a copy.
pub(crate) fn ascii<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim).filter(|text| !text.is_empty())
}

fn decode(value: &HeaderValue) -> String {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => text.to_owned(),
        Err(_) => value.as_bytes().iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// The headers to store with an object.
pub(crate) fn object_headers(headers: &HeaderMap) -> Outcome<ObjectHeaders> {
    Ok(ObjectHeaders {
        content_type: text(headers, "content-type"),
        cache_control: text(headers, "cache-control"),
        content_disposition: text(headers, "content-disposition"),
        content_encoding: text(headers, "content-encoding").and_then(|value| without_framing(&value)),
        content_language: text(headers, "content-language"),
        expires: text(headers, "expires"),
        website_redirect: website_redirect(headers)?,
        storage_class: storage_class(headers)?,
    })
}

/// `aws-chunked` is how the body travelled, not what it is.
fn without_framing(value: &str) -> Option<String> {
    if !value.contains("aws-chunked") {
        return Some(value.to_owned());
    }
    let codings =
        value.split(',').map(str::trim).filter(|coding| !coding.is_empty() && *coding != "aws-chunked");
    let rest = codings.collect::<Vec<_>>().join(",");
    (!rest.is_empty()).then_some(rest)
}

fn website_redirect(headers: &HeaderMap) -> Outcome<Option<String>> {
    let Some(value) = text(headers, "x-amz-website-redirect-location") else { return Ok(None) };
    if ["/", "http://", "https://"].iter().any(|start| value.starts_with(start)) {
        return Ok(Some(value));
    }
    Err(Fault::argument("The website redirect location must start with '/', 'http://' or 'https://'."))
}

/// The class that was asked for. `STANDARD` is what everything is, so it is not noted.
pub(crate) fn storage_class(headers: &HeaderMap) -> Outcome<Option<String>> {
    match text(headers, "x-amz-storage-class") {
        None => Ok(None),
        Some(class) if class == "STANDARD" => Ok(None),
        Some(class) if STORAGE_CLASSES.contains(&class.as_str()) => Ok(Some(class)),
        Some(_) => Err(Code::InvalidStorageClass.into()),
    }
}

/// `x-amz-meta-*`, names without that prefix. A repeated header is one value, joined by commas.
pub(crate) fn metadata(headers: &HeaderMap) -> Outcome<Metadata> {
    let mut metadata = Metadata::new();
    for name in headers.keys() {
        let Some(short) = name.as_str().strip_prefix(META).filter(|short| !short.is_empty()) else {
            continue;
        };
        let mut values = headers.get_all(name).iter().map(decode);
        let mut value = values.next().unwrap_or_default();
        for more in values {
            value.push(',');
            value.push_str(&more);
        }
        metadata.push((short.to_owned(), value));
    }
    check_metadata(&metadata)?;
    Ok(metadata)
}

/// Refuses more metadata than S3 takes.
pub(crate) fn check_metadata(metadata: &Metadata) -> Outcome<()> {
    let bytes: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes <= METADATA_BYTES_MAX {
        return Ok(());
    }
    Err(Fault::from(Code::MetadataTooLarge)
        .with_detail("Size", bytes.to_string())
        .with_detail("MaxSizeAllowed", METADATA_BYTES_MAX.to_string()))
}

/// Refuses what a write asks for and we do not have: nothing asked for is silently left out.
pub(crate) fn refuse_unsupported(headers: &HeaderMap) -> Outcome<()> {
    for name in headers.keys().map(HeaderName::as_str) {
        let Some(rest) = name.strip_prefix("x-amz-") else { continue };
        if rest.starts_with("server-side-encryption")
            || rest.starts_with("copy-source-server-side-encryption")
            || rest.starts_with("object-lock-")
            || matches!(rest, "write-offset-bytes" | "rename-source" | "object-if-match")
        {
            return Err(Fault::not_implemented(format!("The header {name} is not implemented.")));
        }
        if rest.starts_with("grant-") {
            return Err(Code::AccessControlListNotSupported.into());
        }
    }
    if ascii(headers, "x-amz-bucket-object-lock-enabled")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    {
        return Err(Fault::not_implemented("Object lock is not implemented."));
    }
    check_acl(ascii(headers, "x-amz-acl"))?;
    check_owner(headers, "x-amz-expected-bucket-owner")?;
    check_owner(headers, "x-amz-source-expected-bucket-owner")
}

/// Objects are private; an ACL that says the same changes nothing.
pub(crate) fn check_acl(acl: Option<&str>) -> Outcome<()> {
    match acl {
        None | Some("private" | "bucket-owner-full-control") => Ok(()),
        Some(known) if ACLS.contains(&known) => Err(Code::AccessControlListNotSupported.into()),
        Some(_) => Err(Fault::argument("x-amz-acl is not a canned ACL")),
    }
}

/// Refuses a request for a bucket of another owner.
pub(crate) fn check_owner(headers: &HeaderMap, name: &str) -> Outcome<()> {
    match ascii(headers, name) {
        Some(owner) if owner != OWNER => Err(Code::AccessDenied.into()),
        _ => Ok(()),
    }
}

/// Who asks, as it is kept to recognise an SDK's own retry.
pub(crate) fn client(access_key: &str, headers: &HeaderMap) -> Client {
    Client { access_key: access_key.to_owned(), invocation: text(headers, "amz-sdk-invocation-id") }
}

/// What an answer to GET or HEAD tells of the object.
pub(crate) fn describe(out: &mut HeaderMap, object: &Object) {
    let state = &object.state;
    let stored = &state.headers;
    out.reserve(12 + state.metadata.len());
    out.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    out.insert(ETAG, etag_value(&state.etag));
    out.insert(LAST_MODIFIED, dates::http_date(state.modified));
    let content_type = stored.content_type.as_deref().unwrap_or(CONTENT_TYPE_DEFAULT);
    put(out, CONTENT_TYPE, Some(content_type));
    put(out, CACHE_CONTROL, stored.cache_control.as_deref());
    put(out, CONTENT_DISPOSITION, stored.content_disposition.as_deref());
    put(out, CONTENT_ENCODING, stored.content_encoding.as_deref());
    put(out, CONTENT_LANGUAGE, stored.content_language.as_deref());
    put(out, EXPIRES, stored.expires.as_deref());
    put(out, HeaderName::from_static("x-amz-website-redirect-location"), stored.website_redirect.as_deref());
    put(out, HeaderName::from_static("x-amz-storage-class"), stored.storage_class.as_deref());
    let mut missing = 0u32;
    for (name, value) in &state.metadata {
        match HeaderName::try_from(format!("{META}{name}")) {
            Ok(name) if HeaderValue::from_bytes(value.as_bytes()).is_ok() => put(out, name, Some(value)),
            // An import may bring what no header can carry.
            _ => missing += 1,
        }
    }
    if missing > 0 {
        out.insert(HeaderName::from_static("x-amz-missing-meta"), HeaderValue::from(missing));
    }
    if !state.tags.is_empty() {
        out.insert(HeaderName::from_static(tagging::COUNT_HEADER), HeaderValue::from(state.tags.len()));
    }
}

/// `response-*` parameters: headers that the answer carries instead of the stored ones.
pub(crate) fn override_from(out: &mut HeaderMap, query: &Query) -> Outcome<()> {
    for (parameter, name) in [
        ("response-content-type", CONTENT_TYPE),
        ("response-cache-control", CACHE_CONTROL),
        ("response-content-disposition", CONTENT_DISPOSITION),
        ("response-content-encoding", CONTENT_ENCODING),
        ("response-content-language", CONTENT_LANGUAGE),
        ("response-expires", EXPIRES),
    ] {
        let Some(text) = query.filled(parameter) else { continue };
        match HeaderValue::from_bytes(text.as_bytes()) {
            Ok(value) => drop(out.insert(name, value)),
            Err(_) => return Err(Fault::argument(format!("{parameter} is not a legal header value"))),
        }
    }
    Ok(())
}

/// Sets a header to text as it was stored; what no header can carry is left out.
pub(crate) fn put(out: &mut HeaderMap, name: HeaderName, text: Option<&str>) {
    if let Some(Ok(value)) = text.map(|text| HeaderValue::from_bytes(text.as_bytes())) {
        out.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        map
    }

    #[test]
    fn headers_are_kept_as_they_came() {
        let stored = object_headers(&headers(&[
            ("content-type", b"text/x; a=\"b\""),
            ("content-encoding", b"aws-chunked,gzip"),
            ("expires", b"0"),
            ("content-disposition", "attachment; filename=\u{e4}".as_bytes()),
            ("cache-control", b""),
        ]))
        .unwrap();
        assert_eq!(stored.content_type.as_deref(), Some("text/x; a=\"b\""));
        assert_eq!(stored.content_encoding.as_deref(), Some("gzip"));
        assert_eq!(stored.expires.as_deref(), Some("0"));
        assert_eq!(stored.content_disposition.as_deref(), Some("attachment; filename=\u{e4}"));
        assert_eq!(stored.cache_control, None);
        let framed = object_headers(&headers(&[("content-encoding", b"aws-chunked")])).unwrap();
        assert_eq!(framed.content_encoding, None);
    }

    #[test]
    fn metadata_of_any_form_is_taken() {
        let got = metadata(&headers(&[
            ("x-amz-meta-a", b"1"),
            ("x-amz-meta-a", b"2"),
            ("x-amz-meta-name", "鍵".as_bytes()),
            ("x-amz-meta-latin", b"\xe4"),
            ("x-amz-meta-encoded", b"=?UTF-8?B?broken"),
        ]))
        .unwrap();
        let value = |name: &str| got.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        assert_eq!(value("a"), Some("1,2"));
        assert_eq!(value("name"), Some("鍵"));
        assert_eq!(value("latin"), Some("\u{e4}"));
        assert_eq!(value("encoded"), Some("=?UTF-8?B?broken"));
        let large = vec![b'x'; 2045];
        assert!(metadata(&headers(&[("x-amz-meta-abc", &large)])).is_ok());
        let fault = metadata(&headers(&[("x-amz-meta-abcd", &large)])).unwrap_err();
        assert_eq!(fault.code, Code::MetadataTooLarge);
    }

    #[test]
    fn what_we_do_not_have_is_refused() {
        let check = |name: &'static str, value: &'static [u8], expected: Result<(), Code>| {
            let got = refuse_unsupported(&headers(&[(name, value)])).map_err(|fault| fault.code);
            assert_eq!(got, expected, "{name}");
        };
        check("x-amz-server-side-encryption", b"AES256", Err(Code::NotImplemented));
        check("x-amz-server-side-encryption-customer-key", b"k", Err(Code::NotImplemented));
        check("x-amz-object-lock-mode", b"GOVERNANCE", Err(Code::NotImplemented));
        check("x-amz-grant-read", b"id=1", Err(Code::AccessControlListNotSupported));
        check("x-amz-acl", b"public-read", Err(Code::AccessControlListNotSupported));
        check("x-amz-acl", b"nonsense", Err(Code::InvalidArgument));
        check("x-amz-acl", b"private", Ok(()));
        check("x-amz-expected-bucket-owner", b"123", Err(Code::AccessDenied));
        check("x-amz-expected-bucket-owner", b"s3-orchestrator", Ok(()));
        let class = |value: &'static [u8]| storage_class(&headers(&[("x-amz-storage-class", value)]));
        assert_eq!(class(b"STANDARD").unwrap(), None);
        assert_eq!(class(b"STANDARD_IA").unwrap().as_deref(), Some("STANDARD_IA"));
        for refused in [&b"COLD"[..], b"GLACIER", b"DEEP_ARCHIVE", b"EXPRESS_ONEZONE"] {
            assert_eq!(class(refused).unwrap_err().code, Code::InvalidStorageClass);
        }
    }
}
