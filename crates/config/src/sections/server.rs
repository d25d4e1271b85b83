//! `server`: the listener, its bounds and its patience.

use std::path::PathBuf;
use std::time::Duration;

use crate::net::HostPort;
use crate::report::Place;
use crate::scalar::choice;
use crate::section::{none, or, required, section};
use crate::text_list::TextList;
use crate::units::ByteSize;

choice! {
    /// The least severe log line that is written.
    pub enum LogLevel ("debug, info, warn or error") {
        /// Everything.
        Debug = "debug",
        /// One line per request, and more.
        Info = "info",
        /// What may need attention.
        Warn = "warn",
        /// What needs attention.
        Error = "error",
    }
}

choice! {
    /// How a log line looks.
    pub enum LogFormat ("auto, text or json") {
        /// Text on a terminal, JSON elsewhere.
        Auto = "auto",
        /// For people.
        Text = "text",
        /// For log collectors.
        Json = "json",
    }
}

choice! {
    /// The oldest TLS version that is accepted.
    pub enum TlsVersion ("\"1.2\" or \"1.3\"") {
        /// TLS 1.2 and later.
        Tls12 = "1.2",
        /// TLS 1.3 and later.
        Tls13 = "1.3",
    }
}

section! {
    /// The listener, its bounds and its patience.
    pub struct Server {
        /// Address to listen on, as `host:port`; an empty host is every interface.
        pub listen_addr: HostPort = required(),
        /// Least severity that is logged: debug, info, warn or error.
        pub log_level: LogLevel = or(LogLevel::Info),
        /// How log lines look: text, json, or auto (text on a terminal, else JSON).
        pub log_format: LogFormat = or(LogFormat::Auto),
        /// Largest object in bytes, multipart uploads included. The Go program stops at 5 GiB by default, which
        /// rules out larger multipart uploads; here the default is what S3 allows.
        pub max_object_size: ByteSize = or(ByteSize::gib(5 * 1024)),
        /// Reads that are served at once; 0 is no bound of their own. More are answered 503 SlowDown.
        pub max_concurrent_reads: u32 = or(0_u32),
        /// Writes that are served at once; 0 is no bound of their own.
        pub max_concurrent_writes: u32 = or(0_u32),
        /// Requests of any kind that are served at once; 0 is no common bound. The default is 1000 where neither
        /// reads nor writes have a bound, else 0.
        pub max_concurrent_requests: u32 =
            or(if max_concurrent_reads == 0 && max_concurrent_writes == 0 { 1000_u32 } else { 0 }),
        /// Share of a bound from which on requests are refused at random, rising to all at the bound; 0 is off.
        pub load_shed_threshold: f64 = or(0.0),
        /// How long a request may wait for a free place before it is refused.
        pub admission_wait: Duration = or(Duration::ZERO),
        /// Connections that are open at once; further ones wait to be accepted.
        pub max_connections: u32 = or(10_000_u32),
        /// How long a backend may leave a request without any progress. It does not bound a whole body, so large
        /// objects need no larger value.
        pub backend_timeout: Duration = or(Duration::from_secs(30)),
        /// How long a client may take for the headers of a request.
        pub read_header_timeout: Duration = or(Duration::from_secs(10)),
        /// How long a client may send nothing of a request's body.
        pub read_timeout: Duration = or(Duration::from_secs(300)),
        /// How long a client may take nothing of an answer's body.
        pub write_timeout: Duration = or(Duration::from_secs(300)),
        /// How long a connection may stay open without a request.
        pub idle_timeout: Duration = or(Duration::from_secs(120)),
        /// Pause between becoming not ready and refusing requests at shutdown, so that a load balancer notices first.
        pub shutdown_delay: Duration = or(Duration::ZERO),
        /// TLS on the listener; absent is plain HTTP.
        pub tls: Option<Tls> = none(),
        /// Directory for bodies whose stored length must be known before they are sent; the default is the
        /// system's directory for temporary files.
        pub spill_dir: Option<PathBuf> = none(),
        /// Largest total of a request's headers in bytes. It is also the largest read buffer of a connection, so the
        /// 1 MB of the Go program would be memory for nothing: S3 itself allows 8 KB. What is larger is refused with 431
        /// and S3's XML; over HTTP/2, from twice the size on, with a bare 431 by the library, which then has not read it.
        pub max_header_bytes: ByteSize = or(ByteSize::kib(128)),
        /// Most header values in one request.
        pub max_header_value_count: u32 = or(500_u32),
        /// Host names under which buckets are addressed as `bucket.domain`: one, or a list. Path style always works.
        pub domain: TextList = or(TextList::default()),
        /// Bytes that all bodies in flight may hold in memory together. The default is a quarter of the
        /// container's memory.
        pub memory_budget: Option<ByteSize> = none(),
        /// Bytes of one body that may be held in memory, shared by all its targets. More hides slow backends better,
        /// fewer serves more bodies at once.
        pub body_window: ByteSize = or(ByteSize::mib(4)),
    }
}

