//! The keeper: the one task that changes the grants of this process.

use std::sync::Arc;
use std::time::Duration;

use backend::{Allowance, Ask, CoverAsk, Needs, Piece, Present, Purse, Shortage};
use catalog::{Catalog, CatalogError, GrantAsk, GrantRecord, Granted, LimitKey};
use runtime::{Clock, Instant, mutation};
use tokio::sync::mpsc;
use types::{BackendName, BootId, LimitKind, Timestamp, Traffic};

use super::account::Account;
use super::periods::Reckoning;
use super::{BackendLimits, FlushSettings, Order, UsageOf, grant};

/// How soon a limit that is reached is asked about again: another instance may have handed back, or what is
/// left to maintenance has grown.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// When to try again where the catalog does not answer.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Periods of a backend that are remembered.
const PURSES_MAX: usize = 64;
/// How often a call whose answer was lost is repeated.
const REPEATS_MAX: u32 = 3;

pub(super) struct Keeper {
    catalog: Arc<dyn Catalog>,
    owner: BootId,
    clock: Clock,
    backends: Vec<Kept>,
    flush: FlushSettings,
    flushed: Instant,
    /// When limits that were reached were last taken for open again.
    opened: Instant,
    stopped: bool,
}

/// A backend whose grants are kept.
struct Kept {
    allowance: Arc<Allowance>,
    limits: BackendLimits,
    reckoning: Reckoning,
    /// Of the present periods, and of past ones of which something is left.
    purses: Vec<Arc<Purse>>,
    accounts: Vec<Account>,
    /// Periods before this one are forgotten. What was spent in them is not known here any more.
    forgotten: Timestamp,
}

/// What one account is short of.
struct Short {
    /// Which account of which backend.
    at: (usize, usize),
    /// All that waits for it, and the smallest single need.
    sum: u64,
    least: u64,
    /// What was granted now, and is in nobody's hand yet.
    pot: u64,
}

/// What became of asking the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// It did not answer.
    Unanswered,
    /// It granted what it would.
    Settled,
    /// It told what it had granted before, which nobody here knew of: more may be had.
    Told,
}

impl Keeper {
    pub(super) fn new(
        catalog: Arc<dyn Catalog>,
        owner: BootId,
        clock: Clock,
        kept: Vec<(Arc<Allowance>, BackendLimits)>,
        flush: FlushSettings,
    ) -> Self {
        let kept = kept.into_iter().map(|(allowance, limits)| Kept {
            allowance,
            reckoning: Reckoning::new(limits.schedule),
            limits,
            purses: Vec::new(),
            accounts: Vec::new(),
            forgotten: Timestamp::default(),
        });
        let (backends, now) = (kept.collect(), runtime::instant_now());
        Self { catalog, owner, clock, backends, flush, flushed: now, opened: now, stopped: false }
    }

    /// Answers until nobody can ask any more.
    pub(super) async fn run(mut self, mut asked: mpsc::Receiver<Ask>, mut ordered: mpsc::Receiver<Order>) {
        loop {
            if self.pause().is_zero() {
                self.look().await;
            }
            tokio::select! {
                biased;
                Some(order) = ordered.recv() => self.obey(order).await,
                ask = asked.recv() => {
                    let Some(first) = ask else { return };
                    let mut asks = vec![first];
                    while let Ok(more) = asked.try_recv() {
                        asks.push(more);
                    }
                    self.answer(asks).await;
                }
                () = runtime::sleep(self.pause()) => {}
            }
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Usage(reply) => {
                if let Some(usage) = self.usage().await {
                    let _ = reply.send(usage);
                }
            }
            Order::Flush(reply) => {
                let _ = reply.send(self.write_down(false).await);
            }
            Order::Stop(reply) => {
                self.stopped = true;
                self.write_down(true).await;
                let _ = reply.send(());
            }
        }
    }

    /// Everyone who waits is answered by one transaction.
    async fn answer(&mut self, asks: Vec<Ask>) {
        let mut covers = Vec::new();
        for ask in asks {
            match ask {
                Ask::Present { backend, reply } => {
                    self.choose_periods(&backend).await;
                    let _ = reply.send(());
                }
                Ask::Cover(ask) => covers.push(ask),
            }
        }
        // What came into hand meanwhile may be enough.
        covers.retain_mut(|ask| !self.cover_from_hand(ask));
        if covers.is_empty() {
            return;
        }
        let now = self.clock.now();
        let mut short = self.shortages(&covers);
        let answered = !self.stopped && self.ask_catalog(&mut short, now).await;
        for ask in covers {
            let answer = self.settle(&ask, &mut short, answered);
            // Where nobody waits any more, the piece goes back into hand by itself.
            let _ = ask.reply.send(answer);
        }
        for left in short {
            self.account(left.at).hand().add(left.pot);
        }
    }

