//! Repairs that fail, changes of the factor, and proofs.

use std::time::Duration;

use types::{BlobId, ReplicaId};

use super::{Drive, pick};
use crate::Postponed;

impl Drive {
    pub(super) async fn postpone(&mut self, number: u8) {
        let blobs: Vec<BlobId> = self.model.replicas.values().map(|r| r.row.blob).collect();
        let Some(blob) = pick(&blobs, number).copied() else { return };
        let retry_at = self.clock.plus(Duration::from_mins(u64::from(number % 4)));
        let postponed = Postponed { blob, retry_at, error: "no room".to_owned() };
        self.model.postpone(&postponed);
        self.w.catalog.postpone_repairs(vec![postponed]).await.unwrap();
    }

    pub(super) async fn change_factor(&mut self, factor: u32) {
        while self.w.catalog.remark_wanted(factor, 2).await.unwrap() {}
        if self.factor.replace(factor) != Some(factor) {
            self.model.remark(factor);
        }
    }

    pub(super) async fn prove(&mut self, number: u8) {
        let known: Vec<ReplicaId> = self.model.replicas.keys().copied().collect();
        let Some(replica) = pick(&known, number).copied() else { return };
        self.model.prove(replica);
        let change = self.w.ids.change();
        for _ in 0..2 {
            self.w.catalog.note_proved(change, replica, self.clock).await.unwrap();
        }
    }

    pub(super) async fn compare_repair(&self) {
        let catalog = &self.w.catalog;
        assert_eq!(catalog.short_blobs(self.clock, 1000).await.unwrap(), self.model.short(self.clock));
        assert_eq!(catalog.surplus_blobs(None, 1000).await.unwrap(), self.model.surplus());
    }
}
