//! One call, before it is sent: what is asked, with which token, and which words must not come back.

use http::Method;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Longest part of a server's words that is kept, in characters.
const WORDS_MAX: usize = 400;
/// Shorter texts are no secrets: taking them out of a message would only garble it.
const SECRET_BYTES_MIN: usize = 6;

pub(crate) struct Call<'a> {
    /// As errors name it.
    pub name: &'static str,
    pub method: Method,
    /// What follows `/v1/`, encoded.
    pub path: String,
    pub token: Option<&'a Secret>,
    pub body: Option<Zeroizing<Vec<u8>>>,
    hidden: Vec<&'a str>,
}

impl<'a> Call<'a> {
    pub(crate) fn get(name: &'static str, path: impl Into<String>) -> Self {
        Self { name, method: Method::GET, path: path.into(), token: None, body: None, hidden: Vec::new() }
    }

    pub(crate) fn post(name: &'static str, path: impl Into<String>, body: &impl Serialize) -> Self {
        // Room enough that it need not grow: growing leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(8 * 1024));
        serde_json::to_writer(&mut *bytes, body).expect("our own bodies are JSON, and memory takes them");
        Self { method: Method::POST, body: Some(bytes), ..Self::get(name, path) }
    }

    pub(crate) fn with_token(mut self, token: &'a Secret) -> Self {
        self.token = Some(token);
        self.hiding(token.expose())
    }

    /// Names a secret that the call carries.
    pub(crate) fn hiding(mut self, secret: &'a str) -> Self {
        if secret.len() >= SECRET_BYTES_MIN {
            self.hidden.push(secret);
        }
        self
    }

    /// The words of a refusal, without the secrets that the call carried.
    pub(crate) fn words(&self, body: &[u8]) -> String {
        #[derive(serde::Deserialize)]
        struct Errors {
            #[serde(default)]
            errors: Vec<String>,
        }
        let errors = serde_json::from_slice::<Errors>(body).map(|body| body.errors).unwrap_or_default();
        if errors.is_empty() {
            return "it gives no reason".to_owned();
        }
        let mut words = errors.join("; ").replace(['\n', '\t'], " ");
        for secret in &self.hidden {
            words = words.replace(secret, "(hidden)");
        }
        words.chars().take(WORDS_MAX).collect()
    }
}

/// A path with everything encoded that has a meaning in URLs, but for the slashes.
pub(crate) fn encode_path(path: &str) -> String {
    use std::fmt::Write as _;

    let mut encoded = String::with_capacity(path.len());
    for byte in path.trim_matches('/').bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_repeats_a_secret_is_not_quoted() {
        let token = Secret::from("s.0123456789");
        let call = Call::get("read", "x").with_token(&token).hiding("share-share");
        let words = call.words(br#"{"errors":["bad token s.0123456789","and share-share too"]}"#);
        assert_eq!(words, "bad token (hidden); and (hidden) too");
        assert_eq!(call.words(b"<html>s.0123456789"), "it gives no reason");
    }

    #[test]
    fn paths_are_encoded() {
        assert_eq!(encode_path("/secret/data/a b?c/../ü/"), "secret/data/a%20b%3Fc/../%C3%BC");
    }
}