    fn cover_from_hand(&self, ask: &mut CoverAsk) -> bool {
        if !ask.purse.draw(ask.traffic, ask.needs) {
            return false;
        }
        let (reply, _) = tokio::sync::oneshot::channel();
        let reply = std::mem::replace(&mut ask.reply, reply);
        let _ = reply.send(Ok(Piece::taken(Arc::clone(&ask.purse), ask.traffic, ask.needs)));
        true
    }

    fn account(&mut self, (backend, account): (usize, usize)) -> &mut Account {
        &mut self.backends[backend].accounts[account]
    }

    /// The account that an ask draws on for a kind.
    fn find(&self, ask: &CoverAsk, kind: LimitKind) -> Option<(usize, usize)> {
        let backend = self.backends.iter().position(|kept| *kept.allowance.backend() == ask.backend)?;
        let account = self.backends[backend].accounts.iter().position(|account| {
            Arc::ptr_eq(account.purse(), &ask.purse)
                && (account.traffic, account.kind()) == (ask.traffic, kind)
        })?;
        Some((backend, account))
    }

    fn shortages(&self, covers: &[CoverAsk]) -> Vec<Short> {
        let mut short: Vec<Short> = Vec::new();
        for ask in covers {
            for kind in LimitKind::ALL {
                let needs = ask.needs.of(kind);
                let Some(at) = self.find(ask, kind).filter(|_| needs > 0) else { continue };
                match short.iter_mut().find(|short| short.at == at) {
                    Some(known) => {
                        known.sum = known.sum.saturating_add(needs);
                        known.least = known.least.min(needs);
                    }
                    None => short.push(Short { at, sum: needs, least: needs, pot: 0 }),
                }
            }
        }
        short
    }

    /// Asks for what is short; says whether there was an answer.
    async fn ask_catalog(&mut self, short: &mut [Short], now: Timestamp) -> bool {
        match self.ask_once(short, now).await {
            Asked::Unanswered => false,
            Asked::Settled => true,
            Asked::Told => self.ask_once(short, now).await != Asked::Unanswered,
        }
    }

    async fn ask_once(&mut self, short: &mut [Short], now: Timestamp) -> Asked {
        let mut asks: Vec<(usize, GrantAsk)> = Vec::new();
        for (index, short) in short.iter().enumerate() {
            let kept = &mut self.backends[short.at.0];
            let share = kept.limits.maintenance_share;
            let account = &mut kept.accounts[short.at.1];
            let Some(limit) = account.limit() else { continue };
            let free = account.hand().free().saturating_add(short.pot);
            let known_shut =
                account.hand().room().is_some_and(|room| room.saturating_add(free) < short.least);
            if free >= short.sum || known_shut {
                continue;
            }
            let terms = grant::terms(limit, share, account.purse().span, now);
            asks.push((index, account.ask(short.sum - free, short.least.saturating_sub(free).max(1), terms)));
        }
        if asks.is_empty() {
            return Asked::Settled;
        }
        let wanted: Vec<GrantAsk> = asks.iter().map(|(_, ask)| ask.clone()).collect();
        let Some(answers) = self.repeat_grant(wanted).await else { return Asked::Unanswered };
        let mut asked = Asked::Settled;
        for ((index, ask), Granted { granted, room }) in asks.into_iter().zip(answers) {
            let short = &mut short[index];
            let account = self.account(short.at);
            short.pot += account.granted(granted, room);
            if account.hand().free().saturating_add(short.pot) < short.sum && room >= ask.least {
                asked = Asked::Told;
            }
        }
        asked
    }

    async fn repeat_grant(&self, asks: Vec<GrantAsk>) -> Option<Vec<Granted>> {
        for _ in 0..REPEATS_MAX {
            match self.catalog.grant(self.owner, asks.clone()).await {
                Ok(answers) => return Some(answers),
                Err(CatalogError::Unknown(_)) => {}
                Err(error) => {
                    tracing::warn!(%error, "the catalog grants nothing at present");
                    return None;
                }
            }
        }
        // What was granted all the same is told by the next answer.
        None
    }

