//! The circuit breakers of the catalog: one for reads, one for writes.
//!
//! A disk that is full stops writes and no read, so the two fail apart. Only a catalog that did not answer
//! counts: a refusal is an answer, and a verb that nobody waits for any more says nothing. While a breaker is
//! open its verbs are refused at once; then one of them is let through and finds out.

use std::sync::Arc;

use runtime::{Breaker, BreakerState, Permit, mutation};

use crate::{Around, CatalogError, Decorated, Verb};

/// A catalog that is left alone while it is gone.
pub type CircuitBreaker = Decorated<Breakers>;

/// The breakers of a catalog.
#[derive(Debug, Clone)]
pub struct Breakers {
    /// Of what changes nothing.
    pub reads: Arc<Breaker>,
    /// Of what changes something.
    pub writes: Arc<Breaker>,
}

impl Breakers {
    /// Whether the catalog counts as gone, in part at least.
    #[must_use]
    pub fn is_any_open(&self) -> bool {
        [&self.reads, &self.writes].into_iter().any(|breaker| breaker.state() != BreakerState::Closed)
    }
}

impl Around for Breakers {
    async fn around<T: Send>(
        &self,
        verb: Verb,
        run: impl Future<Output = Result<T, CatalogError>> + Send,
    ) -> Result<T, CatalogError> {
        let together = mutation::is_on("catalog.apart");
        let breaker = if verb.writes && !together { &self.writes } else { &self.reads };
        let permit = breaker.admit().map_err(|refused| {
            let message = format!("it failed again and again and is left alone for {:?}", refused.again_in);
            CatalogError::Unavailable(message)
        })?;
        let answer = run.await;
        judge(permit, answer.as_ref().err());
        answer
    }
}

/// What an answer tells of the catalog as a whole. The only place that decides what counts against it.
fn judge(permit: Permit, error: Option<&CatalogError>) {
    match error {
        Some(CatalogError::Unavailable(_) | CatalogError::Unknown(_)) => permit.failed(),
        Some(CatalogError::Refused(_)) if mutation::is_on("catalog.refusal") => permit.failed(),
        None | Some(CatalogError::Refused(_) | CatalogError::Damaged(_)) => permit.succeeded(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use runtime::{BreakerOptions, Chance, Unwatched};

    use super::*;
    use crate::sqlite::Sqlite;
    use crate::suite::{Outage, Unreachable};
    use crate::{BucketId, Catalog, Ledger, Objects, Refusal, SetTags, Uploads, Want, Writes};

    const OPEN_FOR: Duration = Duration::from_secs(15);

    fn guarded() -> (CircuitBreaker, Breakers, Outage) {
        let outage = Outage::default();
        let failing: Arc<dyn Catalog> =
            Arc::new(Unreachable::new(Arc::new(Sqlite::in_memory().unwrap()), outage.clone()));
        let breaker = |name| {
            let options = BreakerOptions { failures_max: 3, open_for: OPEN_FOR, ..BreakerOptions::default() };
            Breaker::new(name, options, Chance::seeded(1), Arc::new(Unwatched))
        };
        let breakers = Breakers { reads: breaker("reads"), writes: breaker("writes") };
        (CircuitBreaker::new(failing, breakers.clone()), breakers, outage)
    }

    fn set_tags() -> SetTags {
        let nothing = types::Timestamp::default();
        SetTags {
            change: types::ChangeId::from_parts(nothing, 1),
            bucket: BucketId(1),
            key: types::ObjectKey::parse("k").unwrap(),
            tags: Vec::new(),
        }
    }

    async fn read(catalog: &CircuitBreaker) -> Result<(), CatalogError> {
        catalog.locate(BucketId(1), &types::ObjectKey::parse("k").unwrap(), Want::State).await.map(|_| ())
    }

    #[tokio::test(start_paused = true)]
    async fn reads_and_writes_fail_apart() {
        let (catalog, breakers, outage) = guarded();
        outage.writes_fail(true);
        for _ in 0..3 {
            assert!(matches!(catalog.set_tags(set_tags()).await, Err(CatalogError::Unavailable(_))));
            read(&catalog).await.unwrap();
        }
        let states = || (breakers.reads.state(), breakers.writes.state());
        assert_eq!(states(), (BreakerState::Closed, BreakerState::Open));
        // Refused without being asked, until the pause is over.
        outage.writes_fail(false);
        let asked = outage.asked();
        assert!(matches!(catalog.set_tags(set_tags()).await, Err(CatalogError::Unavailable(_))));
        assert_eq!(outage.asked(), asked);
        runtime::sleep(OPEN_FOR * 5 / 4).await;
        // A refusal is an answer.
        let answer = catalog.set_tags(set_tags()).await;
        assert_eq!(answer.unwrap_err().refusal(), Some(&Refusal::NoSuchKey));
        assert_eq!(states(), (BreakerState::Closed, BreakerState::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn lost_answers_count_and_refusals_do_not() {
        let (catalog, breakers, outage) = guarded();
        for _ in 0..10 {
            catalog.set_tags(set_tags()).await.unwrap_err();
            let query = crate::PartsQuery {
                upload: types::UploadId::from_parts(types::Timestamp::default(), 1),
                bucket: BucketId(1),
                key: types::ObjectKey::parse("k").unwrap(),
                after: 0,
                limit: 1,
            };
            catalog.list_parts(&query).await.unwrap_err();
        }
        assert_eq!(breakers.writes.state(), BreakerState::Closed);
        outage.answers_are_lost(true);
        for _ in 0..3 {
            assert!(matches!(catalog.charged().await, Err(CatalogError::Unknown(_))));
        }
        assert_eq!(breakers.reads.state(), BreakerState::Open);
    }

    /// N80: clients that do not wait.
    #[tokio::test(start_paused = true)]
    async fn n80_verbs_that_nobody_waits_for_say_nothing() {
        let (catalog, breakers, outage) = guarded();
        outage.hangs(true);
        for _ in 0..1_000 {
            runtime::timeout(Duration::from_millis(1), read(&catalog)).await.unwrap_err();
            runtime::timeout(Duration::from_millis(1), catalog.set_tags(set_tags())).await.unwrap_err();
        }
        let states = (breakers.reads.state(), breakers.writes.state());
        assert_eq!(states, (BreakerState::Closed, BreakerState::Closed));
    }
}
