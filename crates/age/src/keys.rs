//! Keys: a recipient is who may open, an identity is who can.

use std::fmt;

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::bech32;

/// A text that is no key. Never repeats the text: people do paste a private key in place of a public one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a public key.
    #[error("is not a public key of age (`age1...`): a letter is wrong or missing")]
    Recipient,
    /// A private key where a public one belongs.
    #[error(
        "is a private key; a public one (`age1...`) belongs here, and this one must be replaced: it was exposed"
    )]
    IdentityAsRecipient,
    /// Not a private key.
    #[error("is not a private key of age (`AGE-SECRET-KEY-1...`): a letter is wrong or missing")]
    Identity,
}

/// A public key.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient(pub(crate) PublicKey);

impl Recipient {
    /// Reads `age1...`.
    ///
    /// # Errors
    /// Where it is anything else.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.get(..15).is_some_and(|start| start.eq_ignore_ascii_case("age-secret-key-")) {
            return Err(KeyError::IdentityAsRecipient);
        }
        let key = bech32::decode("age", text).ok_or(KeyError::Recipient)?;
        Ok(Self(PublicKey::from(key)))
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recipient")
    }
}

/// A private key. Its memory is zeroed when it is dropped.
#[derive(Clone)]
pub struct Identity(pub(crate) StaticSecret);

impl Identity {
    /// Reads `AGE-SECRET-KEY-1...`.
    ///
    /// # Errors
    /// Where it is anything else.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let key = bech32::decode("age-secret-key-", text.trim()).ok_or(KeyError::Identity)?;
        Ok(Self(StaticSecret::from(*Zeroizing::new(key))))
    }

    /// Reads the keys of a file as `age-keygen` writes it: one a line, with comments and empty lines.
    ///
    /// # Errors
    /// Where a line is anything else, or there is none.
    pub fn parse_file(text: &str) -> Result<Vec<Self>, KeyError> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys: Vec<Self> = lines.map(Self::parse).collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(KeyError::Identity) } else { Ok(keys) }
    }

    /// The public key that belongs to it.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        Recipient(PublicKey::from(&self.0))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}
