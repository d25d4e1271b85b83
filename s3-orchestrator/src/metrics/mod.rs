//! Metrics for Prometheus, under the names that dashboards of the Go program know.
//!
//! A handle is looked up once, when what it counts comes into being, never per request.

mod backends;
mod breakers;
mod degraded;
mod fleet;
mod journal;
mod ledger;
mod process;
mod requests;
mod upkeep;
mod usage;
mod workers;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub(crate) use backends::BackendMetrics;
pub(crate) use breakers::BreakerMetrics;
pub(crate) use degraded::Degraded;
pub(crate) use fleet::FleetMetrics;
pub(crate) use journal::Journal;
pub(crate) use ledger::Ledger;
pub(crate) use requests::RequestMetrics;
pub(crate) use upkeep::UpkeepMetrics;
pub(crate) use usage::Usage;
pub(crate) use workers::WorkerMetrics;

use crate::commands::version::{RUSTC, VERSION};
use crate::front::{AnswerBody, whole};
use crate::health::plain;
use crate::server::Answer;

/// Label names and values.
type Labels = Vec<(&'static str, String)>;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of the process.
pub(crate) struct Metrics {
    registry: Registry,
    /// Requests of clients.
    pub requests: Arc<RequestMetrics>,
    /// Requests to backends.
    pub backends: Arc<BackendMetrics>,
    /// Circuit breakers.
    pub breakers: Arc<BreakerMetrics>,
    /// Whether the catalog is gone.
    pub degraded: Arc<Degraded>,
    /// What the catalog adds up to.
    pub ledger: Arc<Ledger>,
    /// How limits stand.
    pub usage: Arc<Usage>,
    /// What would be lost with the catalog.
    pub journal: Arc<Journal>,
    /// How the workers are doing.
    pub workers: Arc<WorkerMetrics>,
    /// What repair, trimming and proofs did, and the brake.
    pub upkeep: Arc<UpkeepMetrics>,
    /// What fleet work did.
    pub fleet: Arc<FleetMetrics>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::Process));
        let ours = registry.sub_registry_with_prefix("s3o");
        let build = Family::<Labels, Gauge>::default();
        build
            .get_or_create(&vec![("version", VERSION.to_owned()), ("rustc_version", RUSTC.to_owned())])
            .set(1);
        ours.register("build_info", "Which release this is", build);
        let degraded = Degraded::new(ours);
        let requests = Arc::new(RequestMetrics::new(ours, Arc::clone(&degraded)));
        let backends = Arc::new(BackendMetrics::new(ours));
        let breakers = BreakerMetrics::new(ours);
        let ledger = Arc::new(Ledger::default());
        ours.register_collector(Box::new(Arc::clone(&ledger)));
        let usage = Arc::new(Usage::default());
        ours.register_collector(Box::new(Arc::clone(&usage)));
        let journal = Arc::new(Journal::default());
        ours.register_collector(Box::new(Arc::clone(&journal)));
        let workers = Arc::new(WorkerMetrics::default());
        ours.register_collector(Box::new(Arc::clone(&workers)));
        let upkeep = Arc::new(UpkeepMetrics::new(ours));
        ours.register_collector(Box::new(Arc::clone(&upkeep)));
        let fleet = Arc::new(FleetMetrics::default());
        ours.register_collector(Box::new(Arc::clone(&fleet)));
        Self {
            registry,
            requests,
            backends,
            breakers,
            degraded,
            ledger,
            usage,
            journal,
            workers,
            upkeep,
            fleet,
        }
    }

    /// All of them, in the format of OpenMetrics or, as is, in the older one of Prometheus.
    async fn page(&self, open_metrics: bool) -> String {
        self.ledger.refresh().await;
        self.usage.refresh().await;
        self.upkeep.refresh().await;
        self.journal.refresh().await;
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        if open_metrics { text } else { older_format(&text) }
    }
}

