//! One node: look at it, unseal it where it is sealed, and look again later.
//!
//! Each node has a loop of its own, so one that is dead or slow delays no other.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use companion::fetch;
use runtime::{Chance, Instant};
use vault::{Error, ErrorKind, SealStatus, Vault};

use crate::alarms::Alarms;
use crate::attempt::{Limits, Memory, Outcome, Proved, attempt};
use crate::board::Board;
use crate::brake::Brake;
use crate::config::Cluster;
use crate::pace::pause;
use crate::seal::{State, judge};

/// So many failures in a row are an alarm.
const FAILURES_TO_ALARM: u32 = 3;
/// For so long a node may join after it was given all shares, before they are given again.
const JOIN_WITHIN: Duration = Duration::from_secs(60);

/// What the nodes of a cluster share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub cluster: Cluster,
    pub hold_file: Option<PathBuf>,
    pub allow_readable_files: bool,
    pub board: Arc<Board>,
    pub alarms: Arc<Alarms>,
    pub chance: Chance,
    pub proved: Proved,
    /// Whether any node was seen initialised.
    pub has_keys: AtomicBool,
    /// The id of the first node that was seen open, where none is configured.
    pub seen_id: Mutex<Option<String>>,
}

impl Shared {
    fn is_held(&self) -> bool {
        self.hold_file.as_ref().is_some_and(|file| file.exists())
    }

    fn cluster_id(&self) -> Option<String> {
        let seen = self.seen_id.lock().unwrap_or_else(PoisonError::into_inner);
        self.cluster.cluster_id.clone().or_else(|| seen.clone())
    }

    fn learn(&self, seal: &SealStatus) {
        if seal.initialized {
            self.has_keys.store(true, Ordering::Relaxed);
        }
        if !seal.sealed
            && let Some(id) = &seal.cluster_id
        {
            let mut seen = self.seen_id.lock().unwrap_or_else(PoisonError::into_inner);
            seen.get_or_insert_with(|| id.clone());
        }
    }
}

/// One node while it is looked after.
#[derive(Debug)]
pub(crate) struct Node {
    shared: Arc<Shared>,
    vault: Vault,
    memory: Memory,
    brake: Brake,
    /// Whether it was given a share of ours since it was last open.
    contributed: bool,
    joins_until: Option<Instant>,
    /// An attempt that stands still: its name, its progress, since when.
    standing: Option<(String, u32, Instant)>,
    /// Whether it showed itself to be of another cluster: it gets nothing any more.
    fenced: bool,
    failures: u32,
}

/// How a look at a node ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    /// It is open.
    Open,
    /// It is on its way, or others have to do something.
    Wait,
    /// Nothing came of it; what a person has to do is said.
    Failed,
}

impl Node {
    pub(crate) fn new(shared: Arc<Shared>, vault: Vault) -> Self {
        shared.board.add(&shared.cluster.name, vault.address());
        let brake = Brake::new(shared.cluster.unseals_max, shared.cluster.unseals_window);
        Self {
            shared,
            vault,
            memory: Memory::default(),
            brake,
            contributed: false,
            joins_until: None,
            standing: None,
            fenced: false,
            failures: 0,
        }
    }

    /// Looks after it for as long as this is polled.
    pub(crate) async fn watch(mut self) {
        loop {
            let round = self.round().await;
            self.failures = if round == Round::Failed { self.failures + 1 } else { 0 };
            let cluster = &self.shared.cluster;
            #[expect(clippy::cast_precision_loss, reason = "jitter needs no more than 53 bits")]
            let jitter = self.shared.chance.below(1 << 20) as f64 / f64::from(1 << 20);
            runtime::sleep(pause(cluster.probe_interval, cluster.max_interval, self.failures, jitter)).await;
        }
    }

