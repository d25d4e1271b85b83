//! What this binary has, and what becomes of each key: the one place to edit when a feature is built.

use crate::config::Config;
use crate::report::Report;
use crate::sections::{CredentialSource, Driver, Store};

/// Something that a configuration can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "`Feature::name` says what each is")]
pub enum Feature {
    Postgres,
    Encryption,
    Compression,
    Integrity,
    Cache,
    Lifecycle,
    Reconcile,
    Notifications,
    Ui,
    Tracing,
    Rebalance,
    Repair,
    ApiRequestLimit,
    EgressLimit,
    IngressLimit,
    RequestPools,
    BackendBreaker,
    Cors,
    RootCredential,
    DefaultChain,
    TokenCredentials,
    ClientCertificates,
    AdminApi,
}

/// Every feature, its name for people, and whether this binary has it.
const FEATURES: &[(Feature, &str, bool)] = &[
    (Feature::Postgres, "the PostgreSQL catalog", false),
    (Feature::Encryption, "encryption", false),
    (Feature::Compression, "compression", false),
    (Feature::Integrity, "verification of replicas at rest", true),
    (Feature::Cache, "the cache of bodies", false),
    (Feature::Lifecycle, "expiry of objects", true),
    (Feature::Reconcile, "reconciliation", true),
    (Feature::Notifications, "notifications", false),
    (Feature::Ui, "the dashboard", false),
    (Feature::Tracing, "tracing", false),
    (Feature::Rebalance, "rebalancing", true),
    (Feature::Repair, "repair of missing replicas", true),
    (Feature::ApiRequestLimit, "limits on requests", true),
    (Feature::EgressLimit, "limits on egress", true),
    (Feature::IngressLimit, "limits on ingress", true),
    (Feature::RequestPools, "limits on kinds of requests", false),
    (Feature::BackendBreaker, "circuit breakers of backends", true),
    (Feature::Cors, "CORS", false),
    (Feature::RootCredential, "the root credential", false),
    (Feature::DefaultChain, "credentials from the environment of a provider", false),
    (Feature::TokenCredentials, "token credentials", false),
    (Feature::ClientCertificates, "client certificates", false),
    (Feature::AdminApi, "the admin API", true),
];

impl Feature {
    /// What it is called in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        FEATURES.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }

    /// Whether this binary has it.
    #[must_use]
    pub fn is_built(self) -> bool {
        FEATURES.iter().any(|row| row.0 == self && row.2)
    }
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Standing {
    /// It does what its row says.
    Honoured,
    /// Something else takes its place; one warning says so.
    Superseded(&'static str),
    /// It tunes a feature; while that is not built there is one warning, for nothing is lost without it.
    Waits(Feature, &'static str),
    /// It asks for a feature, or tunes one that another key asks for; while that is not built the start is
    /// refused once it is asked for.
    Needs(Feature),
}

use Standing::{Needs, Superseded, Waits};

const REPAIR: &str = "replicas are written with each object, but this release does not make lost ones again";
const BROADCAST: &str = "no backend is searched for objects that the catalog does not name";
const PROVED: &str = "every block is proved on its way from a backend, for clients and for repair, always";

/// Keys that are not simply honoured. A key that is not listed stands as the section around it does.
const STANDINGS: &[(&str, Standing)] = &[
    ("server.spill_dir", Waits(Feature::Compression, "nothing is spilled without it")),
    ("server.tls.client_ca_file", Needs(Feature::ClientCertificates)),
    ("buckets[].credentials[].token", Needs(Feature::TokenCredentials)),
    ("buckets[].cors", Needs(Feature::Cors)),
    ("auth.root", Needs(Feature::RootCredential)),
    ("database.host", Needs(Feature::Postgres)),
    ("database.port", Needs(Feature::Postgres)),
    ("database.database", Needs(Feature::Postgres)),
    ("database.user", Needs(Feature::Postgres)),
    ("database.password", Needs(Feature::Postgres)),
    ("database.ssl_mode", Needs(Feature::Postgres)),
    ("database.max_conns", Needs(Feature::Postgres)),
    ("database.min_conns", Needs(Feature::Postgres)),
    ("database.max_conn_lifetime", Needs(Feature::Postgres)),
    ("backends[].credential_source", Needs(Feature::DefaultChain)),
    (
        "backends[].http.force_http2",
        Superseded("backends are spoken to over HTTP/1.1, which is faster for bodies"),
    ),
    ("backends[].disable_checksum", Superseded("no checksum header is sent to a backend")),
    ("backends[].strip_sdk_headers", Superseded("no header of an SDK is sent to a backend")),
    ("backends[].request_limits", Needs(Feature::RequestPools)),
    ("backends[].unmetered", Needs(Feature::RequestPools)),
    ("rebalance", Needs(Feature::Rebalance)),
    ("replication.worker_interval", Waits(Feature::Repair, REPAIR)),
    ("replication.batch_size", Waits(Feature::Repair, REPAIR)),
    ("replication.concurrency", Waits(Feature::Repair, REPAIR)),
    (
        "write_path.parallel_copies",
        Superseded("all replicas of a write are sent at once, see write_path.ack_replicas"),
    ),
    ("write_path.pending_pattern", Superseded("the catalog names every write before its first byte is sent")),
    ("circuit_breaker.parallel_broadcast", Superseded(BROADCAST)),
    ("circuit_breaker.degraded_broadcast_parallelism", Superseded(BROADCAST)),
    (
        "circuit_breaker.cache_ttl",
        Waits(
            Feature::Postgres,
            "this process alone writes to its SQLite catalog, so what it knows does not age",
        ),
    ),
    ("backend_circuit_breaker", Needs(Feature::BackendBreaker)),
    ("cleanup_queue.concurrency", Superseded("a backend deletes a thousand objects with one request")),
    (
        "cleanup_queue.multipart_stale_timeout",
        Waits(Feature::Lifecycle, "old uploads stay until they are aborted"),
    ),
    ("rate_limit.cleanup_interval", Superseded("clients are forgotten where their place is needed")),
    ("cleanup_queue.claim_grace_period", Superseded("work is claimed by living instances, not for a time")),
    ("encryption", Needs(Feature::Encryption)),
    ("compression", Needs(Feature::Compression)),
    ("integrity", Needs(Feature::Integrity)),
    ("integrity.verify_on_read", Superseded(PROVED)),
    ("integrity.verify_on_replicate", Superseded(PROVED)),
    ("cache", Needs(Feature::Cache)),
    ("lifecycle", Needs(Feature::Lifecycle)),
    ("reconcile", Needs(Feature::Reconcile)),
    ("redis", Superseded("limits are exact without it")),
    ("ui", Needs(Feature::Ui)),
    ("ui.admin_token", Needs(Feature::AdminApi)),
    ("notifications", Needs(Feature::Notifications)),
    ("telemetry.metrics.fleet_interval", Waits(Feature::Postgres, "one process has no fleet")),
    ("telemetry.metrics.pprof", Superseded("there is no Go runtime to profile; use `perf`")),
    ("telemetry.tracing", Needs(Feature::Tracing)),
    ("debug.flight_recorder", Superseded("there is no Go runtime to record")),
];

/// What becomes of a key, `[]` standing for the index of a list.
pub(crate) fn standing(key: &str) -> Standing {
    entry(key).map_or(Standing::Honoured, |(_, standing)| *standing)
}

/// Whether writing the key changes anything, now or once its feature is built.
pub(crate) fn has_effect(key: &str) -> bool {
    !matches!(standing(key), Superseded(_))
}

/// The most specific entry that speaks of the key.
fn entry(key: &str) -> Option<&'static (&'static str, Standing)> {
    let covers = |prefix: &str| {
        key.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    STANDINGS.iter().filter(|(prefix, _)| covers(prefix)).max_by_key(|(prefix, _)| prefix.len())
}

/// One warning for each entry that the file touches without asking for anything that would be refused.
pub(crate) fn warn(config: &Config, report: &Report<'_>) {
    let mut keys: Vec<_> = report.lines().into_iter().collect();
    keys.sort_by_key(|(_, line)| *line);
    let mut warned = Vec::new();
    for (key, _) in keys {
        // Two replicas that are not made again once lost are less than they seem.
        let seems_repaired = key == "replication.factor" && config.replication.factor > 1;
        let pattern = if seems_repaired { "replication.batch_size" } else { &*without_indexes(&key) };
        let Some((prefix, standing)) = entry(pattern) else { continue };
        let message = match standing {
            Superseded(by) => format!("is superseded and has no effect: {by}"),
            Waits(Feature::Repair, note) if !Feature::Repair.is_built() => (*note).to_owned(),
            Waits(feature, note) if !feature.is_built() => {
                format!("has no effect in this release, which lacks {}: {note}", feature.name())
            }
            _ => continue,
        };
        // A whole section is one warning; the same remark about several keys is one as well.
        if warned.contains(&message) || warned.contains(&(*prefix).to_owned()) {
            continue;
        }
        report.root().key(&key).warn(message.clone(), None);
        warned.extend([message, (*prefix).to_owned()]);
    }
}

/// `backends[3].http` as `backends[].http`.
fn without_indexes(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    let mut inside = false;
    for c in key.chars() {
        inside &= c != ']';
        if !inside {
            out.push(c);
        }
        inside |= c == '[';
    }
    out
}

/// Something that the configuration asks for and this binary does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotBuilt {
    /// The key that asks for it.
    pub key: String,
    /// Its line in the file.
    pub line: usize,
    /// What is missing.
    pub feature: Feature,
}

impl std::fmt::Display for NotBuilt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}: this release does not have {}", self.line, self.key, self.feature.name())
    }
}

