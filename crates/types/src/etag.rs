//! Entity tags and the MD5 behind most of them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An MD5 digest of what a client sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Md5(pub [u8; 16]);

impl Md5 {
    /// Lower-case hexadecimal, as in an `ETag`.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Debug for Md5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// An entity tag without its quotes: the MD5 of an object's bytes, or `md5-of-md5s-N` for a multipart
/// upload, or an opaque one.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ETag(String);

impl ETag {
    /// The tag of bytes with this MD5.
    #[must_use]
    pub fn of_md5(md5: Md5) -> Self {
        Self(md5.to_hex())
    }

    /// Takes a tag as a client or the catalog spells it, with or without quotes.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let bare = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
        Self(bare.to_owned())
    }

    /// The tag without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 16 bytes behind the tag, where it is the MD5 of one body.
    #[must_use]
    pub fn md5(&self) -> Option<Md5> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(&self.0, &mut bytes).ok()?;
        Some(Md5(bytes))
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_do_not_matter() {
        assert_eq!(ETag::from_text("\"abc\""), ETag::from_text("abc"));
    }

    #[test]
    fn only_a_plain_tag_is_an_md5() {
        let md5 = Md5([0xab; 16]);
        assert_eq!(ETag::of_md5(md5).md5(), Some(md5));
        assert_eq!(ETag::from_text(&format!("{}-2", md5.to_hex())).md5(), None);
    }
}
