//! YAML text as a tree in which every key and value knows its line.
//!
//! Values stay text here: what a scalar means is decided by the key that it belongs to. An alias shares
//! the node of its anchor, so that a document of aliases of aliases costs no more than its own length.

use std::collections::HashMap;
use std::iter::Peekable;
use std::rc::Rc;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

/// Line and column, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
}

/// What is wrong with the text itself, before any key is looked at.
#[derive(Debug)]
pub struct Flaw {
    /// Where.
    pub position: Position,
    /// What. It quotes no value.
    pub message: String,
}

/// A value, and where it stands.
#[derive(Debug)]
pub struct Node {
    /// Where it begins.
    pub position: Position,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Debug)]
pub enum Kind {
    /// A single value.
    Scalar {
        /// As it was written, without its quotes.
        text: String,
        /// Whether it had none.
        plain: bool,
    },
    /// A list.
    List(Vec<Rc<Node>>),
    /// Keys and values.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub position: Position,
    /// The value.
    pub value: Rc<Node>,
}

impl Node {
    /// Nothing was written, or one of the spellings of null: the same as leaving the key out.
    #[must_use]
    pub fn is_null(&self) -> bool {
        match &self.kind {
            Kind::Scalar { text, plain } => {
                *plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }

    /// The node in words, for "expected a list, found ...".
    #[must_use]
    pub fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar { .. } => "a single value",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a section with keys",
        }
    }
}

/// Reads the one document in `text`; `None` when the text holds nothing. Flaws other than the fatal one are
/// collected in `flaws`.
///
/// # Errors
/// The flaw at which reading ended.
pub fn parse(text: &str, flaws: &mut Vec<Flaw>) -> Result<Option<Rc<Node>>, Flaw> {
    let options = granit_parser::options! { emit_comments: false };
    let mut builder = Builder {
        events: Parser::new_from_str_with_options(text, options).peekable(),
        anchors: HashMap::new(),
        flaws,
    };
    builder.document()
}

struct Builder<'a, I: Iterator> {
    events: Peekable<I>,
    anchors: HashMap<usize, Rc<Node>>,
    flaws: &'a mut Vec<Flaw>,
}

type Step<'t> = (Event<'t>, Span);

