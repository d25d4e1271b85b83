//! The verbs of instances and limits.

use async_trait::async_trait;
use types::{BootId, Timestamp};

use super::{Around, Decorated, Verb, reads, writes};
use crate::roles::instances::Instances;
use crate::roles::limits::Limits;
use crate::{CatalogError, GrantAsk, GrantRecord, Granted, Instance, LimitKey, Usage};

#[async_trait]
impl<A: Around> Instances for Decorated<A> {
    async fn join(&self, boot: BootId, at: Timestamp) -> Result<(), CatalogError> {
        writes!(self.join(boot, at))
    }

    async fn beat(&self, boot: BootId, oldest_read: u64) -> Result<u64, CatalogError> {
        writes!(self.beat(boot, oldest_read))
    }

    async fn living(&self) -> Result<Vec<Instance>, CatalogError> {
        reads!(self.living())
    }

    async fn declare_dead(&self, boot: BootId, beats: u64, at: Timestamp) -> Result<bool, CatalogError> {
        writes!(self.declare_dead(boot, beats, at))
    }
}

#[async_trait]
impl<A: Around> Limits for Decorated<A> {
    async fn time(&self) -> Result<Timestamp, CatalogError> {
        reads!(self.time())
    }

    async fn grant(&self, owner: BootId, asks: Vec<GrantAsk>) -> Result<Vec<Granted>, CatalogError> {
        writes!(self.grant(owner, asks))
    }

    async fn record(&self, owner: BootId, records: Vec<GrantRecord>) -> Result<(), CatalogError> {
        writes!(self.record(owner, records))
    }

    async fn usage(&self, keys: Vec<LimitKey>) -> Result<Vec<Usage>, CatalogError> {
        reads!(self.usage(keys))
    }
}
