//! What is known of every node right now, for metrics, health and people.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use companion::Exposition;
use runtime::Clock;

use crate::seal::State;

/// A cluster's name and a node's address.
type Key = (String, String);

#[derive(Debug)]
pub(crate) struct Board {
    clock: Clock,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    nodes: BTreeMap<Key, View>,
    /// Whether the hold file was there at the last look.
    held: bool,
    source_failures: BTreeMap<String, u64>,
    alarms: u64,
    alarms_lost: u64,
}

/// What is known of one node.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub state: State,
    pub unseals: u64,
    pub brake: bool,
    pub shares_given: u32,
    pub shares_needed: u32,
    checked_ms: u64,
    failures: BTreeMap<&'static str, u64>,
}

impl Board {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, inner: Mutex::default() }
    }

    /// Lists a node before it was asked.
    pub(crate) fn add(&self, cluster: &str, node: &str) {
        self.change(cluster, node, |_| {});
    }

    pub(crate) fn remove(&self, cluster: &str, node: &str) {
        self.lock().nodes.remove(&(cluster.to_owned(), node.to_owned()));
    }

    pub(crate) fn clear(&self) {
        self.lock().nodes.clear();
    }

    pub(crate) fn change(&self, cluster: &str, node: &str, change: impl FnOnce(&mut View)) {
        let unseen = || View {
            state: State::Unknown,
            unseals: 0,
            brake: false,
            shares_given: 0,
            shares_needed: 0,
            checked_ms: 0,
            failures: BTreeMap::new(),
        };
        change(self.lock().nodes.entry((cluster.to_owned(), node.to_owned())).or_insert_with(unseen));
    }

    /// Notes what a look at a node showed, and what it showed before.
    pub(crate) fn checked(&self, cluster: &str, node: &str, state: State) -> State {
        let now = self.clock.now().as_millis();
        let mut before = State::Unknown;
        self.change(cluster, node, |view| {
            before = std::mem::replace(&mut view.state, state);
            view.checked_ms = now;
        });
        before
    }

    pub(crate) fn failed(&self, cluster: &str, node: &str, cause: &'static str) {
        self.change(cluster, node, |view| *view.failures.entry(cause).or_default() += 1);
    }

    pub(crate) fn set_held(&self, held: bool) -> bool {
        std::mem::replace(&mut self.lock().held, held)
    }

    pub(crate) fn source_failed(&self, cluster: &str) {
        *self.lock().source_failures.entry(cluster.to_owned()).or_default() += 1;
    }

    pub(crate) fn alarm(&self, lost: bool) {
        let mut inner = self.lock();
        if lost { inner.alarms_lost += 1 } else { inner.alarms += 1 }
    }

    /// Whether every node was asked once, in vain or not.
    pub(crate) fn is_ready(&self) -> bool {
        let inner = self.lock();
        !inner.nodes.is_empty() && inner.nodes.values().all(|view| view.checked_ms > 0)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page that Prometheus reads.
    pub(crate) fn metrics(&self) -> String {
        let inner = self.lock();
        let mut page = Exposition::new("vault_unsealer_");
        for (name, help, value) in GAUGES {
            page.head(name, "gauge", help);
            for (key, view) in &inner.nodes {
                if let Some(value) = value(view) {
                    page.line(name, &labels(key), value);
                }
            }
        }
        page.head("node_state", "gauge", "1 for the state that the node is in");
        for (key, view) in &inner.nodes {
            for state in State::ALL {
                let [cluster, node] = labels(key);
                page.line(
                    "node_state",
                    &[cluster, node, ("state", state.word())],
                    u8::from(view.state == state),
                );
            }
        }
        page.head("node_unseals_total", "counter", "unseals that this process took part in");
        for (key, view) in &inner.nodes {
            page.line("node_unseals_total", &labels(key), view.unseals);
        }
        page.head("node_failures_total", "counter", "what failed at a node, by cause");
        for (key, view) in &inner.nodes {
            let [cluster, node] = labels(key);
            for (cause, count) in &view.failures {
                page.line("node_failures_total", &[cluster, node, ("cause", cause)], count);
            }
        }
        let name = "key_source_failures_total";
        page.head(name, "counter", "key sources that gave no share when they were asked");
        for (cluster, count) in &inner.source_failures {
            page.line(name, &[("cluster", cluster)], count);
        }
        page.single("held", "gauge", "1 while the hold file is there", u8::from(inner.held));
        page.single("alarms_total", "counter", "alarms raised", inner.alarms);
        page.single("alarms_lost_total", "counter", "alarms that no webhook took", inner.alarms_lost);
        page.finish()
    }
}

/// What a node is asked for, its meaning, and its value where it has one.
type Gauge = (&'static str, &'static str, fn(&View) -> Option<u64>);

const GAUGES: [Gauge; 8] = [
    ("node_sealed", "1 where the node is sealed", |view| {
        known(view).then_some(u64::from(!view.state.is_open() && view.state != State::WrongCluster))
    }),
    ("node_initialised", "1 where its cluster has keys", |view| {
        known(view).then_some(u64::from(!matches!(view.state, State::NotInitialised | State::MustJoin)))
    }),
    ("node_leader", "1 for the active node", |view| Some((view.state == State::Active).into())),
    ("node_reachable", "1 where the last look was answered", |view| Some(known(view).into())),
    ("node_shares_given", "shares in the attempt under way", |view| Some(view.shares_given.into())),
    ("node_shares_needed", "shares that open it", |view| Some(view.shares_needed.into())),
    ("node_brake", "1 where the brake holds: a person has to look", |view| Some(view.brake.into())),
    ("node_last_check_timestamp_seconds", "when it was looked at", |view| Some(view.checked_ms / 1000)),
];

fn known(view: &View) -> bool {
    !matches!(view.state, State::Unknown | State::Unreachable)
}

fn labels((cluster, node): &Key) -> [(&'static str, &str); 2] {
    [("cluster", cluster), ("node", node)]
}