    /// Covers one ask out of what was granted and what is in hand, or says what is missing.
    fn settle(&mut self, ask: &CoverAsk, short: &mut [Short], answered: bool) -> Result<Piece, Shortage> {
        let mut from_pots = Needs::default();
        for kind in LimitKind::ALL {
            let needs = ask.needs.of(kind);
            let Some(at) = self.find(ask, kind).filter(|_| needs > 0) else { continue };
            let pot = short.iter_mut().find(|short| short.at == at);
            let from_pot = pot.as_ref().map_or(0, |short| short.pot.min(needs));
            if !self.account(at).hand().draw(needs - from_pot) && !mutation::is_on("keeper.draws") {
                self.account(at).refuse();
                self.put_back(ask, kind, from_pots, short);
                return Err(self.shortage(ask, answered.then_some(kind)));
            }
            if let Some(short) = pot {
                short.pot -= from_pot;
            }
            from_pots = from_pots.plus(Needs::only(kind, from_pot));
        }
        Ok(Piece::taken(Arc::clone(&ask.purse), ask.traffic, ask.needs))
    }

    /// What was taken for the kinds before this one goes back to where it came from.
    fn put_back(&mut self, ask: &CoverAsk, failed: LimitKind, from_pots: Needs, short: &mut [Short]) {
        for kind in LimitKind::ALL.into_iter().take_while(|kind| *kind != failed) {
            let Some(at) = self.find(ask, kind).filter(|_| ask.needs.of(kind) > 0) else { continue };
            let from_pot = from_pots.of(kind);
            self.account(at).hand().add(ask.needs.of(kind) - from_pot);
            if let Some(short) = short.iter_mut().find(|short| short.at == at) {
                short.pot += from_pot;
            }
        }
    }

    fn shortage(&self, ask: &CoverAsk, kind: Option<LimitKind>) -> Shortage {
        match kind {
            Some(kind) => {
                tracing::debug!(backend.name = %ask.backend, limit = kind.as_str(), "a limit is reached");
                Shortage { kind: Some(kind), resets_at: ask.purse.counts_until() }
            }
            None => Shortage { kind: None, resets_at: self.clock.now().plus(TRY_AGAIN) },
        }
    }

    /// Finds out which periods it is, and tells the allowance.
    async fn choose_periods(&mut self, backend: &BackendName) {
        let told = match self.catalog.time().await {
            Ok(told) => told,
            Err(error) => return tracing::warn!(%error, "the catalog does not tell the time"),
        };
        let chosen = (self.clock.now(), runtime::instant_now());
        let Some(kept) = self.backends.iter_mut().find(|kept| kept.allowance.backend() == backend) else {
            return;
        };
        let periods = kept.reckoning.periods(told, chosen.1);
        if periods.spans.iter().any(|span| span.start < kept.forgotten) {
            return tracing::error!(backend.name = %backend, "the clock was set back by years: nothing is granted for then");
        }
        let purses: Vec<Arc<Purse>> = periods.spans.iter().map(|span| kept.purse(*span)).collect();
        kept.allowance.publish(Present { purses, until: chosen.1 + periods.last, chosen });
    }

    fn pause(&self) -> Duration {
        let now = runtime::instant_now();
        let flush = (self.flushed + self.interval()).duration_since(now);
        let open = (self.opened + ASK_AGAIN).duration_since(now);
        if self.accounts().any(Account::was_refused) { flush.min(open) } else { flush }
    }

    fn interval(&self) -> Duration {
        match self.flush.near {
            Some((threshold, fast)) if self.accounts().any(|account| account.is_near(threshold)) => fast,
            _ => self.flush.interval,
        }
    }

    fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.backends.iter().flat_map(|kept| &kept.accounts)
    }

    /// What is done now and then, without anybody asking.
    async fn look(&mut self) {
        if self.opened.elapsed() >= ASK_AGAIN {
            self.opened = runtime::instant_now();
            self.backends.iter_mut().flat_map(|kept| &mut kept.accounts).for_each(Account::open);
        }
        if self.flushed.elapsed() >= self.interval() {
            self.write_down(false).await;
        }
    }

    /// Writes down what was spent, where anything was, and hands back what lies idle, or everything. Says whether
    /// all is written.
    async fn write_down(&mut self, everything: bool) -> bool {
        self.flushed = runtime::instant_now();
        let now = self.clock.now();
        let mut records: Vec<((usize, usize), GrantRecord, u64)> = Vec::new();
        for (backend, kept) in self.backends.iter_mut().enumerate() {
            for (index, account) in kept.accounts.iter_mut().enumerate() {
                let over = grant::is_over(account.purse().span, now);
                let hand_back = account.is_idle() || everything || over;
                if let Some((record, back)) = account.record(hand_back) {
                    records.push(((backend, index), record, back));
                }
            }
        }
        let mut written = true;
        if !records.is_empty() {
            written = self.repeat_record(records.iter().map(|(_, record, _)| record.clone())).await;
            for (at, record, back) in records {
                match written {
                    true => self.account(at).recorded(&record, back),
                    false => self.account(at).hand().add(back),
                }
            }
        }
        self.backends.iter_mut().for_each(|kept| kept.forget(now));
        written
    }

    /// Says whether it is written, or may be.
    async fn repeat_record(&self, records: impl Iterator<Item = GrantRecord>) -> bool {
        let records: Vec<GrantRecord> = records.collect();
        for _ in 0..REPEATS_MAX {
            match self.catalog.record(self.owner, records.clone()).await {
                Ok(()) => return true,
                Err(CatalogError::Unknown(_)) => {}
                Err(error) => {
                    tracing::warn!(%error, "could not write down what was spent, will try again");
                    return false;
                }
            }
        }
        // Taken for handed back. If it was not, the next answer of the catalog says so.
        true
    }

    async fn usage(&mut self) -> Option<Vec<UsageOf>> {
        let names: Vec<BackendName> =
            self.backends.iter().map(|kept| kept.allowance.backend().clone()).collect();
        for name in &names {
            self.choose_periods(name).await;
        }
        let now = self.clock.now();
        let mut keys = Vec::new();
        let mut usage = Vec::new();
        for kept in &self.backends {
            let span = kept.limits.schedule.span_at(now);
            for kind in LimitKind::ALL {
                let backend = kept.allowance.backend().clone();
                let key = LimitKey { backend: backend.clone(), kind, period: span.start };
                let unrecorded = kept.accounts.iter().filter(|account| account.key == key);
                let unrecorded = unrecorded.map(Account::unrecorded).sum();
                let limit = kept.limits.of(kind);
                let one =
                    UsageOf { backend, kind, limit, granted: 0, spent: unrecorded, resets_at: span.end };
                usage.push(one);
                keys.push(key);
            }
        }
        let known = self.catalog.usage(keys).await.ok()?;
        for (one, known) in usage.iter_mut().zip(known) {
            one.spent = one.spent.saturating_add(known.spent());
            one.granted = if one.limit.is_some() { known.granted() } else { one.spent };
        }
        Some(usage)
    }
}

impl Kept {
    /// The purse of a period: always the same one, with its accounts.
    fn purse(&mut self, span: types::Span) -> Arc<Purse> {
        if let Some(known) = self.purses.iter().find(|purse| purse.span == span) {
            return Arc::clone(known);
        }
        let purse = Arc::new(Purse::new(span, self.limits.limits.map(|limit| limit.is_some())));
        for traffic in Traffic::ALL {
            for kind in LimitKind::ALL {
                let backend = self.allowance.backend().clone();
                let key = LimitKey { backend, kind, period: span.start };
                let limit = self.limits.of(kind);
                self.accounts.push(Account::new(key, traffic, Arc::clone(&purse), limit));
            }
        }
        self.purses.push(Arc::clone(&purse));
        purse
    }

    /// Forgets the oldest of many periods, once nothing of them is under way or unwritten. For good: what was
    /// granted and spent in one would else be taken for new, should the clock be set back to it.
    fn forget(&mut self, now: Timestamp) {
        while self.purses.len() > PURSES_MAX {
            let oldest = self.purses.iter().min_by_key(|purse| purse.span.start).map(Arc::clone);
            let Some(oldest) = oldest.filter(|purse| grant::is_over(purse.span, now)) else { return };
            let of = |account: &&Account| Arc::ptr_eq(account.purse(), &oldest);
            let holders = self.accounts.iter().filter(of).count() + 2;
            if self.accounts.iter().filter(of).any(|account| account.unrecorded() > 0)
                || Arc::strong_count(&oldest) > holders
            {
                return;
            }
            self.forgotten = self.forgotten.max(oldest.span.end);
            self.accounts.retain(|account| !Arc::ptr_eq(account.purse(), &oldest));
            self.purses.retain(|purse| !Arc::ptr_eq(purse, &oldest));
        }
    }
}
