//! The answers of repair.

use async_trait::async_trait;
use types::{BlobId, ChangeId, ReplicaId, Timestamp};

use super::LosesAnswers;
use crate::{
    Brake, BrakeSettings, BrakeState, CatalogError, Postponed, Repair, ScrubPage, Scrubbing, Shortage,
};

#[async_trait]
impl Repair for LosesAnswers {
    async fn short_blobs(&self, now: Timestamp, limit: u32) -> Result<Shortage, CatalogError> {
        self.inner.short_blobs(now, limit).await
    }

    async fn postpone_repairs(&self, postponed: Vec<Postponed>) -> Result<(), CatalogError> {
        self.lose(self.inner.postpone_repairs(postponed).await)
    }

    async fn surplus_blobs(&self, after: Option<BlobId>, limit: u32) -> Result<Vec<BlobId>, CatalogError> {
        self.inner.surplus_blobs(after, limit).await
    }

    async fn remark_wanted(&self, factor: u32, limit: u32) -> Result<bool, CatalogError> {
        self.lose(self.inner.remark_wanted(factor, limit).await)
    }
}

#[async_trait]
impl Scrubbing for LosesAnswers {
    async fn scrub_page(
        &self,
        before: Timestamp,
        limit: u32,
        rows_max: u32,
    ) -> Result<ScrubPage, CatalogError> {
        self.inner.scrub_page(before, limit, rows_max).await
    }

    async fn note_scrubbed(&self, last: Option<ReplicaId>) -> Result<(), CatalogError> {
        self.lose(self.inner.note_scrubbed(last).await)
    }

    async fn note_proved(
        &self,
        change: ChangeId,
        replica: ReplicaId,
        at: Timestamp,
    ) -> Result<(), CatalogError> {
        self.lose(self.inner.note_proved(change, replica, at).await)
    }
}

#[async_trait]
impl Brake for LosesAnswers {
    async fn set_brake(&self, settings: BrakeSettings) -> Result<(), CatalogError> {
        self.lose(self.inner.set_brake(settings).await)
    }

    async fn brake(&self) -> Result<BrakeState, CatalogError> {
        self.inner.brake().await
    }

    async fn release_brake(&self) -> Result<(), CatalogError> {
        self.lose(self.inner.release_brake().await)
    }
}
