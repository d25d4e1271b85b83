//! The whole configuration, and the way to it.

use std::collections::BTreeMap;
use std::path::Path;

use crate::built;
use crate::document;
use crate::keys::{KeyRow, all_keys};
use crate::report::{Place, Problem, Problems, Report};
use crate::section::{Map, Section, nested, none, or, required, section};
use crate::sections::{
    Auth, Backend, BackendCircuitBreaker, Bucket, Cache, CircuitBreaker, CleanupQueue, Compression, Database,
    Debug, Driver, Encryption, Integrity, Journal, Lifecycle, Notifications, POSTGRES_KEYS, RateLimit,
    Rebalance, Reconcile, Redis, Replication, Server, Strategy, Telemetry, Ui, UsageFlush, WritePath,
    check_backends, check_buckets,
};
use crate::show::Shown;

section! {
    /// A configuration that holds together. Every field says what its key means.
    pub struct Config {
        + /// Where each key stands in the file.
        pub lines: Lines,
        /// Name of this installation, for people.
        pub deployment: String = or("default"),
        /// The listener, its bounds and its patience.
        pub server: Server = nested(),
        /// Which backend takes a new object: pack fills them in the order of this file, spread levels their shares.
        pub routing_strategy: Strategy = or(Strategy::Pack),
        /// The buckets that clients see: at least one.
        pub buckets: Vec<Bucket> = required(),
        /// Credentials that belong to no bucket.
        pub auth: Auth = nested(),
        /// The catalog.
        pub database: Database = nested(),
        /// Where bytes lie: at least one.
        pub backends: Vec<Backend> = required(),
        /// Moving replicas until the backends are as the strategy wants them.
        pub rebalance: Rebalance = nested(),
        /// How many backends hold each object.
        pub replication: Replication = nested(),
        /// How a write reaches its backends.
        pub write_path: WritePath = nested(),
        /// What happens while the catalog fails.
        pub circuit_breaker: CircuitBreaker = nested(),
        /// Leaving a failing backend alone for a while.
        pub backend_circuit_breaker: BackendCircuitBreaker = nested(),
        /// Requests per client.
        pub rate_limit: RateLimit = nested(),
        /// Deleting what is no longer needed.
        pub cleanup_queue: CleanupQueue = nested(),
        /// How often counters of usage are written.
        pub usage_flush: UsageFlush = nested(),
        /// Encryption of stored bytes.
        pub encryption: Encryption = nested(),
        /// Compression of stored bytes.
        pub compression: Compression = nested(),
        /// Verifying what lies on the backends.
        pub integrity: Integrity = nested(),
        /// Keeping bodies in memory.
        pub cache: Cache = nested(),
        /// Objects that expire.
        pub lifecycle: Lifecycle = nested(),
        /// Comparing backends with the catalog.
        pub reconcile: Reconcile = nested(),
        /// The journal on its way to the backends.
        pub journal: Journal = nested(),
        /// A setting of the Go program.
        pub redis: Option<Redis> = none(),
        /// The dashboard in a browser.
        pub ui: Ui = nested(),
        /// Webhooks.
        pub notifications: Notifications = nested(),
        /// Metrics and traces.
        pub telemetry: Telemetry = nested(),
        /// Looking into a running process.
        pub debug: Debug = nested(),
    }
}

/// Where each key stands in the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lines(BTreeMap<String, usize>);

impl Lines {
    /// The line of a key such as `backends[1].quota_bytes`, where it is written in the file.
    #[must_use]
    pub fn of(&self, key: &str) -> Option<usize> {
        self.0.get(key).copied()
    }
}

impl Section for Lines {
    fn read_keys(_: &Map<'_>) -> Self {
        Self::default()
    }

    fn shown_keys(&self) -> Vec<(String, Shown)> {
        Vec::new()
    }

    fn describe_keys(_: &str, _: &mut Vec<KeyRow>) {}
}

