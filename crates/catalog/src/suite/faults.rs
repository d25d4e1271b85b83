//! A catalog whose answers get lost, for the tests of what is built on one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Around, Catalog, CatalogError, Decorated, Verb};

/// Verbs of the start, before there is anyone to repeat them.
const START: [&str; 4] = ["begin_boot", "sync_buckets", "sync_backends", "join"];

/// Turns every so many'th success of a transaction into [`CatalogError::Unknown`]: it happened, and nobody
/// was told. Reads and the start-up verbs keep their answers.
pub type LosesAnswers = Decorated<EveryNth>;

/// Which answers are lost.
pub struct EveryNth {
    every: u64,
    answers: AtomicU64,
}

impl LosesAnswers {
    /// Loses every `every`th answer; the first one that is lost is the `every`th.
    pub fn every(inner: Arc<dyn Catalog>, every: u64) -> Self {
        Self::new(inner, EveryNth { every, answers: AtomicU64::new(0) })
    }
}

impl Around for EveryNth {
    async fn around<T: Send>(
        &self,
        verb: Verb,
        run: impl Future<Output = Result<T, CatalogError>> + Send,
    ) -> Result<T, CatalogError> {
        let answer = run.await?;
        if !verb.writes || START.contains(&verb.name) {
            return Ok(answer);
        }
        let number = self.answers.fetch_add(1, Ordering::Relaxed) + 1;
        if number.is_multiple_of(self.every) {
            return Err(CatalogError::Unknown("lost on purpose".to_owned()));
        }
        Ok(answer)
    }
}
