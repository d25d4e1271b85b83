//! What may still be done with a backend: grants in hand.
//!
//! Every attempt is covered before it is sent. That costs atomic numbers as long as enough is in hand; where
//! it is not, whoever keeps the grants is asked through a queue, and asks the catalog. `docs/limits.md` has
//! the whole story.

mod cover;
mod purse;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use runtime::{Clock, Instant, mutation};
use tokio::sync::{mpsc, oneshot};
use types::{BackendName, LimitKind, Span, Timestamp, Traffic};

use crate::{BackendError, ErrorKind, Operation};

pub use cover::{Cover, Piece};
pub use purse::{Hand, Needs, Purse, UNLIMITED};

/// Asks that may wait for the keeper; who comes later waits for a place.
pub const ASKS_MAX: usize = 1024;
/// Longest wait for the keeper's answer. Shorter than what is waited for a backend: it is not to blame.
const PATIENCE: Duration = Duration::from_secs(5);
/// When to try again where the keeper does not answer.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// The clock that people set, and the one that only goes forward, may be so far apart.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);
/// So near the border of two periods an attempt is charged to both.
pub const BORDER_MARGIN: Duration = Duration::from_secs(60);
/// How often the present is looked up anew before that is given up.
const LOOKS_MAX: u32 = 4;

/// What may still be done with one backend.
pub struct Allowance {
    backend: BackendName,
    limited: [bool; LimitKind::ALL.len()],
    /// Bytes of a download that may have been sent and not been read.
    lead: u64,
    clock: Clock,
    present: RwLock<Option<Arc<Present>>>,
    asks: Option<mpsc::Sender<Ask>>,
}

/// The periods that an attempt is charged to now.
pub struct Present {
    /// One as a rule, two near a border.
    pub purses: Vec<Arc<Purse>>,
    /// Until when these are the right ones.
    pub until: Instant,
    /// The time when they were chosen, by both clocks.
    pub chosen: (Timestamp, Instant),
}

/// What the keeper of the grants is asked.
pub enum Ask {
    /// Which periods it is; the answer is in [`Allowance::publish`].
    Present {
        /// Of which backend.
        backend: BackendName,
        /// Says that it is done.
        reply: oneshot::Sender<()>,
    },
    /// More than is in hand.
    Cover(CoverAsk),
}

/// Asks for cover.
pub struct CoverAsk {
    /// Of which backend.
    pub backend: BackendName,
    /// In which period.
    pub purse: Arc<Purse>,
    /// For whom.
    pub traffic: Traffic,
    /// How much.
    pub needs: Needs,
    /// The answer.
    pub reply: oneshot::Sender<Result<Piece, Shortage>>,
}

/// Why something is not covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// The limit that is reached; `None` where that cannot be told at present.
    pub kind: Option<LimitKind>,
    /// When it starts over, or when to ask again.
    pub resets_at: Timestamp,
}

impl Allowance {
    /// An allowance that a keeper keeps.
    #[must_use]
    pub fn kept(
        backend: BackendName,
        limited: [bool; LimitKind::ALL.len()],
        lead: u64,
        clock: Clock,
        asks: mpsc::Sender<Ask>,
    ) -> Self {
        Self { backend, limited, lead, clock, present: RwLock::new(None), asks: Some(asks) }
    }

    /// Everything is allowed and nobody counts: for tests.
    #[must_use]
    pub fn unlimited(backend: BackendName) -> Self {
        let clock = Clock::system();
        let span = Span { start: Timestamp::default(), end: Timestamp::from_millis(u64::MAX) };
        let purse = Arc::new(Purse::new(span, LimitKind::ALL.map(|_| false)));
        let now = runtime::instant_now();
        let until = now + Duration::from_secs(100 * 365 * 24 * 3600);
        let present = Present { purses: vec![purse], until, chosen: (clock.now(), now) };
        let present = RwLock::new(Some(Arc::new(present)));
        let limited = LimitKind::ALL.map(|_| false);
        Self { backend, limited, lead: 0, clock, present, asks: None }
    }

    /// The backend.
    #[must_use]
    pub fn backend(&self) -> &BackendName {
        &self.backend
    }

