//! Values that are written in one word: numbers, switches, text, durations, sizes and choices.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use types::{BackendName, BucketName};

use crate::expand::{ExpandError, expand};
use crate::keys::KeyRow;
use crate::report::Place;
use crate::section::{Value, nearest};
use crate::show::Shown;
use crate::tree::{Kind, Node};

/// A value that is one scalar. Quotes do not matter: the key decides what its text means.
pub(crate) trait Scalar: Sized {
    /// What it is called in the table of keys, and in "expected ...".
    const KIND: &'static str;
    /// Whether its text may be repeated in a message.
    const SECRET: bool = false;
    /// Takes the expanded text; `Err` says what is wrong, and perhaps what to write.
    fn parse(text: &str, place: &Place<'_>) -> Result<Self, Wrong>;
    fn placeholder() -> Self;
    fn is_blank(&self) -> bool {
        false
    }
    fn show(&self) -> Shown;
}

/// Why a text is not a value of its type.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) message: Option<String>,
    pub(crate) hint: Option<String>,
}

impl Wrong {
    /// "expected KIND, found TEXT".
    pub(crate) fn kind() -> Self {
        Self { message: None, hint: None }
    }

    pub(crate) fn hint(hint: impl Into<String>) -> Self {
        Self { message: None, hint: Some(hint.into()) }
    }

    pub(crate) fn message(message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), hint: None }
    }
}

impl<T: Scalar> Value for T {
    fn read(node: &Node, place: &Place<'_>) -> Option<Self> {
        let Kind::Scalar { text: raw, .. } = &node.kind else {
            place.refuse(format!("expected {}, found {}", T::KIND, node.describe()));
            return None;
        };
        let text = expanded(raw, place)?;
        match T::parse(&text, place) {
            Ok(value) => Some(value),
            Err(Wrong { message, hint }) => {
                let message = message.unwrap_or_else(|| {
                    // The raw text: what a variable holds may be a secret.
                    let found =
                        if T::SECRET { String::new() } else { format!(", found `{}`", shortened(raw)) };
                    format!("expected {}{found}", T::KIND)
                });
                match hint {
                    Some(hint) => place.refuse_with(message, hint),
                    None => place.refuse(message),
                }
                None
            }
        }
    }

    fn absent(_: &Place<'_>) -> Self {
        T::placeholder()
    }

    fn placeholder() -> Self {
        T::placeholder()
    }

    fn is_blank(&self) -> bool {
        Scalar::is_blank(self)
    }

    fn show(&self) -> Shown {
        Scalar::show(self)
    }

    fn describe(row: KeyRow, rows: &mut Vec<KeyRow>) {
        let kind = T::KIND.trim_start_matches("a ").trim_start_matches("an ");
        let kind = kind.split(" such as ").next().unwrap_or(kind);
        rows.push(KeyRow { kind: kind.to_owned(), ..row });
    }
}

/// Expands the text of a value, or reports why that cannot be done.
fn expanded(raw: &str, place: &Place<'_>) -> Option<String> {
    match expand(raw, place.report.env) {
        Ok(expanded) => {
            if expanded.bare_dollar {
                // Without the text: it may well be a password.
                place.warn("a `$` without braces is kept as written", Some("write `${NAME}` for a variable"));
            }
            Some(expanded.text)
        }
        Err(ExpandError::Unset(name)) => {
            place.refuse(format!("the environment variable {name} is not set"));
            None
        }
        Err(ExpandError::NotAName) => {
            let hint = "write `${NAME}` with letters, digits and `_` only, or `$${` for a literal `${`";
            place.refuse_with("`${` is not followed by a name and `}`", hint);
            None
        }
    }
}

/// Whether the node is text that is empty, perhaps because its variable is.
pub(crate) fn is_empty_text(node: &Node, place: &Place<'_>) -> bool {
    let Kind::Scalar { text, .. } = &node.kind else { return false };
    expand(text, place.report.env).is_ok_and(|expanded| expanded.text.is_empty())
}

fn shortened(raw: &str) -> String {
    let line: String = raw.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.len() < raw.len() { format!("{line}...") } else { line }
}

impl Scalar for bool {
    const KIND: &'static str = "true or false";

    fn parse(text: &str, _: &Place<'_>) -> Result<Self, Wrong> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Ok(true),
            "false" | "no" | "off" => Ok(false),
            _ => Err(Wrong::kind()),
        }
    }

    fn placeholder() -> Self {
        false
    }

    fn show(&self) -> Shown {
        Shown::Plain(self.to_string())
    }
}

/// A whole number: decimal, or as Go reads it with `0x`, `0o` and underscores.
fn parse_integer(text: &str) -> Result<u64, Wrong> {
    let digits = text.strip_prefix('+').unwrap_or(text).replace('_', "");
    let number = match digits.get(..2) {
        Some("0x") => u64::from_str_radix(&digits[2..], 16),
        Some("0o") => u64::from_str_radix(&digits[2..], 8),
        _ if digits.starts_with('+') => return Err(Wrong::kind()),
        _ => digits.parse(),
    };
    number.map_err(|_| match text.strip_prefix('-') {
        Some(rest) if rest.parse::<u64>().is_ok() => Wrong::message("must not be negative"),
        _ => Wrong::kind(),
    })
}

