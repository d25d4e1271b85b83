//! XML, both ways: a writer for answers, and a bounded reader for the few bodies that clients send.
//!
//! The reader refuses document types and unknown entities, so nothing expands.

use std::fmt::Write as _;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use types::Timestamp;

use crate::dates;
use crate::error::{Code, Outcome};

const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";
/// Deepest nesting that a body of ours has is 4.
const DEPTH_MAX: usize = 8;

/// Writes an XML document.
pub(crate) struct Writer {
    out: String,
}

impl Writer {
    /// Starts a document; `capacity` is a guess of its bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        let mut out = String::with_capacity(capacity);
        out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        Self { out }
    }

    /// A whole document with this root in the S3 namespace.
    pub(crate) fn document(root: &str, capacity: usize, body: impl FnOnce(&mut Self)) -> String {
        let mut writer = Self::new(capacity);
        writer.out.push('<');
        writer.out.push_str(root);
        writer.out.push_str(" xmlns=\"");
        writer.out.push_str(NAMESPACE);
        writer.out.push_str("\">");
        body(&mut writer);
        writer.close(root);
        writer.out
    }

    /// A whole document that is one element with text.
    pub(crate) fn document_with_text(root: &str, text: &str) -> String {
        Self::document(root, 128, |writer| escape_into(&mut writer.out, text))
    }

    /// An element with further elements inside.
    pub(crate) fn element(&mut self, name: &str, body: impl FnOnce(&mut Self)) {
        self.open(name);
        body(self);
        self.close(name);
    }

    /// An element with text.
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.open(name);
        escape_into(&mut self.out, text);
        self.close(name);
    }

    /// An element with text, where there is some.
    pub(crate) fn optional(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// An element with a number.
    pub(crate) fn number(&mut self, name: &str, number: impl Into<u64>) {
        self.open(name);
        write!(self.out, "{}", number.into()).expect("a string takes all text");
        self.close(name);
    }

    /// An element with `true` or `false`.
    pub(crate) fn flag(&mut self, name: &str, value: bool) {
        self.text(name, if value { "true" } else { "false" });
    }

    /// An element with an entity tag in its quotes.
    pub(crate) fn etag(&mut self, name: &str, etag: &types::ETag) {
        self.open(name);
        self.out.push_str("&quot;");
        escape_into(&mut self.out, etag.as_str());
        self.out.push_str("&quot;");
        self.close(name);
    }

    /// An element with a point in time, to the millisecond.
    pub(crate) fn time(&mut self, name: &str, at: Timestamp) {
        self.open(name);
        dates::iso_into(&mut self.out, at);
        self.close(name);
    }

    /// The document so far.
    pub(crate) fn finish(self) -> String {
        self.out
    }

    fn open(&mut self, name: &str) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
    }

    fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }
}

/// Control characters have no place in XML 1.0; they become character references, as S3 writes them.
fn escape_into(out: &mut String, text: &str) {
    let plain = |b: u8| b >= 0x20 && !matches!(b, b'<' | b'>' | b'&' | b'"' | b'\'');
    if text.bytes().all(plain) {
        out.push_str(text);
        return;
    }
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c < ' ' => write!(out, "&#x{:x};", u32::from(c)).expect("a string takes all text"),
            c => out.push(c),
        }
    }
}

/// An element of a body that a client sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Element {
    /// Its name, without a namespace prefix.
    pub(crate) name: String,
    /// Its text, entities resolved.
    pub(crate) text: String,
    /// The elements inside.
    pub(crate) children: Vec<Element>,
}

impl Element {
    /// Reads a document with this root.
    pub(crate) fn read(bytes: &[u8], root: &str) -> Outcome<Self> {
        match parse(bytes) {
            Some(element) if element.name == root => Ok(element),
            _ => Err(Code::MalformedXML.into()),
        }
    }

    /// The text of the child of that name, where there is exactly one or none.
    pub(crate) fn child_text(&self, name: &str) -> Outcome<Option<&str>> {
        let mut found = self.children.iter().filter(|child| child.name == name);
        let Some(first) = found.next() else { return Ok(None) };
        if found.next().is_some() || !first.children.is_empty() {
            return Err(Code::MalformedXML.into());
        }
        Ok(Some(&first.text))
    }

    /// The children of that name.
    pub(crate) fn children_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }
}

fn parse(bytes: &[u8]) -> Option<Element> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => {
                if root.is_some() || open.len() >= DEPTH_MAX {
                    return None;
                }
                open.push(named(&start)?);
            }
            Event::Empty(start) => match open.last_mut() {
                Some(parent) => parent.children.push(named(&start)?),
                None if root.is_none() => root = Some(named(&start)?),
                None => return None,
            },
            Event::End(_) => {
                let element = open.pop()?;
                match open.last_mut() {
                    Some(parent) => parent.children.push(element),
                    None => root = Some(element),
                }
            }
            Event::Text(text) => append(&mut open, &text.decode().ok()?)?,
            Event::CData(text) => append(&mut open, &text.decode().ok()?)?,
            Event::GeneralRef(reference) => {
                let character = match reference.resolve_char_ref().ok()? {
                    Some(character) => character,
                    None => predefined(&reference.decode().ok()?)?,
                };
                append(&mut open, character.encode_utf8(&mut [0; 4]))?;
            }
            Event::DocType(_) => return None,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => return if open.is_empty() { root } else { None },
        }
    }
}

fn named(start: &BytesStart<'_>) -> Option<Element> {
    let name = std::str::from_utf8(start.local_name().into_inner()).ok()?.to_owned();
    Some(Element { name, ..Element::default() })
}

/// Text outside of the root may be white space only.
fn append(open: &mut [Element], text: &str) -> Option<()> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return None,
    }
    Some(())
}

fn predefined(name: &str) -> Option<char> {
    match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_document_is_read_with_entities_and_cdata() {
        let xml = b"<?xml version='1.0'?><Delete xmlns='x'><Object><Key>a&amp;b&#x1F600;<![CDATA[<c>]]></Key></Object><Quiet/></Delete>";
        let root = Element::read(xml, "Delete").unwrap();
        let object = root.children_named("Object").next().unwrap();
        assert_eq!(object.child_text("Key").unwrap(), Some("a&b\u{1F600}<c>"));
        assert_eq!(root.child_text("Quiet").unwrap(), Some(""));
    }

    #[test]
    fn bombs_and_broken_documents_are_malformed() {
        let deep = format!("{}{}", "<a>".repeat(100), "</a>".repeat(100));
        for xml in [
            "",
            "text",
            "<a>",
            "<a></b>",
            "<a/><a/>",
            "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>",
            "<a>&x;</a>",
            "<a>&#xFFFFFFFF;</a>",
            "<b/>",
            deep.as_str(),
        ] {
            assert!(Element::read(xml.as_bytes(), "a").is_err(), "{xml}");
        }
        assert!(Element::read(b"<a>\xff</a>", "a").is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(text in "[^\u{0}-\u{8}\u{b}\u{c}\u{e}-\u{1f}\u{fffe}\u{ffff}]*") {
            let xml = Writer::document("r", 64, |w| w.text("Key", &text));
            let root = Element::read(xml.as_bytes(), "r").unwrap();
            prop_assert_eq!(root.child_text("Key").unwrap(), Some(text.as_str()));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in any::<Vec<u8>>()) {
            let _ = Element::read(&bytes, "a");
        }
    }
}
