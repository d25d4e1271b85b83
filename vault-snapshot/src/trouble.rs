//! What went wrong, and whether asking again may help.

use std::fmt;

use snapshot::{Broken, Unreadable};

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

impl From<Broken> for Trouble {
    fn from(broken: Broken) -> Self {
        // Asking again gives another stream.
        Self::passing(format!("the snapshot is not whole: {broken}"))
    }
}

impl From<Unreadable> for Trouble {
    fn from(error: Unreadable) -> Self {
        Self::lasting(error.to_string())
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::lasting(error.to_string())
    }
}
