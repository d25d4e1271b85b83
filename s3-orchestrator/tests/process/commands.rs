//! The command line.

use crate::support::{config, run, text};

const GUIDE: &str = "../crates/config/tests/fixtures/guide.yaml";

#[tokio::test]
async fn n143_an_unknown_command_does_not_start_a_server() {
    for (args, says) in [
        (&["frobnicate"][..], "there is no command `frobnicate`"),
        (&["servee", "-config", "x"], "there is no command `servee`"),
        (&["init"], "the command `init` is not built into this release"),
    ] {
        let output = run(args).await;
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(
            stderr.contains(says) && stderr.contains("serve, validate, admin, version, demo"),
            "{stderr}"
        );
    }
    let output = run(&["-config", "x.yaml", "stray"]).await;
    assert_eq!(output.status.code(), Some(2), "a word behind the flags");
    assert_eq!(run(&["-unknown", "x"]).await.status.code(), Some(2));
}

#[tokio::test]
async fn a_mode_that_is_not_built_is_refused_by_name() {
    let output = run(&["-mode", "worker"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("-mode worker is not built"));
    let output = run(&["-mode=all", "-config", "/nowhere.yaml"]).await;
    assert!(text(&output.stderr).contains("/nowhere.yaml"), "`all` is accepted");
}

#[tokio::test]
async fn the_version_is_one_line() {
    for args in [&["version"][..], &["--version"], &["-version"]] {
        let output = run(args).await;
        let line = text(&output.stdout);
        let words: Vec<_> = line.split_whitespace().collect();
        let [name, version, rustc, platform] = words[..] else { panic!("{line}") };
        assert_eq!((name, version), ("s3-orchestrator", env!("CARGO_PKG_VERSION")));
        assert!(rustc.starts_with("1.") && platform.contains('/'), "{line}");
    }
}

#[tokio::test]
async fn help_lists_the_commands() {
    for args in [&["help"][..], &["-h"], &["--help"], &["-help"]] {
        let output = run(args).await;
        assert!(output.status.success());
        let help = text(&output.stdout);
        assert!(["serve", "validate", "version", "demo"].iter().all(|name| help.contains(name)), "{help}");
    }
    assert!(text(&run(&["demo", "-h"]).await.stdout).contains("--port"));
}

#[tokio::test]
async fn the_guides_configuration_is_valid() {
    let output = run(&["validate", "-config", GUIDE]).await;
    let report = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for says in [
        &*format!("config {GUIDE}: valid"),
        "backends: 2",
        "buckets: 1",
        "routing: spread",
        "line 56: encryption.enabled",
        "backend_timeout: 5m",
        "secret_access_key: \"[redacted]\"",
    ] {
        assert!(report.contains(says), "{says}\n{report}");
    }
    assert!(!report.contains("OCI+SECRET"), "{report}");
}

#[tokio::test]
async fn the_guides_configuration_is_not_served_before_it_is_built() {
    let output = run(&["-config", GUIDE]).await;
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    for says in ["line 17: database.driver", "line 56: encryption.enabled", "line 85: ui.enabled", "error: "]
    {
        assert!(stderr.contains(says), "{says}\n{stderr}");
    }
}

#[tokio::test]
async fn all_problems_are_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = config(dir.path(), ", log_level: loud, typo: 1", "replication: { factor: 0 }");
    for command in ["validate", "serve"] {
        let output = run(&[command, &format!("--config={path}")]).await;
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        for key in ["server.log_level", "typo", "replication.factor"] {
            assert!(stderr.contains(key), "{key}\n{stderr}");
        }
    }
}
