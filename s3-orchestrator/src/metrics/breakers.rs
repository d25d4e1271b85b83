//! Circuit breakers: where they stand, and how often they moved.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use runtime::{Breaker, BreakerState, BreakerWatch, Transition};

use super::Labels;

/// All breakers of the process.
#[derive(Default)]
pub(crate) struct BreakerMetrics {
    moves: Family<Labels, Counter>,
    breakers: Mutex<Vec<Arc<Breaker>>>,
}

impl BreakerMetrics {
    pub(super) fn new(registry: &mut Registry) -> Arc<Self> {
        let new = Arc::new(Self::default());
        let help = "How often a circuit breaker changed its state";
        registry.register("circuit_breaker_transitions", help, new.moves.clone());
        registry.register_collector(Box::new(States(Arc::clone(&new))));
        new
    }

    /// From now on, this one is shown.
    pub(crate) fn follow(&self, breaker: &Arc<Breaker>) {
        self.breakers().push(Arc::clone(breaker));
    }

    fn breakers(&self) -> MutexGuard<'_, Vec<Arc<Breaker>>> {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BreakerWatch for BreakerMetrics {
    fn moved(&self, name: &str, Transition { from, to }: Transition) {
        let labels = vec![
            ("name", name.to_owned()),
            ("from", from.as_str().to_owned()),
            ("to", to.as_str().to_owned()),
        ];
        self.moves.get_or_create_owned(&labels).inc();
        match (from, to) {
            (BreakerState::Closed, _) => {
                tracing::warn!(breaker = name, "{name} failed again and again: it counts as gone");
            }
            (_, BreakerState::Closed) => tracing::info!(breaker = name, "{name} is back"),
            _ => tracing::debug!(breaker = name, "{name}: from {} to {}", from.as_str(), to.as_str()),
        }
    }
}

/// Asked when somebody looks, so that no two changes can be shown in the wrong order.
struct States(Arc<BreakerMetrics>);

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("States")
    }
}

impl Collector for States {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let breakers = self.0.breakers();
        if breakers.is_empty() {
            return Ok(());
        }
        let help = "Where a circuit breaker stands: 0 closed, 1 open, 2 half-open";
        let mut metric = encoder.encode_descriptor("circuit_breaker_state", help, None, MetricType::Gauge)?;
        for breaker in breakers.iter() {
            let state = u64::from(breaker.state().number());
            metric.encode_family(&[("name", breaker.name())])?.encode_gauge(&state)?;
        }
        Ok(())
    }
}
