//! Repair, as the model has it.

use std::collections::BTreeMap;

use types::{BlobId, ReplicaId, Timestamp};

use super::Model;
use crate::{Postponed, ReplicaState, ShortBlob, Shortage};

/// When blobs are due for another try, and how often it was tried. Without an entry: at once, never.
pub(crate) type Waits = BTreeMap<BlobId, (Timestamp, u32)>;

impl Model {
    fn live_of(&self, blob: BlobId) -> u32 {
        let live = |r: &&super::Replica| r.row.blob == blob && r.row.state == ReplicaState::Live;
        u32::try_from(self.replicas.values().filter(live).count()).expect("small")
    }

    pub(crate) fn short(&self, now: Timestamp) -> Shortage {
        let mut found: Vec<(u32, Timestamp, BlobId, u32)> = Vec::new();
        for blob in self.referenced_blobs() {
            let live = self.live_of(blob);
            if live < self.blobs[&blob].wanted {
                let (due, attempts) = self.waits.get(&blob).copied().unwrap_or_default();
                found.push((live, due, blob, attempts));
            }
        }
        found.sort();
        let (due, later): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, due, ..)| *due <= now);
        Shortage {
            due: due.into_iter().map(|(_, _, blob, attempts)| ShortBlob { blob, attempts }).collect(),
            next: later.into_iter().map(|(_, due, ..)| due).min(),
        }
    }

    pub(crate) fn surplus(&self) -> Vec<BlobId> {
        let referenced = self.referenced_blobs().into_iter();
        referenced.filter(|blob| self.live_of(*blob) > self.blobs[blob].wanted).collect()
    }

    pub(crate) fn postpone(&mut self, postponed: &Postponed) {
        let short = self.referenced_blobs().contains(&postponed.blob)
            && self.live_of(postponed.blob) < self.blobs[&postponed.blob].wanted;
        if short {
            let waits = self.waits.entry(postponed.blob).or_default();
            *waits = (postponed.retry_at, waits.1 + 1);
        }
    }

    pub(crate) fn remark(&mut self, factor: u32) {
        for blob in self.referenced_blobs() {
            let Some(known) = self.blobs.get_mut(&blob).filter(|known| known.wanted != factor) else {
                continue;
            };
            known.wanted = factor;
            if let Some(waits) = self.waits.get_mut(&blob) {
                waits.0 = Timestamp::default();
            }
        }
    }

    pub(crate) fn prove(&mut self, replica: ReplicaId) {
        let Some(row) = self.replicas.get(&replica).map(|replica| replica.row.clone()) else { return };
        let another = self.replicas.values().any(|other| {
            (other.row.blob, other.row.backend) == (row.blob, row.backend)
                && matches!(other.row.state, ReplicaState::Live | ReplicaState::Writing)
        });
        if row.state == ReplicaState::Suspect && !another {
            let proved = self.replicas.get_mut(&replica).expect("it is there");
            (proved.row.state, proved.due) = (ReplicaState::Live, Timestamp::default());
        }
    }
}
