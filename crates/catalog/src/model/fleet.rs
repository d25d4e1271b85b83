//! Drains and moves, the long way.

use std::collections::BTreeMap;

use types::{BlobId, BootId, ReplicaId, Timestamp};

use super::{Model, Replica};
use crate::{
    BackendId, CommitMove, Drain, OnBackend, Refusal, ReplicaRow, ReplicaState, Retire, Retired, Target,
};

/// What each draining backend had and no longer has: replicas, bytes.
pub(super) type Drains = BTreeMap<BackendId, (u64, u64)>;

impl Model {
    pub(crate) fn start_drain(&mut self, backend: BackendId) {
        self.fleet.entry(backend).or_default();
    }

    pub(crate) fn cancel_drain(&mut self, backend: BackendId) -> bool {
        self.fleet.remove(&backend).is_some()
    }

    pub(crate) fn retire(&mut self, retire: &Retire) -> Retired {
        let referenced = self.referenced_blobs();
        let Some(found) = self.replicas.get(&retire.replica).map(|replica| replica.row.clone()) else {
            return Retired::Gone;
        };
        let retirable = matches!(found.state, ReplicaState::Live | ReplicaState::Suspect);
        if !retirable || !referenced.contains(&found.blob) {
            return Retired::Gone;
        }
        let counts = |row: &ReplicaRow| {
            row.blob == found.blob
                && row.replica != found.replica
                && row.state == ReplicaState::Live
                && !retire.except.contains(&row.backend)
        };
        let others = self.replicas.values().filter(|replica| counts(&replica.row)).count();
        let others = u32::try_from(others).expect("small");
        if others == 0 || others < retire.least {
            return Retired::Needed { others };
        }
        self.replicas.get_mut(&retire.replica).expect("it is there").doom(Timestamp::default());
        if let Some(waits) = self.waits.get_mut(&found.blob).filter(|_| found.state == ReplicaState::Live) {
            waits.0 = Timestamp::default();
        }
        if let Some(moved) = self.fleet.get_mut(&found.backend) {
            *moved = (moved.0 + 1, moved.1 + found.charged);
        }
        Retired::Doomed
    }

    pub(crate) fn drains(&self, since: Timestamp) -> Vec<Drain> {
        let drain = |(backend, moved): (&BackendId, &(u64, u64))| Drain {
            backend: *backend,
            name: self.backends.iter().find(|known| known.0.backend == *backend).unwrap().0.name.clone(),
            since,
            moved: moved.0,
            moved_bytes: moved.1,
            left: self.on_backend(*backend),
        };
        self.fleet.iter().map(drain).collect()
    }

    fn on_backend(&self, backend: BackendId) -> OnBackend {
        let rows = || self.replicas.values().map(|replica| &replica.row).filter(|row| row.backend == backend);
        let count = |state| u64::try_from(rows().filter(|row| row.state == state).count()).expect("small");
        OnBackend {
            live: count(ReplicaState::Live),
            suspect: count(ReplicaState::Suspect),
            writing: count(ReplicaState::Writing),
            quarantined: count(ReplicaState::Quarantined),
            doomed: count(ReplicaState::Doomed),
            bytes: rows().filter(|row| row.state != ReplicaState::Doomed).map(|row| row.charged).sum(),
        }
    }
}

impl Model {
    /// One more `writing` replica of a referenced blob.
    pub(crate) fn reserve_move(
        &mut self,
        blob: BlobId,
        owner: BootId,
        targets: &[Target],
    ) -> Result<Option<ReplicaId>, Refusal> {
        self.attempt(|m| {
            m.is_alive(owner)?;
            if !m.referenced_blobs().contains(&blob) {
                return Err(Refusal::Changed("the blob"));
            }
            for target in targets {
                let has = m.replicas.values().any(|replica| {
                    let state = replica.row.state;
                    replica.row.blob == blob
                        && replica.row.backend == target.backend
                        && matches!(state, ReplicaState::Writing | ReplicaState::Live)
                });
                let room = !m.fleet.contains_key(&target.backend)
                    && target.quota.is_none_or(|quota| m.charged(target.backend) + target.charge <= quota);
                if has || !room {
                    continue;
                }
                let row = ReplicaRow {
                    replica: target.replica,
                    blob,
                    backend: target.backend,
                    path: target.path.clone(),
                    charged: target.charge,
                    state: ReplicaState::Writing,
                    owner: Some(owner),
                };
                m.replicas.insert(target.replica, Replica { row, due: Timestamp::default(), attempts: 0 });
                return Ok(Some(target.replica));
            }
            Ok(None)
        })
    }

    pub(crate) fn commit_move(&mut self, commit: &CommitMove) -> Result<(), Refusal> {
        self.attempt(|m| {
            m.is_alive(commit.owner)?;
            if !m.referenced_blobs().contains(&commit.blob) {
                return Err(Refusal::Changed("the blob"));
            }
            let replica = m.writing(commit.owner, commit.replica).filter(|r| r.row.blob == commit.blob);
            let replica = replica.ok_or(Refusal::Changed("a replica"))?;
            (replica.row.state, replica.row.owner) = (ReplicaState::Live, None);
            m.waits.remove(&commit.blob);
            Ok(())
        })
    }
}
