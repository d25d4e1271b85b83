//! Writing the effective configuration as YAML that could be read again.

/// A value on its way to being displayed. Secrets have become `[redacted]` before they get here.
pub(crate) enum Shown {
    /// Not set: the key is left out.
    Nothing,
    /// A number, a duration, a word: written as it is.
    Plain(String),
    /// A size in bytes: written as a number.
    Bytes(u64),
    /// Free text: written in quotes.
    Text(String),
    List(Vec<Shown>),
    Map(Vec<(String, Shown)>),
}

impl Shown {
    /// The value on one line, for a table.
    pub(crate) fn in_line(&self) -> String {
        match self {
            Self::Nothing => "-".to_owned(),
            Self::Plain(text) => text.clone(),
            Self::Bytes(bytes) => bytes.to_string(),
            Self::Text(text) => quote(text),
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(Self::in_line).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Map(_) => "{}".to_owned(),
        }
    }

    /// The value with those of its keys that are wanted; `path` is its own, `[]` standing for an index.
    pub(crate) fn keep(self, path: &str, wanted: &dyn Fn(&str) -> bool) -> Self {
        match self {
            Self::Map(entries) => {
                let below =
                    |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                let kept = entries.into_iter().filter(|(key, _)| wanted(&below(key)));
                Self::Map(kept.map(|(key, value)| (key.clone(), value.keep(&below(&key), wanted))).collect())
            }
            Self::List(items) => {
                let path = format!("{path}[]");
                Self::List(items.into_iter().map(|item| item.keep(&path, wanted)).collect())
            }
            other => other,
        }
    }

    /// The value for a reader of the documents.
    pub(crate) fn in_words(&self) -> String {
        match self {
            Self::Bytes(bytes) => in_units(*bytes),
            other => other.in_line(),
        }
    }

    /// The value as a YAML document.
    pub(crate) fn to_yaml(&self) -> String {
        let mut out = String::new();
        if let Self::Map(entries) = self {
            write_map(entries, 0, &mut out);
        }
        out
    }

    fn is_flat(&self) -> bool {
        match self {
            Self::Nothing | Self::Plain(_) | Self::Bytes(_) | Self::Text(_) => true,
            Self::List(items) => items.is_empty(),
            Self::Map(entries) => entries.iter().all(|(_, value)| matches!(value, Self::Nothing)),
        }
    }
}

/// The size in the largest unit that needs no fraction, as it may be written in a file.
fn in_units(bytes: u64) -> String {
    let units = [(40, "TB"), (30, "GB"), (20, "MB"), (10, "KB")];
    let fits = |(shift, _): &(u32, &str)| bytes >> shift << shift == bytes && bytes > 0;
    units
        .into_iter()
        .find(fits)
        .map_or(bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

fn write_map(entries: &[(String, Shown)], depth: usize, out: &mut String) {
    for (key, value) in entries {
        if matches!(value, Shown::Nothing) {
            continue;
        }
        indent(depth, out);
        out.push_str(key);
        out.push(':');
        write_value(value, depth, out);
    }
}

fn write_value(value: &Shown, depth: usize, out: &mut String) {
    if value.is_flat() {
        out.push(' ');
        out.push_str(&value.in_line());
        out.push('\n');
        return;
    }
    out.push('\n');
    match value {
        Shown::Map(entries) => write_map(entries, depth + 1, out),
        Shown::List(items) => {
            for item in items {
                write_item(item, depth + 1, out);
            }
        }
        Shown::Nothing | Shown::Plain(_) | Shown::Bytes(_) | Shown::Text(_) => {}
    }
}

fn write_item(item: &Shown, depth: usize, out: &mut String) {
    let start = out.len();
    match item {
        Shown::Map(entries) if !item.is_flat() => {
            write_map(entries, depth + 1, out);
            // The dash stands where the first key's indentation ends.
            let dash = start + 2 * depth;
            out.replace_range(dash..=dash, "-");
        }
        item => {
            indent(depth, out);
            out.push('-');
            write_value(item, depth, out);
        }
    }
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", depth));
}

/// Text in double quotes, so that reading it again gives the same text: `${` is not expanded twice.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.replace("${", "$${").chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}') => {
                out.push_str(&format!("\\U{:08x}", u32::from(c)))
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_sections_are_indented() {
        let text = |text: &str| Shown::Text(text.to_owned());
        let item = Shown::Map(vec![("x".into(), Shown::Plain("1".into())), ("y".into(), text("a\"b"))]);
        let root = Shown::Map(vec![
            ("none".into(), Shown::Nothing),
            ("list".into(), Shown::List(vec![item, Shown::Map(Vec::new())])),
            ("words".into(), Shown::List(vec![text("${A}\u{7}\u{feff}")])),
            ("empty".into(), Shown::List(Vec::new())),
        ]);
        let yaml = "list:\n  - x: 1\n    y: \"a\\\"b\"\n  - {}\nwords:\n  - \"$${A}\\U00000007\\U0000feff\"\nempty: []\n";
        assert_eq!(root.to_yaml(), yaml);
    }
}
