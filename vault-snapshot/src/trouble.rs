//! What went wrong, and whether asking again may help.

use std::fmt;

/// A failure in words for an operator. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// The same may work in a moment: a leader was lost, a connection broke.
    pub(crate) passing: bool,
    pub(crate) message: String,
}

impl Trouble {
    /// Only a change by somebody helps.
    pub(crate) fn lasting(message: impl Into<String>) -> Self {
        Self { passing: false, message: message.into() }
    }

    /// It may be over in a moment.
    pub(crate) fn passing(message: impl Into<String>) -> Self {
        Self { passing: true, message: message.into() }
    }

    /// The same, with what was being done in front.
    pub(crate) fn while_doing(self, what: &str) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<vault::Error> for Trouble {
    fn from(error: vault::Error) -> Self {
        use vault::ErrorKind::{Corrupt, Denied, Invalid, NotFound, Refused};

        let lasting = matches!(error.kind, Invalid | Denied | NotFound | Refused | Corrupt);
        Self { passing: !lasting, message: error.to_string() }
    }
}

impl From<s3_client::Error> for Trouble {
    fn from(error: s3_client::Error) -> Self {
        Self::lasting(error.to_string())
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::lasting(error.to_string())
    }
}
