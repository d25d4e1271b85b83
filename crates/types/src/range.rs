//! Ranges of bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A run of bytes: where it starts and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub start: u64,
    /// Bytes in the range.
    pub length: u64,
}

impl ByteRange {
    /// The range of `length` bytes from `start`.
    #[must_use]
    pub fn new(start: u64, length: u64) -> Self {
        Self { start, length }
    }

    /// All of `size` bytes.
    #[must_use]
    pub fn whole(size: u64) -> Self {
        Self { start: 0, length: size }
    }

    /// Offset of the first byte behind the range.
    #[must_use]
    pub fn end(self) -> u64 {
        self.start + self.length
    }

    /// The part that both ranges share, if any.
    #[must_use]
    pub fn intersect(self, other: Self) -> Option<Self> {
        let start = self.start.max(other.start);
        let end = self.end().min(other.end());
        (start < end).then(|| Self { start, length: end - start })
    }

    /// The value of an HTTP `Range` header for this range (RFC 9110, section 14.1.2). Not for an empty one.
    #[must_use]
    pub fn to_header(self) -> String {
        debug_assert!(self.length > 0, "an empty range has no header form");
        format!("bytes={}-{}", self.start, self.end() - 1)
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.start, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_share_what_lies_in_both() {
        let range = ByteRange::new(10, 10);
        assert_eq!(range.intersect(ByteRange::new(15, 100)), Some(ByteRange::new(15, 5)));
        assert_eq!(range.intersect(ByteRange::new(20, 1)), None);
        assert_eq!(range.intersect(ByteRange::new(0, 10)), None);
        assert_eq!(range.to_header(), "bytes=10-19");
    }
}
