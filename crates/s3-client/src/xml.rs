//! Reads the XML of answers, which come from strangers: bounded in depth, without document types or
//! entities of their own, and never trusted to be well formed.

use quick_xml::Reader;
use quick_xml::events::Event;

/// Deepest nesting that is read. S3 answers need 4.
const DEPTH_MAX: usize = 12;

/// Why an answer cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum XmlError {
    #[error("the answer is not well-formed XML: {0}")]
    Malformed(String),
    #[error("the answer nests deeper than {DEPTH_MAX} elements")]
    TooDeep,
    #[error("the answer declares a document type")]
    DocumentType,
    #[error("the answer is a {0}, which is not expected here")]
    OtherRoot(String),
    #[error("the answer ends in the middle")]
    Truncated,
}

/// What is told of a document, in its order.
pub(crate) trait Visitor {
    /// An element begins. `path` are the names from the root down to it, without namespaces.
    fn open(&mut self, path: &[String]) {
        let _ = path;
    }

    /// An element has ended; `text` is what stood directly in it.
    fn close(&mut self, path: &[String], text: &str);
}

/// Walks through a document. An `Ok` means that all of it was there: one root, opened and closed.
pub(crate) fn walk(document: &[u8], visitor: &mut impl Visitor) -> Result<(), XmlError> {
    let mut reader = Reader::from_reader(document);
    let mut path: Vec<String> = Vec::new();
    let mut texts: Vec<String> = Vec::new();
    let mut complete = false;
    loop {
        match reader.read_event().map_err(malformed)? {
            Event::Start(start) => {
                if path.len() == DEPTH_MAX {
                    return Err(XmlError::TooDeep);
                }
                if complete {
                    return Err(XmlError::Malformed("a second root".into()));
                }
                path.push(name_of(start.local_name().as_ref()));
                texts.push(String::new());
                visitor.open(&path);
            }
            Event::Empty(start) => {
                path.push(name_of(start.local_name().as_ref()));
                visitor.open(&path);
                visitor.close(&path, "");
                path.pop();
                complete |= path.is_empty();
            }
            Event::End(_) => {
                let text = texts.pop().ok_or_else(|| XmlError::Malformed("an end without a start".into()))?;
                visitor.close(&path, &text);
                path.pop();
                complete |= path.is_empty();
            }
            Event::Text(text) => append(&mut texts, &text.decode().map_err(malformed)?),
            Event::CData(text) => append(&mut texts, &text.decode().map_err(malformed)?),
            Event::GeneralRef(reference) => append(&mut texts, &character(&reference)?),
            Event::DocType(_) => return Err(XmlError::DocumentType),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof if complete && path.is_empty() => return Ok(()),
            Event::Eof => return Err(XmlError::Truncated),
        }
    }
}

fn malformed(error: impl std::fmt::Display) -> XmlError {
    XmlError::Malformed(error.to_string())
}

fn name_of(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// Text outside the root is white space at best.
fn append(texts: &mut [String], text: &str) {
    if let Some(open) = texts.last_mut() {
        open.push_str(text);
    }
}

/// The character that a reference stands for: one of the five that XML names, or a number.
fn character(reference: &quick_xml::events::BytesRef<'_>) -> Result<String, XmlError> {
    if let Some(character) = reference.resolve_char_ref().map_err(malformed)? {
        return Ok(character.to_string());
    }
    let name: &[u8] = reference;
    let text = match name {
        b"amp" => "&",
        b"lt" => "<",
        b"gt" => ">",
        b"quot" => "\"",
        b"apos" => "'",
        _ => return Err(XmlError::Malformed(format!("unknown entity {}", name_of(name)))),
    };
    Ok(text.to_owned())
}

/// Whether XML 1.0 can carry this text through any server unchanged. Control characters are out: most
/// have no spelling at all, and line ends are rewritten by parsers.
pub(crate) fn survives(text: &str) -> bool {
    text.chars().all(|c| c >= ' ' && !matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{fffe}' | '\u{ffff}'))
}

/// Appends text, with what XML reserves spelled as references.
pub(crate) fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes down what it is told.
    #[derive(Default)]
    struct Scribe(Vec<(String, String)>);

    impl Visitor for Scribe {
        fn close(&mut self, path: &[String], text: &str) {
            self.0.push((path.join("/"), text.to_owned()));
        }
    }

    fn read(document: &str) -> Result<Vec<(String, String)>, XmlError> {
        let mut scribe = Scribe::default();
        walk(document.as_bytes(), &mut scribe).map(|()| scribe.0)
    }

    #[test]
    fn leaves_come_with_their_text() {
        let document =
            "<?xml version=\"1.0\"?>\n<A xmlns=\"x:y\"><n:B>1 &lt; &#50;<![CDATA[<&>]]></n:B><C/></A>\n";
        let expected = [("A/B", "1 < 2<&>"), ("A/C", ""), ("A", "")];
        let expected: Vec<_> = expected.iter().map(|(p, t)| ((*p).to_owned(), (*t).to_owned())).collect();
        assert_eq!(read(document).unwrap(), expected);
    }

    #[test]
    fn half_a_document_is_none() {
        for bad in [
            "",
            " \n",
            "text",
            "<A>",
            "<A><B></B>",
            "<A></B>",
            "</A>",
            "<A/><B></B>",
            "<A",
            "<A>&x",
            "<A>&#0;</A>",
        ] {
            assert!(read(bad).is_err(), "{bad:?} was read as {:?}", read(bad));
        }
    }

    #[test]
    fn bombs_do_not_go_off() {
        let bomb = "<!DOCTYPE a [<!ENTITY b \"bbbb\"><!ENTITY c \"&b;&b;\">]><a>&c;</a>";
        assert!(matches!(read(bomb), Err(XmlError::DocumentType)));
        assert!(matches!(read("<a>&c;</a>"), Err(XmlError::Malformed(_))));
        let deep = "<a>".repeat(1_000_000);
        assert!(matches!(read(&deep), Err(XmlError::TooDeep)));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = walk(&bytes, &mut Scribe::default());
        }

        #[test]
        fn nothing_like_xml_makes_it_panic(text in "(<|>|/|&|;|#|x|\\?|!|\\[|\\]|-|CDATA|DOCTYPE|a|b| |\"|=|9){0,60}") {
            let _ = walk(text.as_bytes(), &mut Scribe::default());
        }

        #[test]
        fn what_survives_does(text in any::<String>()) {
            let text: String = text.chars().filter(|c| survives(&c.to_string())).collect();
            let mut document = String::from("<A>");
            escape(&mut document, &text);
            document.push_str("</A>");
            prop_assert_eq!(read(&document).unwrap(), vec![("A".to_owned(), text)]);
        }
    }
}
