//! Whether this process lives, and whether it wants requests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{Response, StatusCode, header};
use runtime::{Phase, Shutdown};

/// What `/health` and `/health/ready` say.
pub(crate) struct Health {
    started: AtomicBool,
    shutdown: Shutdown,
    /// Says why nothing is written, where that is so.
    frozen: OnceLock<Reason>,
}

/// Asks for a reason. It must not wait.
type Reason = Box<dyn Fn() -> Option<Arc<str>> + Send + Sync>;

impl Health {
    /// Not ready yet.
    pub(crate) fn new(shutdown: Shutdown) -> Self {
        Self { started: AtomicBool::new(false), shutdown, frozen: OnceLock::new() }
    }

    /// Start-up is complete.
    pub(crate) fn set_started(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// From now on, this is asked why nothing is written.
    pub(crate) fn ask_frozen(&self, reason: impl Fn() -> Option<Arc<str>> + Send + Sync + 'static) {
        // A process has one catalog.
        let _ = self.frozen.set(Box::new(reason));
    }

    fn frozen(&self) -> Option<Arc<str>> {
        self.frozen.get().and_then(|reason| reason())
    }

    /// Whether a load balancer should send requests here.
    pub(crate) fn is_ready(&self) -> bool {
        self.started.load(Ordering::Acquire)
            && self.shutdown.phase() == Phase::Running
            && self.frozen().is_none()
    }

    /// The answer for a path, where it is one of ours. Asks nobody, waits for nothing.
    pub(crate) fn answer(&self, path: &str) -> Option<Response<Bytes>> {
        let (status, text) = match path {
            "/health" => (StatusCode::OK, "{\"status\":\"ok\"}".to_owned()),
            "/health/ready" if self.is_ready() => (StatusCode::OK, "{\"status\":\"ready\"}".to_owned()),
            "/health/ready" => (StatusCode::SERVICE_UNAVAILABLE, self.not_ready()),
            _ => return None,
        };
        Some(plain(status, "application/json", text))
    }

    fn not_ready(&self) -> String {
        match self.frozen() {
            None => "{\"status\":\"not ready\"}".to_owned(),
            Some(reason) => serde_json::json!({"status": "not ready", "reason": &*reason}).to_string(),
        }
    }
}

/// An answer whose body is at hand.
pub(crate) fn plain(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n83_ready_is_what_serves() {
        let shutdown = Shutdown::new();
        let health = Health::new(shutdown.clone());
        let status = |path| health.answer(path).map(|answer| answer.status().as_u16());
        let check = |ready| {
            assert_eq!(status("/health/ready"), Some(ready));
            assert_eq!(status("/health"), Some(200));
        };
        check(503);
        health.set_started();
        check(200);
        let frozen = Arc::new(OnceLock::<Arc<str>>::new());
        let asked = Arc::clone(&frozen);
        health.ask_frozen(move || asked.get().cloned());
        check(200);
        frozen.set("run \"this\"".into()).unwrap();
        check(503);
        let body = health.answer("/health/ready").unwrap().into_body();
        assert_eq!(body, r#"{"reason":"run \"this\"","status":"not ready"}"#);
        assert_eq!(status("/healthy"), None);
    }
}
