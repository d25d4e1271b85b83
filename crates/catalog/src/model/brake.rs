//! The brake, as the model has it. What is counted is never older than an hour here.

use super::Model;
use crate::ReplicaState;

/// What workers doomed, and whether that was too much. Clients do not count, nor does the share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Braking {
    floor: Option<u64>,
    pub(crate) counted: u64,
    pub(crate) engaged: bool,
}

impl Model {
    pub(crate) fn set_brake(&mut self, floor: u64) {
        self.braking.floor = Some(floor);
    }

    pub(crate) fn release_brake(&mut self) {
        (self.braking.counted, self.braking.engaged) = (0, false);
    }

    /// Does what a worker does, and counts what is doomed by it: replicas, and manifests that nothing holds any more.
    pub(super) fn as_a_worker<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.doomed_so_far();
        let answer = work(self);
        let doomed = self.doomed_so_far() - before;
        self.braking.counted += doomed;
        let floor = self.braking.floor.unwrap_or(u64::MAX);
        self.braking.engaged |= doomed > 0 && self.braking.counted > floor;
        answer
    }

    fn doomed_so_far(&self) -> u64 {
        let doomed = self.replicas.values().filter(|r| r.row.state == ReplicaState::Doomed).count();
        let held: std::collections::BTreeSet<_> = self.contents().filter_map(super::manifest_of).collect();
        let dissolving = self.manifests.keys().filter(|manifest| !held.contains(manifest)).count();
        u64::try_from(doomed + dissolving).expect("small")
    }
}
