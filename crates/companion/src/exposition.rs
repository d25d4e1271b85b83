//! Numbers as text, in the format of Prometheus.

use std::fmt::{Display, Write as _};

/// The type of such a text.
pub const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A text that grows by one metric after the other.
#[derive(Debug)]
pub struct Exposition {
    /// What every name begins with.
    prefix: &'static str,
    text: String,
}

impl Exposition {
    /// With no metric yet.
    #[must_use]
    pub fn new(prefix: &'static str) -> Self {
        Self { prefix, text: String::new() }
    }

    /// Begins a metric: what follows are its lines. `kind` is `gauge` or `counter`.
    pub fn head(&mut self, name: &str, kind: &str, help: &str) {
        let prefix = self.prefix;
        // Writing to memory does not fail.
        let _ = writeln!(self.text, "# HELP {prefix}{name} {help}\n# TYPE {prefix}{name} {kind}");
    }

    /// A line of it.
    pub fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let quoted: Vec<String> =
            labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escape(text))).collect();
        let labels = if quoted.is_empty() { String::new() } else { format!("{{{}}}", quoted.join(",")) };
        let _ = writeln!(self.text, "{}{name}{labels} {value}", self.prefix);
    }

    /// A metric of one line.
    pub fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        self.line(name, &[], value);
    }

    /// All of it.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_may_hold_anything() {
        let mut page = Exposition::new("x_");
        page.single("held", "gauge", "held?", 1);
        page.head("age", "gauge", "an age");
        page.line("age", &[("of", "a\"b\\c\nd"), ("at", "e")], 0.5);
        let expected = "# HELP x_held held?\n# TYPE x_held gauge\nx_held 1\n# HELP x_age an age\n# TYPE x_age gauge\n\
                        x_age{of=\"a\\\"b\\\\c\\nd\",at=\"e\"} 0.5\n";
        assert_eq!(page.finish(), expected);
    }
}
