//! Backends that drain, replicas that move.

use types::{BackendName, BlobId, ChangeId, ReplicaId, ReplicaPath, Timestamp};

use crate::{BackendId, ReplicaState};

/// A backend that is to become empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// The backend.
    pub backend: BackendId,
    /// Its name.
    pub name: BackendName,
    /// Since when.
    pub since: Timestamp,
    /// Replicas that it had and no longer has.
    pub moved: u64,
    /// Bytes that were charged for them.
    pub moved_bytes: u64,
    /// What is still on it.
    pub left: OnBackend,
}

/// How many replicas a backend has, by what has to happen before it can be forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OnBackend {
    /// Live ones: they have to be moved.
    pub live: u64,
    /// Suspect ones: likewise.
    pub suspect: u64,
    /// Those that are being written.
    pub writing: u64,
    /// Those that wait for the operator.
    pub quarantined: u64,
    /// Those that wait to be deleted.
    pub doomed: u64,
    /// Bytes charged for all but the doomed ones.
    pub bytes: u64,
}

impl OnBackend {
    /// Whether nothing is left that somebody may want to read.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.live + self.suspect + self.writing + self.quarantined == 0
    }
}

/// A replica that a backend holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The replica.
    pub replica: ReplicaId,
    /// Its blob.
    pub blob: BlobId,
    /// `Live` or `Suspect`.
    pub state: ReplicaState,
    /// Bytes charged for it.
    pub charged: u64,
    /// Bytes of the blob.
    pub size: u64,
    /// How many live replicas the blob should have.
    pub wanted: u32,
    /// The blob's other replicas: where, and in which state.
    pub others: Vec<(BackendId, ReplicaState)>,
}

impl Held {
    /// Other live replicas, on backends that count.
    #[must_use]
    pub fn live_elsewhere(&self, counts: impl Fn(BackendId) -> bool) -> u32 {
        let others = self.others.iter();
        let live = others.filter(|(backend, state)| *state == ReplicaState::Live && counts(*backend));
        u32::try_from(live.count()).unwrap_or(u32::MAX)
    }

    /// Whether the backend can take one that counts: it has none, nor is one on its way there. One that is suspect
    /// is no hindrance, for what is made anew stands in for it.
    #[must_use]
    pub fn is_missing_on(&self, backend: BackendId) -> bool {
        let counts = |state| matches!(state, ReplicaState::Live | ReplicaState::Writing);
        !self.others.iter().any(|(other, state)| *other == backend && counts(*state))
    }

    /// Whether the backend has the blob, or had it and does not say so yet.
    #[must_use]
    pub fn is_on(&self, backend: BackendId) -> bool {
        self.others.iter().any(|(other, state)| *other == backend && *state != ReplicaState::Doomed)
    }
}

/// A page of what a backend holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldPage {
    /// The replicas, in their order.
    pub held: Vec<Held>,
    /// Where the next page starts; `None` behind the last.
    pub next: Option<ReplicaId>,
}

/// Dooms a replica that others stand in for.
#[derive(Debug, Clone)]
pub struct Retire {
    /// The change.
    pub change: ChangeId,
    /// The replica; `live` or `suspect`.
    pub replica: ReplicaId,
    /// How many other live replicas the blob must have. At least one, whatever this says.
    pub least: u32,
    /// Backends whose replicas do not count: draining ones, or such as are gone.
    pub except: Vec<BackendId>,
}

/// What became of retiring a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retired {
    /// It is doomed.
    Doomed,
    /// It stays: so many others count.
    Needed {
        /// Other live replicas that count.
        others: u32,
    },
    /// It was neither live nor suspect any more.
    Gone,
}

/// What became of forgetting a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// The catalog no longer knows it.
    Forgotten,
    /// It was not known.
    Unknown,
    /// Replicas are left, so it stays.
    Occupied(OnBackend),
}

/// What waits to be deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DoomedPage {
    /// All that wait.
    pub depth: u64,
    /// The first ones.
    pub rows: Vec<DoomedRow>,
}

/// A replica that waits to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoomedRow {
    /// The replica.
    pub replica: ReplicaId,
    /// Where.
    pub backend: BackendId,
    /// The backend's name.
    pub name: BackendName,
    /// At which path.
    pub path: ReplicaPath,
    /// Bytes charged until it is gone.
    pub charged: u64,
    /// Deletes tried so far.
    pub attempts: u32,
    /// When the next one is due; 1970 is at once.
    pub due: Timestamp,
    /// Why the last one failed.
    pub error: Option<String>,
}
