//! The journal on its way to the backends.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use engine::Engine;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use runtime::Clock;
use types::Timestamp;

/// Prometheus gives up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much a lost catalog would take with it, and whether this one is frozen.
#[derive(Default)]
pub(crate) struct Journal {
    engine: OnceLock<Engine>,
    frozen: AtomicBool,
    unshipped_since: Mutex<Option<Timestamp>>,
}

impl Journal {
    /// From now on, there is a catalog to ask.
    pub(crate) fn connect(&self, engine: Engine) {
        // A process has one catalog.
        let _ = self.engine.set(engine);
    }

    /// Nothing is served, for the catalog is not the newest.
    pub(crate) fn freeze(&self) {
        self.frozen.store(true, Ordering::Relaxed);
    }

    /// Looks again. Without an answer the old number stays.
    pub(crate) async fn refresh(&self) {
        let Some(engine) = self.engine.get() else { return };
        if let Ok(Ok(since)) = runtime::timeout(PATIENCE, engine.unshipped_since()).await {
            *self.unshipped_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
        }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Journal")
    }
}

impl Collector for Journal {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let frozen = self.frozen.load(Ordering::Relaxed)
            || self.engine.get().is_some_and(|engine| engine.frozen().is_some());
        let help = "Whether the catalog is not the newest of its deployment, so that nothing is written";
        encoder
            .encode_descriptor("catalog_frozen", help, None, MetricType::Gauge)?
            .encode_gauge(&u64::from(frozen))?;
        if self.engine.get().is_none() {
            return Ok(());
        }
        let since = *self.unshipped_since.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Clock::system().now();
        // Never quite 0 where there is one.
        let millis = since.map_or(0, |since| now.as_millis().saturating_sub(since.as_millis()).max(1));
        #[expect(clippy::cast_precision_loss, reason = "an age in milliseconds is far below 2^53")]
        let age = millis as f64 / 1000.0;
        let help = "Age of the oldest change that would be lost with the catalog; 0 where there is none";
        encoder
            .encode_descriptor("journal_unshipped_age_seconds", help, None, MetricType::Gauge)?
            .encode_gauge(&age)
    }
}
