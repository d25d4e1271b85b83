//! A circuit breaker: leaves alone what keeps failing, and lets one request find out whether it is back.
//!
//! [`Machine`] decides, pure: time and chance come in as values. [`Breaker`] puts it behind a lock and hands
//! out [`Permit`]s. Whoever watches the breaker is told of a change after the lock was let go, so that it
//! may ask the breaker, wait or panic without anyone else waiting for it.

mod machine;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{Chance, Instant, instant_now, mutation};

use machine::{Admission, Machine, Pass};

/// When a breaker opens, and for how long.
#[derive(Debug, Clone)]
pub struct BreakerOptions {
    /// Failures in a row, with no success in between, that open it.
    pub failures_max: u32,
    /// How long it stays open at least; up to a quarter more, so that those who failed together do not
    /// return together.
    pub open_for: Duration,
    /// A probe that takes longer than this is not waited for: another one is let through.
    pub probe_max: Duration,
    /// Whether requests are refused while it is open. One that refuses nothing only knows.
    pub refuses: bool,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            failures_max: 5,
            open_for: Duration::from_secs(300),
            probe_max: Duration::from_secs(120),
            refuses: true,
        }
    }
}

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Everything passes.
    Closed,
    /// Nothing passes.
    Open,
    /// One request is on its way to find out.
    HalfOpen,
}

impl BreakerState {
    /// As a metric label and a log field.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }

    /// As the value of a gauge.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Open => 1,
            Self::HalfOpen => 2,
        }
    }
}

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Transition {
    /// The state that was left.
    pub from: BreakerState,
    /// The state that was taken.
    pub to: BreakerState,
}

/// What a request may expect of a breaker at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It would pass.
    Ready,
    /// It would be the one that finds out.
    Due,
    /// It would be refused.
    Shut,
}

/// Is told when a breaker changes its state.
pub trait BreakerWatch: Send + Sync + 'static {
    /// The breaker of this name has moved. Called outside its lock; two calls may overlap.
    fn moved(&self, name: &str, transition: Transition);
}

/// A breaker that nobody watches.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

impl BreakerWatch for Unwatched {
    fn moved(&self, _: &str, _: Transition) {}
}

/// A request was refused: the breaker is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// When asking again may help.
    pub again_in: Duration,
}

/// A breaker that many share.
pub struct Breaker {
    name: String,
    refuses: bool,
    machine: Mutex<Machine>,
    chance: Chance,
    watch: Arc<dyn BreakerWatch>,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(
        name: &str,
        options: BreakerOptions,
        chance: Chance,
        watch: Arc<dyn BreakerWatch>,
    ) -> Arc<Self> {
        let refuses = options.refuses;
        let machine = Mutex::new(Machine::new(options));
        Arc::new(Self { name: name.to_owned(), refuses, machine, chance, watch })
    }

    /// Whose breaker this is.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks for a request to pass. Whoever gets a permit tells it how the request ended.
    ///
    /// # Errors
    /// [`Refused`] while the breaker is open, or another request is finding out.
    pub fn admit(self: &Arc<Self>) -> Result<Permit, Refused> {
        let (admission, moved) = self.machine().admit(instant_now());
        self.tell(moved);
        match admission {
            Admission::Pass(pass) => Ok(Permit { breaker: Arc::clone(self), pass: Some(pass) }),
            Admission::Refused { .. } if !self.refuses => {
                Ok(Permit { breaker: Arc::clone(self), pass: None })
            }
            Admission::Refused { again_in } => Err(Refused { again_in }),
        }
    }

    /// A failure that no request told: something was given up because of it.
    pub fn blame(&self) {
        let moved = self.machine().blamed(instant_now(), &self.chance);
        self.tell(moved);
    }

    /// Opens it, whatever it has seen: what it stands for is known to be gone, since then or from now on.
    pub fn trip(&self, since: Option<Instant>) {
        let moved = self.machine().tripped(since, instant_now(), &self.chance);
        self.tell(moved);
    }

    /// There is reason to think that it is back: the next request finds out.
    pub fn expect_back(&self) {
        self.machine().expect_back(instant_now());
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.machine().state()
    }

    /// What a request may expect now. Always ready where nothing is refused.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        if self.refuses { self.machine().readiness(instant_now()) } else { Readiness::Ready }
    }

    /// Since when it is not closed any more: when it first opened, through all tries since.
    #[must_use]
    pub fn gone_since(&self) -> Option<Instant> {
        self.machine().gone_since()
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, moved: Option<Transition>) {
        if let Some(moved) = moved {
            self.watch.moved(&self.name, moved);
        }
    }
}

impl std::fmt::Debug for Breaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Breaker({} is {})", self.name, self.state().as_str())
    }
}

/// A request that passed. Dropping it without a verdict says nothing about what the breaker stands for:
/// whoever waited went away.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once has no verdict"]
pub struct Permit {
    breaker: Arc<Breaker>,
    /// `None` where the verdict is not asked for, or was given.
    pass: Option<Pass>,
}

