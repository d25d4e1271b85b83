//! What a breaker decides. Pure: no clock, no lock.

use std::time::Duration;

use super::{BreakerOptions, BreakerState, Readiness, Transition};
use crate::{Chance, Instant, mutation};

/// The jitter is at most this part of the time that a breaker stays open.
const JITTER_PART: u32 = 4;
/// What is said to those who wait for a probe: nobody knows how long it takes.
const PROBE_HINT: Duration = Duration::from_secs(1);

/// Closed, open or half-open.
#[derive(Debug)]
pub(super) struct Machine {
    options: BreakerOptions,
    phase: Phase,
    /// Rises with each phase: what a pass of an earlier one tells is old news.
    turn: u64,
    gone_since: Option<Instant>,
}

#[derive(Debug)]
enum Phase {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen { since: Instant },
}

/// A request that passed, as the machine knows it again.
#[derive(Debug)]
pub(super) struct Pass {
    turn: u64,
    probe: bool,
}

impl Pass {
    pub(super) fn is_probe(&self) -> bool {
        self.probe
    }
}

/// The answer to a request that wants to pass.
#[derive(Debug)]
pub(super) enum Admission {
    Pass(Pass),
    Refused { again_in: Duration },
}

impl Machine {
    pub(super) fn new(options: BreakerOptions) -> Self {
        Self { options, phase: Phase::Closed { failures: 0 }, turn: 0, gone_since: None }
    }

    pub(super) fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    pub(super) fn gone_since(&self) -> Option<Instant> {
        self.gone_since
    }

    pub(super) fn readiness(&self, now: Instant) -> Readiness {
        match self.phase {
            Phase::Closed { .. } => Readiness::Ready,
            Phase::Open { .. } if mutation::is_on("breaker.shut") => Readiness::Ready,
            Phase::Open { .. } if mutation::is_on("breaker.returns") => Readiness::Shut,
            Phase::HalfOpen { .. } if mutation::is_on("breaker.one-probe") => Readiness::Due,
            Phase::Open { until } if now >= until => Readiness::Due,
            Phase::HalfOpen { since } if now >= since + self.options.probe_max => Readiness::Due,
            Phase::Open { .. } | Phase::HalfOpen { .. } => Readiness::Shut,
        }
    }

    pub(super) fn admit(&mut self, now: Instant) -> (Admission, Option<Transition>) {
        match (self.readiness(now), &self.phase) {
            (Readiness::Ready, _) => (self.pass(false), None),
            (Readiness::Due, _) => {
                let moved = self.go(Phase::HalfOpen { since: now });
                (self.pass(true), moved)
            }
            (Readiness::Shut, Phase::Open { until }) => {
                let again_in = until.saturating_duration_since(now);
                (Admission::Refused { again_in }, None)
            }
            (Readiness::Shut, _) => (Admission::Refused { again_in: PROBE_HINT }, None),
        }
    }

    /// A success while open is old news: only a probe closes.
    pub(super) fn succeeded(&mut self, pass: Pass) -> Option<Transition> {
        if pass.turn != self.turn {
            return None;
        }
        match &mut self.phase {
            Phase::Closed { failures } => {
                *failures = 0;
                None
            }
            Phase::Open { .. } => None,
            Phase::HalfOpen { .. } => {
                self.gone_since = None;
                self.go(Phase::Closed { failures: 0 })
            }
        }
    }

    pub(super) fn failed(&mut self, pass: Pass, now: Instant, chance: &Chance) -> Option<Transition> {
        if pass.turn != self.turn {
            return None;
        }
        match self.phase {
            Phase::HalfOpen { .. } => self.open(now, chance),
            Phase::Closed { .. } | Phase::Open { .. } => self.blamed(now, chance),
        }
    }

    /// Counts a failure where failures are counted.
    pub(super) fn blamed(&mut self, now: Instant, chance: &Chance) -> Option<Transition> {
        let Phase::Closed { failures } = &mut self.phase else { return None };
        *failures = failures.saturating_add(1);
        if *failures < self.options.failures_max || mutation::is_on("breaker.opens") {
            None
        } else {
            self.open(now, chance)
        }
    }

    /// Nobody waits for this request any more. Where all others waited for it, the next one finds out.
    pub(super) fn dropped(&mut self, pass: Pass, now: Instant) -> Option<Transition> {
        if pass.turn != self.turn || !pass.probe {
            return None;
        }
        self.go(Phase::Open { until: now })
    }