macro_rules! integer {
    ($($type:ty, $kind:literal;)*) => {$(
        impl Scalar for $type {
            const KIND: &'static str = $kind;

            fn parse(text: &str, _: &Place<'_>) -> Result<Self, Wrong> {
                let number = parse_integer(text)?;
                Self::try_from(number).map_err(|_| Wrong::message(format!("is above {}", Self::MAX)))
            }

            fn placeholder() -> Self {
                0
            }

            fn show(&self) -> Shown {
                Shown::Plain(self.to_string())
            }
        }
    )*};
}

integer! {
    u8, "a whole number";
    u16, "a whole number";
    u32, "a whole number";
    u64, "a whole number";
    usize, "a whole number";
}

impl Scalar for f64 {
    const KIND: &'static str = "a number";

    fn parse(text: &str, _: &Place<'_>) -> Result<Self, Wrong> {
        let number: Self = text.parse().map_err(|_| Wrong::kind())?;
        if number.is_finite() { Ok(number) } else { Err(Wrong::kind()) }
    }

    fn placeholder() -> Self {
        0.0
    }

    fn show(&self) -> Shown {
        Shown::Plain(self.to_string())
    }
}

impl Scalar for String {
    const KIND: &'static str = "text";

    fn parse(text: &str, _: &Place<'_>) -> Result<Self, Wrong> {
        Ok(text.to_owned())
    }

    fn placeholder() -> Self {
        Self::new()
    }

    fn is_blank(&self) -> bool {
        self.is_empty()
    }

    fn show(&self) -> Shown {
        Shown::Text(self.clone())
    }
}

impl Scalar for PathBuf {
    const KIND: &'static str = "a path";

    fn parse(text: &str, _: &Place<'_>) -> Result<Self, Wrong> {
        if text.contains('\0') { Err(Wrong::message("holds a NUL")) } else { Ok(text.into()) }
    }

    fn placeholder() -> Self {
        Self::new()
    }

    fn is_blank(&self) -> bool {
        self.as_os_str().is_empty()
    }

    fn show(&self) -> Shown {
        Shown::Text(self.to_string_lossy().into_owned())
    }
}

impl Scalar for Duration {
    const KIND: &'static str = "a duration such as `90s`, `5m` or `1h30m`";

    fn parse(text: &str, _: &Place<'_>) -> Result<Self, Wrong> {
        crate::units::parse_duration(text)
    }

    fn placeholder() -> Self {
        Self::ZERO
    }

    fn show(&self) -> Shown {
        Shown::Plain(crate::units::print_duration(*self))
    }
}

macro_rules! name {
    ($type:ty, $kind:literal, $placeholder:literal) => {
        impl Scalar for $type {
            const KIND: &'static str = $kind;

            fn parse(text: &str, _: &Place<'_>) -> Result<Self, Wrong> {
                Self::parse(text).map_err(|error| Wrong::message(error.to_string()))
            }

            fn placeholder() -> Self {
                Self::parse($placeholder).expect("the placeholder is a legal name")
            }

            fn show(&self) -> Shown {
                Shown::Text(self.as_str().to_owned())
            }
        }
    };
}

name!(BucketName, "a bucket name", "unnamed");
name!(BackendName, "a backend name", "unnamed");

impl Value for BTreeMap<String, String> {
    fn read(node: &Node, place: &Place<'_>) -> Option<Self> {
        let Kind::Map(entries) = &node.kind else {
            place.refuse(format!("expected keys with values, found {}", node.describe()));
            return None;
        };
        let mut map = Self::new();
        for entry in entries {
            let key = place.key(&entry.key);
            key.stands_at(entry.position);
            if let Some(value) = String::read(&entry.value, &key)
                && map.insert(entry.key.clone(), value).is_some()
            {
                key.refuse("is given twice");
            }
        }
        Some(map)
    }

    fn absent(_: &Place<'_>) -> Self {
        Self::new()
    }

    fn placeholder() -> Self {
        Self::new()
    }

    fn show(&self) -> Shown {
        if self.is_empty() {
            return Shown::Nothing;
        }
        let entry = |(key, value): (&String, &String)| (crate::show::quote(key), Shown::Text(value.clone()));
        Shown::Map(self.iter().map(entry).collect())
    }

    fn describe(row: KeyRow, rows: &mut Vec<KeyRow>) {
        rows.push(KeyRow { kind: "keys with values".to_owned(), ..row });
    }
}

/// What to write for a misspelt choice.
pub(crate) fn choice_hint(text: &str, words: &'static [&'static str]) -> Wrong {
    let known = || words.iter().copied();
    match nearest(text, known()) {
        Some(near) => Wrong::hint(format!("did you mean `{near}`?")),
        None => Wrong::kind(),
    }
}

/// Declares an enum that is written as one of a few words.
macro_rules! choice {
    (
        $(#[doc = $about:literal])+
        pub enum $name:ident ($kind:literal) {
            $( $(#[doc = $doc:literal])+ $variant:ident = $word:literal, )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $( $(#[doc = $doc])+ $variant, )+ }

        impl $name {
            const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word in the configuration.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl $crate::scalar::Scalar for $name {
            const KIND: &'static str = $kind;

            fn parse(text: &str, _: &$crate::report::Place<'_>) -> Result<Self, $crate::scalar::Wrong> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::scalar::choice_hint(text, Self::WORDS)),
                }
            }

            fn placeholder() -> Self {
                [$(Self::$variant),+][0]
            }

            fn show(&self) -> $crate::show::Shown {
                $crate::show::Shown::Plain(self.as_str().to_owned())
            }
        }
    };
}

pub(crate) use choice;
