//! Strays that are taken in, and their proofs.

use std::time::Duration;

use types::ReplicaId;

use super::{Drive, now, pick};
use crate::{ReplicaState, Stray, StrayTimes};

impl Drive {
    /// Finds a stray: of a blob that nobody knows, of one that is there, or one that is in quarantine already.
    pub(super) async fn take_in(&mut self, backend: u8, what: u8) {
        let rows: Vec<_> = self.model.replicas.values().map(|found| found.row.clone()).collect();
        let blob = match pick(&rows, what) {
            Some(row) if what < 160 => row.blob,
            _ => self.w.ids.blob(),
        };
        let target = self.w.target(blob, usize::from(backend), 9, None);
        let known = self.model.blobs.get(&blob).map(|blob| blob.size).filter(|_| what.is_multiple_of(2));
        let mut strays = vec![Stray {
            replica: target.replica,
            blob,
            path: target.path,
            size: known.unwrap_or(7),
            charge: target.charge,
            settled: !what.is_multiple_of(3),
        }];
        let waiting = rows.iter().filter(|row| row.state == ReplicaState::Quarantined);
        strays.extend(waiting.filter(|row| row.backend == target.backend).map(|row| Stray {
            replica: row.replica,
            blob: row.blob,
            path: row.path.clone(),
            size: self.model.blobs.get(&row.blob).map_or(7, |blob| blob.size),
            charge: row.charged + 1,
            settled: true,
        }));
        let minutes = |number: u8| now().plus(Duration::from_mins(u64::from(number)));
        // Some are to be kept for longer than a rebuild keeps all of them.
        let days = Duration::from_hours(24 * u64::from(what % 5) * 5);
        let kept_until = if what < 200 { minutes(what % 4) } else { now().plus(days) };
        let times = StrayTimes { proved_from: minutes(what % 3), kept_until };
        let model = self.model.take_in(target.backend, &strays, times);
        let change = self.w.ids.change();
        for _ in 0..2 {
            let made = self.w.catalog.take_in(change, target.backend, strays.clone(), times).await.unwrap();
            assert_eq!(made, model, "the same answer to the same change");
        }
    }

    /// A proof could not be made now, or told what there is to know.
    pub(super) async fn put_off(&mut self, number: u8) {
        let known: Vec<ReplicaId> = self.model.replicas.keys().copied().collect();
        let Some(replica) = pick(&known, number).copied() else { return };
        let until =
            (!number.is_multiple_of(3)).then(|| self.clock.plus(Duration::from_mins(u64::from(number % 3))));
        self.model.put_off_proof(replica, until);
        self.w.catalog.put_off_proofs(vec![(replica, until)]).await.unwrap();
    }

    pub(super) async fn compare_proofs(&self) {
        let waiting = self.w.catalog.to_prove(self.clock, 1000).await.unwrap();
        let due: Vec<ReplicaId> = waiting.due.iter().map(|one| one.replica).collect();
        assert_eq!((due, waiting.next), self.model.to_prove(self.clock));
    }
}
