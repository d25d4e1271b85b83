//! Names that people or clients choose, and the paths that we make of them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Text that is not a legal name, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {text:?} {problem}")]
pub struct NameError {
    kind: &'static str,
    text: String,
    problem: &'static str,
}

impl NameError {
    pub(crate) fn new(kind: &'static str, text: &str, problem: &'static str) -> Self {
        // An absurdly long name is not repeated whole in a log line.
        let text = text.chars().take(80).collect();
        Self { kind, text, problem }
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text and takes it as a name.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                match $check(text) {
                    Some(problem) => Err(NameError::new($kind, text, problem)),
                    None => Ok(Self(text.into())),
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// A bucket as clients see it. Wider than Amazon's rule, because names such as `My_Bucket` are in
    /// use: 1 to 255 bytes of visible ASCII without `/` or characters that end a URL path segment.
    BucketName, "bucket name", bucket_problem
);
name!(
    /// A storage backend as the operator named it: letters, digits, `-`, `_` and `.`.
    BackendName, "backend name", backend_problem
);
name!(
    /// The key of an object: 1 to 1,024 bytes of UTF-8, anything else goes (`../x`, `//` and NUL are
    /// legal keys). Keys are listed in the order of their bytes.
    ObjectKey, "object key", key_problem
);
name!(
    /// Where a replica lies on its backend. Made by `format::path` or taken from an import.
    ReplicaPath, "replica path", path_problem
);

impl ObjectKey {
    /// Longest key in bytes, as in the S3 API.
    pub const BYTES_MAX: usize = 1024;
}

fn bucket_problem(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("is empty");
    }
    if text.len() > 255 {
        return Some("is longer than 255 bytes");
    }
    if text == "." || text == ".." {
        return Some("is a relative path");
    }
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.!$'()*+,;=@:~".contains(&b);
    (!text.bytes().all(legal)).then_some("may hold letters, digits and -_.!$'()*+,;=@:~ only")
}

fn backend_problem(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("is empty");
    }
    if text.len() > 128 {
        return Some("is longer than 128 bytes");
    }
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (!text.bytes().all(legal)).then_some("may hold letters, digits, '-', '_' and '.' only")
}

fn key_problem(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("is empty");
    }
    (text.len() > ObjectKey::BYTES_MAX).then_some("is longer than 1024 bytes")
}

fn path_problem(text: &str) -> Option<&'static str> {
    text.is_empty().then_some("is empty")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_may_be_anything_of_the_right_length() {
        for key in ["../x", "//", ".", "a\0b", "line\nbreak", "ключ/鍵", &"k".repeat(1024)] {
            assert_eq!(ObjectKey::parse(key).unwrap().as_str(), key);
        }
        assert!(ObjectKey::parse("").is_err());
        assert!(ObjectKey::parse(&"k".repeat(1025)).is_err());
    }

    #[test]
    fn bucket_names_are_wider_than_amazons_and_never_a_path() {
        for name in ["photos", "My_Bucket", "a", "team.data-2"] {
            assert!(BucketName::parse(name).is_ok(), "{name}");
        }
        for name in ["", "a/b", ".", "..", "a b", "a?b", "naïve", &"b".repeat(256)] {
            assert!(BucketName::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn an_error_says_which_name_and_why() {
        let error = BackendName::parse("my backend").unwrap_err().to_string();
        assert_eq!(error, "backend name \"my backend\" may hold letters, digits, '-', '_' and '.' only");
    }
}
