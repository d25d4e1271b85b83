//! Secrets, and the places that they may come from.

use std::fmt;

use crate::expand::is_name;
use crate::report::Place;
use crate::scalar::{Scalar, Wrong};
use crate::show::Shown;

/// A password, key or token. Displayed and debugged as `[redacted]`; [`Secret::expose`] is the one way to
/// its text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself. Whoever calls this keeps it out of logs, errors and answers.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Takes text as a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Scalar for Secret {
    const KIND: &'static str = "a secret";
    const SECRET: bool = true;

    fn parse(text: &str, place: &Place<'_>) -> Result<Self, Wrong> {
        resolve(text, place).map(Self)
    }

    fn placeholder() -> Self {
        Self(String::new())
    }

    fn is_blank(&self) -> bool {
        self.0.is_empty()
    }

    fn show(&self) -> Shown {
        Shown::Text("[redacted]".to_owned())
    }
}

/// An access key id: not a secret, but it may come from where the secret beside it comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccessKeyId(String);

impl AccessKeyId {
    /// The key id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Scalar for AccessKeyId {
    const KIND: &'static str = "an access key id";
    // People do paste the secret into the wrong line.
    const SECRET: bool = true;

    fn parse(text: &str, place: &Place<'_>) -> Result<Self, Wrong> {
        let text = resolve(text, place)?;
        if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == ',') {
            return Err(Wrong::message("must not hold spaces, commas or control characters"));
        }
        Ok(Self(text))
    }

    fn placeholder() -> Self {
        Self(String::new())
    }

    fn is_blank(&self) -> bool {
        self.0.is_empty()
    }

    fn show(&self) -> Shown {
        let reference = ["file:", "env:", "literal:"].iter().any(|prefix| self.0.starts_with(prefix));
        Shown::Text(if reference { format!("literal:{}", self.0) } else { self.0.clone() })
    }
}

/// The text of a secret, wherever it comes from. A reference that leads to nothing is a slip: an empty password
/// is written as such, or not at all.
fn resolve(text: &str, place: &Place<'_>) -> Result<String, Wrong> {
    let resolved = follow(text, place)?;
    if resolved.is_empty() && !text.is_empty() {
        return Err(Wrong::message("is empty where it comes from"));
    }
    Ok(resolved)
}

/// Follows `file:PATH` and `env:NAME`; `literal:TEXT` is for text that begins like one of them. Neither a
/// path nor a text is repeated in a message: both may be a secret that only looks like a reference.
fn follow(text: &str, place: &Place<'_>) -> Result<String, Wrong> {
    if let Some(path) = text.strip_prefix("file:") {
        let content = std::fs::read_to_string(path).map_err(|error| {
            let message = format!("cannot read the file of this secret: {error}");
            let hint = "a secret that itself begins with `file:` is written `literal:file:...`".to_owned();
            Wrong { message: Some(message), hint: Some(hint) }
        })?;
        let content = content.strip_suffix('\n').unwrap_or(&content);
        return Ok(content.strip_suffix('\r').unwrap_or(content).to_owned());
    }
    if let Some(name) = text.strip_prefix("env:") {
        let shown = if is_name(name) { name } else { "of this secret" };
        return (place.report.env)(name).ok_or_else(|| {
            let message = format!("the environment variable {shown} is not set");
            let hint = "a secret that itself begins with `env:` is written `literal:env:...`".to_owned();
            Wrong { message: Some(message), hint: Some(hint) }
        });
    }
    Ok(text.strip_prefix("literal:").unwrap_or(text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;

    fn read(text: &str) -> Result<String, Wrong> {
        let env = |name: &str| (name == "SET").then(|| "from env".to_owned());
        let report = Report::new("", "", &env);
        <Secret as Scalar>::parse(text, &report.root()).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn a_secret_may_come_from_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for (content, secret) in [
            ("hunter2\n", "hunter2"),
            ("hunter2", "hunter2"),
            ("two\nlines\n\n", "two\nlines\n"),
            ("x\r\n", "x"),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read(&format!("file:{}", path.display())).unwrap(), secret);
        }
        std::fs::write(&path, "\n").unwrap();
        assert!(read(&format!("file:{}", path.display())).is_err(), "an empty file is no secret");
        let error = read("file:/nowhere/at/all").unwrap_err();
        assert!(!error.message.unwrap().contains("nowhere"));
    }

    #[test]
    fn a_secret_may_come_from_the_environment() {
        assert_eq!(read("env:SET").unwrap(), "from env");
        assert!(read("env:UNSET").unwrap_err().message.unwrap().contains("UNSET"));
        assert!(!read("env:not a name").unwrap_err().message.unwrap().contains("not a name"));
    }

    #[test]
    fn a_literal_may_look_like_a_reference() {
        assert!(read("literal:").is_err());
        assert_eq!(read("").unwrap(), "");
        assert_eq!(read("literal:file:/x").unwrap(), "file:/x");
        assert_eq!(read("literal:literal:").unwrap(), "literal:");
        assert_eq!(read("a+b/c=").unwrap(), "a+b/c=");
    }

    #[test]
    fn a_secret_is_never_displayed() {
        let secret = Secret::new("hunter2");
        assert_eq!(
            format!("{secret} {secret:?} {:?}", Some(&secret)),
            "[redacted] [redacted] Some([redacted])"
        );
    }
}
