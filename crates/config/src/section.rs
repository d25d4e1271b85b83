//! Reading a tree into typed sections. A section's declaration is all there is to say about its keys: the
//! struct, the reader, the effective configuration and the documented table of keys come from it.

use std::cell::RefCell;

use crate::keys::KeyRow;
use crate::report::{Place, Report};
use crate::show::Shown;
use crate::tree::{Entry, Kind, Node};

/// What a key means when it is not written.
pub(crate) enum Fallback<T> {
    /// It must be written.
    Required,
    /// It has this value.
    Is(T),
    /// It is a section, all of whose keys are not written.
    Section,
}

pub(crate) fn required<T>() -> Fallback<T> {
    Fallback::Required
}

pub(crate) fn or<T>(value: impl Into<T>) -> Fallback<T> {
    Fallback::Is(value.into())
}

pub(crate) fn none<T>() -> Fallback<Option<T>> {
    Fallback::Is(None)
}

pub(crate) fn empty<T>() -> Fallback<Vec<T>> {
    Fallback::Is(Vec::new())
}

pub(crate) fn nested<T: Section>() -> Fallback<T> {
    Fallback::Section
}

/// Something that a key can hold.
pub(crate) trait Value: Sized {
    /// Reads the node; `None` when it reported a problem.
    fn read(node: &Node, place: &Place<'_>) -> Option<Self>;
    /// The value when nothing is written in a section of its type.
    fn absent(place: &Place<'_>) -> Self;
    /// Stands in for a value that could not be read, so that the rest of the file is still judged.
    fn placeholder() -> Self;
    /// Whether a required key would be as good as missing with this value.
    fn is_blank(&self) -> bool {
        false
    }
    fn show(&self) -> Shown;
    /// Adds the rows of the documented table for a key of this type.
    fn describe(row: KeyRow, rows: &mut Vec<KeyRow>);
}

/// A struct whose fields are keys.
pub(crate) trait Section: Sized {
    /// Takes the keys of this section from the map. Several sections may share one map.
    fn read_keys(map: &Map<'_>) -> Self;
    /// Keys and values in the order of their declaration.
    fn shown_keys(&self) -> Vec<(String, Shown)>;
    /// The rows of the documented table, `path` being the section's own.
    fn describe_keys(path: &str, rows: &mut Vec<KeyRow>);
}

/// The entries of a section while they are being read.
pub(crate) struct Map<'a> {
    entries: &'a [Entry],
    place: Place<'a>,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Map<'a> {
    pub(crate) fn new(entries: &'a [Entry], place: Place<'a>) -> Self {
        for (index, entry) in entries.iter().enumerate() {
            if let Some(first) = entries[..index].iter().find(|first| first.key == entry.key) {
                let key = place.key(&printable(&entry.key));
                let message = format!("is given twice, first in line {}", first.position.line);
                place.report.refuse_at(entry.position, key.path(), message, None);
            }
        }
        Self { entries, place, known: RefCell::default() }
    }

    /// The section's own place.
    pub(crate) fn place(&self) -> &Place<'a> {
        &self.place
    }

    /// Takes the value of a key.
    pub(crate) fn take<T: Value>(&self, name: &'static str, fallback: Fallback<T>) -> T {
        self.known.borrow_mut().push(name);
        let key = self.place.key(name);
        let entry = self.entries.iter().find(|entry| entry.key == name);
        let Some(entry) = entry.filter(|entry| !entry.value.is_null()) else {
            return match fallback {
                Fallback::Is(value) => value,
                Fallback::Section => T::absent(&key),
                Fallback::Required => {
                    key.refuse("is required");
                    T::placeholder()
                }
            };
        };
        key.stands_at(entry.position);
        let read = T::read(&entry.value, &key);
        if matches!(fallback, Fallback::Required) && read.as_ref().is_some_and(Value::is_blank) {
            key.refuse("is required and must not be empty");
        }
        read.unwrap_or_else(|| match fallback {
            Fallback::Is(value) => value,
            Fallback::Section | Fallback::Required => T::placeholder(),
        })
    }

    /// Refuses a key that would be known if another key had another value.
    pub(crate) fn refuse_foreign(&self, name: &'static str, message: &str, hint: &str) {
        self.known.borrow_mut().push(name);
        if let Some(entry) = self.entries.iter().find(|entry| entry.key == name) {
            let key = self.place.key(name);
            key.stands_at(entry.position);
            key.refuse_with(message, hint);
        }
    }

    /// Refuses what nobody took.
    pub(crate) fn finish(self) {
        let known = self.known.borrow();
        for entry in self.entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let key = self.place.key(&printable(&entry.key));
            let hint = match nearest(&entry.key, known.iter().copied()) {
                Some(near) => Some(format!("did you mean `{near}`?")),
                None => self.place.report.elsewhere(&entry.key).map(|path| format!("`{path}` exists")),
            };
            let message = "unknown key".to_owned();
            self.place.report.refuse_at(entry.position, key.path(), message, hint);
        }
    }
}

/// Reads a node as a section.
pub(crate) fn read_section<T: Section>(node: &Node, place: &Place<'_>) -> Option<T> {
    let Kind::Map(entries) = &node.kind else {
        place.refuse(format!("expected a section with keys, found {}", node.describe()));
        return None;
    };
    let map = Map::new(entries, place.clone());
    let section = T::read_keys(&map);
    map.finish();
    Some(section)
}

/// The section with nothing in it: its defaults, with a problem for each required key.
pub(crate) fn absent_section<T: Section>(place: &Place<'_>) -> T {
    T::read_keys(&Map::new(&[], place.clone()))
}

/// The section with nothing in it, and which of its keys are required.
pub(crate) fn default_section<T: Section>() -> (T, Vec<String>) {
    let nothing = |_: &str| None;
    let report = Report::new("", "", &nothing);
    let section = absent_section(&report.root());
    let (problems, _) = report.finish();
    (section, problems.into_iter().map(|problem| problem.key).collect())
}

impl<T: Value> Value for Option<T> {
    /// Empty text is nothing: it is how the Go program spells the default of most optional keys.
    fn read(node: &Node, place: &Place<'_>) -> Option<Self> {
        if crate::scalar::is_empty_text(node, place) {
            return Some(None);
        }
        T::read(node, place).map(Some)
    }