    /// Looks once, and unseals where that is due.
    pub(crate) async fn round(&mut self) -> Round {
        let (seal, state) = match self.look().await {
            Ok(seen) => seen,
            Err(error) => return self.unreachable(&error),
        };
        self.shared.alarms.clear(&self.key("unreachable"));
        self.note(&seal, state);
        self.note_hold();
        match state {
            State::Standby | State::Active => {
                self.opened();
                Round::Open
            }
            State::Sealed | State::Unsealing => match self.unseal(seal).await {
                Ok(round) => round,
                Err(error) => self.unreachable(&error),
            },
            State::MustJoin => Round::Wait,
            // A node that joins says the same until another one is open.
            State::NotInitialised if self.failures + 1 < FAILURES_TO_ALARM => Round::Failed,
            State::NotInitialised => {
                self.alarm("not_initialised", "is not initialised: that is a person's work (operator init)")
            }
            State::AutoUnseal => self
                .alarm("auto_unseal", "is sealed, and shares cannot open it: its device or service has to"),
            State::WrongCluster => {
                self.fenced = true;
                self.alarm(
                    "wrong_cluster",
                    "belongs to another cluster than the others or than told: it gets no share",
                )
            }
            State::Unknown | State::Unreachable => unreachable!("a node that answers is neither"),
        }
    }

    /// Asks it for its state.
    pub(crate) async fn look(&self) -> Result<(SealStatus, State), Error> {
        let seal = self.vault.seal_status().await?;
        // It only tells the active node from the others: an error here is none of the node.
        let health = if seal.sealed { None } else { self.vault.health().await.ok() };
        self.shared.learn(&seal);
        let has_keys = self.shared.has_keys.load(Ordering::Relaxed);
        let state = judge(&seal, health.as_ref(), has_keys, self.shared.cluster_id().as_deref());
        Ok((seal, state))
    }

    fn note(&self, seal: &SealStatus, state: State) {
        let (cluster, node) = (&self.shared.cluster.name, self.vault.address());
        let before = self.shared.board.checked(cluster, node, state);
        self.shared.board.change(cluster, node, |view| {
            (view.shares_given, view.shares_needed) = (seal.progress, seal.threshold);
        });
        if before != state {
            tracing::info!(cluster, node, state = state.word(), "{node} is {}", state.word());
        }
    }

    fn opened(&mut self) {
        (self.fenced, self.joins_until, self.standing) = (false, None, None);
        for what in ["not_initialised", "auto_unseal", "wrong_cluster", "wrong_shares", "no_shares"] {
            self.shared.alarms.clear(&self.key(what));
        }
        if std::mem::take(&mut self.contributed) {
            self.brake.count(runtime::instant_now());
            let (cluster, node) = (&self.shared.cluster.name, self.vault.address());
            self.shared.board.change(cluster, node, |view| view.unseals += 1);
            tracing::info!(cluster, node, "{node} was unsealed");
        }
    }

    /// Gives it what shares there are.
    async fn unseal(&mut self, seal: SealStatus) -> Result<Round, Error> {
        let now = runtime::instant_now();
        if self.fenced {
            return Ok(Round::Failed);
        }
        if !self.may_go(now) {
            return Ok(Round::Wait);
        }
        if self.joins_until.is_some_and(|until| now < until) && seal.progress == 0 {
            return Ok(Round::Wait);
        }
        let seal = self.reset_if_stale(seal, now).await?;
        let shared = Arc::clone(&self.shared);
        let (shares, problems) = fetch(&shared.cluster.sources, shared.allow_readable_files).await;
        for problem in &problems {
            tracing::warn!(cluster = shared.cluster.name, "key source failed: {problem}");
            shared.board.source_failed(&shared.cluster.name);
        }
        if shares.list.is_empty() {
            return Ok(self.alarm("no_shares", "is sealed, and no key source gives a share"));
        }
        self.shared.alarms.clear(&self.key("no_shares"));
        let limits = Limits { sets_max: shared.cluster.sets_max, is_held: &|| shared.is_held() };
        let outcome =
            attempt(&self.vault, &shares.list, seal, &mut self.memory, &shared.proved, &limits).await;
        // Whatever came of it, the shares go first.
        drop(shares);
        self.contributed |= self.memory.has_sent();
        self.settle(outcome?).await
    }

