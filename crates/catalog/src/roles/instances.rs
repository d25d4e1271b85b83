//! The instances that share a catalog.

use async_trait::async_trait;
use types::{BootId, Timestamp};

use crate::{CatalogError, Instance};

/// Who is alive. Alive turns dead and never back.
#[async_trait]
pub trait Instances: Send + Sync + 'static {
    /// Registers this start of a process as alive, beside others: for a catalog that several share. (One that
    /// a single process owns begins with [`Deployment::begin_boot`](crate::Deployment::begin_boot).)
    /// Refused: `Changed` where it is known as dead.
    async fn join(&self, boot: BootId, at: Timestamp) -> Result<(), CatalogError>;

    /// One more heartbeat, with the oldest horizon that a reader there noted; gives how many there were.
    /// Refused: `Changed` where it is dead.
    async fn beat(&self, boot: BootId, oldest_read: u64) -> Result<u64, CatalogError>;

    /// The living, oldest first.
    async fn living(&self) -> Result<Vec<Instance>, CatalogError>;

    /// Declares an instance dead whose heart still stands at `beats`: its `writing` replicas are doomed and
    /// settle after their backend's late-arrival bound, and what it was granted and did not spend is lost to
    /// the period. Says whether it died now.
    async fn declare_dead(&self, boot: BootId, beats: u64, at: Timestamp) -> Result<bool, CatalogError>;
}
