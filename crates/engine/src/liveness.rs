//! One of several instances on one catalog: it shows that it lives, notices who does not, and sends nothing once
//! others may take it for dead.
//!
//! Time is only compared with itself: each instance watches the counters of the others by its own clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backend::{BackendError, ErrorKind};
use catalog::Instance;
use runtime::{Instant, mutation};
use types::{BackendName, BootId};

use crate::EngineError;
use crate::engine::{Engine, Shared};

/// For how long what was said of an instance's life holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lease {
    term: Arc<Mutex<Option<Term>>>,
}

#[derive(Debug, Clone, Copy)]
struct Term {
    lease: Duration,
    /// When the last heartbeat that was answered was sent.
    renewed_at: Instant,
    dead: bool,
}

impl Lease {
    /// Whether nobody can have declared this instance dead yet. Always so where it is the only one.
    pub(crate) fn holds(&self) -> bool {
        let term = *self.term.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |term: Term| !term.dead && term.renewed_at.elapsed() < term.lease;
        term.is_none_or(holds) || mutation::is_on("lease.checked")
    }

    /// Whether this is the only instance on its catalog.
    pub(crate) fn is_alone(&self) -> bool {
        self.term.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn update(&self, change: impl FnOnce(&mut Term)) {
        if let Some(term) = self.term.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            change(term);
        }
    }
}

/// Why nothing was sent: what this instance holds may have been given up by another one.
pub(crate) fn lapsed(backend: &BackendName) -> BackendError {
    let why = "the last heartbeat is too old: another instance may have declared this one dead";
    BackendError::new(backend, "put", ErrorKind::Unavailable, why)
}

/// What a heartbeat came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heartbeat {
    /// The instance lives.
    Alive,
    /// Another one declared it dead, so long after its last heartbeat: the process has to end.
    Dead {
        /// How long ago that was sent.
        silent_for: Duration,
    },
}

impl Engine {
    /// From now on this is one of several instances: nothing leaves for a backend unless a heartbeat that is younger
    /// than `lease` was answered. The first one was to join the others, and was sent at `joined_at`. Said again, it
    /// changes nothing.
    pub fn live_by_heartbeats(&self, lease: Duration, joined_at: Instant) {
        let mut term = self.shared.lease.term.lock().unwrap_or_else(PoisonError::into_inner);
        term.get_or_insert(Term { lease, renewed_at: joined_at, dead: false });
    }

    /// One more heartbeat. It also says what the readers here may still read.
    ///
    /// # Errors
    /// Where the catalog does not answer.
    pub async fn beat(&self) -> Result<Heartbeat, EngineError> {
        let shared = &self.shared;
        let sent_at = runtime::instant_now();
        match shared.catalog.beat(shared.boot, shared.oldest_read_here()).await {
            Ok(_) => {
                shared.lease.update(|term| term.renewed_at = sent_at);
                Ok(Heartbeat::Alive)
            }
            Err(error) if Shared::has_changed(&error) => {
                let mut silent_for = Duration::ZERO;
                shared.lease.update(|term| {
                    term.dead = true;
                    silent_for = term.renewed_at.elapsed();
                });
                tracing::error!(
                    "another instance declared this one dead, {silent_for:?} after its last heartbeat"
                );
                Ok(Heartbeat::Dead { silent_for })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Looks at the other instances, and declares dead whose heart stood still for a whole lease while this one
    /// watched. Says how many died now.
    ///
    /// # Errors
    /// Where the catalog does not answer: then `watched` has to begin anew.
    pub async fn bury_silent(&self, watched: &mut Watched, lease: Duration) -> Result<u64, EngineError> {
        let shared = &self.shared;
        let living = shared.catalog.living().await?;
        let mut died = 0;
        for (boot, beats) in watched.silent(&living, shared.boot, runtime::instant_now(), lease) {
            let now = shared.now_lasting();
            if shared.catalog.declare_dead(boot, beats, now).await? {
                died += 1;
                tracing::warn!(%boot, "an instance was silent for {lease:?} and is declared dead");
            }
        }
        if died > 0 {
            shared.stats.buried(died);
            shared.reap.ring();
            shared.unmarked.ring();
        }
        Ok(died)
    }
}

/// The hearts of other instances, as one of them has watched them.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// How often each had beaten, and since when it is known to stand there.
    hearts: BTreeMap<BootId, (u64, Instant)>,
    looked_at: Option<Instant>,
}

impl Watched {
    /// The catalog did not answer meanwhile, or nobody looked: others could not beat either, or were not seen to.
    pub fn begin_anew(&mut self) {
        *self = Self::default();
    }

    /// Whose heart stood still for a whole lease, and where. Pure.
    fn silent(
        &mut self,
        living: &[Instance],
        me: BootId,
        now: Instant,
        lease: Duration,
    ) -> Vec<(BootId, u64)> {
        let looked_away = self.looked_at.is_some_and(|at| now - at > lease / 2);
        if looked_away && !mutation::is_on("watch.begins-anew") {
            self.begin_anew();
        }
        self.looked_at = Some(now);
        let others = living.iter().filter(|instance| instance.boot != me);
        let mut hearts = BTreeMap::new();
        for other in others {
            let since = match self.hearts.get(&other.boot) {
                Some((beats, since)) if *beats == other.beats => *since,
                _ => now,
            };
            hearts.insert(other.boot, (other.beats, since));
        }
        self.hearts = hearts;
        let lease = if mutation::is_on("watch.whole-lease") { lease / 8 } else { lease };
        let silent = self.hearts.iter().filter(|(_, (_, since))| now - *since >= lease);
        silent.map(|(boot, (beats, _))| (*boot, *beats)).collect()
    }
}

#[cfg(test)]
mod tests {
    use types::Timestamp;

    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn boot(number: u128) -> BootId {
        BootId::from_parts(Timestamp::from_millis(1), number)
    }

    /// The seconds and beats at which another instance is looked at, and when it is silent.
    fn check(looks: &[(u64, u64)], silent_at: &[u64]) {
        let (mut watched, began) = (Watched::default(), runtime::instant_now());
        let mut found = Vec::new();
        for (second, beats) in looks {
            let other =
                Instance { boot: boot(2), began: Timestamp::from_millis(1), beats: *beats, oldest_read: 0 };
            let now = began + Duration::from_secs(*second);
            if !watched.silent(&[other], boot(1), now, LEASE).is_empty() {
                found.push(*second);
            }
        }
        assert_eq!(found, silent_at, "{looks:?}");
    }

    #[test]
    fn a_heart_that_stands_still_for_a_whole_lease_is_silent() {
        check(&[(0, 7), (10, 7), (20, 7), (29, 7), (30, 7)], &[30]);
        check(&[(0, 7), (10, 7), (20, 8), (30, 8), (40, 8), (50, 8)], &[50]);
    }

    #[test]
    fn who_looked_away_has_not_watched() {
        check(&[(0, 7), (10, 7), (50, 7), (60, 7), (70, 7), (80, 7)], &[80]);
    }

    #[test]
    fn nobody_watches_himself() {
        let me = Instance { boot: boot(1), began: Timestamp::from_millis(1), beats: 3, oldest_read: 0 };
        let (mut watched, now) = (Watched::default(), runtime::instant_now());
        assert!(watched.silent(std::slice::from_ref(&me), boot(1), now, LEASE).is_empty());
        assert!(watched.silent(&[me], boot(1), now + LEASE, LEASE).is_empty());
    }
}