    async fn settle(&mut self, outcome: Outcome) -> Result<Round, Error> {
        match outcome {
            Outcome::Opened => {
                self.contributed = true;
                let (seal, state) = self.look().await?;
                self.note(&seal, state);
                if state.is_open() {
                    self.opened();
                    return Ok(Round::Open);
                }
                // The next look tells what it is.
                Ok(Round::Wait)
            }
            Outcome::Joining => {
                self.contributed = true;
                self.joins_until = Some(runtime::instant_now() + JOIN_WITHIN);
                tracing::info!(node = self.vault.address(), "it has all shares, and joins its cluster");
                Ok(Round::Wait)
            }
            Outcome::Waiting => {
                tracing::info!(
                    node = self.vault.address(),
                    "it has our shares, and waits for those of others"
                );
                Ok(Round::Wait)
            }
            Outcome::Held => Ok(Round::Wait),
            Outcome::WrongShares => {
                let text = "does not open with any set of shares that was tried: some are wrong";
                Ok(self.alarm("wrong_shares", text))
            }
        }
    }

    /// Whether neither the hold file nor the brake stops us.
    fn may_go(&mut self, now: Instant) -> bool {
        let brake = self.brake.holds(now);
        self.shared.board.change(&self.shared.cluster.name, self.vault.address(), |view| view.brake = brake);
        if brake {
            let (most, window) = (self.shared.cluster.unseals_max, self.shared.cluster.unseals_window);
            let text = format!(
                "was unsealed {most} times within {window:?} and is sealed again. Is somebody sealing it on \
                 purpose? It stays sealed until you send SIGHUP or restart the unsealer"
            );
            self.alarm("brake", &text);
        }
        !brake && !self.shared.is_held()
    }

    fn note_hold(&self) {
        let held = self.shared.is_held();
        if self.shared.board.set_held(held) != held {
            tracing::warn!("the hold file {}", if held { "is there: no share is sent" } else { "is gone" });
        }
    }

    /// Throws away an attempt that stands still, where that is wanted.
    async fn reset_if_stale(&mut self, seal: SealStatus, now: Instant) -> Result<SealStatus, Error> {
        let Some(patience) = self.shared.cluster.reset_stale_after else { return Ok(seal) };
        if seal.progress == 0 {
            self.standing = None;
            return Ok(seal);
        }
        let since = match &self.standing {
            Some((nonce, progress, since)) if *nonce == seal.nonce && *progress == seal.progress => *since,
            _ => now,
        };
        if now.duration_since(since) < patience {
            self.standing = Some((seal.nonce.clone(), seal.progress, since));
            return Ok(seal);
        }
        tracing::warn!(
            node = self.vault.address(),
            "an attempt with {} shares stood still: reset",
            seal.progress
        );
        self.standing = None;
        self.vault.reset_unseal().await
    }

    fn unreachable(&mut self, error: &Error) -> Round {
        let (cluster, node) = (&self.shared.cluster.name, self.vault.address());
        self.shared.board.checked(cluster, node, State::Unreachable);
        self.shared.board.failed(cluster, node, error.kind.word());
        tracing::warn!(cluster, node, "{error}");
        // A certificate of somebody else is no passing trouble.
        if self.failures + 1 >= FAILURES_TO_ALARM || error.kind == ErrorKind::Unreachable(vault::Stage::Tls) {
            self.shared.alarms.raise(&self.key("unreachable"), &error.to_string());
        }
        Round::Failed
    }

    fn alarm(&self, what: &'static str, text: &str) -> Round {
        self.shared.board.failed(&self.shared.cluster.name, self.vault.address(), what);
        let text = format!("{} (cluster {}) {text}", self.vault.address(), self.shared.cluster.name);
        self.shared.alarms.raise(&self.key(what), &text);
        Round::Failed
    }

    fn key(&self, what: &str) -> String {
        format!("{}/{}/{what}", self.shared.cluster.name, self.vault.address())
    }
}
