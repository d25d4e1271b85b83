//! Conditions and ranges, as headers spell them.

use catalog::{MatchTags, Precondition, Want};
use engine::ReadConditions;
use http::HeaderMap;
use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
use types::{ByteRange, ETag, Timestamp};

use crate::dates;
use crate::headers::ascii;

/// The conditions of a read.
pub(crate) fn of_read(headers: &HeaderMap) -> ReadConditions {
    ReadConditions {
        if_match: tags(headers, IF_MATCH.as_str()),
        if_none_match: tags(headers, IF_NONE_MATCH.as_str()),
        if_modified_since: date(headers, IF_MODIFIED_SINCE.as_str()),
        if_unmodified_since: date(headers, IF_UNMODIFIED_SINCE.as_str()),
    }
}

/// The conditions on the source of a copy.
pub(crate) fn of_source(headers: &HeaderMap) -> ReadConditions {
    ReadConditions {
        if_match: tags(headers, "x-amz-copy-source-if-match"),
        if_none_match: tags(headers, "x-amz-copy-source-if-none-match"),
        if_modified_since: date(headers, "x-amz-copy-source-if-modified-since"),
        if_unmodified_since: date(headers, "x-amz-copy-source-if-unmodified-since"),
    }
}

/// The conditions of a write.
pub(crate) fn of_write(headers: &HeaderMap) -> Precondition {
    Precondition {
        if_match: tags(headers, IF_MATCH.as_str()),
        if_none_match: tags(headers, IF_NONE_MATCH.as_str()),
    }
}

fn date(headers: &HeaderMap, name: &str) -> Option<Timestamp> {
    dates::parse_http_date(ascii(headers, name)?)
}

fn tags(headers: &HeaderMap, name: &str) -> Option<MatchTags> {
    let mut found = Vec::new();
    for value in headers.get_all(name) {
        match value.to_str().ok().map(str::trim) {
            Some("*") => return Some(MatchTags::Any),
            // What is not text names no tag of ours.
            None => found.push(ETag::from_text("\u{0}")),
            Some(text) => split_tags(text, &mut found),
        }
    }
    (!found.is_empty()).then_some(MatchTags::Tags(found))
}

/// A list of tags. Quotes may be missing, as many clients leave them out; a weak tag counts as the strong one.
fn split_tags(text: &str, found: &mut Vec<ETag>) {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        rest = rest.strip_prefix("W/").unwrap_or(rest);
        if rest.is_empty() {
            return;
        }
        let (tag, behind) = match rest.strip_prefix('"').and_then(|inner| inner.split_once('"')) {
            Some(quoted) => quoted,
            None => rest.split_once(',').unwrap_or((rest, "")),
        };
        found.push(ETag::from_text(tag.trim()));
        rest = behind;
    }
}

/// Which bytes a `Range` header asks for. Several ranges, another unit, or what cannot be parsed ask for the
/// whole object, as S3 takes them.
pub(crate) fn range(headers: &HeaderMap) -> Option<Want> {
    let mut values = headers.get_all(http::header::RANGE).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    parse_range(value.to_str().ok()?)
}

/// One range in bytes: `bytes=1-2`, `bytes=1-`, `bytes=-2`.
pub(crate) fn parse_range(text: &str) -> Option<Want> {
    let (unit, spec) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = spec.trim().split_once('-')?;
    match (digits(first)?, digits(last)?) {
        (None, None) => None,
        (None, Some(length)) => Some(Want::Last(length)),
        (Some(start), last) if last.is_none_or(|last| start <= last) => Some(Want::From { start, last }),
        _ => None,
    }
}

