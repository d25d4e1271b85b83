//! Requests that met a catalog that was gone.

use std::fmt;
use std::sync::{Arc, OnceLock};

use catalog::Breakers;
use gateway::RequestRecord;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::Labels;

/// What is answered while the catalog is gone.
const UNAVAILABLE: u16 = 503;

/// Whether the catalog is gone, and what became of requests meanwhile.
#[derive(Default)]
pub(crate) struct Degraded {
    catalog: OnceLock<Breakers>,
    reads: Family<Labels, Counter>,
    writes: Family<Labels, Counter>,
    hits: Counter,
}

impl Degraded {
    pub(super) fn new(registry: &mut Registry) -> Arc<Self> {
        let new = Arc::new(Self::default());
        registry.register("degraded_reads", "Reads while the catalog was gone", new.reads.clone());
        let help = "Writes refused while the catalog was gone";
        registry.register("degraded_write_rejections", help, new.writes.clone());
        let help = "Reads answered with what was known before the catalog was gone";
        registry.register("degraded_cache_hits", help, new.hits.clone());
        registry.register_collector(Box::new(Mode(Arc::clone(&new))));
        new
    }

    /// From now on, it is known whether the catalog is gone.
    pub(crate) fn watch(&self, catalog: Breakers) {
        // A process has one catalog.
        let _ = self.catalog.set(catalog);
    }

    pub(super) fn count(&self, record: &RequestRecord) {
        let labels = || vec![("operation", record.operation.to_owned())];
        if record.degraded {
            self.hits.inc();
            self.reads.get_or_create_owned(&labels()).inc();
        } else if record.status == UNAVAILABLE && self.is_active() {
            let reads = matches!(record.method, "GET" | "HEAD");
            let counters = if reads { &self.reads } else { &self.writes };
            counters.get_or_create_owned(&labels()).inc();
        }
    }

    fn is_active(&self) -> bool {
        self.catalog.get().is_some_and(Breakers::is_any_open)
    }
}

/// Asked when somebody looks.
struct Mode(Arc<Degraded>);

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mode")
    }
}

impl Collector for Mode {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Whether the catalog counts as gone: reads go on from what is known, writes are refused";
        let active = u64::from(self.0.is_active());
        encoder
            .encode_descriptor("degraded_mode_active", help, None, MetricType::Gauge)?
            .encode_gauge(&active)
    }
}
