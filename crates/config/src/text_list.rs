//! A list of words that may be written as a single word.

use crate::keys::KeyRow;
use crate::report::Place;
use crate::section::Value;
use crate::show::Shown;
use crate::tree::{Kind, Node};

/// Some words; one of them may be written without the list around it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextList(pub Vec<String>);

impl TextList {
    /// Refuses what cannot be a host name.
    pub(crate) fn check_host_names(&self, at: &Place<'_>) {
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        for name in &self.0 {
            if !name.split('.').all(label) {
                at.refuse_with(
                    "is not a host name",
                    "write it as in `s3.example.com`, without scheme and port",
                );
            }
        }
    }
}

impl Value for TextList {
    fn read(node: &Node, place: &Place<'_>) -> Option<Self> {
        if let Kind::List(_) = node.kind {
            return Vec::read(node, place).map(Self);
        }
        String::read(node, place).map(|one| Self(vec![one]))
    }

    fn absent(_: &Place<'_>) -> Self {
        Self::default()
    }

    fn placeholder() -> Self {
        Self::default()
    }

    fn show(&self) -> Shown {
        self.0.show()
    }

    fn describe(row: KeyRow, rows: &mut Vec<KeyRow>) {
        rows.push(KeyRow { kind: "text, or list of: text".to_owned(), ..row });
    }
}