impl Config {
    /// What the configuration asks for and this binary does not have. `serve` refuses to start with any of these.
    #[must_use]
    pub fn not_built(&self) -> Vec<NotBuilt> {
        let mut asked = self.asked();
        asked.retain(|(_, feature)| !feature.is_built());
        let line = |key: &str| self.lines.of(key).unwrap_or(1);
        let mut list: Vec<_> =
            asked.into_iter().map(|(key, feature)| NotBuilt { line: line(&key), key, feature }).collect();
        list.sort_by_key(|missing| missing.line);
        list
    }

    /// Every feature that is switched on, with the key that does it.
    fn asked(&self) -> Vec<(String, Feature)> {
        let switches = [
            (self.database.driver == Driver::Postgres, self.driver_key(), Feature::Postgres),
            (self.encryption.enabled, "encryption.enabled", Feature::Encryption),
            (self.compression.enabled, "compression.enabled", Feature::Compression),
            (self.integrity.enabled, "integrity.enabled", Feature::Integrity),
            (self.cache.enabled, "cache.enabled", Feature::Cache),
            (!self.lifecycle.rules.is_empty(), "lifecycle.rules", Feature::Lifecycle),
            (self.reconcile.enabled, "reconcile.enabled", Feature::Reconcile),
            (!self.notifications.endpoints.is_empty(), "notifications.endpoints", Feature::Notifications),
            (self.ui.enabled, "ui.enabled", Feature::Ui),
            (self.ui.admin_token.is_some(), "ui.admin_token", Feature::AdminApi),
            (self.telemetry.tracing.enabled, "telemetry.tracing.enabled", Feature::Tracing),
            (self.rebalance.enabled, "rebalance.enabled", Feature::Rebalance),
            (
                self.backend_circuit_breaker.enabled,
                "backend_circuit_breaker.enabled",
                Feature::BackendBreaker,
            ),
            (self.auth.root.is_some(), "auth.root", Feature::RootCredential),
            (self.asks_for_client_certificates(), "server.tls.client_ca_file", Feature::ClientCertificates),
        ];
        let on = switches.into_iter().filter(|(on, ..)| *on);
        let mut asked: Vec<_> = on.map(|(_, key, feature)| (key.to_owned(), feature)).collect();
        self.asked_by_buckets(&mut asked);
        self.asked_by_backends(&mut asked);
        asked
    }

    /// Where the driver is not written, the host decided it.
    fn driver_key(&self) -> &'static str {
        if self.lines.of("database.driver").is_some() { "database.driver" } else { "database.host" }
    }

    fn asks_for_client_certificates(&self) -> bool {
        self.server.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some())
    }

    fn asked_by_buckets(&self, asked: &mut Vec<(String, Feature)>) {
        for (index, bucket) in self.buckets.iter().enumerate() {
            if !bucket.cors.is_empty() {
                asked.push((format!("buckets[{index}].cors"), Feature::Cors));
            }
            for (number, credential) in bucket.credentials.iter().enumerate() {
                if credential.token.is_some() {
                    let key = format!("buckets[{index}].credentials[{number}].token");
                    asked.push((key, Feature::TokenCredentials));
                }
            }
        }
    }

    fn asked_by_backends(&self, asked: &mut Vec<(String, Feature)>) {
        for (index, backend) in self.backends.iter().enumerate() {
            let chain = matches!(&backend.store, Store::S3(s3)
                if s3.credential_source == CredentialSource::DefaultChain);
            let keys = [
                (backend.api_request_limit > 0, "api_request_limit", Feature::ApiRequestLimit),
                (backend.egress_byte_limit.0 > 0, "egress_byte_limit", Feature::EgressLimit),
                (backend.ingress_byte_limit.0 > 0, "ingress_byte_limit", Feature::IngressLimit),
                (!backend.request_limits.is_empty(), "request_limits", Feature::RequestPools),
                (!backend.unmetered.is_empty(), "unmetered", Feature::RequestPools),
                (chain, "credential_source", Feature::DefaultChain),
            ];
            let on = keys.into_iter().filter(|(on, ..)| *on);
            asked.extend(on.map(|(_, key, feature)| (format!("backends[{index}].{key}"), feature)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::all_keys;

    #[test]
    fn every_entry_speaks_of_a_key() {
        let keys = all_keys();
        for (prefix, _) in STANDINGS {
            let known = keys.iter().any(|row| entry(&row.key).is_some_and(|(found, _)| found == prefix));
            assert!(known, "{prefix} covers no key");
        }
    }

    #[test]
    fn every_feature_that_is_needed_has_a_name() {
        for (prefix, standing) in STANDINGS {
            if let Needs(feature) | Waits(feature, _) = standing {
                assert!(!feature.name().is_empty(), "{prefix}");
            }
        }
    }

    #[test]
    fn an_index_does_not_matter() {
        assert_eq!(
            without_indexes("backends[3].request_limits[12].name"),
            "backends[].request_limits[].name"
        );
        assert_eq!(without_indexes("server.tls"), "server.tls");
    }
}
