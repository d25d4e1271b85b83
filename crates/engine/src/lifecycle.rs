//! Expiry: objects that are old enough go as if a client had deleted them, uploads that nobody goes on with
//! as if one had aborted them.

use std::time::Duration;

use catalog::{CatalogError, ExpiredQuery, Metadata, Refusal};
use types::ObjectKey;

use crate::engine::Engine;
use crate::recent::Forgetting;
use crate::{Bucket, EngineError};

/// Rows that one look may cost, where few of them are old enough.
const ROWS_MAX: u32 = 10_000;

/// Which objects of a bucket expire.
#[derive(Debug, Clone)]
pub struct ExpiryRule {
    /// The bucket.
    pub bucket: Bucket,
    /// What their keys begin with.
    pub prefix: String,
    /// Tags that they carry, all of them.
    pub tags: Metadata,
    /// How old they are.
    pub age: Duration,
}

/// What a look at some objects came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expired {
    /// Objects removed.
    pub removed: u32,
    /// Objects that were old enough and changed before they could be removed.
    pub kept: u32,
    /// Where to go on; `None` where all were looked at.
    pub next: Option<ObjectKey>,
}

impl Engine {
    /// Removes the next objects of a rule that are old enough, at most `batch` in one transaction.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn expire(
        &self,
        rule: &ExpiryRule,
        after: Option<ObjectKey>,
        batch: u32,
    ) -> Result<Expired, EngineError> {
        let shared = &self.shared;
        let query = ExpiredQuery {
            bucket: rule.bucket.id,
            prefix: rule.prefix.clone(),
            tags: rule.tags.clone(),
            before: shared.clock.now().minus(rule.age),
            after,
            rows_max: batch.min(ROWS_MAX),
        };
        let page = shared.catalog.expired(&query).await?;
        if page.objects.is_empty() {
            return Ok(Expired { next: page.next, ..Expired::default() });
        }
        let change = shared.ids.change();
        let keys = page.objects.iter().map(|object| object.key.clone()).collect();
        let _forgetting = Forgetting::new(&shared.recent, rule.bucket.id, keys);
        let expire = || shared.catalog.expire_objects(change, rule.bucket.id, page.objects.clone());
        let removed = shared.repeat(expire).await.inspect_err(|_| {
            shared.stats.expiry_failed(page.objects.len() as u64);
        })?;
        shared.wake_reaper();
        shared.stats.expired(removed.into());
        let found = u32::try_from(page.objects.len()).unwrap_or(u32::MAX);
        tracing::info!(bucket = %rule.bucket.name, prefix = rule.prefix, removed, "objects have expired");
        Ok(Expired { removed, kept: found.saturating_sub(removed), next: page.next })
    }

    /// Aborts the oldest uploads that nobody went on with for this long, at most `limit`; says how many, and
    /// whether there may be more.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn abort_stale_uploads(&self, idle: Duration, limit: u32) -> Result<(u64, bool), EngineError> {
        let shared = &self.shared;
        let before = shared.clock.now().minus(idle);
        let stale = shared.catalog.stale_uploads(before, limit).await?;
        let mut aborted = 0;
        for upload in &stale {
            let abort = catalog::AbortUpload {
                change: shared.ids.change(),
                at: shared.clock.now(),
                upload: upload.upload,
                bucket: upload.bucket,
                key: upload.key.clone(),
            };
            match shared.repeat(|| shared.catalog.abort_upload(abort.clone())).await {
                Ok(()) => aborted += 1,
                // Its client did so, or completed it.
                Err(CatalogError::Refused(Refusal::NoSuchUpload)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if aborted > 0 {
            shared.wake_reaper();
            tracing::info!(aborted, "uploads that nobody went on with were aborted");
        }
        Ok((aborted, stale.len() >= usize::try_from(limit).unwrap_or(usize::MAX)))
    }
}