/// A configuration, and what is worth saying about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What works, but perhaps not as its author thinks.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Reads a file. `env` looks up environment variables.
    pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Problems> {
        let (text, file) = document::text_of(path)?;
        Self::parse(&text, &file, env)
    }

    /// Reads the text of a file that is called `file` in messages.
    pub fn parse(text: &str, file: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Problems> {
        let finish = |config: Self, report: &Report<'_>| {
            config.check(&report.root());
            built::warn(&config, report);
            Self { lines: Lines(report.lines()), ..config }
        };
        let (config, warnings) = document::parse(text, file, env, all_keys, finish)?;
        Ok(Loaded { config, warnings })
    }

    /// The effective configuration as YAML: defaults filled in, secrets redacted, and nothing in it that
    /// has no effect.
    #[must_use]
    pub fn effective(&self) -> String {
        let has_effect = |key: &str| {
            let postgres = key.strip_prefix("database.").is_some_and(|key| POSTGRES_KEYS.contains(&key));
            built::has_effect(key) && (!postgres || self.database.driver == Driver::Postgres)
        };
        Shown::Map(self.shown_keys()).keep("", &has_effect).to_yaml()
    }

    fn check(&self, at: &Place<'_>) {
        self.server.check(&at.key("server"));
        check_buckets(&self.buckets, &self.reserved_names(), &at.key("buckets"));
        self.database.check(&at.key("database"));
        check_backends(&self.backends, &at.key("backends"));
        self.rebalance.check(&at.key("rebalance"));
        self.replication.check(&at.key("replication"), self.backends.len());
        self.write_path.check(&at.key("write_path"), self.replication.factor);
        self.circuit_breaker.check(&at.key("circuit_breaker"));
        self.backend_circuit_breaker.check(&at.key("backend_circuit_breaker"));
        self.rate_limit.check(&at.key("rate_limit"));
        self.cleanup_queue.check(&at.key("cleanup_queue"));
        self.usage_flush.check(&at.key("usage_flush"));
        self.encryption.check(&at.key("encryption"));
        self.compression.check(&at.key("compression"));
        self.integrity.check(&at.key("integrity"));
        self.cache.check(&at.key("cache"));
        self.lifecycle.check(&at.key("lifecycle"), &self.buckets);
        self.reconcile.check(&at.key("reconcile"));
        self.ui.check(&at.key("ui"), self.auth.root.is_some());
        self.notifications.check(&at.key("notifications"));
        self.telemetry.check(&at.key("telemetry"));
        at.key("deployment").not_empty(Some(&self.deployment));
        self.check_paths(at);
        self.check_placement(at);
    }

    /// First words of paths on the listener that a bucket of that name would never see.
    fn reserved_names(&self) -> Vec<String> {
        let fixed = ["health", "ui", "metrics", "admin", ".s3-orchestrator"].map(str::to_owned);
        fixed
            .into_iter()
            .chain([first_word(&self.ui.path), first_word(&self.telemetry.metrics.path)].map(str::to_owned))
            .collect()
    }

    /// The paths and listeners that are not the S3 endpoint must not hide each other.
    fn check_paths(&self, at: &Place<'_>) {
        let (ui, metrics) = (first_word(&self.ui.path), first_word(&self.telemetry.metrics.path));
        let place = at.key("telemetry").key("metrics");
        for (key, word) in [(at.key("ui").key("path"), ui), (place.key("path"), metrics)] {
            if ["health", "admin"].contains(&word) {
                key.refuse(format!("must not begin with `/{word}`, which is taken"));
            }
        }
        if ui == metrics {
            at.first_set(&["telemetry.metrics.path", "ui.path"])
                .refuse("telemetry.metrics.path and ui.path must begin with different words");
        }
        let listen = &self.server.listen_addr;
        if self.telemetry.metrics.listen.as_ref() == Some(listen) && listen.port > 0 {
            place.key("listen").refuse_with("is the address of the main listener", "leave it out");
        }
    }

    fn check_placement(&self, at: &Place<'_>) {
        if self.backends.len() < 2
            || !at.key("replication").key("factor").is_sound()
            || self.replication.factor > 1
        {
            return;
        }
        let unlimited = self.backends.iter().enumerate().filter(|(_, backend)| backend.quota().is_none());
        let second = unlimited.map(|(index, _)| index).nth(1);
        match second {
            Some(index) if self.routing_strategy == Strategy::Pack => {
                let key = at.key("backends").item(index).key("quota_bytes");
                let hint = "set quota_bytes, `replication.factor: 2`, or `routing_strategy: spread`";
                key.refuse_with("a second backend without a quota is never filled by pack", hint);
            }
            _ => {
                let key = at.key("replication").key("factor");
                key.warn("each object lies on one backend only", Some("2 survives the loss of a backend"));
            }
        }
    }
}

/// The first word of a path on the listener.
fn first_word(path: &str) -> &str {
    path.trim_start_matches('/').split('/').next().unwrap_or_default()
}
