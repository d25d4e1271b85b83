//! What is known of a stored snapshot, and lies beside it in a small file. It is written once the snapshot was read back and
//! found to be what was sent: a snapshot without a record is one that nobody has verified.

use serde::{Deserialize, Serialize};
use types::Timestamp;

/// What is known of a stored snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The file that it is about.
    pub snapshot: String,
    /// The raft term of its last entry.
    pub term: u64,
    /// Bytes as stored.
    pub size: u64,
    /// SHA-256 of the bytes as stored.
    pub sha256: String,
    /// Bytes of the snapshot itself, unencrypted.
    pub content_size: u64,
    /// When it was last found whole, in seconds since 1970.
    pub verified_at: u64,
}

impl Record {
    /// When it was last found whole.
    #[must_use]
    pub fn verified(&self) -> Timestamp {
        Timestamp::from_millis(self.verified_at.saturating_mul(1000))
    }
}

/// An index that an operator accepted, or that a restore went back to: what was taken before counts no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// The raft index.
    pub index: u64,
    /// When, in seconds since 1970.
    pub at: u64,
}
