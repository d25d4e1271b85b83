//! What the program says and how it ends: mistakes, `check`, `-once`.

use testkit::BaoCluster;

use crate::unsealer::{list, run, write_config};

const SHARE: &str = "75gk5QdA69hcXGmQo6ULobGCDaxIYU6Fr8PQJiHa4mh+";

/// Every part of `expected` has to be in the complaint.
async fn refused(text: &str, expected: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), "config.json", text);
    let output = run(folder.path(), &["check"], &[SHARE.to_owned()]).await;
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    for part in expected {
        assert!(complaint.contains(part), "{part:?} is not in\n{complaint}");
    }
}

#[tokio::test]
async fn all_mistakes_are_named_at_once_with_their_lines() {
    let text = format!(
        "{{\n\"log_level\": \"loud\",\n\"nodes\": [],\n\"unseal_keys\": [\"{SHARE}\", \"{SHARE}\"],\n\"unseal_kyes\": [],\n\
         \"tls\": {{\"ca_cert\": \"/no/such/file\", \"verify\": true}}}}"
    );
    let expected = [
        "line 2: log_level: expected debug",
        "line 3: nodes: the list is empty",
        "line 4: unseal_keys: the same share stands there twice",
        "line 5: unseal_kyes: there is no such key",
        "tls.ca_cert: /no/such/file",
        "tls.verify: there is no such key",
    ];
    refused(&text, &expected).await;
    refused(
        "{\"nodes\": [\"vault:8200\"], \"unseal_keys\": []}",
        &["nodes: \"vault:8200\"", "unseal_keys: the list is empty"],
    )
    .await;
    refused("nodes: [https://a]\n", &["unseal_keys: it is missing"]).await;
    refused(
        "clusters:\n  - nodes: [\"http://10.0.0.1:8200\"]\n    key_sources: [{env: [A]}]\n",
        &["allow_plain_http"],
    )
    .await;
    refused(
        "clusters:\n  - nodes: [\"https://10.0.0.1:8200\"]\n    key_sources: [{env: [A], file: b}]\n",
        &["exactly one of"],
    )
    .await;
    refused("", &["is empty"]).await;
    refused("{\"nodes\": [", &["not YAML"]).await;
}

#[tokio::test]
async fn a_file_that_others_may_read_is_refused_unless_told() {
    let folder = tempfile::tempdir().unwrap();
    let [port] = testkit::free_ports();
    let text = format!("{{\"nodes\": [\"http://127.0.0.1:{port}\"], \"unseal_keys\": [\"{SHARE}\"]}}");
    let file = write_config(folder.path(), "unsealer.json", &text);
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let args = ["check", "-config-file-path", folder.path().to_str().unwrap(), "--config-file=unsealer.json"];
    let output = run(folder.path(), &args, &[SHARE.to_owned()]).await;
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("chmod 600") && complaint.contains("-allow-readable-files"), "{complaint}");
    let args = [&args[..], &["-allow-readable-files"]].concat();
    let output = run(folder.path(), &args, &[SHARE.to_owned()]).await;
    let report = String::from_utf8(output.stdout).unwrap();
    // It looks now, and finds nobody.
    assert!(report.contains("1 distinct shares") && report.contains("PROBLEM: seal status at"), "{report}");
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn check_looks_and_once_unseals() {
    let mut cluster = BaoCluster::start(1).await;
    let folder = tempfile::tempdir().unwrap();
    let config = |shares: &[String]| {
        format!(
            "nodes: [{:?}]\ntls: {{ca_cert: {:?}}}\nunseal_keys: {}\nlog_level: debug\n",
            cluster.address(0),
            cluster.ca_file().display().to_string(),
            list(shares)
        )
    };
    // Before it is initialised, nothing makes it so.
    write_config(folder.path(), "config.json", &config(&[SHARE.to_owned()]));
    let output = run(folder.path(), &["--once"], &[]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!cluster.client(0).seal_status().await.unwrap().initialized);

    cluster.init(5, 3).await;
    let config = |shares: &[String]| {
        format!(
            "nodes: [{:?}]\ntls: {{ca_cert: {:?}}}\nunseal_keys: {}\nlog_level: debug\n",
            cluster.address(0),
            cluster.ca_file().display().to_string(),
            list(shares)
        )
    };
    write_config(folder.path(), "config.json", &config(&cluster.shares));
    let output = run(folder.path(), &["check"], &cluster.shares).await;
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(
        report.contains("5 distinct shares") && report.contains("sealed, 3 of 5 shares open it"),
        "{report}"
    );
    assert!(output.status.success(), "{report}");
    let status = cluster.client(0).seal_status().await.unwrap();
    assert_eq!((status.sealed, status.progress), (true, 0), "check sent a share");

    let output = run(folder.path(), &["-once"], &cluster.shares).await;
    assert!(output.status.success(), "{output:?}");
    cluster.wait_for(0, |health| !health.sealed).await;
    // Too few shares alone are said to be too few.
    write_config(folder.path(), "config.json", &config(&cluster.shares[..2]));
    let report = String::from_utf8(run(folder.path(), &["check"], &cluster.shares).await.stdout).unwrap();
    assert!(report.contains("2 shares alone do not open"), "{report}");
}

