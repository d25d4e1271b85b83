//! What the catalog adds up to, looked at when somebody asks, but not more often than every ten seconds.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use catalog::{BackendTotals, Catalog, Totals};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use runtime::Instant;
use types::BackendName;

const KEPT: Duration = Duration::from_secs(10);
/// Prometheus gives up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// The books, as gauges.
#[derive(Default)]
pub(crate) struct Ledger {
    source: OnceLock<Source>,
    seen: Mutex<Option<Seen>>,
    /// One look at a time.
    turn: tokio::sync::Mutex<()>,
}

struct Source {
    catalog: Arc<dyn Catalog>,
    quotas: BTreeMap<BackendName, u64>,
}

struct Seen {
    at: Instant,
    totals: Totals,
}

impl Ledger {
    /// From now on, there is a catalog to ask.
    pub(crate) fn connect(&self, catalog: Arc<dyn Catalog>, quotas: BTreeMap<BackendName, u64>) {
        // A process has one catalog.
        let _ = self.source.set(Source { catalog, quotas });
    }

    /// Looks again, where it is time. Without an answer the old numbers stay.
    pub(crate) async fn refresh(&self) {
        let Some(source) = self.source.get() else { return };
        let _turn = self.turn.lock().await;
        if self.seen().as_ref().is_some_and(|seen| seen.at.elapsed() < KEPT) {
            return;
        }
        match runtime::timeout(PATIENCE, source.catalog.totals()).await {
            Ok(Ok(totals)) => *self.seen() = Some(Seen { at: runtime::instant_now(), totals }),
            Ok(Err(error)) => tracing::warn!(%error, "the metrics of the catalog are not up to date"),
            Err(_) => tracing::warn!("the metrics of the catalog are not up to date: it takes too long"),
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Option<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ledger")
    }
}

/// A gauge of each backend: its name, its help, its value where it has one.
type OfBackend = (&'static str, &'static str, fn(&BackendTotals, Option<u64>) -> Option<u64>);

const OF_BACKENDS: [OfBackend; 5] = [
    ("quota_bytes_used", "Bytes charged: reserved, stored, and not yet known to be gone", |b, _| {
        Some(b.charged)
    }),
    ("quota_bytes_limit", "Bytes that may be charged; absent where there is no quota", |_, quota| quota),
    ("quota_bytes_available", "Bytes that may still be charged", |b, quota| {
        Some(quota?.saturating_sub(b.charged))
    }),
    ("quota_orphan_bytes", "Charged bytes that wait to be deleted", |b, _| Some(b.doomed_bytes)),
    ("objects_count", "Live replicas", |b, _| Some(b.replicas_live)),
];

impl Collector for Ledger {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (Some(source), seen) = (self.source.get(), self.seen()) else { return Ok(()) };
        let Some(Seen { totals, .. }) = &*seen else { return Ok(()) };
        for (name, help, value) in OF_BACKENDS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for backend in &totals.backends {
                let quota = source.quotas.get(&backend.name).copied();
                let Some(value) = value(backend, quota) else { continue };
                metric.encode_family(&[("backend", backend.name.as_str())])?.encode_gauge(&value)?;
            }
        }
        let doomed: u64 = totals.backends.iter().map(|backend| backend.replicas_doomed).sum();
        for (name, help, value) in [
            ("active_multipart_uploads", "Open multipart uploads", totals.uploads_open),
            ("replication_pending", "Blobs with fewer live replicas than wanted", totals.under_replicated),
            ("over_replication_pending", "Blobs with more live replicas than wanted", totals.over_replicated),
            ("cleanup_queue_depth", "Replicas that wait to be deleted", doomed),
        ] {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
        }
        Ok(())
    }
}
