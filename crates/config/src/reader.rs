//! Reads the configuration of another program: every key has its place, and every problem is reported, all at once.
//!
//! No message quotes a value: it might be a share.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::tree::{Entry, Kind, Node};

/// What is wrong, in words that begin with the place.
pub type Problems = RefCell<Vec<String>>;

/// A section of the configuration while it is read.
pub struct Section<'a> {
    entries: &'a [Entry],
    path: String,
    line: usize,
    used: RefCell<Vec<&'static str>>,
    problems: &'a Problems,
}

impl<'a> Section<'a> {
    /// The section at a node; none, and a problem, where it has no keys.
    pub fn new(node: &'a Node, path: &str, problems: &'a Problems) -> Option<Self> {
        let line = node.position.line;
        match &node.kind {
            Kind::Map(entries) => {
                let used = RefCell::default();
                Some(Self { entries, path: path.to_owned(), line, used, problems })
            }
            _ => {
                let place = if path.is_empty() { "the configuration" } else { path };
                let found = node.describe();
                problems.borrow_mut().push(format!("line {line}: {place}: expected keys, found {found}"));
                None
            }
        }
    }

    /// Reports a problem with a key, or with the section as a whole.
    pub fn refuse(&self, key: &str, why: impl std::fmt::Display) {
        let line = self.find(key).map_or(self.line, |entry| entry.position.line);
        self.problems.borrow_mut().push(format!("line {line}: {}: {why}", self.path_of(key)));
    }

    /// The whole path of a key; of the section itself for an empty one.
    #[must_use]
    pub fn path_of(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", "") => "the configuration".to_owned(),
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }

    fn find(&self, key: &str) -> Option<&'a Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The value of a key; none where it is left out or null.
    pub fn node(&self, key: &'static str) -> Option<&'a Rc<Node>> {
        self.used.borrow_mut().push(key);
        self.find(key).map(|entry| &entry.value).filter(|value| !value.is_null())
    }

    /// Whether the key is there, with whatever value.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// A single value.
    pub fn text(&self, key: &'static str) -> Option<String> {
        match &self.node(key)?.kind {
            Kind::Scalar { text, .. } if !text.is_empty() => Some(text.clone()),
            Kind::Scalar { .. } => {
                self.refuse(key, "it is empty");
                None
            }
            _ => {
                self.refuse(key, "expected a single value");
                None
            }
        }
    }

    /// A single value, read; `what` says what was expected.
    pub fn parsed<T>(&self, key: &'static str, what: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.text(key)?;
        let value = read(&text);
        if value.is_none() {
            self.refuse(key, format!("expected {what}"));
        }
        value
    }

    /// Yes or no; no where it is left out.
    #[must_use]
    pub fn flag(&self, key: &'static str) -> bool {
        let read = |text: &str| match text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        self.parsed(key, "true or false", read).unwrap_or(false)
    }

    /// Seconds as a number, or with a unit.
    #[must_use]
    pub fn duration(&self, key: &'static str, usual: Duration) -> Duration {
        let read = |text: &str| duration(text).filter(|duration| !duration.is_zero());
        self.parsed(key, "a time above 0, like 10 (seconds), 500ms, 10s, 5m or 1h", read).unwrap_or(usual)
    }

    /// A list that is not empty.
    pub fn list(&self, key: &'static str) -> Option<Vec<&'a Rc<Node>>> {
        match &self.node(key)?.kind {
            Kind::List(items) if items.is_empty() => self.refuse(key, "the list is empty"),
            Kind::List(items) => return Some(items.iter().collect()),
            _ => self.refuse(key, "expected a list"),
        }
        None
    }

    /// A list of single values.
    pub fn texts(&self, key: &'static str) -> Option<Vec<String>> {
        let items = self.list(key)?;
        let texts: Option<Vec<String>> = items.iter().map(|item| scalar(item)).collect();
        if texts.is_none() {
            self.refuse(key, "every item has to be a single value that is not empty");
        }
        texts
    }

    /// A section within.
    pub fn section(&self, key: &'static str) -> Option<Self> {
        Self::new(self.node(key)?, &self.path_of(key), self.problems)
    }

    /// A list of sections.
    #[must_use]
    pub fn sections(&self, key: &'static str) -> Vec<Self> {
        let items = self.list(key).unwrap_or_default();
        let with_index = items.iter().enumerate();
        with_index
            .filter_map(|(i, item)| Self::new(item, &format!("{}[{i}]", self.path_of(key)), self.problems))
            .collect()
    }

    /// Reports the keys that nobody asked for.
    pub fn finish(&self) {
        for entry in self.entries.iter().filter(|entry| !self.used.borrow().contains(&entry.key.as_str())) {
            self.refuse(&entry.key, "there is no such key");
        }
    }
}

/// The single value that a node is.
#[must_use]
pub fn scalar(node: &Node) -> Option<String> {
    match &node.kind {
        Kind::Scalar { text, .. } if !text.is_empty() => Some(text.clone()),
        _ => None,
    }
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, millis) in
            [("10", 10_000), ("500ms", 500), ("1.5s", 1_500), ("5m", 300_000), ("1h", 3_600_000)]
        {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1", "10 s", "1w", "1.2.3"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