/// Shares in whatever form people keep them, from all places that need no server.
#[tokio::test]
async fn shares_are_found_in_every_place() {
    let folder = tempfile::tempdir().unwrap();
    let [port] = testkit::free_ports();
    let share = |n: u8| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [n; 33]);
    let hex = |n: u8| format!("{n:02x}").repeat(33);
    let write = |name: &str, text: String| write_config(folder.path(), name, &text);
    let file = write("share.hex", format!("{}\n", hex(1)));
    let variable = write("variable", format!("{{\"key_1\": {:?}, \"key_2\": {:?}}}", share(1), share(2)));
    write("credential", share(3));
    let text = format!(
        "clusters:\n  - nodes: [\"http://127.0.0.1:{port}\"]\n    key_sources:\n      - file: {file:?}\n      \
         - nomad_variable_file: {variable:?}\n      - credential: credential\n      - env: [SHARE_4]\n      \
         - exec: \"echo $SHARE_5\"\n      - inline: [{:?}]\n",
        hex(6)
    );
    write("config.json", text);
    let mut command = tokio::process::Command::new(crate::unsealer::program());
    command.arg("check").current_dir(folder.path()).env("CREDENTIALS_DIRECTORY", folder.path());
    let output = command.env("SHARE_4", share(4)).env("SHARE_5", hex(5)).output().await.unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(report.contains("6 distinct shares from 6 key sources"), "{report}");
    for n in 1..=6 {
        assert!(!report.contains(&share(n)) && !report.contains(&hex(n)), "{report}");
    }
}

/// The later keys of the tool of the same name.
#[tokio::test]
async fn its_namesakes_later_keys_are_understood() {
    let folder = tempfile::tempdir().unwrap();
    let [port] = testkit::free_ports();
    let source = [
        r#"{"type": "env", "env_vars": ["SHARE_A", "SHARE_B"]}"#,
        r#"{"type": "exec", "command": ["/bin/sh", "-c", "echo $SHARE_A; echo $SHARE_B"], "timeout_seconds": 30}"#,
    ];
    for source in source {
        let text = format!(
            r#"{{"log_level": "debug", "nodes": ["https://127.0.0.1:{port}"], "disable_mlock": true,
                "tls": {{"skip_verify": true}}, "unseal_key_source": {source}}}"#
        );
        write_config(folder.path(), "config.json", &text);
        let mut command = tokio::process::Command::new(crate::unsealer::program());
        let other = SHARE.replace("75gk", "85gk");
        command.arg("check").current_dir(folder.path()).env("SHARE_A", SHARE).env("SHARE_B", &other);
        let output = command.output().await.unwrap();
        let report = String::from_utf8(output.stdout).unwrap();
        assert!(report.contains("2 distinct shares from 1 key sources"), "{report}");
        assert!(report.contains("tls.skip_verify") && !report.contains(SHARE), "{report}");
    }
}

/// The configuration of the tool of the same name with its four keys and nothing else, found as that tool finds it.
#[tokio::test]
async fn the_configuration_of_its_namesake_works_as_it_stands() {
    let [port] = testkit::free_ports();
    let plain = format!("listener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  tls_disable = true\n}}\n");
    let mut cluster = BaoCluster::start_with(1, &plain).await;
    cluster.init(5, 3).await;
    let folder = testkit::Process::new_folder();
    let text = format!(
        "{{\n \"log_level\": \"debug\",\n \"probe_interval\": 1,\n \"nodes\": [\n  \"http://127.0.0.1:{port}\"\n ],\n \
         \"unseal_keys\": {}\n}}\n",
        list(&cluster.shares[..3])
    );
    write_config(folder.path(), "config.json", &text);
    let options = testkit::ProcessOptions {
        program: crate::unsealer::program(),
        arguments: Vec::new(),
        environment: Vec::new(),
        leftovers: Vec::new(),
    };
    let mut unsealer = testkit::Process::start(options, folder);
    cluster.wait_for(0, |health| !health.sealed).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", unsealer.id())).unwrap();
    let cores = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(
        cores.split_whitespace().skip(4).take(2).collect::<Vec<_>>(),
        ["0", "0"],
        "it may dump its core"
    );
    unsealer.signal("TERM");
    assert!(unsealer.ended(std::time::Duration::from_secs(60)).await.success());
    let log = std::fs::read_to_string(unsealer.log_path()).unwrap();
    assert!(cluster.shares.iter().all(|share| !log.contains(share.as_str())), "{log}");
}
