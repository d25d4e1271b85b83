//! Walking keys in their order, with whole common prefixes skipped.

use crate::ListPosition;

/// Behind every key: keys are UTF-8, in which this byte does not occur.
const BEHIND_ALL: u8 = 0xff;

/// Which keys a listing shows, and how it rolls them up.
pub(super) struct Scope {
    prefix: Vec<u8>,
    delimiter: Option<Vec<u8>>,
}

impl Scope {
    pub(super) fn new(prefix: &str, delimiter: Option<&str>) -> Self {
        let delimiter = delimiter.filter(|text| !text.is_empty()).map(|text| text.as_bytes().to_owned());
        Self { prefix: prefix.as_bytes().to_owned(), delimiter }
    }

    /// The first key that may be shown.
    pub(super) fn start(&self, after: Option<&ListPosition>) -> Vec<u8> {
        let behind = match after {
            None => Vec::new(),
            Some(ListPosition::Prefix(prefix)) => successor(prefix.as_bytes()),
            // A common prefix that was the last line is not given again.
            Some(ListPosition::Key(key)) if self.common_prefix(key.as_bytes()) == Some(key.as_bytes()) => {
                successor(key.as_bytes())
            }
            Some(ListPosition::Key(key)) => just_behind(key.as_bytes()),
        };
        behind.max(self.prefix.clone())
    }

    /// Behind the last key that may be shown.
    pub(super) fn end(&self) -> Vec<u8> {
        successor(&self.prefix)
    }

    /// What a key is rolled up to, where it is.
    pub(super) fn common_prefix<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        let delimiter = self.delimiter.as_deref()?;
        let rest = key.strip_prefix(&self.prefix[..])?;
        let at = rest.windows(delimiter.len()).position(|window| window == delimiter)?;
        Some(&key[..self.prefix.len() + at + delimiter.len()])
    }
}

/// The first bytes behind everything that starts with `prefix`.
pub(super) fn successor(prefix: &[u8]) -> Vec<u8> {
    let mut bytes = prefix.to_owned();
    while let Some(last) = bytes.pop() {
        if last < BEHIND_ALL {
            bytes.push(last + 1);
            return bytes;
        }
    }
    vec![BEHIND_ALL]
}

/// The first bytes behind `key`.
pub(super) fn just_behind(key: &[u8]) -> Vec<u8> {
    let mut bytes = key.to_owned();
    bytes.push(0);
    bytes
}
