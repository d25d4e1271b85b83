//! What is wrong with a configuration is said with its line, its key and what to write instead.

use config::{Config, Loaded, Problems};

/// The smallest configuration of an S3 backend.
const SMALL: &str = "\
server:
  listen_addr: \":9000\"
buckets:
  - name: photos
    credentials:
      - {access_key_id: key, secret_access_key: secret}
backends:
  - {type: directory, path: /srv/data}
";

fn parse(text: &str) -> Result<Loaded, Problems> {
    let env = |name: &str| match name {
        "PORT" => Some("5433".to_owned()),
        "TRUE" => Some("true".to_owned()),
        "SECRET" => Some("[a, {b: c}]".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    Config::parse(text, "f", &env)
}

/// The problems of the small configuration with `addition` behind it.
#[track_caller]
fn check(addition: &str, expected: &[&str]) {
    check_text(&format!("{SMALL}{addition}"), expected);
}

#[track_caller]
fn check_text(text: &str, expected: &[&str]) {
    let problems = parse(text).map_or_else(|problems| problems.to_string(), |_| String::new());
    assert_eq!(problems.lines().collect::<Vec<_>>(), expected, "\n{text}");
}

/// The small configuration with one line replaced.
#[track_caller]
fn check_line(line: &str, instead: &str, expected: &[&str]) {
    assert!(SMALL.contains(line));
    check_text(&SMALL.replace(line, instead), expected);
}

#[test]
fn the_small_configuration_is_complete() {
    let loaded = parse(SMALL).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert!(loaded.config.not_built().is_empty());
    assert_eq!(loaded.config.backends[0].name.as_str(), "backend-0");
    assert!(loaded.config.backends[0].late_arrival_bound.is_zero());
}

#[test]
fn n139_an_unknown_key_is_refused_with_the_nearest_one() {
    check("databse: {}\n", &["f:9: databse: unknown key; did you mean `database`?"]);
    check(
        "rate_limit:\n  enable: true\n",
        &["f:10: rate_limit.enable: unknown key; did you mean `enabled`?"],
    );
    check(
        "rate_limit:\n  backend_timeout: 5s\n",
        &["f:10: rate_limit.backend_timeout: unknown key; `server.backend_timeout` exists"],
    );
    check("wholly_new: 1\n", &["f:9: wholly_new: unknown key"]);
}

#[test]
fn a_key_given_twice_is_refused() {
    check("ui:\n  path: /a\n  path: /b\n", &["f:11: ui.path: is given twice, first in line 10"]);
    check("server: {}\n", &["f:9: server: is given twice, first in line 1"]);
}

#[test]
fn a_wrong_type_says_what_was_expected() {
    check("database:\n  port: many\n", &["f:10: database.port: expected a whole number, found `many`"]);
    check("database:\n  port: 70000\n", &["f:10: database.port: is above 65535"]);
    check("database:\n  port: [1]\n", &["f:10: database.port: expected a whole number, found a list"]);
    check("ui:\n  enabled: 1\n", &["f:10: ui.enabled: expected true or false, found `1`"]);
    check("ui: yes\n", &["f:9: ui: expected a section with keys, found a single value"]);
    check("lifecycle:\n  rules: all\n", &["f:10: lifecycle.rules: expected a list, found a single value"]);
    check(
        "routing_strategy: spred\n",
        &["f:9: routing_strategy: expected pack or spread, found `spred`; did you mean `spread`?"],
    );
    check(
        "cache:\n  max_size: 10XB\n",
        &["f:10: cache.max_size: expected a size in bytes such as `1048576` or `256MB`, found `10XB`; \
         the units are B, KB, MB, GB and TB"],
    );
    check(
        "cache:\n  ttl: 30\n",
        &["f:10: cache.ttl: expected a duration such as `90s`, `5m` or `1h30m`, found `30`; \
         add a unit: s, m or h"],
    );
}

#[test]
fn n142_a_negative_number_is_refused() {
    check(
        "circuit_breaker:\n  open_timeout: -15s\n",
        &["f:10: circuit_breaker.open_timeout: must not be negative"],
    );
    check("replication:\n  factor: -1\n", &["f:10: replication.factor: must not be negative"]);
}

#[test]
fn all_problems_are_reported_at_once() {
    check_text(
        "server:\n  log_level: loud\nbuckets: []\nbackends:\n  - type: directory\nrebalance:\n  threshold: 2\n",
        &[
            "f:1: server.listen_addr: is required",
            "f:2: server.log_level: expected debug, info, warn or error, found `loud`",
            "f:3: buckets: is required and must not be empty",
            "f:5: backends[0].path: is required",
            "f:7: rebalance.threshold: must lie between 0 and 1",
        ],
    );
}

#[test]
fn an_empty_file_lacks_what_is_required() {
    for text in ["", "\n# nothing\n", "~"] {
        check_text(
            text,
            &[
                "f:1: server.listen_addr: is required",
                "f:1: buckets: is required",
                "f:1: backends: is required",
            ],
        );
    }
}

#[test]
fn broken_yaml_is_one_problem() {
    check_text("server: [\n", &["f:1: not YAML: unclosed bracket '['"]);
    let problems = parse("{{ with secret \"x\" }}\nserver: {}\n").unwrap_err().to_string();
    let in_flow = parse("server: {listen_addr: ${X}}\n").unwrap_err().to_string();
    assert!(in_flow.ends_with("write \"${NAME}\" in quotes within `{}` or `[]`"), "{in_flow}");
    assert!(problems.ends_with("`{{` looks like a template: render it first"), "{problems}");
}

#[test]
fn a52_variables_are_expanded_in_values_of_any_spelling() {
    for port in ["${PORT}", "\"${PORT}\"", "'${PORT}'"] {
        let text = format!("{SMALL}database:\n  host: h\n  database: d\n  user: u\n  port: {port}\n");
        assert_eq!(parse(&text).unwrap().config.database.port, 5433);
    }
    let loaded = parse(&format!("{SMALL}telemetry:\n  metrics:\n    enabled: ${{TRUE}}\n")).unwrap();
    assert!(loaded.config.telemetry.metrics.enabled);
}

#[test]
fn a_variable_never_changes_the_structure() {
    let text = SMALL.replace("secret_access_key: secret", "secret_access_key: \"${SECRET}\"");
    let config = parse(&text).unwrap().config;
    assert_eq!(config.buckets[0].credentials[0].secret_access_key.as_ref().unwrap().expose(), "[a, {b: c}]");
    let loaded = parse(&format!("{SMALL}# ${{UNSET}}\nlifecycle:\n  rules: []\n")).unwrap();
    assert!(loaded.config.lifecycle.rules.is_empty(), "a comment is no value");
    check("${PORT}: 1\n", &["f:9: ?: unknown key"]);
}

#[test]
fn n121_an_unset_variable_and_a_bare_dollar_do_not_pass_silently() {
    check("deployment: ${NOWHERE}\n", &["f:9: deployment: the environment variable NOWHERE is not set"]);
    check(
        "deployment: ${PORT:-1}\n",
        &["f:9: deployment: `${` is not followed by a name and `}`; \
         write `${NAME}` with letters, digits and `_` only, or `$${` for a literal `${`"],
    );
    let loaded = parse(&format!("{SMALL}ui:\n  admin_secret: $2y$10$abcdef\n")).unwrap();
    assert_eq!(loaded.config.ui.admin_secret.unwrap().expose(), "$2y$10$abcdef");
    let [warning] = loaded.warnings.as_slice() else { panic!("{:?}", loaded.warnings) };
    assert_eq!(
        warning.to_string(),
        "f:10: ui.admin_secret: a `$` without braces is kept as written; write `${NAME}` for a variable"
    );
}

#[test]
fn n109_a_bucket_cannot_have_the_name_of_a_path() {
    for name in ["health", "ui", "metrics", "admin"] {
        let hint = "choose another name: requests for it would never reach the bucket";
        let problem = format!("f:4: buckets[0].name: `{name}` is the path of something else; {hint}");
        check_line("name: photos", &format!("name: {name}"), &[&problem]);
    }
    let problem = "f:4: buckets[0].name: `photos` is the path of something else; \
                   choose another name: requests for it would never reach the bucket";
    check("ui:\n  path: /photos/ui\n", &[problem]);
    check("telemetry:\n  metrics:\n    path: /photos\n", &[problem]);
}

#[test]
fn n140_limited_and_unlimited_backends_mix() {
    let two = "  - {type: directory, path: /srv/more, quota_bytes: 1GB}\n";
    assert!(parse(&format!("{SMALL}{two}")).is_ok());
    let unlimited = "  - {type: directory, path: /srv/more}\n";
    check(
        unlimited,
        &["f:9: backends[1].quota_bytes: a second backend without a quota is never filled by pack; \
         set quota_bytes, `replication.factor: 2`, or `routing_strategy: spread`"],
    );
    for remedy in ["routing_strategy: spread\n", "replication: {factor: 2}\n"] {
        assert!(parse(&format!("{SMALL}{unlimited}{remedy}")).is_ok(), "{remedy}");
    }
}

#[test]
fn n141_an_explicit_zero_is_a_zero() {
    let zeros = "replication: {unhealthy_threshold: 0}\nrebalance: {threshold: 0}\n\
                 telemetry: {tracing: {sample_rate: 0}}\nserver_placeholder: 0\n";
    let config = parse(&format!("{SMALL}{}", zeros.replace("server_placeholder: 0\n", ""))).unwrap().config;
    assert!(config.replication.unhealthy_threshold.is_zero());
    assert_eq!((config.rebalance.threshold, config.telemetry.tracing.sample_rate), (0.0, 0.0));
    let config = parse(SMALL).unwrap().config;
    assert!(!config.replication.unhealthy_threshold.is_zero());
    assert_eq!((config.rebalance.threshold, config.telemetry.tracing.sample_rate), (0.1, 1.0));
    let text = SMALL.replace("server:\n", "server:\n  max_concurrent_requests: 0\n");
    assert_eq!(parse(&text).unwrap().config.server.admission().requests, None);
}

#[test]
fn n124_a_token_file_is_taken_whatever_its_permissions() {
    let vault = "encryption: {enabled: true, vault: {address: \"https://v\", key_name: k, token_file: /t}}\n";
    assert!(parse(&format!("{SMALL}{vault}")).is_ok());
}

#[test]
fn n145_credentials_of_all_versions_of_the_dashboard_load() {
    let seed = "ui: {enabled: true, admin_key: a, admin_secret: b, session_secret: c}\n";
    let newer =
        "ui: {enabled: true, session_secret: c}\nauth: {root: {access_key_id: a, secret_access_key: b}}\n";
    for text in [seed, newer] {
        assert!(parse(&format!("{SMALL}{text}")).is_ok(), "{text}");
    }
    check(
        "ui: {enabled: true, admin_key: \"\"}\n",
        &[
            "f:9: ui.admin_secret: is required when the dashboard is enabled",
            "f:9: ui.session_secret: is required when the dashboard is enabled",
            "f:9: ui.admin_key: is required when the dashboard is enabled",
        ],
    );
}

#[test]
fn a_key_may_open_several_buckets_with_one_secret() {
    let bucket = |key: &str, secret: &str| {
        let credential = format!("{{access_key_id: {key}, secret_access_key: {secret}}}");
        let second = format!("  - {{name: b, credentials: [{credential}]}}\nbackends:\n");
        SMALL.replace("backends:\n", &second)
    };
    assert!(parse(&bucket("key", "secret")).is_ok());
    check_text(
        &bucket("key", "other"),
        &["f:7: buckets[1].credentials[0].secret_access_key: \
         buckets[0].credentials[0] has the same access_key_id with another secret"],
    );
}

#[test]
fn credentials_are_whole_and_differ() {
    check_line(
        "secret_access_key: secret",
        "token: \"\"",
        &["f:6: buckets[0].credentials[0].secret_access_key: is required with access_key_id"],
    );
    check_line(
        ", secret_access_key: secret",
        "",
        &["f:6: buckets[0].credentials[0].secret_access_key: is required with access_key_id"],
    );
    check_line(
        "access_key_id: key, secret_access_key: secret",
        "",
        &["f:6: buckets[0].credentials[0]: needs access_key_id and secret_access_key"],
    );
    let twice = "      - {access_key_id: key, secret_access_key: secret}\nbackends:";
    check_line(
        "backends:",
        twice,
        &["f:7: buckets[0].credentials[1].access_key_id: is the same as in buckets[0].credentials[0]"],
    );
}

#[test]
fn names_are_unique() {
    check(
        "  - {name: backend-0, type: directory, path: /x, quota_bytes: 1}\n",
        &["f:9: backends[1].name: `backend-0` is the name of backends[0] already"],
    );
    check(
        "  - {type: directory, path: /srv/data, quota_bytes: 1}\n",
        &["f:9: backends[1].path: is the same place as that of backends[0]; \
         give each a `prefix` of its own, or remove one"],
    );
    let second = "  - {name: photos, credentials: [{access_key_id: a, secret_access_key: b}]}\nbackends:";
    check_line("backends:", second, &["f:7: buckets[1].name: `photos` is the name of buckets[0] already"]);
}

#[test]
fn a_backend_has_the_keys_of_its_type() {
    check_line(
        "{type: directory, path: /srv/data}",
        "{endpoint: \"https://s3\", path: /x}",
        &[
            "f:8: backends[0].bucket: is required",
            "f:8: backends[0].access_key_id: is required for an S3 backend",
            "f:8: backends[0].secret_access_key: is required for an S3 backend",
            "f:8: backends[0].path: is a key of directories; add `type: directory`, or remove it",
        ],
    );
    check_line(
        "path: /srv/data",
        "path: /srv/data, region: eu",
        &["f:8: backends[0].region: is a key of S3 backends; write `type: s3`, or remove it"],
    );
    check_line(
        "type: directory, path: /srv/data",
        "type: directory, path: /d, limits_maintenance_share: 0.6",
        &["f:8: backends[0].limits_maintenance_share: must lie between 0 and 0.5"],
    );
    check_line(
        "type: directory, path: /srv/data",
        "type: directory, path: /d, limits_anchor: 29",
        &["f:8: backends[0].limits_anchor: must lie between 1 and 28 for a month"],
    );
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    check_line(
        "server:",
        "server:\n  backend_timeout: 10m",
        &["f:2: server.backend_timeout: backend_timeout (10m) must not be above write_timeout (5m)"],
    );
    check_line(
        "server:",
        "server:\n  read_timeout: 5s",
        &["f:2: server.read_timeout: read_header_timeout (10s) must not be above read_timeout (5s)"],
    );
    check(
        "replication: {factor: 2}\n",
        &[
            "f:9: replication.factor: 2 replicas need 2 backends, but there is one; add backends or lower the factor",
        ],
    );
    check(
        "write_path: {ack_replicas: 2}\n",
        &["f:9: write_path.ack_replicas: must not be above replication.factor (1)"],
    );
    check(
        "database: {driver: postgres, max_conns: 5, min_conns: 6}\n",
        &[
            "f:9: database.host: is required for postgres",
            "f:9: database.database: is required for postgres",
            "f:9: database.user: is required for postgres",
            "f:9: database.min_conns: min_conns must not be above max_conns",
        ],
    );
    check(
        "encryption: {enabled: true}\n",
        &["f:9: encryption.enabled: needs exactly one of master_key, master_key_file and vault, found 0"],
    );
    check(
        "encryption: {master_key: c2hvcnQ=}\n",
        &["f:9: encryption.master_key: must be 32 bytes in base64; `openssl rand -base64 32` makes one"],
    );
    check(
        "usage_flush: {fast_interval: 1m}\n",
        &["f:9: usage_flush.fast_interval: fast_interval must be below interval"],
    );
    check(
        "lifecycle: {rules: [{expiration_days: 1}]}\n",
        &["f:9: lifecycle.rules[0].prefix: is required, or tags"],
    );
}

#[test]
fn what_is_superseded_is_said_once() {
    let text = format!(
        "{SMALL}redis: {{address: \"r:6379\", db: 1}}\ndatabase: {{max_conns: 5}}\n\
         write_path: {{pending_pattern: {{enabled: true, batch_size: 5}}}}\n"
    );
    let warnings: Vec<_> = parse(&text).unwrap().warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "f:9: redis: is superseded and has no effect: limits are exact without it",
            "f:10: database.max_conns: has no effect with sqlite; \
             SQLite runs inside this process, without host or pool",
            "f:11: write_path.pending_pattern: is superseded and has no effect: \
             the catalog names every write before its first byte is sent",
        ]
    );
}

