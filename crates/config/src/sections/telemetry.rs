//! `telemetry` and `debug`: metrics and traces.

use std::time::Duration;

use crate::net::HostPort;
use crate::report::Place;
use crate::section::{nested, none, or, section};

section! {
    /// Metrics and traces.
    pub struct Telemetry {
        /// Metrics for Prometheus.
        pub metrics: Metrics = nested(),
        /// Traces for OpenTelemetry.
        pub tracing: Tracing = nested(),
    }
}

section! {
    /// Metrics for Prometheus.
    pub struct Metrics {
        /// Whether they are served.
        pub enabled: bool = or(false),
        /// Their path.
        pub path: String = or("/metrics"),
        /// A listener of their own, as `host:port`; absent serves them on the main one.
        pub listen: Option<HostPort> = none(),
        /// Refuse to start when that listener cannot be opened; else start with a warning.
        pub require_listener: bool = or(true),
        /// Pause between two looks at the numbers that all instances share.
        pub fleet_interval: Duration = or(Duration::from_secs(60)),
        /// A setting of the Go program.
        pub pprof: bool = or(false),
    }
}

section! {
    /// Traces for OpenTelemetry.
    pub struct Tracing {
        /// Whether they are sent.
        pub enabled: bool = or(false),
        /// The collector, as `host:port`, by OTLP over gRPC.
        pub endpoint: Option<HostPort> = none(),
        /// Share of requests that is traced; 0 is none, 1 is all.
        pub sample_rate: f64 = or(1.0),
        /// Speak to the collector without TLS.
        pub insecure: bool = or(false),
    }
}

section! {
    /// Looking into a running process.
    pub struct Debug {
        /// A setting of the Go program.
        pub flight_recorder: FlightRecorder = nested(),
    }
}

section! {
    /// A setting of the Go program.
    pub struct FlightRecorder {
        /// Keep a trace of the Go runtime.
        pub enabled: bool = or(false),
    }
}

impl Telemetry {
    pub(crate) fn check(&self, at: &Place<'_>) {
        let metrics = at.key("metrics");
        let path = &self.metrics.path;
        let legal = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
        if !path.starts_with('/') || path.trim_matches('/').is_empty() || !path.chars().all(legal) {
            metrics.key("path").refuse("must be a path such as `/metrics`, and not `/` itself");
        }
        if self.metrics.fleet_interval < Duration::from_secs(10) {
            metrics.key("fleet_interval").refuse("must be at least 10s");
        }
        let tracing = at.key("tracing");
        tracing.key("sample_rate").share(self.tracing.sample_rate);
        if self.tracing.enabled && self.tracing.endpoint.is_none() {
            tracing.key("endpoint").refuse("is required when tracing is enabled");
        }
    }
}
