//! Circuit breakers, the rate limit, cleaning up, and the flushing of usage counters.

use std::time::Duration;

use crate::net::Network;
use crate::report::Place;
use crate::section::{empty, nested, or, section};
use crate::units::ByteSize;

section! {
    /// What happens while the catalog fails.
    pub struct CircuitBreaker {
        /// Failures in a row after which the catalog counts as down.
        pub failure_threshold: u32 = or(3_u32),
        /// Pause before it is tried again.
        pub open_timeout: Duration = or(Duration::from_secs(15)),
        /// How old what was learnt of an object may be when an outage begins, where other instances write too.
        pub cache_ttl: Duration = or(Duration::from_secs(60)),
        /// Memory for objects that were located lately, in bytes; reads go on from it during an outage.
        pub cache_size: ByteSize = or(ByteSize::mib(32)),
        /// Ask all backends at once for an object whose place is not known.
        pub parallel_broadcast: bool = or(false),
        /// Serve GET and HEAD of recently located objects during an outage, marked by `x-s3o-degraded: catalog`.
        pub degraded_reads_enabled: bool = or(true),
        /// Backends asked at once during an outage; 0 is all.
        pub degraded_broadcast_parallelism: u32 = or(0_u32),
    }
}

section! {
    /// Leaving a failing backend alone for a while.
    pub struct BackendCircuitBreaker {
        /// Whether a failing backend is left alone.
        pub enabled: bool = or(false),
        /// Failures in a row after which it is.
        pub failure_threshold: u32 = or(5_u32),
        /// Pause before it is tried again.
        pub open_timeout: Duration = or(Duration::from_secs(300)),
    }
}

section! {
    /// Requests per client.
    pub struct RateLimit {
        /// Whether requests of one client are limited.
        pub enabled: bool = or(false),
        /// Requests per second of one client address.
        pub requests_per_sec: f64 = or(100.0),
        /// Requests that one client may send at once after a pause.
        pub burst: u32 = or(200_u32),
        /// Networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.
        pub trusted_proxies: Vec<Network> = empty(),
        /// Pause between two looks for clients to forget.
        pub cleanup_interval: Duration = or(Duration::from_secs(60)),
        /// How long a client is remembered after its last request.
        pub cleanup_max_age: Duration = or(Duration::from_secs(300)),
    }
}

section! {
    /// Deleting what is no longer needed.
    pub struct CleanupQueue {
        /// Deletes at once.
        pub concurrency: u32 = or(10_u32),
        /// Age at which a multipart upload that nobody completed is aborted.
        pub multipart_stale_timeout: Duration = or(Duration::from_secs(24 * 3600)),
        /// A setting of the Go program.
        pub claim_grace_period: Duration = or(Duration::from_secs(300)),
        /// Holds all deletes when more is doomed than can be meant.
        pub brake: Brake = nested(),
    }
}

section! {
    /// The brake: when too many replicas are doomed within an hour, nothing is deleted until an operator says so.
    pub struct Brake {
        /// Share of all replicas that may be doomed within an hour; 1 never brakes.
        pub share: f64 = or(0.1),
        /// So many may be doomed within an hour, whatever the share.
        pub floor: u64 = or(1000_u64),
        /// Count what clients delete and overwrite too, not only what expires.
        pub count_clients: bool = or(false),
    }
}

section! {
    /// How often what was spent of limits is written to the catalog, for people to read. The limits themselves
    /// hold by what was granted.
    pub struct UsageFlush {
        /// Pause between two times; nothing is written where nothing was spent.
        pub interval: Duration = or(Duration::from_secs(30)),
        /// Write more often near a limit.
        pub adaptive_enabled: bool = or(false),
        /// Share of a limit that is near it.
        pub adaptive_threshold: f64 = or(0.8),
        /// Pause between two times near a limit.
        pub fast_interval: Duration = or(Duration::from_secs(5).min(interval / 2)),
    }
}

impl CircuitBreaker {
    pub(crate) fn check(&self, at: &Place<'_>) {
        at.key("failure_threshold").at_least(self.failure_threshold, 1);
        at.key("open_timeout").above_zero(self.open_timeout);
    }
}

impl BackendCircuitBreaker {
    pub(crate) fn check(&self, at: &Place<'_>) {
        at.key("failure_threshold").at_least(self.failure_threshold, 1);
        at.key("open_timeout").above_zero(self.open_timeout);
    }
}

impl RateLimit {
    pub(crate) fn check(&self, at: &Place<'_>) {
        if self.requests_per_sec <= 0.0 {
            at.key("requests_per_sec").refuse_with("must be above 0", "`enabled: false` is no limit");
        }
        at.key("burst").at_least(self.burst, 1);
        at.key("cleanup_interval").above_zero(self.cleanup_interval);
        at.key("cleanup_max_age").above_zero(self.cleanup_max_age);
    }
}

impl CleanupQueue {
    pub(crate) fn check(&self, at: &Place<'_>) {
        at.key("concurrency").at_least(self.concurrency, 1);
        at.key("multipart_stale_timeout").above_zero(self.multipart_stale_timeout);
        at.key("brake").key("share").share(self.brake.share);
    }
}

impl UsageFlush {
    pub(crate) fn check(&self, at: &Place<'_>) {
        at.key("interval").above_zero(self.interval);
        at.key("fast_interval").above_zero(self.fast_interval);
        if self.adaptive_threshold <= 0.0 || self.adaptive_threshold >= 1.0 {
            at.key("adaptive_threshold").refuse("must lie between 0 and 1, both excluded");
        }
        if self.fast_interval >= self.interval && at.sound(&["fast_interval", "interval"]) {
            at.first_set(&["fast_interval", "interval"]).refuse("fast_interval must be below interval");
        }
    }
}
