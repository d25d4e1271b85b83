//! The table of all keys, as it stands in the documents. It comes from the sections' declarations.

use crate::built::{Standing, standing};
use crate::config::Config;
use crate::section::Section;
use crate::show::Shown;

/// One key as it is documented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Dotted path with `[]` for the items of a list: `backends[].quota_bytes`.
    pub key: String,
    /// What is expected, in words.
    pub kind: String,
    /// The default in words.
    pub default: String,
    /// Meaning, unit and trade-off.
    pub meaning: String,
    pub(crate) optional: bool,
}

impl KeyRow {
    pub(crate) fn new(path: &str, name: &str, doc: &[&str], shown: &Shown, required: &[String]) -> Self {
        let key = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let default = match shown {
            _ if required.iter().any(|required| required == name) => "required".to_owned(),
            shown => shown.in_words(),
        };
        let meaning = doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        Self { key, kind: String::new(), default, meaning, optional: false }
    }

    /// What becomes of the key, in words.
    #[must_use]
    pub fn status(&self) -> String {
        match standing(&self.key) {
            Standing::Honoured => "honoured".to_owned(),
            Standing::Superseded(by) => format!("superseded: {by}"),
            Standing::Waits(feature, note) if !feature.is_built() => {
                format!("accepted, idle until {} is built: {note}", feature.name())
            }
            Standing::Needs(feature) if !feature.is_built() => {
                format!("refused until built: {}", feature.name())
            }
            Standing::Waits(..) | Standing::Needs(_) => "honoured".to_owned(),
        }
    }
}

/// All keys, in the order of their declaration.
#[must_use]
pub fn all_keys() -> Vec<KeyRow> {
    let mut rows = Vec::new();
    Config::describe_keys("", &mut rows);
    rows
}

/// The table as Markdown, one part for each top-level section.
#[must_use]
pub fn to_markdown() -> String {
    let mut out = String::new();
    let mut part = String::new();
    for row in all_keys() {
        let top = row.key.split(['.', '[']).next().unwrap_or_default();
        if top != part {
            out.push_str(&format!(
                "\n### {top}\n\n| key | type | default | what becomes of it | meaning |\n"
            ));
            out.push_str("|---|---|---|---|---|\n");
            part = top.to_owned();
        }
        let cells = [
            format!("`{}`", row.key),
            row.kind.clone(),
            row.default.clone(),
            row.status(),
            row.meaning.clone(),
        ];
        out.push_str(&format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | ")));
    }
    out
}
