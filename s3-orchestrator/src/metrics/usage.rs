//! How limits stand, looked at when somebody asks, but not more often than every ten seconds.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use engine::{Grants, UsageOf};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use runtime::Instant;
use types::LimitKind;

const KEPT: Duration = Duration::from_secs(10);
/// Prometheus gives up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was used of each backend in its present period, as gauges.
#[derive(Default)]
pub(crate) struct Usage {
    source: OnceLock<Arc<Grants>>,
    seen: Mutex<Option<(Instant, Vec<UsageOf>)>>,
    /// One look at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Usage {
    /// From now on, there are grants to ask about.
    pub(crate) fn connect(&self, grants: Arc<Grants>) {
        // A process has them once.
        let _ = self.source.set(grants);
    }

    /// Looks again, where it is time. Without an answer the old numbers stay.
    pub(crate) async fn refresh(&self) {
        let Some(grants) = self.source.get() else { return };
        let _turn = self.turn.lock().await;
        if self.seen().as_ref().is_some_and(|(at, _)| at.elapsed() < KEPT) {
            return;
        }
        match runtime::timeout(PATIENCE, grants.usage()).await {
            Ok(Some(usage)) => *self.seen() = Some((runtime::instant_now(), usage)),
            _ => tracing::warn!("the metrics of usage are not up to date"),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Option<(Instant, Vec<UsageOf>)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Usage")
    }
}

/// A gauge of each limit: the end of its name, its help, its value where it has one.
type OfLimit = (&'static str, &'static str, fn(&UsageOf) -> Option<u64>);

const OF_LIMITS: [OfLimit; 3] = [
    ("", "Used in the present period", |one| Some(one.spent)),
    ("_limit", "May be used in a period; absent where there is no limit", |one| one.limit),
    ("_granted", "Granted to instances in the present period: what counts towards the limit", |one| {
        one.limit.map(|_| one.granted)
    }),
];

impl Collector for Usage {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let seen = self.seen();
        let Some((_, usage)) = &*seen else { return Ok(()) };
        for kind in LimitKind::ALL {
            for (end, help, value) in OF_LIMITS {
                let name = format!("usage_{}{end}", kind.as_str());
                let mut metric = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
                for one in usage.iter().filter(|one| one.kind == kind) {
                    let Some(value) = value(one) else { continue };
                    metric.encode_family(&[("backend", one.backend.as_str())])?.encode_gauge(&value)?;
                }
            }
        }
        Ok(())
    }
}
