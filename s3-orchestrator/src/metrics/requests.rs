//! Requests of clients.

use std::sync::{Arc, OnceLock};

use gateway::{Observer, Rejection, RequestRecord};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::{Degraded, Labels};

/// What Prometheus knows by itself, up to a minute, and two finer ones: most requests are that quick.
const SECONDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
const METHODS: [&str; 7] = ["GET", "PUT", "HEAD", "POST", "DELETE", "OPTIONS", "OTHER"];
/// What is answered where no backend has room.
const NO_ROOM: u16 = 507;
const STATUS_LEAST: u16 = 100;
const STATUSES: usize = 500;

type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// Counters of requests, and of those that were refused unseen.
pub(crate) struct RequestMetrics {
    methods: Vec<OneMethod>,
    /// Over a client's rate.
    rate_limited: Counter,
    /// All places were taken.
    not_admitted: Counter,
    /// Refused at random, so that not all places get taken.
    shed: Counter,
    /// Refused before the body was read.
    early: Counter,
    degraded: Arc<Degraded>,
    /// Limits of the backends are reached.
    limited: Family<Labels, Counter>,
}

struct OneMethod {
    name: &'static str,
    totals: Family<Labels, Counter>,
    by_status: Vec<OnceLock<Counter>>,
    seconds: Histogram,
    bytes_in: Histogram,
    bytes_out: Histogram,
    under_way: Gauge,
}

impl RequestMetrics {
    pub(super) fn new(registry: &mut Registry, degraded: Arc<Degraded>) -> Self {
        let totals = Family::<Labels, Counter>::default();
        let seconds: Histograms = Family::new_with_constructor(|| Histogram::new(SECONDS));
        let sizes: fn() -> Histogram = || Histogram::new(exponential_buckets(1024.0, 4.0, 10));
        let bytes_in: Histograms = Family::new_with_constructor(sizes);
        let bytes_out: Histograms = Family::new_with_constructor(sizes);
        let under_way = Family::<Labels, Gauge>::default();
        let one = |name: &'static str| {
            let labels = vec![("method", name.to_owned())];
            OneMethod {
                name,
                totals: totals.clone(),
                by_status: (0..STATUSES).map(|_| OnceLock::new()).collect(),
                seconds: seconds.get_or_create_owned(&labels),
                bytes_in: bytes_in.get_or_create_owned(&labels),
                bytes_out: bytes_out.get_or_create_owned(&labels),
                under_way: under_way.get_or_create_owned(&labels),
            }
        };
        let methods = METHODS.into_iter().map(one).collect();
        registry.register("requests", "Requests by method and status", totals);
        registry.register(
            "request_duration_seconds",
            "From a request's head to its answer's last byte",
            seconds,
        );
        registry.register("request_size_bytes", "Bytes of bodies that clients sent", bytes_in);
        registry.register("response_size_bytes", "Bytes of bodies that clients took", bytes_out);
        registry.register("inflight_requests", "Requests under way", under_way);
        let limited = Family::<Labels, Counter>::default();
        let help = "Requests that the limits of the backends did not allow";
        registry.register("usage_limit_rejections", help, limited.clone());
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        Self {
            methods,
            limited,
            rate_limited: counter("rate_limit_rejections", "Requests over their client's rate"),
            not_admitted: counter("admission_rejections", "Requests that found no free place"),
            shed: counter("load_shed", "Requests refused at random under load"),
            early: counter("early_rejections", "Requests refused before their body was read"),
            degraded,
        }
    }

    fn method(&self, name: &str) -> &OneMethod {
        let index = METHODS.iter().position(|known| *known == name).unwrap_or(METHODS.len() - 1);
        &self.methods[index]
    }
}

impl Observer for RequestMetrics {
    fn request(&self, record: &RequestRecord) {
        #[expect(clippy::cast_precision_loss, reason = "a histogram of sizes needs no exact bytes")]
        let observe = |histogram: &Histogram, bytes: u64| histogram.observe(bytes as f64);
        let method = self.method(record.method);
        method.count(record.status);
        self.degraded.count(record);
        method.seconds.observe(record.duration.as_secs_f64());
        observe(&method.bytes_in, record.bytes_in);
        observe(&method.bytes_out, record.bytes_out);
        if record.status == NO_ROOM && record.bytes_in == 0 {
            self.early.inc();
        }
        if record.limited {
            let kind = if matches!(record.method, "GET" | "HEAD") { "read" } else { "write" };
            let operation = record.operation.to_owned();
            let labels = vec![("operation", operation), ("limit_type", kind.to_owned())];
            self.limited.get_or_create_owned(&labels).inc();
        }
    }

    fn inflight(&self, method: &'static str, change: i64) {
        self.method(method).under_way.inc_by(change);
    }

    fn rejected(&self, rejection: Rejection) {
        match rejection {
            Rejection::RateLimited => &self.rate_limited,
            Rejection::Full => &self.not_admitted,
            Rejection::Shed => &self.shed,
        }
        .inc();
    }
}

impl OneMethod {
    fn count(&self, status: u16) {
        let labels = || vec![("method", self.name.to_owned()), ("status_code", status.to_string())];
        let make = || self.totals.get_or_create_owned(&labels());
        match self.by_status.get(usize::from(status.wrapping_sub(STATUS_LEAST))) {
            Some(known) => known.get_or_init(make).inc(),
            None => make().inc(),
        };
    }
}
