//! The verbs of repair, scrubbing and the brake.

use async_trait::async_trait;
use types::{BlobId, ChangeId, ReplicaId, Timestamp};

use super::{Around, Decorated, Verb, reads, writes};
use crate::{
    Brake, BrakeSettings, BrakeState, CatalogError, Postponed, ProofAges, Repair, ScrubPage, Scrubbing,
    Shortage,
};

#[async_trait]
impl<A: Around> Repair for Decorated<A> {
    async fn short_blobs(&self, now: Timestamp, limit: u32) -> Result<Shortage, CatalogError> {
        reads!(self.short_blobs(now, limit))
    }

    async fn postpone_repairs(&self, postponed: Vec<Postponed>) -> Result<(), CatalogError> {
        writes!(self.postpone_repairs(postponed))
    }

    async fn surplus_blobs(&self, after: Option<BlobId>, limit: u32) -> Result<Vec<BlobId>, CatalogError> {
        reads!(self.surplus_blobs(after, limit))
    }

    async fn remark_wanted(&self, factor: u32, limit: u32) -> Result<bool, CatalogError> {
        writes!(self.remark_wanted(factor, limit))
    }
}

#[async_trait]
impl<A: Around> Scrubbing for Decorated<A> {
    async fn scrub_page(
        &self,
        before: Timestamp,
        limit: u32,
        rows_max: u32,
    ) -> Result<ScrubPage, CatalogError> {
        reads!(self.scrub_page(before, limit, rows_max))
    }

    async fn note_scrubbed(&self, last: Option<ReplicaId>) -> Result<(), CatalogError> {
        writes!(self.note_scrubbed(last))
    }

    async fn proof_ages(&self, after: Option<ReplicaId>, rows_max: u32) -> Result<ProofAges, CatalogError> {
        reads!(self.proof_ages(after, rows_max))
    }

    async fn note_proved(
        &self,
        change: ChangeId,
        replica: ReplicaId,
        at: Timestamp,
    ) -> Result<(), CatalogError> {
        writes!(self.note_proved(change, replica, at))
    }
}

#[async_trait]
impl<A: Around> Brake for Decorated<A> {
    async fn set_brake(&self, settings: BrakeSettings) -> Result<(), CatalogError> {
        writes!(self.set_brake(settings))
    }

    async fn brake(&self) -> Result<BrakeState, CatalogError> {
        reads!(self.brake())
    }

    async fn release_brake(&self, change: ChangeId) -> Result<(), CatalogError> {
        writes!(self.release_brake(change))
    }
}
