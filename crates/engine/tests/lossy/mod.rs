//! A catalog whose answers to writes get lost: what was asked for happened, and nobody hears of it.

#![allow(unreachable_pub, reason = "a module of tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use catalog::{Around, Catalog, CatalogError, Decorated, Verb};

pub type Lossy = Decorated<Losing>;

/// So many answers to writes get lost from now on.
pub struct Losing(Arc<AtomicU32>);

/// Verbs that are never repeated by those who ask.
const KEPT: [&str; 6] =
    ["begin_boot", "sync_buckets", "sync_backends", "join", "mark_suspect", "expire_records"];

/// Loses as many answers as the number says.
pub fn lossy_catalog(inner: Arc<dyn Catalog>, lose: &Arc<AtomicU32>) -> Arc<dyn Catalog> {
    Arc::new(Lossy::new(inner, Losing(Arc::clone(lose))))
}

impl Around for Losing {
    async fn around<T: Send>(
        &self,
        verb: Verb,
        run: impl Future<Output = Result<T, CatalogError>> + Send,
    ) -> Result<T, CatalogError> {
        let answer = run.await;
        if !verb.writes || KEPT.contains(&verb.name) {
            return answer;
        }
        let less = |left: u32| left.checked_sub(1);
        match self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
            Ok(_) => Err(CatalogError::Unknown("lost on purpose".to_owned())),
            Err(_) => answer,
        }
    }
}
