//! Tags, as a header or as XML.

use std::collections::HashSet;

use catalog::Metadata;
use http::HeaderMap;

use crate::error::{Code, Fault, Outcome};
use crate::percent;
use crate::xml::{Element, Writer};

/// Tells how many tags an object has.
pub(crate) const COUNT_HEADER: &str = "x-amz-tagging-count";
/// Most tags of an object.
const TAGS_MAX: usize = 10;
/// Longest name and value, in UTF-16 units.
const NAME_UNITS_MAX: usize = 128;
const VALUE_UNITS_MAX: usize = 256;

/// The tags in `x-amz-tagging`.
pub(crate) fn of_headers(headers: &HeaderMap) -> Outcome<Metadata> {
    match crate::headers::text(headers, "x-amz-tagging") {
        Some(text) => parse_header(&text),
        None => Ok(Metadata::new()),
    }
}

/// Tags in the form of a query: `a=1&b=2`.
pub(crate) fn parse_header(text: &str) -> Outcome<Metadata> {
    let mut tags = Metadata::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode = |text| percent::decode(text, true).map(|text| text.into_owned());
        let bad = || {
            Fault::argument(
                "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
            )
        };
        tags.push((decode(name).ok_or_else(bad)?, decode(value).ok_or_else(bad)?));
    }
    check(&tags)?;
    Ok(tags)
}

/// Tags in a `Tagging` document.
pub(crate) fn parse_xml(bytes: &[u8]) -> Outcome<Metadata> {
    let root = Element::read(bytes, "Tagging")?;
    let set = root.children_named("TagSet").next().ok_or(Fault::from(Code::MalformedXML))?;
    let mut tags = Metadata::new();
    for tag in &set.children {
        let name = tag.child_text("Key")?.ok_or(Fault::from(Code::MalformedXML))?;
        let value = tag.child_text("Value")?.ok_or(Fault::from(Code::MalformedXML))?;
        tags.push((name.to_owned(), value.to_owned()));
    }
    check(&tags)?;
    Ok(tags)
}

/// Writes a `Tagging` document.
pub(crate) fn to_xml(tags: &Metadata) -> String {
    Writer::document("Tagging", 256, |w| {
        w.element("TagSet", |w| {
            for (name, value) in tags {
                w.element("Tag", |w| {
                    w.text("Key", name);
                    w.text("Value", value);
                });
            }
        });
    })
}

fn check(tags: &Metadata) -> Outcome<()> {
    if tags.len() > TAGS_MAX {
        return Err(Fault::new(Code::InvalidTag, "Object tags cannot be greater than 10"));
    }
    let mut names = HashSet::with_capacity(tags.len());
    for (name, value) in tags {
        let units = |text: &str| text.encode_utf16().count();
        if name.is_empty() || units(name) > NAME_UNITS_MAX {
            return Err(Fault::new(Code::InvalidTag, "The TagKey you have provided is invalid")
                .with_detail("TagKey", name));
        }
        if units(value) > VALUE_UNITS_MAX {
            return Err(Fault::new(Code::InvalidTag, "The TagValue you have provided is invalid")
                .with_detail("TagKey", name));
        }
        if name.starts_with("aws:") {
            return Err(Fault::new(Code::InvalidTag, "System tags cannot be added/updated by requester"));
        }
        if !names.insert(name) {
            return Err(Fault::new(Code::InvalidTag, "Cannot provide multiple Tags with the same key")
                .with_detail("TagKey", name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check_header(text: &str, expected: Result<&[(&str, &str)], Code>) {
        let got = parse_header(text).map_err(|fault| fault.code);
        let expected =
            expected.map(|tags| tags.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect());
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn a_header_is_a_query() {
        check_header("", Ok(&[]));
        check_header("a=1&b=x%3Dy&c&d=", Ok(&[("a", "1"), ("b", "x=y"), ("c", ""), ("d", "")]));
        check_header("a+b=c%20d", Ok(&[("a b", "c d")]));
        check_header("a=%zz", Err(Code::InvalidArgument));
        check_header("=1", Err(Code::InvalidTag));
        check_header("a=1&a=2", Err(Code::InvalidTag));
        check_header("aws:x=1", Err(Code::InvalidTag));
    }

    #[test]
    fn limits_count_utf16_units() {
        let eleven: Vec<String> = (0..11).map(|i| format!("k{i}=v")).collect();
        check_header(&eleven.join("&"), Err(Code::InvalidTag));
        let name = |n: usize| "k".repeat(n);
        assert!(parse_header(&format!("{}={}", name(128), name(256))).is_ok());
        assert!(parse_header(&format!("{}=v", name(129))).is_err());
        assert!(parse_header(&format!("k={}", name(257))).is_err());
        // Two units each.
        assert!(parse_header(&format!("{}=v", "\u{1F600}".repeat(64))).is_ok());
        assert!(parse_header(&format!("{}=v", "\u{1F600}".repeat(65))).is_err());
    }

    #[test]
    fn xml_has_to_be_whole() {
        let tags = parse_xml(b"<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>");
        assert_eq!(tags.unwrap(), [("a".to_owned(), "1".to_owned())]);
        assert_eq!(parse_xml(b"<Tagging><TagSet/></Tagging>").unwrap(), []);
        for xml in ["<Tagging/>", "<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>", "x"] {
            assert_eq!(parse_xml(xml.as_bytes()).unwrap_err().code, Code::MalformedXML, "{xml}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            tags in prop::collection::btree_map("[a-z][ -~]{0,20}", "[ -~é鍵]{0,20}", 0..10)
        ) {
            let tags: Metadata = tags.into_iter().collect();
            prop_assert_eq!(&parse_xml(to_xml(&tags).as_bytes()).unwrap(), &tags);
            let header: Vec<String> =
                tags.iter().map(|(n, v)| format!("{}={}", percent::encode(n), percent::encode(v))).collect();
            prop_assert_eq!(parse_header(&header.join("&")).unwrap(), tags);
        }
    }
}
