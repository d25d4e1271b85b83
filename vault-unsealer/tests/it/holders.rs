//! Who holds which shares: several holders, too few, wrong ones.

use testkit::{Bao, BaoCluster};

use crate::unsealer::{Unsealer, list};

/// A wrong share of the right length.
const WRONG: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAh";

async fn one_node() -> BaoCluster {
    let mut cluster = BaoCluster::start(1).await;
    cluster.init(5, 3).await;
    cluster
}

fn config(cluster: &BaoCluster, shares: &[String], more: &str) -> String {
    format!(
        "log_level: debug\nlisten: 127.0.0.1:0\nclusters:\n  - name: test\n    nodes: [{:?}]\n    \
         tls: {{ca_cert: {:?}}}\n    probe_interval: 500ms\n    max_interval: 2s\n{more}    key_sources:\n      \
         - inline: {}\n",
        cluster.address(0),
        cluster.ca_file().display().to_string(),
        list(shares),
    )
}

#[tokio::test]
async fn two_holders_open_it_together_and_neither_alone() {
    let mut cluster = one_node().await;
    let shares = cluster.shares.clone();
    let first = Unsealer::start("config.yaml", &config(&cluster, &shares[..2], ""), &shares).await;
    first.until("node_shares_given", &[], |given| given == 2).await;
    first.until_logged("waits for those of others").await;
    assert_eq!(first.metric("node_sealed", &[]).await, 1);
    let second = Unsealer::start("config.yaml", &config(&cluster, &shares[2..4], ""), &shares).await;
    cluster.wait_for(0, |health| !health.sealed).await;
    for holder in [&first, &second] {
        holder.until("node_unseals_total", &[], |count| count == 1).await;
    }
    // Once more, now with both of them there from the beginning.
    cluster.kill(0);
    cluster.restart(0);
    cluster.wait_for(0, |health| !health.sealed).await;
    first.end().await;
    second.end().await;
}

#[tokio::test]
async fn wrong_shares_among_right_ones_are_worked_around() {
    let cluster = one_node().await;
    let mut shares = vec![WRONG.to_owned()];
    shares.extend_from_slice(&cluster.shares[..3]);
    let unsealer = Unsealer::start("config.yaml", &config(&cluster, &shares, ""), &shares).await;
    cluster.wait_for(0, |health| !health.sealed).await;
    unsealer.end().await;
}

#[tokio::test]
async fn sets_that_cannot_open_it_are_tried_a_bounded_number_of_times() {
    let cluster = one_node().await;
    let mut shares = vec![WRONG.to_owned(), WRONG.replace('A', "B")];
    shares.extend_from_slice(&cluster.shares[..2]);
    let unsealer = Unsealer::start("config.yaml", &config(&cluster, &shares, ""), &shares).await;
    unsealer.until("node_failures_total", &["wrong_shares"], |count| count >= 2).await;
    unsealer.until_logged("does not open with any set of shares").await;
    assert_eq!(unsealer.metric("node_sealed", &[]).await, 1);
    // Nothing is left half done, for others to stumble over.
    cluster.wait_for(0, |health| health.sealed).await;
    assert_eq!(cluster.client(0).seal_status().await.unwrap().progress, 0);
    unsealer.end().await;
}

#[tokio::test]
async fn an_attempt_that_stands_still_is_reset_only_where_told() {
    let cluster = one_node().await;
    let client = cluster.client(0);
    // Somebody began with a wrong share, and left.
    client.unseal(&WRONG.into()).await.unwrap();
    let shares = &cluster.shares[..1];
    let patient = Unsealer::start("config.yaml", &config(&cluster, shares, ""), &cluster.shares).await;
    patient.until("node_shares_given", &[], |given| given == 2).await;
    patient.end().await;
    assert_eq!(client.seal_status().await.unwrap().progress, 2);
    let more = "    reset_stale_after: 1s\n";
    let told = Unsealer::start("config.yaml", &config(&cluster, shares, more), &cluster.shares).await;
    told.until_logged("stood still: reset").await;
    told.until("node_shares_given", &[], |given| given == 1).await;
    told.end().await;
}

#[tokio::test]
async fn sources_fail_alone_and_are_asked_when_they_are_needed() {
    let cluster = one_node().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("share");
    let script = folder.path().join("script");
    std::fs::write(&script, format!("echo 'Unseal Key 2: {}'; echo s3cr3t-noise >&2", cluster.shares[1]))
        .unwrap();
    let sources = format!(
        "      - file: {file:?}\n      - exec: [/bin/sh, {script:?}]\n      - exec: sleep 600\n        timeout: 200ms\n      \
         - env: [S3O_NO_SUCH_VARIABLE]\n      - credential: none\n"
    );
    let config = config(&cluster, &cluster.shares[..1], "") + &sources;
    let unsealer = Unsealer::start("config.yaml", &config, &cluster.shares).await;
    unsealer.until("node_shares_given", &[], |given| given == 2).await;
    unsealer.until("key_source_failures_total", &[], |count| count >= 4).await;
    let log = unsealer.log();
    for words in ["was killed", "S3O_NO_SUCH_VARIABLE is not set", "CREDENTIALS_DIRECTORY", "No such file"] {
        assert!(log.contains(words), "{words}:\n{log}");
    }
    assert!(!log.contains("s3cr3t-noise"), "{log}");
    // The last share comes, to be read by its owner alone.
    std::fs::write(&file, &cluster.shares[2]).unwrap();
    unsealer.until_logged("others than its owner may read it").await;
    assert_eq!(unsealer.metric("node_sealed", &[]).await, 1);
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    cluster.wait_for(0, |health| !health.sealed).await;
    unsealer.end().await;
}

#[tokio::test]
async fn nodes_are_found_by_name_and_shares_in_another_vault() {
    let (cluster, other) = (one_node().await, Bao::dev().await);
    let body = serde_json::json!({"data": {
        "one": cluster.shares[0], "two": cluster.shares[1], "three": cluster.shares[2], "note": "not a share",
    }});
    other.client().write(&other.root(), "secret/data/unseal/main", &body).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, &other.root_token).unwrap();
    let port = cluster.address(0).rsplit_once(':').unwrap().1.to_owned();
    // The certificate bears this name.
    let text = format!(
        "log_level: debug\nlisten: 127.0.0.1:0\nclusters:\n  - dns: localhost:{port}\n    tls: {{ca_cert: {:?}}}\n    \
         probe_interval: 500ms\n    key_sources:\n      - vault:\n          address: {:?}\n          path: unseal/main\n          \
         fields: [one, two, three]\n          login: {{token_file: {token:?}}}\n",
        cluster.ca_file().display().to_string(),
        other.address,
    );
    let mut secrets = cluster.shares.clone();
    secrets.push(other.root_token.clone());
    let unsealer = Unsealer::start("config.yaml", &text, &secrets).await;
    cluster.wait_for(0, |health| !health.sealed).await;
    unsealer.until("node_unseals_total", &[&format!("127.0.0.1:{port}")], |count| count == 1).await;
    unsealer.end().await;
}
