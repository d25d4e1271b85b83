//! Nothing that is asked for is ignored: what this release lacks is refused by name.

use config::{Config, Feature};

/// Asks for everything there is.
const EVERYTHING: &str = r#"
server:
  listen_addr: ":9000"
  tls: {cert_file: /c, key_file: /k, client_ca_file: /ca}
buckets:
  - name: a
    credentials: [{token: t}]
    cors: [{allowed_origins: ["*"], allowed_methods: [GET]}]
auth: {root: {access_key_id: a, secret_access_key: b}}
database: {host: h, database: d, user: u}
backends:
  - endpoint: https://s3.example.com
    bucket: b
    quota_bytes: 1GB
    credential_source: default_chain
    egress_byte_limit: 1GB
    ingress_byte_limit: 1GB
    request_limits: [{name: all, operations: ["*"], limit: 5}]
  - {type: directory, path: /d, api_request_limit: 5, unmetered: [DeleteObject]}
rebalance: {enabled: true}
backend_circuit_breaker: {enabled: true}
encryption: {enabled: true, master_key_file: /k}
compression: {enabled: true}
integrity: {enabled: true}
cache: {enabled: true}
lifecycle: {rules: [{prefix: tmp/, expiration_days: 1}]}
reconcile: {enabled: true}
ui: {enabled: true, session_secret: s, admin_token: t}
notifications: {endpoints: [{url: "https://x", events: ["*"]}]}
telemetry: {tracing: {enabled: true, endpoint: "tempo:4317"}}
"#;

#[test]
fn everything_that_is_not_built_is_named() {
    let config = Config::parse(EVERYTHING, "f", &|_| None).unwrap().config;
    let named: Vec<_> = config.not_built().into_iter().map(|missing| missing.feature).collect();
    // A feature that is built leaves this list, and its row in `built.rs` says so.
    let expected = [
        Feature::ClientCertificates,
        Feature::TokenCredentials,
        Feature::Cors,
        Feature::RootCredential,
        Feature::Postgres,
        Feature::DefaultChain,
        Feature::EgressLimit,
        Feature::IngressLimit,
        Feature::RequestPools,
        Feature::ApiRequestLimit,
        Feature::RequestPools,
        Feature::Rebalance,
        Feature::BackendBreaker,
        Feature::Encryption,
        Feature::Compression,
        Feature::Integrity,
        Feature::Cache,
        Feature::Lifecycle,
        Feature::Reconcile,
        Feature::Ui,
        Feature::AdminApi,
        Feature::Notifications,
        Feature::Tracing,
    ];
    assert_eq!(named, expected.into_iter().filter(|feature| !feature.is_built()).collect::<Vec<_>>());
}

#[test]
fn a_line_is_named_with_each() {
    let config = Config::parse(EVERYTHING, "f", &|_| None).unwrap().config;
    for missing in config.not_built() {
        let line = EVERYTHING.lines().nth(missing.line - 1).unwrap();
        let word = missing.key.rsplit('.').next().unwrap();
        assert!(line.contains(word), "{missing} points at {line:?}");
    }
}

/// What is off is not asked for, whatever else its section says.
#[test]
fn a_section_that_is_switched_off_stops_nothing() {
    let off = r#"
server: {listen_addr: ":9000"}
buckets: [{name: a, credentials: [{access_key_id: a, secret_access_key: b}]}]
backends: [{type: directory, path: /d}]
encryption: {enabled: false, chunk_size: 4096}
rebalance: {enabled: false, interval: 1h}
ui: {enabled: false, path: /dash}
telemetry: {tracing: {enabled: false, sample_rate: 0.5}, metrics: {enabled: true}}
"#;
    let loaded = Config::parse(off, "f", &|_| None).unwrap();
    assert!(loaded.config.not_built().is_empty());
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}