    pub(super) fn tripped(
        &mut self,
        since: Option<Instant>,
        now: Instant,
        chance: &Chance,
    ) -> Option<Transition> {
        self.gone_since = self.gone_since.into_iter().chain(since).min();
        self.open(now, chance)
    }

    pub(super) fn expect_back(&mut self, now: Instant) {
        if let Phase::Open { until } = &mut self.phase {
            *until = (*until).min(now);
        }
    }

    fn open(&mut self, now: Instant, chance: &Chance) -> Option<Transition> {
        self.gone_since = self.gone_since.or(Some(now));
        let jitter_max = self.options.open_for / JITTER_PART;
        let micros = u64::try_from(jitter_max.as_micros()).unwrap_or(u64::MAX);
        let jitter = Duration::from_micros(chance.below(micros.saturating_add(1)));
        self.go(Phase::Open { until: now + self.options.open_for + jitter })
    }

    fn pass(&self, probe: bool) -> Admission {
        Admission::Pass(Pass { turn: self.turn, probe })
    }

    fn go(&mut self, phase: Phase) -> Option<Transition> {
        let from = self.state();
        self.phase = phase;
        self.turn += 1;
        let to = self.state();
        // A probe that takes the place of a stale one is no change.
        (from != to).then_some(Transition { from, to })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::instant_now;

    const OPEN_FOR: Duration = Duration::from_secs(100);
    const PROBE_MAX: Duration = Duration::from_secs(20);

    fn machine(failures_max: u32) -> Machine {
        let options =
            BreakerOptions { failures_max, open_for: OPEN_FOR, probe_max: PROBE_MAX, refuses: true };
        Machine::new(options)
    }

    /// What befalls a breaker.
    #[derive(Debug, Clone)]
    enum Event {
        Admit,
        Succeed(usize),
        Fail(usize),
        Drop(usize),
        Blame,
        Wait(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => Just(Event::Admit),
            2 => any::<usize>().prop_map(Event::Succeed),
            4 => any::<usize>().prop_map(Event::Fail),
            1 => any::<usize>().prop_map(Event::Drop),
            1 => Just(Event::Blame),
            2 => (0_u64..60).prop_map(Event::Wait),
        ]
    }

    /// What must hold, told by the history alone.
    struct Witness {
        failures_max: u32,
        /// Failures told since the last success or change of state.
        failures: u32,
        opened: Option<Instant>,
        /// Whether the opening was one that nobody's failure made: then it ends at once.
        by_drop: bool,
        probes: Vec<Instant>,
    }

    impl Witness {
        fn moved(&mut self, moved: Transition, now: Instant, event: &Event) {
            use BreakerState::{Closed, HalfOpen, Open};
            match (moved.from, moved.to) {
                (Closed, Open) => {
                    assert!(self.failures >= self.failures_max, "opened after {}", self.failures);
                    self.open(now, event);
                }
                (HalfOpen, Open) => self.open(now, event),
                (Open, HalfOpen) => {
                    let open = now - self.opened.expect("it was open");
                    assert!(self.by_drop || open >= OPEN_FOR, "{open:?}");
                    self.probes.clear();
                }
                (HalfOpen, Closed) => assert!(matches!(event, Event::Succeed(_)), "{event:?} closed it"),
                other => panic!("{other:?} is no way"),
            }
            self.failures = 0;
        }

        fn open(&mut self, now: Instant, event: &Event) {
            self.opened = Some(now);
            self.by_drop = matches!(event, Event::Drop(_));
        }
    }

    proptest! {
        #[test]
        fn any_history_keeps_the_rules(
            failures_max in 1_u32..4,
            seed in any::<u64>(),
            events in proptest::collection::vec(event(), 1..400),
        ) {
            let (mut machine, chance) = (machine(failures_max), Chance::seeded(seed));
            let mut now = instant_now();
            let mut passes: Vec<Pass> = Vec::new();
            let mut witness =
                Witness { failures_max, failures: 0, opened: None, by_drop: false, probes: Vec::new() };
            for event in &events {
                let closed = machine.state() == BreakerState::Closed;
                let gone = machine.gone_since();
                let mut take = |at: usize| (!passes.is_empty()).then(|| passes.swap_remove(at % passes.len()));
                let moved = match *event {
                    Event::Wait(seconds) => {
                        now += Duration::from_secs(seconds);
                        None
                    }
                    Event::Admit => {
                        let readiness = machine.readiness(now);
                        let (admission, moved) = machine.admit(now);
                        // At once: this empties the list of probes.
                        if let Some(moved) = moved {
                            witness.moved(moved, now, event);
                        }
                        match admission {
                            Admission::Pass(pass) => {
                                prop_assert_ne!(readiness, Readiness::Shut);
                                prop_assert_eq!(pass.is_probe(), !closed);
                                if pass.is_probe() {
                                    let fresh = witness.probes.iter().filter(|at| now - **at < PROBE_MAX);
                                    prop_assert_eq!(fresh.count(), 0, "one probe at a time");
                                    witness.probes.push(now);
                                }
                                passes.push(pass);
                            }
                            Admission::Refused { again_in } => {
                                prop_assert_eq!(readiness, Readiness::Shut);
                                prop_assert!(again_in > Duration::ZERO && again_in <= OPEN_FOR * 5 / 4);
                            }
                        }
                        None
                    }
                    Event::Succeed(at) => take(at).and_then(|pass| {
                        if closed && pass.turn == machine.turn {
                            witness.failures = 0;
                        }
                        machine.succeeded(pass)
                    }),
                    Event::Fail(at) => take(at).and_then(|pass| {
                        witness.failures += u32::from(closed && pass.turn == machine.turn);
                        machine.failed(pass, now, &chance)
                    }),
                    Event::Drop(at) => take(at).and_then(|pass| machine.dropped(pass, now)),
                    Event::Blame => {
                        witness.failures += u32::from(closed);
                        machine.blamed(now, &chance)
                    }
                };
                if let Some(moved) = moved {
                    witness.moved(moved, now, event);
                }
                let open = machine.state() != BreakerState::Closed;
                prop_assert_eq!(machine.gone_since().is_some(), open);
                if open && gone.is_some() {
                    prop_assert_eq!(machine.gone_since(), gone, "the first opening counts");
                }
                if !open {
                    prop_assert!(witness.failures < failures_max, "it should have opened");
                }
            }
        }
    }

    fn pass(machine: &mut Machine, now: Instant) -> Pass {
        match machine.admit(now).0 {
            Admission::Pass(pass) => pass,
            Admission::Refused { again_in } => panic!("refused for {again_in:?}"),
        }
    }

    #[test]
    fn what_began_before_it_opened_is_old_news() {
        let (mut machine, chance, now) = (machine(1), Chance::seeded(1), instant_now());
        let [early, failing, late] = [(); 3].map(|()| pass(&mut machine, now));
        machine.failed(failing, now, &chance);
        let due = now + OPEN_FOR * 5 / 4;
        // Neither closes it, nor keeps it open for longer.
        assert_eq!(machine.succeeded(early), None);
        assert_eq!(machine.failed(late, due - Duration::from_secs(1), &chance), None);
        assert_eq!(machine.readiness(due), Readiness::Due);
    }

    #[test]
    fn a_stale_probe_makes_room_and_decides_nothing_any_more() {
        let (mut machine, chance, now) = (machine(1), Chance::seeded(1), instant_now());
        let first = pass(&mut machine, now);
        machine.failed(first, now, &chance);
        let due = now + OPEN_FOR * 5 / 4;
        let stale = pass(&mut machine, due);
        assert_eq!(machine.readiness(due + PROBE_MAX - Duration::from_secs(1)), Readiness::Shut);
        let fresh = pass(&mut machine, due + PROBE_MAX);
        assert_eq!(machine.succeeded(stale), None);
        assert_eq!(machine.state(), BreakerState::HalfOpen);
        machine.succeeded(fresh).expect("it closes");
    }

    /// N89: a breaker that opened closes again.
    #[test]
    fn n89_a_success_of_the_probe_closes_it() {
        let (mut machine, chance, now) = (machine(3), Chance::seeded(1), instant_now());
        for _ in 0..3 {
            let pass = pass(&mut machine, now);
            machine.failed(pass, now, &chance);
        }
        assert_eq!(machine.state(), BreakerState::Open);
        let probe = pass(&mut machine, now + OPEN_FOR * 5 / 4);
        machine.succeeded(probe);
        assert_eq!(machine.state(), BreakerState::Closed);
    }
}