impl Permit {
    /// It was answered, if only with a refusal.
    pub fn succeeded(mut self) {
        let moved = self.pass.take().and_then(|pass| self.breaker.machine().succeeded(pass));
        self.breaker.tell(moved);
    }

    /// It was not.
    pub fn failed(mut self) {
        let breaker = &self.breaker;
        let failed = |pass| breaker.machine().failed(pass, instant_now(), &breaker.chance);
        let moved = self.pass.take().and_then(failed);
        breaker.tell(moved);
    }

    /// Whether all others wait for this one.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.pass.as_ref().is_some_and(Pass::is_probe)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let breaker = &self.breaker;
        let dropped = |pass| match mutation::is_on("permit.dropped") {
            true => breaker.machine().failed(pass, instant_now(), &breaker.chance),
            false => breaker.machine().dropped(pass, instant_now()),
        };
        let moved = self.pass.take().and_then(dropped);
        self.breaker.tell(moved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks the breaker for its state while it is told: under the lock this would never return.
    #[derive(Default)]
    struct Curious {
        seen: Mutex<Vec<(BreakerState, BreakerState)>>,
        breaker: Mutex<Option<Arc<Breaker>>>,
    }

    impl BreakerWatch for Curious {
        fn moved(&self, name: &str, transition: Transition) {
            let breaker = self.breaker.lock().unwrap().clone().unwrap();
            assert_eq!((breaker.name(), breaker.state()), (name, transition.to));
            self.seen.lock().unwrap().push((transition.from, transition.to));
        }
    }

    fn watched(options: BreakerOptions) -> (Arc<Breaker>, Arc<Curious>) {
        let curious = Arc::new(Curious::default());
        let breaker = Breaker::new("b", options, Chance::seeded(1), curious.clone());
        *curious.breaker.lock().unwrap() = Some(breaker.clone());
        (breaker, curious)
    }

    fn fail(breaker: &Arc<Breaker>, times: u32) {
        for _ in 0..times {
            breaker.admit().unwrap().failed();
        }
    }

    /// N81: who is told of a change may ask the breaker.
    #[tokio::test(start_paused = true)]
    async fn n81_watchers_are_told_outside_the_lock() {
        use BreakerState::{Closed, HalfOpen, Open};
        let (breaker, curious) = watched(BreakerOptions { failures_max: 2, ..BreakerOptions::default() });
        fail(&breaker, 2);
        assert!(breaker.admit().is_err());
        crate::sleep(Duration::from_secs(375)).await;
        breaker.admit().unwrap().succeeded();
        let expected = [(Closed, Open), (Open, HalfOpen), (HalfOpen, Closed)];
        assert_eq!(*curious.seen.lock().unwrap(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_goes_away_says_nothing() {
        let (breaker, _) = watched(BreakerOptions { failures_max: 2, ..BreakerOptions::default() });
        for _ in 0..10_000 {
            drop(breaker.admit().unwrap());
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        fail(&breaker, 2);
        crate::sleep(Duration::from_secs(375)).await;
        // The probe's client leaves: the next request is the probe.
        drop(breaker.admit().unwrap());
        let probe = breaker.admit().unwrap();
        assert!(probe.is_probe() && breaker.admit().is_err());
        probe.succeeded();
        assert_eq!((breaker.state(), breaker.gone_since()), (BreakerState::Closed, None));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_refuses_nothing_still_knows() {
        let open_for = Duration::from_secs(5);
        let options =
            BreakerOptions { failures_max: 2, open_for, refuses: false, ..BreakerOptions::default() };
        let (breaker, _) = watched(options);
        fail(&breaker, 2);
        let since = instant_now();
        for _ in 0..20 {
            crate::sleep(Duration::from_secs(1)).await;
            fail(&breaker, 3);
        }
        assert_eq!((breaker.readiness(), breaker.gone_since()), (Readiness::Ready, Some(since)));
        crate::sleep(Duration::from_secs(7)).await;
        breaker.admit().unwrap().succeeded();
        assert_eq!(breaker.gone_since(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_to_be_gone_or_back_need_not_be_tried() {
        let (breaker, _) = watched(BreakerOptions::default());
        let since = instant_now();
        breaker.trip(None);
        assert_eq!(breaker.readiness(), Readiness::Shut);
        crate::sleep(Duration::from_secs(375)).await;
        breaker.trip(None);
        assert_eq!((breaker.readiness(), breaker.gone_since()), (Readiness::Shut, Some(since)));
        breaker.expect_back();
        assert_eq!(breaker.readiness(), Readiness::Due);
        breaker.admit().unwrap().succeeded();
        assert_eq!(breaker.readiness(), Readiness::Ready);
        (0..5).for_each(|_| breaker.blame());
        assert_eq!((breaker.state(), breaker.gone_since()), (BreakerState::Open, Some(instant_now())));
        breaker.trip(Some(since));
        assert_eq!(breaker.gone_since(), Some(since));
    }
}
