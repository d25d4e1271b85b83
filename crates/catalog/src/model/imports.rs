//! Imports, as the model has them.

use types::{ReplicaId, ReplicaPath, Timestamp};

use super::{Blob, Model, Replica};
use crate::{BackendId, Content, Import, Object, ObjectState, Refusal, ReplicaRow, ReplicaState};

impl Model {
    pub(crate) fn import(&mut self, import: &Import) -> Result<Object, Refusal> {
        self.attempt(|m| {
            if m.present(import.bucket, &import.key).is_some() {
                return Err(Refusal::PreconditionFailed);
            }
            if m.import_at(import.backend, &import.path).is_some() {
                return Err(Refusal::Changed("the path"));
            }
            let here = m.replicas.values().filter(|r| r.row.backend == import.backend);
            let charged: u64 = here.map(|r| r.row.charged).sum();
            if m.fleet.contains_key(&import.backend)
                || import.quota.is_some_and(|quota| charged + import.charge > quota)
            {
                return Err(Refusal::OutOfSpace { size: import.charge });
            }
            let row = ReplicaRow {
                replica: import.replica,
                blob: import.blob,
                backend: import.backend,
                path: import.path.clone(),
                charged: import.charge,
                state: ReplicaState::Live,
                owner: None,
            };
            m.replicas.insert(import.replica, Replica { row, due: Timestamp::default(), attempts: 0 });
            let (size, md5, wanted) = (import.state.size, Some(import.md5), import.wanted);
            m.blobs.insert(import.blob, Blob { size, md5, wanted });
            let state = ObjectState { content: Content::Blob(import.blob), ..import.state.clone() };
            let (bucket, key, change) = (import.bucket, import.key.clone(), import.change);
            Ok(m.store(Object { bucket, key, revision: 0, change, state }).object)
        })
    }

    /// Paths that we make are unlike those of imports, so whatever lies at one was imported.
    pub(crate) fn import_at(&self, backend: BackendId, path: &ReplicaPath) -> Option<ReplicaId> {
        let rows = self.replicas.values().map(|replica| &replica.row);
        rows.filter(|row| row.backend == backend && row.path == *path).map(|row| row.replica).next()
    }
}