section! {
    /// TLS on the listener.
    pub struct Tls {
        /// PEM file with the certificate chain; reloaded when it changes or on SIGHUP.
        pub cert_file: PathBuf = required(),
        /// PEM file with the private key.
        pub key_file: PathBuf = required(),
        /// Oldest version that is accepted: "1.2" or "1.3".
        pub min_version: TlsVersion = or(TlsVersion::Tls12),
        /// PEM file with the authorities that client certificates must come from; absent asks for none.
        pub client_ca_file: Option<PathBuf> = none(),
    }
}

/// How many requests are served at once. `None` is no bound of that kind; each bound that is there holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// Requests of any kind.
    pub requests: Option<u32>,
    /// Reads.
    pub reads: Option<u32>,
    /// Writes.
    pub writes: Option<u32>,
}

impl Server {
    /// The bounds on requests at once.
    #[must_use]
    pub fn admission(&self) -> Admission {
        let bound = |count| (count > 0).then_some(count);
        Admission {
            requests: bound(self.max_concurrent_requests),
            reads: bound(self.max_concurrent_reads),
            writes: bound(self.max_concurrent_writes),
        }
    }

    pub(crate) fn check(&self, at: &Place<'_>) {
        at.key("max_object_size").at_least(self.max_object_size.0, 1);
        at.key("max_connections").at_least(self.max_connections, 1);
        at.key("max_header_bytes").at_least(self.max_header_bytes.0, 4096);
        at.key("max_header_value_count").at_least(self.max_header_value_count, 16);
        at.key("body_window").at_least(self.body_window.0, 1 << 20);
        if !(0.0..1.0).contains(&self.load_shed_threshold) {
            at.key("load_shed_threshold").refuse("must be at least 0 and below 1");
        }
        self.check_timeouts(at);
        self.check_memory(at);
        self.domain.check_host_names(&at.key("domain"));
    }

    fn check_timeouts(&self, at: &Place<'_>) {
        at.key("backend_timeout").above_zero(self.backend_timeout);
        at.key("read_header_timeout").above_zero(self.read_header_timeout);
        at.key("read_timeout").above_zero(self.read_timeout);
        at.key("write_timeout").above_zero(self.write_timeout);
        at.key("idle_timeout").above_zero(self.idle_timeout);
        at.not_above(("backend_timeout", self.backend_timeout), ("write_timeout", self.write_timeout));
        at.not_above(("read_header_timeout", self.read_header_timeout), ("read_timeout", self.read_timeout));
    }

    fn check_memory(&self, at: &Place<'_>) {
        let Some(budget) = self.memory_budget else { return };
        if budget < self.body_window && at.sound(&["memory_budget", "body_window"]) {
            at.first_set(&["memory_budget", "body_window"])
                .refuse("memory_budget must be at least body_window, or no body could be served");
        }
    }
}
