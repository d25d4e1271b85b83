//! Shares of a seal: read in whatever form they were handed out, told apart by what they decode to.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use serde_json::Value;
use vault::{Secret, SecretBytes};

/// The shortest and longest share that a seal of 16 to 32 bytes can have: one byte more than the key.
const SHARE_BYTES: std::ops::RangeInclusive<usize> = 16..=33;

/// Tells shares apart without holding one: a hash of its bytes.
pub type ShareId = [u8; 32];

/// A share. It lives no longer than an attempt.
#[derive(Debug)]
pub struct Share {
    /// As it is sent.
    pub text: Secret,
    /// The same for its hex and its base64 form.
    pub id: ShareId,
}

/// Distinct shares, and what else was found.
#[derive(Debug, Default)]
pub struct Shares {
    /// The distinct ones, in the order in which they came.
    pub list: Vec<Share>,
    /// Texts that are no share.
    pub malformed: usize,
    /// Shares that came more than once.
    pub repeated: usize,
}

impl Shares {
    /// Takes in one more text.
    pub fn add(&mut self, text: &Secret) {
        let text = text.trimmed();
        match decode(text.expose()) {
            None => self.malformed += 1,
            Some(bytes) => {
                let hash = digest(&SHA256, bytes.expose());
                let id = hash.as_ref().try_into().expect("SHA-256 has 32 bytes");
                if self.list.iter().any(|share| share.id == id) {
                    self.repeated += 1;
                } else {
                    self.list.push(Share { text, id });
                }
            }
        }
    }

    /// What tells them apart.
    #[must_use]
    pub fn ids(&self) -> HashSet<ShareId> {
        self.list.iter().map(|share| share.id).collect()
    }
}

/// As the server does it: hex where it is hex, else base64.
fn decode(text: &str) -> Option<SecretBytes> {
    let bytes = hex::decode(text).or_else(|_| STANDARD.decode(text)).ok()?;
    let bytes = SecretBytes::from(bytes);
    SHARE_BYTES.contains(&bytes.expose().len()).then_some(bytes)
}

/// The texts in a file or in what a command prints: JSON (a list, or the values of an object, so that what
/// `operator init` printed can be kept as it is), or one a line, perhaps behind a name.
#[must_use]
pub fn texts_in(content: &Secret) -> Vec<Secret> {
    let content = content.trimmed();
    if let Ok(value @ (Value::Array(_) | Value::Object(_))) = serde_json::from_str(content.expose()) {
        let mut texts = Vec::new();
        collect(value, &mut texts);
        return texts;
    }
    let lines = content.expose().lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| without_name(line).into())
        .collect()
}

fn collect(value: Value, texts: &mut Vec<Secret>) {
    match value {
        Value::String(text) => texts.push(text.into()),
        Value::Array(items) => items.into_iter().for_each(|item| collect(item, texts)),
        Value::Object(fields) => {
            // The token stands beside the shares there, and is none.
            let shares = fields.into_iter().filter(|(name, _)| name != "root_token");
            shares.for_each(|(_, value)| collect(value, texts));
        }
        _ => {}
    }
}

/// `Unseal Key 1: abc=` and `KEY_1=abc=` as `abc=`.
fn without_name(line: &str) -> &str {
    let named = line.split_once(": ").or_else(|| line.split_once('='));
    // A share that ends in = is no name.
    named.map(|(_, value)| value.trim()).filter(|value| value.len() >= 16).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "ef9824e50740ebd85c5c6990a3a50ba1b1820dac48614e85afc3d02621dae2687e";
    const SAME: &str = "75gk5QdA69hcXGmQo6ULobGCDaxIYU6Fr8PQJiHa4mh+";
    const OTHER: &str = "1XI0UXSazGQSzRrn27nFNHuKDBWI+GHg2XDjO4P8sKBB";

    fn check(content: &str, distinct: usize, repeated: usize, malformed: usize) {
        let mut shares = Shares::default();
        texts_in(&content.into()).iter().for_each(|text| shares.add(text));
        let found = (shares.list.len(), shares.repeated, shares.malformed);
        assert_eq!(found, (distinct, repeated, malformed), "{content}");
    }

    #[test]
    fn shares_are_found_in_what_people_keep() {
        check(&format!("{HEX}\n{OTHER}\n"), 2, 0, 0);
        check(&format!("# mine\n\nUnseal Key 1: {SAME}\nKEY_2={OTHER}\n"), 2, 0, 0);
        check(&format!("[\"{SAME}\"]"), 1, 0, 0);
        check(&format!("{{\"key1\": \"{SAME}\", \"key2\": \"{OTHER}\"}}"), 2, 0, 0);
        let init = format!("{{\"keys\":[\"{HEX}\"],\"keys_base64\":[\"{SAME}\"],\"root_token\":\"s.x\"}}");
        check(&init, 1, 1, 0);
    }

    #[test]
    fn what_is_no_share_is_counted() {
        check("", 0, 0, 0);
        check("too-short", 0, 0, 1);
        check(&format!("{HEX}00"), 0, 0, 1);
        check("s.IqPFS9M4ZvYnrjWJ63W8dvEr", 0, 0, 1);
    }
}
