//! Strays, the long way.

use types::{ReplicaId, Timestamp};

use super::{Blob, Model, Replica};
use crate::{
    BackendId, Content, Object, ObjectState, Refusal, ReplicaRow, ReplicaState, RestoreQuarantined, Stray,
    StrayTimes, TakenIn,
};

impl Model {
    pub(crate) fn take_in(&mut self, backend: BackendId, strays: &[Stray], times: StrayTimes) -> TakenIn {
        let referenced = self.referenced_blobs();
        let mut taken = TakenIn::default();
        for stray in strays {
            let is_known = referenced.contains(&stray.blob) && self.blobs[&stray.blob].size == stray.size;
            let found = self.replicas.get(&stray.replica).map(|replica| replica.row.clone());
            let charged = match &found {
                None if is_known || stray.settled => stray.charge,
                Some(row) if is_known && is_quarantined(row) && row.backend == backend => row.charged,
                _ => continue,
            };
            let (state, due) = if is_known {
                taken.replicas += 1;
                (ReplicaState::Suspect, times.proved_from)
            } else {
                taken.quarantined += 1;
                (ReplicaState::Quarantined, times.kept_until)
            };
            let (replica, blob, path) = (stray.replica, stray.blob, stray.path.clone());
            let row = ReplicaRow { replica, blob, backend, path, charged, state, owner: None };
            self.replicas.insert(replica, Replica { row, due, attempts: 0 });
        }
        taken
    }

    /// What was taken in and may be proved, the earliest first; and when that of the next one may be.
    pub(crate) fn to_prove(&self, now: Timestamp) -> (Vec<ReplicaId>, Option<Timestamp>) {
        let waits = |replica: &&Replica| {
            replica.row.state == ReplicaState::Suspect && replica.due > Timestamp::default()
        };
        let mut waiting: Vec<_> =
            self.replicas.values().filter(waits).map(|replica| (replica.due, replica.row.replica)).collect();
        waiting.sort();
        let (due, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(due, _)| *due <= now);
        (due.into_iter().map(|(_, replica)| replica).collect(), later.first().map(|(due, _)| *due))
    }

    pub(crate) fn put_off_proof(&mut self, replica: ReplicaId, until: Option<Timestamp>) {
        let found = self.replicas.get_mut(&replica);
        if let Some(found) = found.filter(|found| found.row.state == ReplicaState::Suspect) {
            found.due = until.unwrap_or_default();
        }
    }

    /// Dooms quarantined replicas, those that are named or those that are due.
    pub(crate) fn doom_quarantined(&mut self, named: &[ReplicaId], now: Option<Timestamp>) -> u32 {
        match now {
            Some(_) => self.as_a_worker(|model| model.doom_all_quarantined(named, now)),
            None => self.doom_all_quarantined(named, now),
        }
    }

    fn doom_all_quarantined(&mut self, named: &[ReplicaId], now: Option<Timestamp>) -> u32 {
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
            (replica.row.state, replica.due) = (ReplicaState::Live, Timestamp::default());
            let (size, md5, wanted) = (restore.state.size, Some(restore.md5), restore.wanted);
            m.blobs.insert(blob, Blob { size, md5, wanted });
            let state = ObjectState { content: Content::Blob(blob), ..restore.state.clone() };
            let (bucket, key, change) = (restore.bucket, restore.key.clone(), restore.change);
            Ok(m.store(Object { bucket, key, revision: 0, change, state }).object)
        })
    }
}

fn is_quarantined(row: &ReplicaRow) -> bool {
    row.state == ReplicaState::Quarantined
}
