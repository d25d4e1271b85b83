//! The deployment guide's configuration, as Nomad renders it, is a configuration of this program.

use config::{Config, Driver, Loaded, LogLevel, Problems, Store, Strategy};
use std::time::Duration;

const GUIDE: &str = include_str!("fixtures/guide.yaml");

fn vault_token(name: &str) -> Option<String> {
    (name == "VAULT_TOKEN").then(|| "hvs.marker-token".to_owned())
}

fn load(text: &str) -> Result<Loaded, Problems> {
    Config::parse(text, "config.yaml", &vault_token)
}

fn line_of(needle: &str) -> usize {
    GUIDE.lines().position(|line| line.contains(needle)).expect("the fixture holds it") + 1
}

#[test]
fn every_value_of_the_guide_is_read() {
    let config = load(GUIDE).unwrap().config;
    assert_eq!(config.server.listen_addr.to_string(), "0.0.0.0:9000");
    assert_eq!(config.server.max_object_size.bytes(), 5_368_709_120);
    assert_eq!(config.server.backend_timeout, Duration::from_secs(300));
    assert_eq!(config.server.shutdown_delay, Duration::from_secs(5));
    assert_eq!(config.routing_strategy, Strategy::Spread);
    let bucket = &config.buckets[0];
    assert_eq!(bucket.name.as_str(), "default");
    let (id, secret) = bucket.credentials[0].key_pair().unwrap();
    assert_eq!(id.as_str(), "3f1b0c9e7a5d4e2f8b6a1c0d9e8f7a6b5c4d3e2f");
    assert_eq!(secret.expose(), "q8Zt+R1v/0sY4uWm7xKcJb2nLp5gHd6eFa9T3i==");
    let database = &config.database;
    assert_eq!((database.driver, database.port), (Driver::Postgres, 5432));
    assert_eq!(database.host.as_deref(), Some("postgres.service.consul"));
    assert_eq!((database.max_conns, database.min_conns), (50, 10));
    assert_eq!(config.replication.factor, 2);
    assert_eq!(config.replication.unhealthy_threshold, Duration::from_secs(600));
    let vault = config.encryption.vault.as_ref().unwrap();
    assert_eq!(vault.token.as_ref().unwrap().expose(), "hvs.marker-token");
    assert_eq!(vault.mount_path, "transit");
    assert_eq!(config.rate_limit.trusted_proxies.len(), 4);
    assert!(config.rate_limit.trusted_proxies[1].contains("172.20.1.1".parse().unwrap()));
    assert!(config.ui.force_secure_cookies);
    assert_eq!(config.usage_flush.fast_interval, Duration::from_secs(5));
    assert_eq!(config.telemetry.tracing.sample_rate, 0.1);
    assert_eq!(config.telemetry.tracing.endpoint.as_ref().unwrap().to_string(), "tempo.service.consul:4317");
    // What the guide does not say.
    assert_eq!(config.server.log_level, LogLevel::Info);
    assert_eq!(config.server.admission().requests, Some(1000));
}

#[test]
fn the_backends_of_the_guide_have_their_limits() {
    let config = load(GUIDE).unwrap().config;
    let [oci, r2] = config.backends.as_slice() else { panic!("two backends") };
    assert_eq!((oci.name.as_str(), r2.name.as_str()), ("oci", "r2"));
    assert_eq!((oci.quota(), r2.quota()), (Some(10 << 30), Some(10 << 30)));
    assert_eq!((oci.api_request_limit, r2.api_request_limit), (50_000, 1_000_000));
    assert_eq!((oci.egress_byte_limit.bytes(), r2.egress_byte_limit.bytes()), (10 << 30, 0));
    assert_eq!(oci.late_arrival_bound, Duration::from_secs(900));
    let Store::S3(store) = &r2.store else { panic!("an S3 backend") };
    assert_eq!(store.endpoint.as_str(), "https://account-id.r2.cloudflarestorage.com");
    assert_eq!((store.region.as_str(), store.force_path_style, store.unsigned_payload), ("auto", true, true));
}

#[test]
fn without_the_vault_token_there_is_one_problem() {
    let problems = Config::parse(GUIDE, "config.yaml", &|_| None).unwrap_err().0;
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    assert_eq!(problem.line, line_of("${VAULT_TOKEN}"));
    assert_eq!(
        problem.to_string(),
        format!(
            "config.yaml:{}: encryption.vault.token: the environment variable VAULT_TOKEN is not set",
            problem.line
        )
    );
}

#[test]
fn what_is_not_built_is_named_with_its_line() {
    let missing = load(GUIDE).unwrap().config.not_built();
    let keys: Vec<_> = missing.iter().map(|missing| missing.key.as_str()).collect();
    assert_eq!(keys, ["database.driver", "encryption.enabled", "ui.enabled", "telemetry.tracing.enabled",]);
    assert_eq!(missing[0].line, line_of("driver: postgres"));
    assert!(missing[0].to_string().contains("this release does not have the PostgreSQL catalog"));
}

#[test]
fn what_waits_for_a_feature_is_said_once() {
    let warnings = load(GUIDE).unwrap().warnings;
    let keys: Vec<_> = warnings.iter().map(|warning| warning.key.as_str()).collect();
    assert_eq!(keys, ["circuit_breaker.cache_ttl"], "{warnings:#?}");
}

#[test]
fn the_effective_configuration_reads_as_itself() {
    let effective = load(GUIDE).unwrap().config.effective();
    let again = load(&effective).map_err(|problems| panic!("{problems}\n{effective}")).unwrap();
    assert_eq!(again.config.effective(), effective);
}

#[test]
fn what_has_no_effect_is_not_effective() {
    let effective = load(GUIDE).unwrap().config.effective();
    for absent in ["pending_pattern", "pprof", "strip_sdk_headers", "redis"] {
        assert!(!effective.contains(absent), "{absent}");
    }
    assert!(effective.contains("host: \"postgres.service.consul\""));
    let sqlite = GUIDE.replace("driver: postgres", "driver: sqlite");
    assert!(!load(&sqlite).unwrap().config.effective().contains("postgres"));
}
