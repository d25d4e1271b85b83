//! What stops it: the brake, the hold file, seals that shares do not open, nodes of another cluster.

use serde_json::json;
use testkit::BaoCluster;

use crate::unsealer::{Unsealer, list};

fn config(cluster: &BaoCluster, top: &str, more: &str) -> String {
    format!(
        "log_level: debug\nlisten: 127.0.0.1:0\n{top}clusters:\n  - name: test\n    nodes: [{:?}]\n    \
         tls: {{ca_cert: {:?}}}\n    probe_interval: 500ms\n    max_interval: 1s\n{more}    key_sources: [{{inline: {}}}]\n",
        cluster.address(0),
        cluster.ca_file().display().to_string(),
        list(&cluster.shares),
    )
}

async fn seal(cluster: &BaoCluster) {
    let client = cluster.client(0);
    // It needs a moment to be the active node.
    while client.write(&cluster.root(), "sys/seal", &json!({})).await.is_err() {
        runtime::sleep(std::time::Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn the_brake_holds_until_a_person_comes() {
    let mut cluster = BaoCluster::start(1).await;
    cluster.init(5, 3).await;
    let text = config(&cluster, "", "    brake: {unseals_max: 2, window: 1h}\n");
    let mut unsealer = Unsealer::start("config.yaml", &text, &cluster.shares).await;
    for count in [1, 2] {
        unsealer.until("node_unseals_total", &[], |unseals| unseals == count).await;
        cluster.wait_for(0, |health| !health.sealed).await;
        seal(&cluster).await;
    }
    unsealer.until("node_brake", &[], |holds| holds == 1).await;
    unsealer.until_logged("ALARM").await;
    assert_eq!(unsealer.metric("node_unseals_total", &[]).await, 2);
    let status = cluster.client(0).seal_status().await.unwrap();
    assert_eq!((status.sealed, status.progress), (true, 0));
    let file = unsealer.process.folder().join("config.yaml");
    std::fs::write(file, text.replace("name: test", "name: renamed")).unwrap();
    unsealer.process.signal("HUP");
    cluster.wait_for(0, |health| !health.sealed).await;
    unsealer.until("node_unseals_total", &["cluster=\"renamed\""], |unseals| unseals == 1).await;
    unsealer.end().await;
}

#[tokio::test]
async fn a_hold_file_stops_it_at_once() {
    let mut cluster = BaoCluster::start(1).await;
    cluster.init(5, 3).await;
    let folder = tempfile::tempdir().unwrap();
    let hold = folder.path().join("hold");
    std::fs::write(&hold, "").unwrap();
    let text = config(&cluster, &format!("hold_file: {hold:?}\n"), "");
    let unsealer = Unsealer::start("config.yaml", &text, &cluster.shares).await;
    unsealer.until("held", &[], |held| held == 1).await;
    // It looks on, several times, and gives nothing.
    let check = "node_last_check_timestamp_seconds";
    let first = unsealer.metric(check, &[]).await;
    unsealer.until(check, &[], |now| now > first + 2).await;
    let status = cluster.client(0).seal_status().await.unwrap();
    assert_eq!((status.sealed, status.progress), (true, 0));
    std::fs::remove_file(&hold).unwrap();
    cluster.wait_for(0, |health| !health.sealed).await;
    unsealer.until("held", &[], |held| held == 0).await;
    unsealer.end().await;
}

#[tokio::test]
async fn a_seal_that_shares_do_not_open_gets_none() {
    let seal_stanza = "seal \"static\" {\n  current_key_id = \"test-1\"\n  current_key = \
                       \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"\n}\n";
    let mut cluster = BaoCluster::start_with(1, seal_stanza).await;
    cluster.init_auto_unseal().await;
    cluster.wait_for(0, |health| !health.sealed).await;
    cluster.shares = vec!["AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAh".to_owned()];
    let unsealer = Unsealer::start("config.yaml", &config(&cluster, "", ""), &cluster.shares).await;
    unsealer.until("node_leader", &[], |leads| leads == 1).await;
    seal(&cluster).await;
    unsealer.until("node_state", &["state=\"auto_unseal\""], |is| is == 1).await;
    unsealer.until_logged("shares cannot open it").await;
    assert_eq!(unsealer.metric("node_unseals_total", &[]).await, 0);
    unsealer.end().await;
}

#[tokio::test]
async fn a_node_of_another_cluster_gets_no_share() {
    let cluster = BaoCluster::start_unsealed(1).await;
    let text = config(&cluster, "", "    cluster_id: 00000000-0000-0000-0000-000000000000\n");
    let unsealer = Unsealer::start("config.yaml", &text, &cluster.shares).await;
    unsealer.until("node_state", &["state=\"wrong_cluster\""], |is| is == 1).await;
    unsealer.until_logged("belongs to another cluster").await;
    seal(&cluster).await;
    unsealer.until("node_state", &["state=\"sealed\""], |is| is == 1).await;
    assert_eq!(cluster.client(0).seal_status().await.unwrap().progress, 0);
    assert_eq!(unsealer.metric("node_shares_given", &[]).await, 0);
    unsealer.end().await;
}
