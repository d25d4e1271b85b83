//! What must never be seen: wiped when dropped, hidden from `Debug`, and without a `Display`.

use std::fmt;

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// A secret text: a token, a share, a password.
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<String>);

/// Secret bytes: a key, a plaintext.
#[derive(Clone, Default)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl Secret {
    /// The text. Whoever asks for it must not print it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same without white space at both ends, as files and commands leave it.
    #[must_use]
    pub fn trimmed(&self) -> Self {
        Self::from(self.0.trim().to_owned())
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl TryFrom<SecretBytes> for Secret {
    type Error = NotText;

    fn try_from(bytes: SecretBytes) -> Result<Self, NotText> {
        std::str::from_utf8(&bytes.0).map(Self::from).map_err(|_| NotText)
    }
}

/// The bytes are no text. It does not say which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotText;

impl fmt::Display for NotText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is not text in UTF-8")
    }
}

impl std::error::Error for NotText {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl SecretBytes {
    /// The bytes. Whoever asks for them must not print them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_a_secret() {
        let secret = Secret::from("s.very-secret");
        let bytes = SecretBytes::from(b"very-secret".to_vec());
        assert!(!format!("{secret:?} {bytes:?} {:?}", Some(&secret)).contains("very"));
        assert_eq!(secret.expose(), "s.very-secret");
        assert_eq!(Secret::from(" x\n").trimmed().expose(), "x");
    }
}