impl<'t, I: Iterator<Item = Result<Step<'t>, ScanError>>> Builder<'_, I> {
    fn document(&mut self) -> Result<Option<Rc<Node>>, Flaw> {
        let mut root = None;
        while let Some((event, span)) = self.next()? {
            match event {
                Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                Event::DocumentStart(..) if root.is_some() => {
                    let message = "a second document begins here; only one is read".to_owned();
                    return Err(Flaw { position: position(&span), message });
                }
                Event::DocumentStart(..) => {}
                event => root = Some(self.node(event, &span)?),
            }
        }
        Ok(root)
    }

    fn next(&mut self) -> Result<Option<Step<'t>>, Flaw> {
        self.events.next().transpose().map_err(|error| {
            let marker = error.marker();
            let position = Position { line: marker.line().max(1), column: marker.col() + 1 };
            Flaw { position, message: format!("not YAML: {}", error.info()) }
        })
    }

    fn node(&mut self, event: Event<'t>, span: &Span) -> Result<Rc<Node>, Flaw> {
        let position = position(span);
        let (kind, anchor, tag) = match event {
            Event::Alias(id) => return Ok(self.alias(id, position)),
            Event::Scalar(text, style, anchor, tag) => {
                let plain = matches!(style, ScalarStyle::Plain);
                (Kind::Scalar { text: text.into_owned(), plain }, anchor, tag)
            }
            Event::SequenceStart(_, anchor, tag) => (self.list()?, anchor, tag),
            Event::MappingStart(_, anchor, tag) => (self.map()?, anchor, tag),
            _ => {
                let message = "not YAML: a value was expected".to_owned();
                return Err(Flaw { position, message });
            }
        };
        self.check_tag(tag.as_deref(), position);
        let node = Rc::new(Node { position, kind });
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, position: Position) -> Rc<Node> {
        if let Some(node) = self.anchors.get(&id) {
            return Rc::clone(node);
        }
        let message = "an alias lies inside the value that it names".to_owned();
        self.flaws.push(Flaw { position, message });
        Rc::new(Node { position, kind: Kind::Scalar { text: String::new(), plain: true } })
    }

    fn check_tag(&mut self, tag: Option<&Tag>, position: Position) {
        if tag.is_some_and(|tag| tag.core_suffix().is_none()) {
            let message = "a YAML tag has no meaning here".to_owned();
            self.flaws.push(Flaw { position, message });
        }
    }

    fn list(&mut self) -> Result<Kind, Flaw> {
        let mut items = Vec::new();
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::SequenceEnd) {
                break;
            }
            items.push(self.node(event, &span)?);
        }
        Ok(Kind::List(items))
    }

    fn map(&mut self) -> Result<Kind, Flaw> {
        let mut entries = Vec::new();
        let mut merged = Vec::new();
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key = self.node(event, &span)?;
            let Some((event, span)) = self.next()? else { break };
            let value = self.node(event, &span)?;
            match &key.kind {
                Kind::Scalar { text, plain: true } if text == "<<" => merged.push(value),
                Kind::Scalar { text, .. } => {
                    entries.push(Entry { key: text.clone(), position: key.position, value });
                }
                _ => {
                    let message = "a key must be a word".to_owned();
                    self.flaws.push(Flaw { position: key.position, message });
                }
            }
        }
        for base in merged {
            self.merge(&mut entries, &base);
        }
        Ok(Kind::Map(entries))
    }

    /// `<<: *base`: the keys of `base` that the section does not have itself.
    fn merge(&mut self, entries: &mut Vec<Entry>, base: &Node) {
        match &base.kind {
            Kind::Map(inherited) => {
                for entry in inherited {
                    if !entries.iter().any(|own| own.key == entry.key) {
                        entries.push(entry.clone());
                    }
                }
            }
            Kind::List(bases) => {
                for base in bases.iter().filter(|base| matches!(base.kind, Kind::Map(_))) {
                    self.merge(entries, base);
                }
            }
            Kind::Scalar { .. } => {
                let message = "`<<` takes a section, or a list of sections".to_owned();
                self.flaws.push(Flaw { position: base.position, message });
            }
        }
    }
}

fn position(span: &Span) -> Position {
    Position { line: span.start.line().max(1), column: span.start.col() + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Rc<Node> {
        let mut flaws = Vec::new();
        let node = parse(text, &mut flaws).unwrap().unwrap();
        assert!(flaws.is_empty(), "{flaws:?}");
        node
    }

    fn entries(node: &Node) -> &[Entry] {
        let Kind::Map(entries) = &node.kind else { panic!("{node:?}") };
        entries
    }

    #[test]
    fn every_key_and_value_knows_its_line() {
        let root = tree("\n# first\na: 1\nb:\n  - c: \"x\"\n");
        let [a, b] = entries(&root) else { panic!("{root:?}") };
        assert_eq!((a.position.line, a.position.column), (3, 1));
        assert_eq!((a.value.position.line, a.value.position.column), (3, 4));
        let Kind::List(items) = &b.value.kind else { panic!("{b:?}") };
        assert_eq!((entries(&items[0])[0].position.line, entries(&items[0])[0].position.column), (5, 5));
    }

    #[test]
    fn a_merged_section_gives_way_to_the_keys_of_its_own() {
        let root = tree("base: &b {x: 1, y: 2}\nown:\n  <<: *b\n  y: 3\n");
        let own = &entries(&root)[1].value;
        let pairs: Vec<_> = entries(own).iter().map(|e| e.key.as_str()).collect();
        assert_eq!(pairs, ["y", "x"]);
    }

    #[test]
    fn an_alias_within_itself_and_a_foreign_tag_are_flaws() {
        for text in ["a: &a [*a]", "a: !vault x"] {
            let mut flaws = Vec::new();
            parse(text, &mut flaws).unwrap();
            assert_eq!(flaws.len(), 1, "{text}: {flaws:?}");
        }
    }

    #[test]
    fn nothing_is_no_document_and_two_are_one_too_many() {
        assert!(parse("\n# only a comment\n", &mut Vec::new()).unwrap().is_none());
        assert!(parse("a: 1\n---\nb: 2\n", &mut Vec::new()).is_err());
    }
}