    fn absent(_: &Place<'_>) -> Self {
        None
    }

    fn placeholder() -> Self {
        None
    }

    fn show(&self) -> Shown {
        self.as_ref().map_or(Shown::Nothing, Value::show)
    }

    fn describe(row: KeyRow, rows: &mut Vec<KeyRow>) {
        T::describe(KeyRow { optional: true, ..row }, rows);
    }
}

impl<T: Value> Value for Vec<T> {
    fn read(node: &Node, place: &Place<'_>) -> Option<Self> {
        let Kind::List(items) = &node.kind else {
            place.refuse(format!("expected a list, found {}", node.describe()));
            return None;
        };
        let read = |(index, node): (usize, &std::rc::Rc<Node>)| {
            let place = place.item(index);
            place.stands_at(node.position);
            T::read(node, &place).unwrap_or_else(T::placeholder)
        };
        Some(items.iter().enumerate().map(read).collect())
    }

    fn absent(_: &Place<'_>) -> Self {
        Self::new()
    }

    fn placeholder() -> Self {
        Self::new()
    }

    fn is_blank(&self) -> bool {
        self.is_empty()
    }

    fn show(&self) -> Shown {
        Shown::List(self.iter().map(Value::show).collect())
    }

    fn describe(row: KeyRow, rows: &mut Vec<KeyRow>) {
        let mut inner = Vec::new();
        let item = KeyRow { key: format!("{}[]", row.key), optional: false, ..row.clone() };
        T::describe(item.clone(), &mut inner);
        // A list of plain values is one key; a list of sections has the keys of its sections as well.
        let kind = match inner.as_slice() {
            [only] if only.key == item.key => format!("list of: {}", only.kind),
            _ => "list of sections".to_owned(),
        };
        inner.retain(|inner| inner.key != item.key);
        rows.push(KeyRow { kind, ..row });
        rows.append(&mut inner);
    }
}

/// Declares a section: a public struct whose fields are keys, each with its meaning and its default.
///
/// A default may refer to keys declared above it. A field marked `+` is a section whose keys lie
/// in the same map; `|map|` names that map for defaults that need it.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident $(|$map:ident|)? {
            $( + $(#[doc = $flat_doc:literal])+ pub $flat:ident : $flat_ty:ty, )*
            $( $(#[doc = $doc:literal])+ pub $field:ident : $ty:ty = $fallback:expr, )*
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $( $(#[doc = $flat_doc])+ pub $flat: $flat_ty, )*
            $( $(#[doc = $doc])+ pub $field: $ty, )*
        }

        impl $crate::section::Section for $name {
            fn read_keys(source: &$crate::section::Map<'_>) -> Self {
                $( let $map = source; )?
                $( let $flat = <$flat_ty as $crate::section::Section>::read_keys(source); )*
                $( let $field: $ty = source.take(stringify!($field), $fallback); )*
                Self { $($flat,)* $($field,)* }
            }

            fn shown_keys(&self) -> Vec<(String, $crate::show::Shown)> {
                let keys = vec![$( (stringify!($field).to_owned(),
                    $crate::section::Value::show(&self.$field)) ),*];
                $( let keys: Vec<_> = keys.into_iter()
                    .chain($crate::section::Section::shown_keys(&self.$flat)).collect(); )*
                keys
            }

            fn describe_keys(path: &str, rows: &mut Vec<$crate::keys::KeyRow>) {
                $( <$flat_ty as $crate::section::Section>::describe_keys(path, rows); )*
                let (section, required) = $crate::section::default_section::<Self>();
                let _ = (&section, &required);
                $(
                    let row = $crate::keys::KeyRow::new(
                        path,
                        stringify!($field),
                        &[$($doc),+],
                        &$crate::section::Value::show(&section.$field),
                        &required,
                    );
                    <$ty as $crate::section::Value>::describe(row, rows);
                )*
            }
        }

        $crate::section::section_value!($name);
    };
}

/// Makes a section the value of a key.
macro_rules! section_value {
    ($name:ident) => {
        impl $crate::section::Value for $name {
            fn read(node: &$crate::tree::Node, place: &$crate::report::Place<'_>) -> Option<Self> {
                $crate::section::read_section(node, place)
            }

            fn absent(place: &$crate::report::Place<'_>) -> Self {
                $crate::section::absent_section(place)
            }

            fn placeholder() -> Self {
                $crate::section::default_section().0
            }

            fn show(&self) -> $crate::show::Shown {
                $crate::show::Shown::Map($crate::section::Section::shown_keys(self))
            }

            fn describe(row: $crate::keys::KeyRow, rows: &mut Vec<$crate::keys::KeyRow>) {
                let path = row.key.clone();
                if row.optional {
                    rows.push($crate::keys::KeyRow { kind: "section".to_owned(), ..row });
                }
                <$name as $crate::section::Section>::describe_keys(&path, rows);
            }
        }
    };
}

pub(crate) use {section, section_value};

/// A key as it may be repeated in a message: what does not look like a key could be a misplaced secret.
fn printable(key: &str) -> String {
    let is_key =
        key.len() <= 40 && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if is_key { key.to_owned() } else { "?".to_owned() }
}

/// The word that is most like `word`, where one is like it at all.
pub(crate) fn nearest<'w>(word: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let limit = (word.len() / 3).clamp(1, 3);
    let word = word.to_ascii_lowercase().replace('-', "_");
    let ranked = words.map(|candidate| (distance(&word, candidate), candidate));
    ranked
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, near)| near)
}

/// Levenshtein distance in bytes; anything long is simply far away.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replace = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_given_where_a_word_is_alike() {
        let words = ["listen_addr", "log_level", "tls"];
        let hint = |word| nearest(word, words.into_iter());
        assert_eq!(hint("listen_adr"), Some("listen_addr"));
        assert_eq!(hint("Log-Level"), Some("log_level"));
        assert_eq!(hint("tsl"), None);
        assert_eq!(hint("something_else"), None);
    }

    #[test]
    fn what_is_not_a_key_is_not_repeated() {
        assert_eq!(printable("quota_bytes"), "quota_bytes");
        assert_eq!(printable("Hunter2!"), "?");
    }
}