/// The older format names a counter by its whole name in its comments, and knows no units and no end.
fn older_format(text: &str) -> String {
    let mut counters = std::collections::HashSet::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" counter")) {
            counters.insert(name);
        }
    }
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let comment = line.strip_prefix("# ").and_then(|rest| {
            let (word, rest) = rest.split_once(' ')?;
            let (name, rest) = rest.split_once(' ')?;
            Some((word, name, rest))
        });
        match comment {
            Some((word, name, rest)) if counters.contains(name) => {
                out.push_str(&format!("# {word} {name}_total {rest}\n"));
            }
            _ if line == "# EOF" => {}
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

/// The page that Prometheus reads.
#[derive(Clone)]
pub(crate) struct MetricsPage {
    path: String,
    metrics: Arc<Metrics>,
}

impl MetricsPage {
    pub(crate) fn new(path: &str, metrics: Arc<Metrics>) -> Self {
        Self { path: path.to_owned(), metrics }
    }

    /// The answer, where the request is for this page.
    pub(crate) async fn answer(&self, request: &Request<Incoming>) -> Option<Response<Bytes>> {
        if request.uri().path() != self.path || ![Method::GET, Method::HEAD].contains(request.method()) {
            return None;
        }
        let accepts = request.headers().get_all(http::header::ACCEPT);
        let open_metrics = accepts
            .iter()
            .any(|value| value.to_str().is_ok_and(|value| value.contains("application/openmetrics-text")));
        let mut answer = plain(StatusCode::OK, TEXT, self.metrics.page(open_metrics).await);
        if open_metrics {
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS));
        }
        Some(answer)
    }
}

/// A listener for this page alone.
impl Answer for MetricsPage {
    async fn answer(&self, request: Request<Incoming>, _: SocketAddr) -> Response<AnswerBody> {
        let answer = self.answer(&request).await;
        let missing =
            || plain(StatusCode::NOT_FOUND, "text/plain", format!("metrics are at {}\n", self.path));
        whole(&request, answer.unwrap_or_else(missing))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gateway::{Observer, Rejection, RequestRecord};

    use super::*;

    fn record() -> RequestRecord {
        RequestRecord {
            request_id: "1".to_owned(),
            method: "GET",
            operation: "GetObject",
            bucket: None,
            key: None,
            status: 200,
            bytes_in: 0,
            bytes_out: 5,
            duration: Duration::from_millis(2),
            backends: Vec::new(),
            remote: [127, 0, 0, 1].into(),
            access_key: None,
            degraded: false,
            error: None,
            limited: true,
        }
    }

    #[tokio::test]
    async fn the_names_are_those_of_the_go_program() {
        let metrics = Metrics::new();
        metrics.requests.inflight("GET", 1);
        metrics.requests.request(&record());
        metrics.requests.inflight("GET", -1);
        metrics.requests.rejected(Rejection::Shed);
        let watch = Arc::clone(&metrics.breakers) as Arc<dyn runtime::BreakerWatch>;
        let options = runtime::BreakerOptions::default();
        let breaker = runtime::Breaker::new("database", options, runtime::Chance::seeded(1), watch);
        metrics.breakers.follow(&breaker);
        breaker.trip(None);
        for format in [true, false] {
            let page = metrics.page(format).await;
            for line in [
                "s3o_requests_total{method=\"GET\",status_code=\"200\"} 1",
                "s3o_usage_limit_rejections_total{operation=\"GetObject\",limit_type=\"read\"} 1",
                "s3o_request_duration_seconds_count{method=\"GET\"} 1",
                "s3o_response_size_bytes_sum{method=\"GET\"} 5",
                "s3o_inflight_requests{method=\"GET\"} 0",
                "s3o_rate_limit_rejections_total 0",
                "s3o_load_shed_total 1",
                "s3o_degraded_mode_active 0",
                "s3o_circuit_breaker_state{name=\"database\"} 1",
                "s3o_circuit_breaker_transitions_total{name=\"database\",from=\"closed\",to=\"open\"} 1",
                "# TYPE process_resident_memory_bytes gauge",
            ] {
                assert!(page.lines().any(|found| found.starts_with(line)), "{line}\n{page}");
            }
            assert_eq!(page.contains("# TYPE s3o_requests_total counter"), !format);
            assert_eq!(page.ends_with("# EOF\n"), format);
        }
    }
}
