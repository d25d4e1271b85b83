//! The rooms of the house: a crate may use those below it and no other, and each rule about what stays
//! inside one room is held here.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Who may use whom. `ARCHITECTURE.md` draws the same.
const MAY_USE: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("runtime", &["types"]),
    ("format", &["types"]),
    ("connect", &["runtime"]),
    ("s3-client", &["types", "runtime", "connect"]),
    ("vault", &["runtime", "connect"]),
    // It and its users hold what opens a vault, so they share nothing with what serves strangers.
    ("companion", &["runtime", "connect", "vault", "config"]),
    ("vault-unsealer", &["runtime", "connect", "vault", "config", "companion"]),
    ("backend", &["types", "runtime", "format", "s3-client"]),
    ("catalog", &["types", "runtime"]),
    ("md5-lanes", &[]),
    ("engine", &["types", "runtime", "format", "backend", "catalog", "md5-lanes"]),
    ("workers", &["types", "runtime", "catalog", "engine"]),
    ("gateway", &["types", "runtime", "catalog", "engine"]),
    ("admin", &["types", "runtime", "catalog", "engine"]),
    ("config", &["types"]),
    ("age", &[]),
    // It speaks to no server: bytes, names and moments come in as values.
    ("snapshot", &["types", "runtime", "config", "age"]),
    // It never opens what it stores.
    ("destination", &["types", "runtime", "s3-client", "config", "snapshot"]),
    (
        "vault-snapshot",
        &["types", "runtime", "vault", "config", "age", "snapshot", "destination", "companion"],
    ),
    (
        "s3-orchestrator",
        &[
            "types", "runtime", "format", "backend", "catalog", "engine", "workers", "gateway", "admin",
            "config",
        ],
    ),
];

/// Libraries that stay inside one room (tests of others may use them).
const STAYS_IN: &[(&str, &[&str])] = &[
    ("rusqlite", &["catalog"]),
    ("s3s", &["gateway"]),
    ("granit-parser", &["config"]),
    ("webpki-roots", &["connect"]),
    ("clap", &["s3-orchestrator", "vault-snapshot"]),
    ("x25519-dalek", &["age"]),
    ("prometheus-client", &["s3-orchestrator"]),
];

fn root() -> PathBuf {
    testkit::workspace()
}

/// The product's crates and what each names under `[dependencies]`.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let crates = fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let processes = ["s3-orchestrator", "vault-unsealer", "vault-snapshot"];
    let folders = crates.chain(processes.map(|name| root().join(name)));
    folders.map(|folder| read_manifest(&folder)).collect()
}

fn read_manifest(folder: &Path) -> (String, Vec<String>) {
    let text = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let mut section = "";
    let (mut name, mut uses) = (String::new(), Vec::new());
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if let Some((key, value)) = line.split_once('=') {
            let key = key.trim().split('.').next().unwrap();
            match section {
                "[package]" if key == "name" => name = value.trim().trim_matches('"').to_owned(),
                "[dependencies]" => uses.push(key.to_owned()),
                _ => {}
            }
        }
    }
    (name, uses)
}

#[test]
fn a_crate_uses_only_what_lies_below_it() {
    let all = dependencies();
    for (name, uses) in &all {
        let (_, allowed) = MAY_USE
            .iter()
            .find(|(row, _)| row == name)
            .unwrap_or_else(|| panic!("crate {name} has no row in MAY_USE: say which rooms it may use"));
        for used in uses.iter().filter(|used| all.contains_key(*used)) {
            assert!(allowed.contains(&used.as_str()), "{name} must not use {used}");
        }
    }
}

#[test]
fn libraries_stay_in_their_room() {
    for (name, uses) in dependencies() {
        for (library, rooms) in STAYS_IN {
            let inside = rooms.contains(&name.as_str());
            assert!(
                inside || !uses.iter().any(|used| used == library),
                "{library} does not belong in {name}"
            );
        }
    }
}

#[test]
fn there_is_no_sql_outside_the_catalog() {
    for folder in ["crates", "s3-orchestrator", "vault-snapshot"] {
        for file in rust_files(&root().join(folder)) {
            if file.starts_with(root().join("crates/catalog")) {
                continue;
            }
            let text = fs::read_to_string(&file).unwrap();
            for statement in ["INSERT INTO", "DELETE FROM", "SELECT * FROM", "CREATE TABLE"] {
                assert!(!text.contains(statement), "{} holds SQL: {statement}", file.display());
            }
        }
    }
}

/// The same as `deny.toml` bans, held without an extra tool.
#[test]
fn there_is_one_tls_and_it_is_not_openssl() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let versions = |name: &str| lock.matches(&format!("name = \"{name}\"\n")).count();
    for banned in ["openssl", "openssl-sys", "native-tls", "aws-lc-rs", "sqlx", "reqwest"] {
        assert_eq!(versions(banned), 0, "{banned} is in the tree");
    }
    assert_eq!(versions("rustls"), 1);
}

/// What cargo says of the features of `runtime` where this package is built, with these kinds of dependencies.
fn features_of_runtime(package: &str, kinds: &str) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut tree = std::process::Command::new(cargo);
    tree.current_dir(root()).args(["tree", "--locked", "--offline", "--no-dedupe", "--invert", "runtime"]);
    let output = tree.args(["--package", package, "--edges", kinds]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The simulation switches guards off: what does so must not be in what is delivered.
#[test]
fn no_program_is_built_with_the_switches_of_the_simulation() {
    let switches = "runtime feature \"simulation\"";
    for program in ["s3-orchestrator", "vault-unsealer", "vault-snapshot"] {
        let features = features_of_runtime(program, "normal,build,features");
        assert!(features.contains("runtime feature \"default\""), "{program}: {features}");
        assert!(!features.contains(switches), "{program} has them: {features}");
    }
    assert!(features_of_runtime("sim", "normal,dev,features").contains(switches), "the look finds them");
}

#[test]
fn a_room_is_at_most_seven_folders_deep() {
    for file in rust_files(&root().join("crates")) {
        let depth = file.strip_prefix(root()).unwrap().components().count();
        assert!(depth <= 7, "{} lies too deep", file.display());
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
