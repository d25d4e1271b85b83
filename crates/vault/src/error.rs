//! What can go wrong, by what a caller may do about it.

use std::fmt;

use connect::Stage;

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A failed call.
#[derive(Debug)]
pub struct Error {
    /// What a caller may do about it.
    pub kind: ErrorKind,
    /// The node that was asked: `https://10.0.0.7:8200`.
    pub node: String,
    /// What it was asked for: `unseal`.
    pub call: &'static str,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// What happened, in words. Never holds a secret.
    pub message: String,
    source: Option<BoxError>,
}

/// The kinds of failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorKind {
    /// The options or the arguments make no sense. Nothing was sent.
    Invalid,
    /// There is no connection to the node: nothing was sent.
    Unreachable(Stage),
    /// The request may have arrived, and no trustworthy answer came in time.
    NoAnswer,
    /// 401 or 403: the token has ended, or its policies do not allow this.
    Denied,
    /// The node is sealed.
    Sealed,
    /// The node does not do this itself; the leader does, where the node knows it.
    Standby {
        /// The address to ask instead.
        leader: Option<String>,
    },
    /// There is no such path, key or version.
    NotFound,
    /// Too many requests.
    Throttled,
    /// The node refused for another reason; its words are in the message.
    Refused,
    /// The node failed (5xx).
    ServerFault,
    /// The body that we were given failed. The node was left with a truncated one.
    Body,
    /// The answer is not what it must be.
    Corrupt,
}

impl ErrorKind {
    /// What a person should do, where that is known.
    fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::Unreachable(Stage::Name) => "check the name in the address",
            Self::Unreachable(Stage::Tcp) => "check that the node runs and that the address is right",
            Self::Unreachable(Stage::Tls) => {
                "check the CA file, the server name, and that this address speaks TLS and is the node meant"
            }
            Self::Denied => "check that the token or login is valid and that its policies allow this",
            Self::Sealed => "unseal the node first",
            Self::Standby { .. } => "ask the leader",
            Self::Invalid
            | Self::Unreachable(Stage::Options)
            | Self::NoAnswer
            | Self::NotFound
            | Self::Throttled
            | Self::Refused
            | Self::ServerFault
            | Self::Body
            | Self::Corrupt => return None,
        })
    }

    /// A word for metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Invalid | Self::Unreachable(Stage::Options) => "invalid",
            Self::Unreachable(Stage::Name) => "name",
            Self::Unreachable(Stage::Tcp) => "unreachable",
            Self::Unreachable(Stage::Tls) => "tls",
            Self::NoAnswer => "no_answer",
            Self::Denied => "denied",
            Self::Sealed => "sealed",
            Self::Standby { .. } => "standby",
            Self::NotFound => "not_found",
            Self::Throttled => "throttled",
            Self::Refused => "refused",
            Self::ServerFault => "server_fault",
            Self::Body => "body",
            Self::Corrupt => "corrupt",
        }
    }
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, node: &str, call: &'static str, message: impl Into<String>) -> Self {
        Self { kind, node: node.to_owned(), call, status: None, message: message.into(), source: None }
    }

    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    pub(crate) fn caused_by(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.call, self.node, self.message)?;
        if let Some(status) = self.status {
            write!(f, " ({status})")?;
        }
        if let ErrorKind::Standby { leader: Some(leader) } = &self.kind {
            return write!(f, "; ask the leader {leader}");
        }
        match self.kind.advice() {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// What a status that is no success means. The only place that decides it.
pub(crate) fn classify(status: u16, message: &str, location: Option<&str>) -> ErrorKind {
    match status {
        307 | 308 | 301 | 302 => ErrorKind::Standby { leader: location.and_then(origin) },
        401 | 403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        // 429 is also what the health of a standby says, but health has no errors.
        429 => ErrorKind::Throttled,
        472 | 473 => ErrorKind::Standby { leader: None },
        503 if message.to_ascii_lowercase().contains("sealed") => ErrorKind::Sealed,
        500 if message.contains("node is not active") || message.contains("no active") => {
            ErrorKind::Standby { leader: None }
        }
        400..=499 => ErrorKind::Refused,
        500..=599 => ErrorKind::ServerFault,
        _ => ErrorKind::Corrupt,
    }
}

/// `https://host:port` of a URL.
fn origin(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    Some(format!("{}://{}", uri.scheme_str()?, uri.authority()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, message: &str, location: Option<&str>, kind: &ErrorKind) {
        assert_eq!(&classify(status, message, location), kind, "{status} {message}");
    }

    #[test]
    fn answers_are_told_apart_by_what_to_do() {
        check(403, "permission denied", None, &ErrorKind::Denied);
        check(503, "Vault is sealed", None, &ErrorKind::Sealed);
        check(503, "", None, &ErrorKind::ServerFault);
        check(400, "invalid key", None, &ErrorKind::Refused);
        check(404, "", None, &ErrorKind::NotFound);
        check(473, "", None, &ErrorKind::Standby { leader: None });
        let leader = Some("https://10.0.0.1:8200".to_owned());
        check(307, "", Some("https://10.0.0.1:8200/v1/x?y"), &ErrorKind::Standby { leader });
        check(200, "", None, &ErrorKind::Corrupt);
    }

    #[test]
    fn an_error_names_node_call_and_what_to_do() {
        let error =
            Error::new(ErrorKind::Denied, "https://a:1", "read", "permission denied").with_status(403);
        let text = error.to_string();
        assert!(
            text.starts_with("read at https://a:1: permission denied (403); check that the token"),
            "{text}"
        );
    }
}
