//! What stored bytes say of themselves: bucket, key and headers travel as metadata of the same put, so that
//! anyone can leave with a plain S3 tool.

use std::fmt::Write as _;

use backend::MetadataEntry;
use catalog::{Metadata, ObjectHeaders};
use types::{BucketName, ObjectKey};

/// Providers take 2 KB of names and values; the rest is left for theirs and for the prefix of each name.
const BYTES_MAX: usize = 1800;

/// Bucket, key, headers and user metadata, as far as they fit. What does not fit is left out whole, and a
/// mark says so.
pub(crate) fn describe(
    bucket: &BucketName,
    key: &ObjectKey,
    headers: &ObjectHeaders,
    user: &Metadata,
) -> Vec<MetadataEntry> {
    let known = [
        ("s3o-content-type", &headers.content_type),
        ("s3o-content-encoding", &headers.content_encoding),
        ("s3o-content-disposition", &headers.content_disposition),
        ("s3o-content-language", &headers.content_language),
        ("s3o-cache-control", &headers.cache_control),
        ("s3o-expires", &headers.expires),
    ];
    let mut says = vec![("s3o-bucket".to_owned(), bucket.as_str().to_owned())];
    let mut room = BYTES_MAX - says[0].0.len() - says[0].1.len();
    let mut complete = true;
    let mut add = |name: String, value: String| {
        let size = name.len() + value.len();
        if size > room {
            complete = false;
            return;
        }
        room -= size;
        says.push((name, value));
    };
    add("s3o-key".to_owned(), ascii(key.as_str()));
    for (name, value) in known {
        if let Some(value) = value {
            add(name.to_owned(), ascii(value));
        }
    }
    for (name, value) in user {
        add(format!("s3o-meta-{}", ascii(name)), ascii(value));
    }
    if !complete {
        says.push(("s3o-incomplete".to_owned(), "true".to_owned()));
    }
    says
}

/// The headers that stored bytes say of themselves.
pub(crate) fn said_headers(says: &[MetadataEntry]) -> ObjectHeaders {
    let said = |name: &str| {
        let (_, value) = says.iter().find(|(known, _)| known == name)?;
        text(value)
    };
    ObjectHeaders {
        content_type: said("s3o-content-type"),
        content_encoding: said("s3o-content-encoding"),
        content_disposition: said("s3o-content-disposition"),
        content_language: said("s3o-content-language"),
        cache_control: said("s3o-cache-control"),
        expires: said("s3o-expires"),
        ..ObjectHeaders::default()
    }
}

/// The user metadata that stored bytes say of themselves.
pub(crate) fn said_user(says: &[MetadataEntry]) -> Metadata {
    let user = says.iter().filter_map(|(name, value)| Some((name.strip_prefix("s3o-meta-")?, value)));
    user.filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect()
}

/// Reads what [`ascii`] wrote; `None` where it cannot have written it.
fn text(encoded: &str) -> Option<String> {
    let mut out = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        out.push(digit(bytes.next()?)? << 4 | digit(bytes.next()?)?);
    }
    String::from_utf8(out).ok()
}

/// Percent-encodes what a header cannot carry everywhere.
fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a string does not fail");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, value: &str) -> Vec<MetadataEntry> {
        let says = describe(
            &BucketName::parse("photos").unwrap(),
            &ObjectKey::parse(key).unwrap(),
            &ObjectHeaders {
                content_type: Some("text/plain; charset=utf-8".to_owned()),
                ..Default::default()
            },
            &vec![("name".to_owned(), value.to_owned())],
        );
        let size: usize = says.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(size <= 2000);
        assert!(says.iter().all(|(name, value)| name.is_ascii() && value.is_ascii()));
        says
    }

    #[test]
    fn bytes_say_what_they_are() {
        let says = check("ü/1", "a b");
        assert!(says.contains(&("s3o-key".to_owned(), "%C3%BC/1".to_owned())));
        assert!(says.contains(&("s3o-content-type".to_owned(), "text/plain;%20charset=utf-8".to_owned())));
        assert!(says.contains(&("s3o-meta-name".to_owned(), "a%20b".to_owned())));
        assert!(!says.iter().any(|(name, _)| name == "s3o-incomplete"));
        assert_eq!(said_headers(&says).content_type.as_deref(), Some("text/plain; charset=utf-8"));
        assert_eq!(said_user(&says), [("name".to_owned(), "a b".to_owned())]);
    }

    #[test]
    fn what_does_not_fit_is_marked() {
        let says = check(&"k".repeat(1024), &"v".repeat(1000));
        assert!(says.contains(&("s3o-incomplete".to_owned(), "true".to_owned())));
    }
}
