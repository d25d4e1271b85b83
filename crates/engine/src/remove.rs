//! Removing objects.

use crate::engine::Engine;
use crate::{DeleteObjects, EngineError};

impl Engine {
    /// Removes objects, all in one transaction. One answer per item, in their order: whether there was one.
    ///
    /// Their bytes are doomed, not deleted: the client does not wait for backends.
    ///
    /// # Errors
    /// Where nothing was removed at all.
    pub async fn delete_objects(
        &self,
        request: DeleteObjects,
    ) -> Result<Vec<Result<bool, EngineError>>, EngineError> {
        let shared = &self.shared;
        let delete = catalog::DeleteObjects {
            change: shared.ids.change(),
            at: shared.clock.now(),
            bucket: request.bucket.id,
            items: request.items,
        };
        let answers = shared.repeat(|| shared.catalog.delete_objects(delete.clone())).await?;
        shared.reap.ring();
        Ok(answers.into_iter().map(|answer| answer.map_err(EngineError::from)).collect())
    }
}
