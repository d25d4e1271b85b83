//! From a request to its answer: who asks, which route, and one line in the log for whatever changes something.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use engine::{Bucket, Engine, Grants};
use http::{Method, Request, Response, StatusCode};
use runtime::{Clock, Workers};

use crate::answer::{Answer, Refused};
use crate::guard::Guard;
use crate::routes::{absent, backends, cleanup, holds, level, locations, quarantine, status, sync, workers};

/// Where it answers.
const ROOT: &str = "/admin/";
/// Where its routes lie.
const ROUTES: &str = "/admin/api/";

/// How much the process logs.
pub trait LogLevel: Send + Sync + 'static {
    /// The level in force.
    fn get(&self) -> String;

    /// Changes it.
    ///
    /// # Errors
    /// Where there is no such level; nothing changes then.
    fn set(&self, level: &str) -> Result<(), String>;
}

/// What the answers are about.
pub struct House {
    /// Backends, and the catalog behind it.
    pub engine: Engine,
    /// What may be spent of limits.
    pub grants: Arc<Grants>,
    /// What works in the background.
    pub workers: Workers,
    /// The buckets of the configuration.
    pub buckets: Vec<Bucket>,
    /// How much is logged.
    pub level: Arc<dyn LogLevel>,
    /// The time.
    pub clock: Clock,
}

/// The admin API. It refuses strangers from the first moment on, and answers once it has a house.
pub struct AdminApi {
    guard: Guard,
    house: OnceLock<House>,
}

impl AdminApi {
    /// Opens to whoever shows this token.
    #[must_use]
    pub fn new(token: &str) -> Self {
        Self { guard: Guard::new(token), house: OnceLock::new() }
    }

    /// From now on, there is something to tell.
    pub fn connect(&self, house: House) {
        // A process has one house.
        let _ = self.house.set(house);
    }

    /// Whether a path is one of its own.
    #[must_use]
    pub fn is_for(path: &str) -> bool {
        path.starts_with(ROOT)
    }

    /// Refuses whoever may not ask; before the body is read.
    ///
    /// # Errors
    /// The answer to give instead.
    pub fn admit<B>(&self, request: &Request<B>, client: IpAddr) -> Result<(), Box<Response<Bytes>>> {
        self.guard.check(request.headers(), client).map_err(|refused| Box::new(refused.into_response()))
    }

    /// Answers a request that was admitted.
    pub async fn answer(&self, request: Request<Bytes>, client: IpAddr) -> Response<Bytes> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer = match self.house.get() {
            Some(house) => house.route(&request, &self.guard).await,
            None => Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, "the server is starting")),
        };
        let response = answer.unwrap_or_else(Refused::into_response);
        if method != Method::GET && method != Method::HEAD {
            let status = response.status().as_u16();
            tracing::info!(
                audit = true,
                event = "admin",
                %method,
                path,
                status,
                remote = %client,
                "an operator asked for {method} {path}"
            );
        }
        response
    }
}

impl House {
    /// The table of routes.
    async fn route(&self, request: &Request<Bytes>, guard: &Guard) -> Answer {
        let (path, query) = (request.uri().path(), request.uri().query());
        let unknown = || Refused::not_found(format!("there is no route {path}"));
        let route = path.strip_prefix(ROUTES).ok_or_else(unknown)?;
        let segments: Vec<&str> = route.trim_end_matches('/').split('/').collect();
        let method = if request.method() == Method::HEAD { "GET" } else { request.method().as_str() };
        match (method, &segments[..]) {
            ("GET", ["status"]) => status::status(self, query).await,
            ("GET", ["replication"]) => status::replication(self, query).await,
            ("GET", ["over-replication"]) => status::over_replication(self, query).await,
            ("GET", ["object-locations"]) => locations::locations(self, query).await,
            ("GET", ["cleanup-queue"]) => cleanup::queue(self, query).await,
            ("GET", ["workers"]) => workers::list(self, query),
            ("GET", ["log-level"]) => level::get(self, query),
            ("PUT", ["log-level"]) => level::set(self, query, request.body()),
            ("GET", ["brake"]) => holds::brake(self, query).await,
            ("POST", ["brake", "release"]) => holds::release_brake(self, query).await,
            ("POST", ["usage-flush"]) => holds::flush_usage(self, query).await,
            ("GET", ["limits"]) => holds::limits(self, query).await,
            ("POST", ["limits", "open"]) => holds::open_limits(self, query).await,
            ("GET", ["backends", name, "drain"]) => backends::drain_status(self, name, query).await,
            ("POST", ["backends", name, "drain"]) => backends::start_drain(self, name, query).await,
            ("DELETE", ["backends", name, "drain"]) => backends::cancel_drain(self, name, query).await,
            ("DELETE", ["backends", name]) => backends::remove(self, guard, name, query).await,
            ("GET", ["quarantine"]) => quarantine::list(self, query).await,
            ("POST", ["quarantine", id, "restore"]) => quarantine::restore(self, id, query).await,
            ("DELETE", ["quarantine", id]) => quarantine::delete(self, id, query).await,
            ("POST", ["sync"]) => sync::begin(self, query).await,
            ("GET", ["sync"]) => sync::status(self, query),
            ("DELETE", ["sync"]) => sync::end(self, query),
            ("POST", ["backfill-checksums"]) => holds::backfill(query),
            ("POST", [worker]) if workers::is_triggered(worker) => {
                workers::trigger(self, worker, query).await
            }
            _ => Err(self.wrong_method_or_route(path, &segments)),
        }
    }

    fn wrong_method_or_route(&self, path: &str, segments: &[&str]) -> Refused {
        let known = match segments {
            ["status" | "object-locations" | "cleanup-queue" | "workers" | "log-level" | "quarantine"]
            | ["brake" | "limits" | "replication" | "usage-flush" | "sync" | "backfill-checksums"]
            | ["brake", "release"]
            | ["limits", "open"]
            | ["quarantine", _]
            | ["quarantine", _, "restore"]
            | ["backends", _]
            | ["backends", _, "drain"] => true,
            [worker] => workers::is_triggered(worker),
            _ => false,
        };
        if known {
            return Refused::new(StatusCode::METHOD_NOT_ALLOWED, format!("{path} takes another method"));
        }
        absent::refusal(segments).unwrap_or_else(|| Refused::not_found(format!("there is no route {path}")))
    }
}
