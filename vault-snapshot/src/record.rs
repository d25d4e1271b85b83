//! What is known of a stored snapshot, in a small file beside it. It is written once the snapshot was read back and
//! found to be what was sent: a snapshot without a record is one that nobody has verified.

use serde::{Deserialize, Serialize};
use types::Timestamp;

use crate::name::SnapshotName;
use crate::place::Place;
use crate::trouble::Trouble;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The file that it is about.
    pub(crate) snapshot: String,
    /// The raft term of its last entry.
    pub(crate) term: u64,
    /// Bytes as stored.
    pub(crate) size: u64,
    /// SHA-256 of the bytes as stored.
    pub(crate) sha256: String,
    /// Bytes of the snapshot itself, unencrypted.
    pub(crate) content_size: u64,
    /// When it was last found whole, in seconds since 1970.
    pub(crate) verified_at: u64,
}

impl Record {
    pub(crate) fn verified(&self) -> Timestamp {
        Timestamp::from_millis(self.verified_at.saturating_mul(1000))
    }

    /// Reads the record of a snapshot; `None` where it has none, or one that is not its own.
    pub(crate) async fn read(place: &dyn Place, name: &SnapshotName) -> Result<Option<Self>, Trouble> {
        let text = place.read_small(&name.record_file()).await?;
        let record: Option<Self> = text.and_then(|text| serde_json::from_slice(&text).ok());
        Ok(record.filter(|record| record.snapshot == name.to_string()))
    }

    pub(crate) async fn write(&self, place: &dyn Place, name: &SnapshotName) -> Result<(), Trouble> {
        let text = serde_json::to_vec_pretty(self).expect("numbers and text are JSON");
        place.write_small(&name.record_file(), text).await
    }
}

/// An index that an operator accepted, or that a restore went back to: what was taken before counts no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Acknowledged {
    pub(crate) index: u64,
    /// In seconds since 1970.
    pub(crate) at: u64,
}
