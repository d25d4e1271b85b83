//! Limits: keeps what is in hand filled, out of grants of the catalog. `docs/limits.md` has the whole story.
//!
//! One task asks and hands back, so that the numbers of an owner change one after the other; it asks for
//! itself, so that nothing is lost where whoever waited goes away.

mod account;
mod grant;
mod keeper;
mod periods;

use std::sync::Arc;
use std::time::Duration;

use backend::{ASKS_MAX, Allowance, Ask, BackendError, ErrorKind};
use catalog::Catalog;
use runtime::{Clock, Task, mutation};
use tokio::sync::{mpsc, oneshot};
use types::{BackendName, BootId, LimitKind, Schedule, Timestamp};

use crate::EngineError;
use keeper::Keeper;

/// No client is told to come again sooner than this.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// How long the last hand-back may take. What does not happen in it is lost to the period.
const HAND_BACK_WITHIN: Duration = Duration::from_secs(2);

/// The limits of one backend.
#[derive(Debug, Clone)]
pub struct BackendLimits {
    /// The backend.
    pub backend: BackendName,
    /// Requests, egress and ingress per period, as [`LimitKind`] orders them; `None` is unlimited.
    pub limits: [Option<u64>; LimitKind::ALL.len()],
    /// When they start over.
    pub schedule: Schedule,
    /// The part of each, out of 1, that clients leave to maintenance.
    pub maintenance_share: f64,
    /// Bytes of a download that the backend may have sent before anyone reads them.
    pub lead_bytes: u64,
}

impl BackendLimits {
    /// No limits; what is used is counted by the month.
    #[must_use]
    pub fn none(backend: BackendName) -> Self {
        Self {
            backend,
            limits: LimitKind::ALL.map(|_| None),
            schedule: Schedule::MONTHLY,
            maintenance_share: 0.05,
            lead_bytes: 0,
        }
    }

    /// The limit of a kind.
    #[must_use]
    pub fn of(&self, kind: LimitKind) -> Option<u64> {
        self.limits[kind as usize]
    }
}

/// How often what was spent is written down.
#[derive(Debug, Clone, Copy)]
pub struct FlushSettings {
    /// Pause between two times.
    pub interval: Duration,
    /// A shorter pause, once so large a part of a limit is used.
    pub near: Option<(f64, Duration)>,
}

impl Default for FlushSettings {
    fn default() -> Self {
        Self { interval: Duration::from_secs(30), near: None }
    }
}

/// How a limit stands, as the catalog and this process know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageOf {
    /// The backend.
    pub backend: BackendName,
    /// What is counted.
    pub kind: LimitKind,
    /// The limit; `None` is unlimited.
    pub limit: Option<u64>,
    /// What was granted to anyone: what counts.
    pub granted: u64,
    /// What was spent, as far as it was written down, and all that this process spent.
    pub spent: u64,
    /// When the period ends.
    pub resets_at: Timestamp,
}

/// What a keeper can be told besides what allowances ask.
enum Order {
    Usage(oneshot::Sender<Vec<UsageOf>>),
    Flush(oneshot::Sender<bool>),
    Stop(oneshot::Sender<()>),
}

/// The grants of this process. Dropped, it stops: what is in hand can be used up, and is lost then.
pub struct Grants {
    allowances: Vec<Arc<Allowance>>,
    orders: mpsc::Sender<Order>,
    _task: Task<()>,
}

impl Grants {
    /// Keeps the grants of an owner that the catalog knows as alive. Asks for nothing yet.
    #[must_use]
    pub fn keep(
        catalog: Arc<dyn Catalog>,
        owner: BootId,
        clock: Clock,
        backends: Vec<BackendLimits>,
        flush: FlushSettings,
    ) -> Self {
        let (asks, asked): (mpsc::Sender<Ask>, _) = mpsc::channel(ASKS_MAX);
        let (orders, ordered) = mpsc::channel(1);
        let allowance = |limits: &BackendLimits| {
            let limited = limits.limits.map(|limit| limit.is_some());
            let (name, lead) = (limits.backend.clone(), limits.lead_bytes);
            Arc::new(Allowance::kept(name, limited, lead, clock.clone(), asks.clone()))
        };
        let allowances: Vec<_> = backends.iter().map(allowance).collect();
        let kept = allowances.iter().cloned().zip(backends).collect();
        let keeper = Keeper::new(catalog, owner, clock, kept, flush);
        let task = runtime::spawn(keeper.run(asked, ordered));
        Self { allowances, orders, _task: task }
    }

    /// What may be done with each backend, in the order given.
    #[must_use]
    pub fn allowances(&self) -> &[Arc<Allowance>] {
        &self.allowances
    }

    /// How all limits stand; `None` where nobody can tell at present.
    pub async fn usage(&self) -> Option<Vec<UsageOf>> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(Order::Usage(reply)).await.ok()?;
        answer.await.ok()
    }

    /// Writes down now what was spent; says whether that was done.
    pub async fn flush(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        self.orders.send(Order::Flush(reply)).await.is_ok() && answer.await.unwrap_or(false)
    }

    /// Hands back what is in hand, and grants nothing any more.
    pub async fn stop(&self) {
        let (reply, answer) = oneshot::channel();
        let stopping = async {
            if self.orders.send(Order::Stop(reply)).await.is_ok() {
                let _ = answer.await;
            }
        };
        let _ = runtime::timeout(HAND_BACK_WITHIN, stopping).await;
    }
}

/// What stood in the way of an operation: only limits, or something else too.
#[derive(Debug, Default)]
pub(crate) struct Shut {
    resets_at: Option<Timestamp>,
    otherwise: bool,
}

impl Shut {
    /// A limit is known to be reached until then.
    pub(crate) fn until(&mut self, resets_at: Timestamp) {
        self.resets_at = Some(self.resets_at.map_or(resets_at, |earlier| earlier.min(resets_at)));
    }

    /// Something failed.
    pub(crate) fn note(&mut self, error: &BackendError) {
        match error.kind {
            ErrorKind::LimitReached { resets_at } => self.until(resets_at),
            _ => self.otherwise = true,
        }
    }

    /// The error where limits were reached and nothing else was wrong: what failed otherwise may work sooner.
    pub(crate) fn reached(&self, now: Timestamp) -> Option<EngineError> {
        let resets_at = self.resets_at.filter(|_| !self.otherwise && !mutation::is_on("shut.told"))?;
        let wait = Duration::from_millis(resets_at.as_millis().saturating_sub(now.as_millis()));
        // What was to be over by now was told some time ago, or by a clock that was set since.
        let least = if mutation::is_on("shut.waits") { Duration::ZERO } else { WAIT_MIN };
        Some(EngineError::LimitReached { retry_after: wait.max(least) })
    }
}