/// A number, none where the text is empty; outside, where it is neither. One too large for 64 bits is larger
/// than any object.
fn digits(text: &str) -> Option<Option<u64>> {
    let text = text.trim();
    if text.is_empty() {
        return Some(None);
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(Some(text.parse().unwrap_or(u64::MAX)))
}

/// The bytes of an object of this size, for HEAD, which opens nothing; `None` where there are none.
pub(crate) fn resolve(want: Want, size: u64) -> Option<ByteRange> {
    match want {
        Want::From { start, last } if start < size => {
            let end = last.map_or(size, |last| last.saturating_add(1).min(size));
            Some(ByteRange::new(start, end - start))
        }
        Want::Last(length) if length > 0 && size > 0 => {
            let length = length.min(size);
            Some(ByteRange::new(size - length, length))
        }
        Want::From { .. } | Want::Last(_) => None,
        _ => Some(ByteRange::whole(size)),
    }
}

/// Whether an `If-Range` names this state, so that the range counts.
pub(crate) fn if_range_holds(value: &str, etag: &ETag, modified: Timestamp) -> bool {
    // A weak tag never holds here (RFC 9110, 13.1.5).
    if value.starts_with("W/") {
        return false;
    }
    match dates::parse_http_date(value) {
        Some(date) => date.as_secs() == modified.as_secs(),
        None => ETag::from_text(value) == *etag,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check_range(text: &str, expected: Option<Want>) {
        assert_eq!(parse_range(text), expected, "{text}");
    }

    #[test]
    fn one_range_is_understood() {
        check_range("bytes=0-9", Some(Want::From { start: 0, last: Some(9) }));
        check_range("Bytes= 5- ", Some(Want::From { start: 5, last: None }));
        check_range("bytes=-3", Some(Want::Last(3)));
        check_range("bytes=-0", Some(Want::Last(0)));
        check_range("bytes=99999999999999999999-", Some(Want::From { start: u64::MAX, last: None }));
    }

    #[test]
    fn anything_else_asks_for_the_whole() {
        for text in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=0-1,3-4",
            "bytes=a-b",
            "items=0-1",
            "bytes=+1-2",
            "bytes=1--2",
        ] {
            check_range(text, None);
        }
    }

    #[test]
    fn a_range_is_cut_to_the_object() {
        let resolved =
            |text: &str, size| resolve(parse_range(text).unwrap(), size).map(|r| (r.start, r.length));
        assert_eq!(resolved("bytes=2-100", 10), Some((2, 8)));
        assert_eq!(resolved("bytes=-100", 10), Some((0, 10)));
        assert_eq!(resolved("bytes=10-", 10), None);
        assert_eq!(resolved("bytes=-0", 10), None);
        assert_eq!(resolved("bytes=0-0", 0), None);
        assert_eq!(resolved("bytes=0-18446744073709551615", 10), Some((0, 10)));
    }

    fn check_tags(values: &[&str], expected: Option<&[&str]>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IF_MATCH, value.parse().unwrap());
        }
        let expected =
            expected.map(|tags| MatchTags::Tags(tags.iter().map(|tag| ETag::from_text(tag)).collect()));
        assert_eq!(of_write(&headers).if_match, expected, "{values:?}");
    }

    #[test]
    fn lists_of_tags_are_read_with_and_without_quotes() {
        check_tags(&["\"a\""], Some(&["a"]));
        check_tags(&["a"], Some(&["a"]));
        check_tags(&["\"a\", \"b,c\",W/\"d\" , e"], Some(&["a", "b,c", "d", "e"]));
        check_tags(&["\"a\"", "\"b\""], Some(&["a", "b"]));
        check_tags(&[""], None);
        check_tags(&[], None);
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, "*".parse().unwrap());
        assert_eq!(of_write(&headers).if_none_match, Some(MatchTags::Any));
    }

    #[test]
    fn if_range_holds_for_the_same_state_only() {
        let (etag, at) = (ETag::from_text("a"), Timestamp::from_millis(784_111_777_123));
        assert!(if_range_holds("\"a\"", &etag, at));
        assert!(!if_range_holds("W/\"a\"", &etag, at));
        assert!(!if_range_holds("\"b\"", &etag, at));
        assert!(if_range_holds("Sun, 06 Nov 1994 08:49:37 GMT", &etag, at));
        assert!(!if_range_holds("Sun, 06 Nov 1994 08:49:38 GMT", &etag, at));
    }

    proptest! {
        #[test]
        fn ranges_never_panic_and_stay_inside(text in "(bytes=)?[0-9a -]{0,24}", size in any::<u64>()) {
            if let Some(range) = parse_range(&text).and_then(|want| resolve(want, size)) {
                prop_assert!(range.length > 0 && range.start < size && range.length <= size - range.start);
            }
        }

        #[test]
        fn tags_never_panic(text in "[ -~]{0,64}") {
            split_tags(&text, &mut Vec::new());
        }
    }
}