#[test]
fn an_empty_variable_is_no_value_for_a_required_key() {
    check_line(
        "path: /srv/data",
        "path: \"${EMPTY}\"",
        &["f:8: backends[0].path: is required and must not be empty"],
    );
}

#[test]
fn a_domain_is_one_or_a_list() {
    for (domain, count) in [("s3.example.com", 1), ("[a.example, b.example]", 2)] {
        let text = SMALL.replace("server:\n", &format!("server:\n  domain: {domain}\n"));
        assert_eq!(parse(&text).unwrap().config.server.domain.0.len(), count);
    }
    check_line(
        "server:",
        "server:\n  domain: https://x",
        &["f:2: server.domain: is not a host name; write it as in `s3.example.com`, without scheme and port"],
    );
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem() {
    let error = Config::load(std::path::Path::new("/nowhere/config.yaml"), &|_| None).unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/config.yaml: cannot be read: "), "{error}");
}

#[test]
fn empty_text_is_nothing_where_a_key_is_optional() {
    let text = "database: {password: \"\", host: \"${EMPTY}\"}\ntelemetry: {metrics: {listen: \"\"}}\n";
    let loaded = parse(&format!("{SMALL}{text}")).unwrap();
    assert_eq!(loaded.config.database.driver, config::Driver::Sqlite);
    assert_eq!((loaded.config.database.password, loaded.config.telemetry.metrics.listen), (None, None));
}

#[test]
fn n122_paths_and_listeners_do_not_hide_each_other() {
    check("ui: {path: /health/ui}\n", &["f:9: ui.path: must not begin with `/health`, which is taken"]);
    check(
        "telemetry: {metrics: {path: /ui}}\n",
        &["f:9: telemetry.metrics.path: telemetry.metrics.path and ui.path must begin with different words"],
    );
    check(
        "telemetry: {metrics: {listen: \":9000\"}}\n",
        &["f:9: telemetry.metrics.listen: is the address of the main listener; leave it out"],
    );
}
