//! `x-amz-copy-source`, and the range of a part copy.

use http::HeaderMap;
use types::{BucketName, ObjectKey};

use crate::error::{Code, Fault, Outcome};
use crate::operation::no_such_version;
use crate::percent;
use crate::target::object_key;

/// What is to be copied.
pub(crate) fn of_headers(headers: &HeaderMap) -> Outcome<(BucketName, ObjectKey)> {
    let text = crate::headers::text(headers, "x-amz-copy-source").unwrap_or_default();
    parse(&text)
}

/// `/bucket/key`, percent-encoded, the first slash optional, perhaps with `?versionId=`.
pub(crate) fn parse(text: &str) -> Outcome<(BucketName, ObjectKey)> {
    let bad =
        || Fault::argument("Copy Source must mention the source bucket and key: sourcebucket/sourcekey");
    // A question mark of the key itself is encoded; the last one starts the version.
    let (path, version) = match text.rsplit_once("?versionId=") {
        Some((path, version)) => (path, Some(version)),
        None => (text, None),
    };
    let path = percent::decode(path, false).ok_or_else(bad)?;
    let path = path.strip_prefix('/').unwrap_or(&path);
    let (bucket, key) = path.split_once('/').ok_or_else(bad)?;
    if key.is_empty() {
        return Err(bad());
    }
    let bucket = BucketName::parse(bucket).map_err(|_| Fault::from(Code::InvalidBucketName))?;
    let key = object_key(key)?;
    if let Some(version) = version {
        no_such_version(version)?;
    }
    Ok((bucket, key))
}

/// `x-amz-copy-source-range`: first and last byte, both named.
pub(crate) fn range_of_headers(headers: &HeaderMap) -> Outcome<Option<(u64, u64)>> {
    let Some(text) = crate::headers::text(headers, "x-amz-copy-source-range") else { return Ok(None) };
    parse_range(&text).map(Some)
}

fn parse_range(text: &str) -> Outcome<(u64, u64)> {
    let number =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let parsed =
        text.strip_prefix("bytes=").and_then(|spec| spec.split_once('-')).and_then(|(first, last)| {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some((first, last))
        });
    parsed.ok_or_else(|| {
        Fault::argument("The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Result<(&str, &str), Code>) {
        let got = parse(text).map_err(|fault| fault.code);
        let got = got.as_ref().map(|(bucket, key)| (bucket.as_str(), key.as_str())).map_err(|code| *code);
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn a_source_is_bucket_and_key() {
        check("b/k", Ok(("b", "k")));
        check("/b/k/l", Ok(("b", "k/l")));
        check("My_Bucket/k", Ok(("My_Bucket", "k")));
        check("b/a%20b%2Fc+d", Ok(("b", "a b/c+d")));
        check("b//k", Ok(("b", "/k")));
        check("%2Fb/k", Ok(("b", "k")));
        check("b/k?versionId=null", Ok(("b", "k")));
        check("b/k%3FversionId=x", Ok(("b", "k?versionId=x")));
        check("b/k?versionId=abc", Err(Code::NoSuchVersion));
        for text in ["", "/", "b", "b/", "/b", "b/%zz", "b/%ff"] {
            check(text, Err(Code::InvalidArgument));
        }
        check("//k", Err(Code::InvalidBucketName));
        check(&format!("b/{}", "k".repeat(1025)), Err(Code::KeyTooLongError));
    }

    #[test]
    fn a_range_names_both_ends() {
        assert_eq!(parse_range("bytes=0-9").unwrap(), (0, 9));
        for text in ["", "bytes=", "bytes=1-", "bytes=-1", "bytes=9-0", "bytes=0-1,2-3", "0-9", "bytes=+1-2"]
        {
            assert_eq!(parse_range(text).unwrap_err().code, Code::InvalidArgument, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_key_comes_through(key in ".{1,200}") {
            let (bucket, got) = parse(&format!("/bucket/{}", percent::encode(&key))).unwrap();
            prop_assert_eq!((bucket.as_str(), got.as_str()), ("bucket", key.as_str()));
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = parse(&text);
            let _ = parse_range(&text);
        }
    }
}
