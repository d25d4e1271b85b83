//! Strays, the long way.

use types::{ReplicaId, Timestamp};

use super::{Blob, Model, Replica};
use crate::{
    BackendId, Content, Object, ObjectState, Refusal, ReplicaRow, ReplicaState, RestoreQuarantined, Stray,
};

impl Model {
    pub(crate) fn quarantine(&mut self, backend: BackendId, strays: &[Stray], until: Timestamp) -> u32 {
        let mut new = 0;
        for stray in strays {
            if self.replicas.contains_key(&stray.replica) {
                continue;
            }
            let row = ReplicaRow {
                replica: stray.replica,
                blob: stray.blob,
                backend,
                path: stray.path.clone(),
                charged: stray.charge,
                state: ReplicaState::Quarantined,
                owner: None,
            };
            self.replicas.insert(stray.replica, Replica { row, due: until, attempts: 0 });
            new += 1;
        }
        new
    }

    /// Dooms quarantined replicas, those that are named or those that are due.
    pub(crate) fn doom_quarantined(&mut self, named: &[ReplicaId], now: Option<Timestamp>) -> u32 {
        let mut doomed = 0;
        for (id, replica) in &mut self.replicas {
            let due = named.contains(id) || now.is_some_and(|now| replica.due <= now);
            if replica.row.state == ReplicaState::Quarantined && due {
                replica.doom(Timestamp::default());
                doomed += 1;
            }
        }
        doomed
    }

    pub(crate) fn restore(&mut self, restore: &RestoreQuarantined) -> Result<Object, Refusal> {
        self.attempt(|m| {
            if m.present(restore.bucket, &restore.key).is_some() {
                return Err(Refusal::PreconditionFailed);
            }
            let referenced = m.referenced_blobs();
            let written = m.replicas.values().filter(|r| r.row.state == ReplicaState::Writing);
            let written: Vec<_> = written.map(|r| r.row.blob).collect();
            let found = m.replicas.get_mut(&restore.replica);
            let found = found.filter(|replica| replica.row.state == ReplicaState::Quarantined);
            let replica = found.ok_or(Refusal::Changed("the replica"))?;
            let blob = replica.row.blob;
            if referenced.contains(&blob) || written.contains(&blob) {
                return Err(Refusal::Changed("the blob"));
            }
            replica.row.state = ReplicaState::Live;
            let (size, md5, wanted) = (restore.state.size, Some(restore.md5), restore.wanted);
            m.blobs.insert(blob, Blob { size, md5, wanted });
            let state = ObjectState { content: Content::Blob(blob), ..restore.state.clone() };
            let (bucket, key, change) = (restore.bucket, restore.key.clone(), restore.change);
            Ok(m.store(Object { bucket, key, revision: 0, change, state }).object)
        })
    }
}
