//! What is shipped, as lines of text.

use types::{BackendName, BlobId, BucketName, ChangeId, ObjectKey, ReplicaId, ReplicaPath, Timestamp};

use crate::{BackendId, BucketId};

/// A change as a line of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalLine {
    /// The change.
    pub change: ChangeId,
    /// Its number.
    pub seq: u64,
    /// `{"change":…,"seq":…,"entry":…}`
    pub text: String,
}

/// What is not yet shipped.
#[derive(Debug, Clone, Default)]
pub struct Unshipped {
    /// The oldest entries.
    pub lines: Vec<JournalLine>,
    /// Whether there are more.
    pub more: bool,
}

/// The names behind the numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Of buckets; the internal one is not among them.
    pub buckets: Vec<(BucketId, BucketName)>,
    /// Of backends.
    pub backends: Vec<(BackendId, BackendName)>,
}

/// Where a page of a snapshot begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotCursor {
    /// In which table.
    pub table: SnapshotTable,
    /// Behind this key; empty is the table's begin.
    pub after: Vec<u8>,
}

impl SnapshotCursor {
    /// The begin of everything.
    #[must_use]
    pub fn start() -> Self {
        Self { table: SnapshotTable::Blobs, after: Vec::new() }
    }
}

/// The tables of a snapshot, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotTable {
    /// Blobs with the checksums of their blocks.
    Blobs,
    /// Replicas.
    Replicas,
    /// Manifests with their entries and parts.
    Manifests,
    /// Objects.
    Objects,
    /// Uploads.
    Uploads,
    /// Parts of open uploads.
    Parts,
    /// What was decided of backends and deletes: drains, and the brake.
    Decisions,
}

/// A page of a snapshot.
#[derive(Debug, Clone, Default)]
pub struct SnapshotPage {
    /// Lines, as those of a segment; `seq` is the revision of an object, or 0.
    pub lines: Vec<String>,
    /// Where the next page begins; `None` behind the last.
    pub next: Option<SnapshotCursor>,
}

/// A segment or a page of a snapshot as it was found on a backend.
#[derive(Debug, Clone)]
pub struct InternalFile {
    /// Its key in the internal bucket.
    pub key: ObjectKey,
    /// Its blob, from its path.
    pub blob: BlobId,
    /// Its replica, from its path.
    pub replica: ReplicaId,
    /// Where it lies.
    pub backend: BackendId,
    /// At which path.
    pub path: ReplicaPath,
    /// Bytes.
    pub size: u64,
    /// Bytes charged for it.
    pub charge: u64,
    /// CRC32C of each 64 KiB, where it was read; else it is doomed, for nothing needs it any more.
    pub blocks: Option<Vec<u32>>,
}

/// What came of a rebuild.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Objects that clients see.
    pub objects: u64,
    /// Blobs that are referenced.
    pub blobs: u64,
    /// Of these, blobs of which no replica is known: their objects cannot be read.
    pub unreadable: u64,
    /// Where the catalog that was there before lies now.
    pub replaced: Option<std::path::PathBuf>,
    /// What does not add up; nothing, unless entries were missing.
    pub wrong: Vec<String>,
    /// What was decided before, and goes on.
    pub decided: Decided,
}

/// What an operator, or a guard in his place, had decided when the last segment was shipped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decided {
    /// Backends that are to become empty, and since when.
    pub drains: Vec<(BackendName, Timestamp)>,
    /// Since when the brake holds all deletes, and why.
    pub brake: Option<(Timestamp, String)>,
    /// Replicas in quarantine that wait for their time to be over.
    pub quarantined: u64,
    /// When that of the first of them is.
    pub quarantine_ends: Option<Timestamp>,
    /// Replicas in quarantine that wait for the operator alone.
    pub held: u64,
}
