//! What is told of each request: one line in the log, and the same record to whoever counts.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Method;
use runtime::Instant;
use types::{BackendName, BucketName, ObjectKey};

use crate::admission::{Place, Rejection};

/// Counts requests. Given from outside, so that the gateway knows nothing of metrics.
pub trait Observer: Send + Sync + 'static {
    /// A request is over: the last byte of its answer was sent, or the client left.
    fn request(&self, record: &RequestRecord);

    /// A request began (`1`) or ended (`-1`).
    fn inflight(&self, method: &'static str, change: i64);

    /// A request was not admitted.
    fn rejected(&self, rejection: Rejection);
}

/// An observer that does not look.
#[derive(Debug, Clone, Copy)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn request(&self, _record: &RequestRecord) {}
    fn inflight(&self, _method: &'static str, _change: i64) {}
    fn rejected(&self, _rejection: Rejection) {}
}

/// A request that is over.
#[derive(Debug, Clone)]
pub struct RequestRecord {
    /// Its id, as the client was told.
    pub request_id: String,
    /// The method, `OTHER` for unusual ones.
    pub method: &'static str,
    /// The operation; `Unknown` where it was none of ours.
    pub operation: &'static str,
    /// The bucket.
    pub bucket: Option<BucketName>,
    /// The key.
    pub key: Option<ObjectKey>,
    /// The status of the answer; 499 where the client left before one.
    pub status: u16,
    /// Bytes of the body that came.
    pub bytes_in: u64,
    /// Bytes of the body that went.
    pub bytes_out: u64,
    /// From the first byte of the request to the last of the answer.
    pub duration: Duration,
    /// The backends that bytes went to or came from.
    pub backends: Vec<BackendName>,
    /// The client.
    pub remote: IpAddr,
    /// The access key that signed.
    pub access_key: Option<String>,
    /// Whether it was answered with what was known before the catalog was gone.
    pub degraded: bool,
    /// What went wrong: the S3 code, and what lies behind it.
    pub error: Option<String>,
    /// It was refused because limits of the backends are reached.
    pub limited: bool,
}

/// A method as a metric's label.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

/// A request under way. When it is dropped the request is over, however it ended.
pub(crate) struct Ticket {
    pub(crate) record: RequestRecord,
    /// Counted by the body on its way in.
    pub(crate) bytes_in: Arc<AtomicU64>,
    /// Held until the end.
    pub(crate) place: Place,
    started: Instant,
    observer: Arc<dyn Observer>,
}

impl Ticket {
    pub(crate) fn new(
        observer: Arc<dyn Observer>,
        request_id: String,
        method: &Method,
        remote: IpAddr,
    ) -> Self {
        let method = method_label(method);
        observer.inflight(method, 1);
        let record = RequestRecord {
            request_id,
            method,
            operation: "Unknown",
            bucket: None,
            key: None,
            status: 499,
            bytes_in: 0,
            bytes_out: 0,
            duration: Duration::ZERO,
            backends: Vec::new(),
            remote,
            access_key: None,
            degraded: false,
            error: None,
            limited: false,
        };
        Self {
            record,
            bytes_in: Arc::default(),
            place: [None, None],
            started: runtime::instant_now(),
            observer,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.record.bytes_in = self.bytes_in.load(Ordering::Relaxed);
        self.record.duration = runtime::instant_now().saturating_duration_since(self.started);
        self.observer.inflight(self.record.method, -1);
        self.observer.request(&self.record);
        log(&self.record);
    }
}

fn log(record: &RequestRecord) {
    tracing::info!(
        request_id = %record.request_id,
        operation = record.operation,
        bucket = record.bucket.as_ref().map_or("", BucketName::as_str),
        // A key may hold a line break, and a log line must not: both formats escape what is text, once.
        key = record.key.as_ref().map_or("", ObjectKey::as_str),
        status = record.status,
        bytes_in = record.bytes_in,
        bytes_out = record.bytes_out,
        duration_ms = u64::try_from(record.duration.as_millis()).unwrap_or(u64::MAX),
        backend.name = %Names(&record.backends),
        remote = %record.remote,
        access_key = record.access_key.as_deref().unwrap_or_default(),
        error = record.error.as_deref().unwrap_or_default(),
        "{} {}",
        record.operation,
        record.status,
    );
}

struct Names<'a>(&'a [BackendName]);

impl std::fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, name) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            name.fmt(f)?;
        }
        Ok(())
    }
}
