//! A purse: what is in hand for one period, by kind and traffic.

use std::sync::atomic::{AtomicU64, Ordering};

use runtime::mutation;
use types::{LimitKind, Span, Timestamp, Traffic};

use super::BORDER_MARGIN;

/// More than anybody can spend: what is in hand where there is no limit.
pub const UNLIMITED: u64 = u64::MAX / 2;
/// Nobody has asked yet what could be granted.
const UNKNOWN: u64 = u64::MAX;
const KINDS: usize = LimitKind::ALL.len();

/// What an attempt needs, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs([u64; KINDS]);

impl Needs {
    /// One request, and no bytes to speak of.
    pub const REQUEST: Self = Self([1, 0, 0]);

    /// So many requests.
    #[must_use]
    pub fn requests(requests: u64) -> Self {
        Self([requests, 0, 0])
    }

    /// Bytes that come.
    #[must_use]
    pub fn egress(bytes: u64) -> Self {
        Self([0, bytes, 0])
    }

    /// A request that sends so many bytes.
    #[must_use]
    pub fn put(bytes: u64) -> Self {
        Self([1, 0, bytes])
    }

    /// A request for so many bytes.
    #[must_use]
    pub fn get(bytes: u64) -> Self {
        Self([1, bytes, 0])
    }

    /// Bytes that go.
    #[must_use]
    pub fn ingress(bytes: u64) -> Self {
        Self([0, 0, bytes])
    }

    /// So much of one kind.
    #[must_use]
    pub fn only(kind: LimitKind, amount: u64) -> Self {
        let mut needs = Self::default();
        needs.0[kind as usize] = amount;
        needs
    }

    /// How much of a kind.
    #[must_use]
    pub fn of(self, kind: LimitKind) -> u64 {
        self.0[kind as usize]
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(LimitKind::ALL.map(|kind| self.of(kind).saturating_add(other.of(kind))))
    }

    /// What is left of these without those.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(LimitKind::ALL.map(|kind| self.of(kind).saturating_sub(other.of(kind))))
    }
}

/// The unspent rest of a grant. All that an attempt does with it is one atomic change.
#[derive(Debug)]
pub struct Hand {
    free: AtomicU64,
    room: AtomicU64,
}

impl Hand {
    fn new(free: u64) -> Self {
        Self { free: AtomicU64::new(free), room: AtomicU64::new(UNKNOWN) }
    }

    /// What is in hand.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.free.load(Ordering::Acquire)
    }

    /// Takes so much out, or nothing.
    #[must_use]
    pub fn draw(&self, amount: u64) -> bool {
        let less = |free: u64| match free.checked_sub(amount) {
            None if mutation::is_on("hand.draw") => Some(0),
            less => less,
        };
        self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).is_ok()
    }

    /// Puts so much in.
    pub fn add(&self, amount: u64) {
        if amount > 0 {
            self.free.fetch_add(amount, Ordering::AcqRel);
        }
    }

    /// Takes everything out: what an attempt draws afterwards is not there.
    #[must_use]
    pub fn empty(&self) -> u64 {
        self.free.swap(0, Ordering::AcqRel)
    }

    /// What could be granted beyond what is in hand, as last heard.
    #[must_use]
    pub fn room(&self) -> Option<u64> {
        Some(self.room.load(Ordering::Relaxed)).filter(|room| *room != UNKNOWN)
    }

    /// Notes what could be granted; `None` where that may have changed.
    pub fn set_room(&self, room: Option<u64>) {
        self.room.store(room.unwrap_or(UNKNOWN), Ordering::Relaxed);
    }
}

/// What is in hand for one period.
#[derive(Debug)]
pub struct Purse {
    /// The period.
    pub span: Span,
    hands: [[Hand; KINDS]; Traffic::ALL.len()],
}

impl Purse {
    /// One with nothing in it, but without end of what is not limited.
    #[must_use]
    pub fn new(span: Span, limited: [bool; KINDS]) -> Self {
        let hand = |kind: LimitKind| Hand::new(if limited[kind as usize] { 0 } else { UNLIMITED });
        Self { span, hands: Traffic::ALL.map(|_| LimitKind::ALL.map(hand)) }
    }

    /// Until when attempts are charged to it: beyond its end, for whatever clock is a bit behind.
    #[must_use]
    pub fn counts_until(&self) -> Timestamp {
        if mutation::is_on("purse.counts-until") { self.span.end } else { self.span.end.plus(BORDER_MARGIN) }
    }

    /// What is in hand of a kind for some traffic.
    #[must_use]
    pub fn hand(&self, traffic: Traffic, kind: LimitKind) -> &Hand {
        &self.hands[traffic as usize][kind as usize]
    }

    /// Takes out all of these, or nothing.
    #[must_use]
    pub fn draw(&self, traffic: Traffic, needs: Needs) -> bool {
        let mut drawn = Needs::default();
        for kind in LimitKind::ALL {
            let amount = needs.of(kind);
            if amount == 0 {
                continue;
            }
            if !self.hand(traffic, kind).draw(amount) {
                self.give_back(traffic, drawn);
                return false;
            }
            drawn.0[kind as usize] = amount;
        }
        true
    }

    /// Puts these back.
    pub fn give_back(&self, traffic: Traffic, needs: Needs) {
        for kind in LimitKind::ALL {
            self.hand(traffic, kind).add(needs.of(kind));
        }
    }

    /// Whether these can be covered as far as is known: out of hand, or by what could be granted.
    pub(super) fn may_cover(&self, traffic: Traffic, needs: Needs) -> bool {
        LimitKind::ALL.into_iter().all(|kind| {
            let hand = self.hand(traffic, kind);
            needs.of(kind) == 0
                || hand.room().is_none_or(|room| room.saturating_add(hand.free()) >= needs.of(kind))
        })
    }
}
