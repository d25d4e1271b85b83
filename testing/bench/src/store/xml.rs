//! The few documents that the store reads and writes.

use std::fmt::Write;

use super::objects::Object;

/// No versions.
pub(super) const VERSIONING: &str = "<VersioningConfiguration/>";

/// An error.
pub(super) fn error(code: &str) -> String {
    format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>")
}

/// The answer to a copy.
pub(super) fn copied(etag: u64) -> String {
    format!(
        "<CopyObjectResult><LastModified>2025-01-01T00:00:00Z</LastModified>\
         <ETag>&quot;{etag:016x}&quot;</ETag></CopyObjectResult>"
    )
}

/// A page of a listing, with keys in percent encoding. The next page begins behind its last key.
pub(super) fn listing(objects: &[(String, Object)], more: bool) -> String {
    let mut text = format!(
        "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>{more}</IsTruncated><KeyCount>{}</KeyCount>",
        objects.len()
    );
    for (key, object) in objects {
        text.push_str("<Contents><Key>");
        percent_encode(&mut text, key);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "</Key><LastModified>2025-01-01T00:00:00Z</LastModified><ETag>&quot;{:016x}&quot;</ETag>\
             <Size>{}</Size></Contents>",
            object.etag, object.length
        );
    }
    if let Some((last, _)) = objects.last().filter(|_| more) {
        text.push_str("<NextContinuationToken>");
        escape(&mut text, last);
        text.push_str("</NextContinuationToken>");
    }
    text.push_str("</ListBucketResult>");
    text
}

/// The answer to a delete of many.
pub(super) fn deleted(keys: &[String]) -> String {
    let mut text = String::from("<DeleteResult>");
    for key in keys {
        text.push_str("<Deleted><Key>");
        escape(&mut text, key);
        text.push_str("</Key></Deleted>");
    }
    text.push_str("</DeleteResult>");
    text
}

/// The keys that a delete of many names.
pub(super) fn keys_of(document: &str) -> Vec<String> {
    let rest = document.split("<Key>").skip(1);
    rest.filter_map(|rest| rest.split_once("</Key>")).map(|(key, _)| unescape(key)).collect()
}

const ESCAPES: [(char, &str); 5] =
    [('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('"', "&quot;"), ('\'', "&apos;")];

fn escape(text: &mut String, key: &str) {
    for c in key.chars() {
        match ESCAPES.iter().find(|(plain, _)| *plain == c) {
            Some((_, escaped)) => text.push_str(escaped),
            None => text.push(c),
        }
    }
}

fn unescape(text: &str) -> String {
    // The ampersand last, so that nothing is unescaped twice.
    let escapes = ESCAPES.iter().rev();
    escapes.fold(text.to_owned(), |text, (plain, escaped)| text.replace(escaped, &plain.to_string()))
}

fn percent_encode(text: &mut String, key: &str) {
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

/// Undoes percent encoding.
pub(super) fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let hex = behind.get(..2).and_then(|pair| hex::decode(pair).ok());
        match hex.filter(|_| first == b'%') {
            Some(decoded) => {
                bytes.extend(decoded);
                rest = &behind[2..];
            }
            None => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_both_escapings() {
        for key in ["plain", "a b/ü%41&lt;\"'<>&amp;", ""] {
            let mut escaped = String::new();
            escape(&mut escaped, key);
            assert_eq!(unescape(&escaped), key);
            let mut encoded = String::new();
            percent_encode(&mut encoded, key);
            assert_eq!(percent_decode(&encoded), key);
        }
        assert_eq!(keys_of("<Delete><Object><Key>a&amp;b</Key></Object></Delete>"), ["a&b"]);
    }
}
