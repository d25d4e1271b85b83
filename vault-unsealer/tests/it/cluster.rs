//! A real cluster of three nodes over TLS, with a node beside it that accepts and never answers.

use testkit::{BaoCluster, RawServer};

use crate::unsealer::{Unsealer, hang, list};

#[tokio::test]
async fn a_cluster_is_unsealed_whatever_happens_to_its_nodes() {
    let mut cluster = BaoCluster::start(3).await;
    cluster.init(5, 3).await;
    let dead = RawServer::start(hang).await;
    let mut nodes: Vec<String> = (0..3).map(|node| cluster.address(node)).collect();
    nodes.push(dead.endpoint.clone());
    // The form of the tool of the same name.
    let config = format!(
        "{{\n\t\"log_level\": \"debug\",\n\t\"probe_interval\": 1,\n\t\"nodes\": {},\n\t\"unseal_keys\": {},\n\t\
         \"tls\": {{\"ca_cert\": {:?}}},\n\t\"listen\": \"127.0.0.1:0\", \"timeout\": 5\n}}\n",
        list(&nodes),
        list(&cluster.shares),
        cluster.ca_file().display().to_string(),
    );
    let secrets: Vec<String> = cluster.shares.iter().chain([&cluster.root_token]).cloned().collect();
    let unsealer = Unsealer::start("config.json", &config, &secrets).await;

    all_open(&cluster, &unsealer).await;
    let leader = cluster.leader().await;
    assert_eq!(unsealer.get("/health").await.0, 200);

    // One node is killed while it leads, and comes back sealed.
    cluster.kill(leader);
    let address = cluster.address(leader);
    unsealer.until("node_reachable", &[&address], |value| value == 0).await;
    cluster.restart(leader);
    all_open(&cluster, &unsealer).await;
    unsealer.until("node_unseals_total", &[&address], |value| value == 2).await;

    // All are.
    (0..3).for_each(|node| cluster.kill(node));
    (0..3).for_each(|node| cluster.restart(node));
    all_open(&cluster, &unsealer).await;
    for node in 0..3 {
        let unseals = if node == leader { 3 } else { 2 };
        unsealer.until("node_unseals_total", &[&cluster.address(node)], |value| value == unseals).await;
    }
    cluster.leader().await;

    unsealer.until("node_leader", &[], |value| value == 1).await;
    unsealer.until("node_initialised", &[], |value| value == 3).await;
    assert_eq!(unsealer.metric("node_reachable", &[&dead.endpoint]).await, 0);
    assert!(unsealer.metric("node_failures_total", &[&dead.endpoint, "no_answer"]).await > 0);
    unsealer.until_logged("ALARM").await;
    assert_eq!(unsealer.get("/health/ready").await.0, 200);
    unsealer.end().await;
}

async fn all_open(cluster: &BaoCluster, unsealer: &Unsealer) {
    for node in 0..3 {
        cluster.wait_for(node, |health| !health.sealed).await;
        unsealer.until("node_sealed", &[&cluster.address(node)], |value| value == 0).await;
        unsealer.until("node_reachable", &[&cluster.address(node)], |value| value == 1).await;
    }
}