    /// Whether there is a limit of this kind.
    #[must_use]
    pub fn limits(&self, kind: LimitKind) -> bool {
        self.limited[kind as usize]
    }

    pub(crate) fn lead(&self) -> u64 {
        self.lead
    }

    /// From now on, attempts are charged to these.
    pub fn publish(&self, present: Present) {
        *self.present.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(present));
    }

    /// Covers what an attempt needs, before it is sent.
    ///
    /// # Errors
    /// [`ErrorKind::LimitReached`], which is no failure of the backend.
    pub async fn cover(
        self: &Arc<Self>,
        traffic: Traffic,
        operation: Operation,
        needs: Needs,
    ) -> Result<Cover, BackendError> {
        let covered = match self.current().await {
            Ok(present) => Cover::take(self, present, traffic, needs).await,
            Err(shortage) => Err(shortage),
        };
        covered.map_err(|shortage| self.error(operation, shortage))
    }

    /// When a limit that is known to be reached starts over; `None` where the needs may be covered, as far as
    /// is known without asking.
    #[must_use]
    pub fn shut_until(&self, traffic: Traffic, needs: Needs) -> Option<Timestamp> {
        let present = self.fresh()?;
        let shut = present.purses.iter().filter(|purse| !purse.may_cover(traffic, needs));
        shut.map(|purse| purse.counts_until()).max()
    }

    fn error(&self, operation: Operation, shortage: Shortage) -> BackendError {
        let kind = ErrorKind::LimitReached { resets_at: shortage.resets_at };
        let message = match shortage.kind {
            Some(kind) => format!("its limit of {} is reached", kind.as_str()),
            None => "no grant is in hand and none can be had at present".to_owned(),
        };
        BackendError::new(&self.backend, operation.as_str(), kind, message)
    }

    /// The present periods, where they are known.
    fn fresh(&self) -> Option<Arc<Present>> {
        let present = self.present.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        present.holds(&self.clock).then_some(present)
    }

    /// The present periods, asked for where they are not known.
    async fn current(&self) -> Result<Arc<Present>, Shortage> {
        for _ in 0..LOOKS_MAX {
            if let Some(present) = self.fresh() {
                return Ok(present);
            }
            let (reply, answer) = oneshot::channel();
            self.ask(Ask::Present { backend: self.backend.clone(), reply }, answer).await?;
        }
        Err(self.cannot_tell())
    }

    /// Asks the keeper for what is not in hand.
    async fn more(&self, purse: &Arc<Purse>, traffic: Traffic, needs: Needs) -> Result<Piece, Shortage> {
        let (reply, answer) = oneshot::channel();
        let (backend, purse) = (self.backend.clone(), Arc::clone(purse));
        self.ask(Ask::Cover(CoverAsk { backend, purse, traffic, needs, reply }), answer).await?
    }

    async fn ask<T>(&self, ask: Ask, answer: oneshot::Receiver<T>) -> Result<T, Shortage> {
        let Some(asks) = &self.asks else { return Err(self.cannot_tell()) };
        let asking = async {
            asks.send(ask).await.ok()?;
            answer.await.ok()
        };
        match runtime::timeout(PATIENCE, asking).await {
            Ok(Some(answer)) => Ok(answer),
            _ => Err(self.cannot_tell()),
        }
    }

    fn cannot_tell(&self) -> Shortage {
        Shortage { kind: None, resets_at: self.clock.now().plus(TRY_AGAIN) }
    }
}

impl Present {
    /// Whether these are the right periods still: no border has come near, and nobody has set the clock.
    fn holds(&self, clock: &Clock) -> bool {
        let now = runtime::instant_now();
        let (wall, instant) = self.chosen;
        (now < self.until || mutation::is_on("present.until"))
            && apart(wall.plus(now.duration_since(instant)), clock.now()) <= CLOCK_TOLERANCE
    }
}

/// How far two moments are apart.
#[must_use]
pub fn apart(one: Timestamp, other: Timestamp) -> Duration {
    Duration::from_millis(one.as_millis().abs_diff(other.as_millis()))
}
