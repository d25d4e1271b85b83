//! The fleet: backends that drain, and replicas that move.

use async_trait::async_trait;
use types::{ChangeId, ReplicaId, Timestamp};

use super::{Expiry, Imports, Moves, Strays};
use crate::{BackendId, CatalogError, DoomedPage, Drain, HeldPage, Removed, Retire, Retired};

/// The roles of fleet work.
pub trait FleetWork: Fleet + Moves + Expiry + Strays + Imports {}

impl<T: Fleet + Moves + Expiry + Strays + Imports> FleetWork for T {}

/// Backends as the operator moves them about.
#[async_trait]
pub trait Fleet: Send + Sync + 'static {
    /// The backends that are to become empty, in the order of their numbers.
    async fn drains(&self) -> Result<Vec<Drain>, CatalogError>;

    /// From now on nothing new is charged to the backend, whatever room it has. One that drains already goes
    /// on as it began. Refused: `Changed` where the catalog does not know it.
    async fn start_drain(
        &self,
        change: ChangeId,
        backend: BackendId,
        at: Timestamp,
    ) -> Result<(), CatalogError>;

    /// The backend takes new replicas again; what was moved away stays where it is. Says whether it drained.
    async fn cancel_drain(&self, change: ChangeId, backend: BackendId) -> Result<bool, CatalogError>;

    /// Live and suspect replicas on one backend whose blobs are referenced, behind a replica id: looks at
    /// `rows_max` rows of the ledger at most, so a page may be empty and still not the last.
    async fn held(
        &self,
        backend: BackendId,
        after: Option<ReplicaId>,
        rows_max: u32,
    ) -> Result<HeldPage, CatalogError>;

    /// `live`, `suspect` -> `doomed`, for a move: recounted under the blob's lock, enough other live replicas
    /// are left. The last replica of a referenced blob is never doomed, whatever `least` says.
    async fn retire_replica(&self, retire: Retire) -> Result<Retired, CatalogError>;

    /// The catalog forgets a backend on which no replica of any state is left. One that is named again later
    /// is a new one.
    async fn remove_backend(&self, backend: BackendId) -> Result<Removed, CatalogError>;

    /// `doomed` -> row and charge gone, though no delete was answered: the backend is gone for good, and the operator
    /// says so. At most `limit` of them; says how many. Refused: `Changed` where the backend does not drain.
    async fn give_up_doomed(
        &self,
        change: ChangeId,
        backend: BackendId,
        limit: u32,
    ) -> Result<u32, CatalogError>;

    /// Doomed replicas, those first that are due first, at most `limit` of each backend.
    async fn doomed(&self, limit: u32) -> Result<DoomedPage, CatalogError>;
}
