//! Nodes that are found by name: a real name server, which the unsealer is led to as any program of the machine is,
//! by `/etc/resolv.conf`.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};

use tempfile::TempDir;
use testkit::{BaoCluster, Process, ProcessOptions, system_tool};

use crate::unsealer::{Unsealer, list};

/// Starts a program in a place of its own where the first argument is the `/etc/resolv.conf`.
const LED_BY: &str = "mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"";

/// dnsmasq at a loopback address that nobody else uses, at the port that a resolver asks.
struct NameServer {
    address: Ipv4Addr,
    folder: TempDir,
    process: Option<Process>,
}

impl NameServer {
    fn new() -> Self {
        static COUNT: AtomicU8 = AtomicU8::new(1);
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, 100 + COUNT.fetch_add(1, Ordering::Relaxed), high, low);
        let folder = Process::new_folder();
        std::fs::write(folder.path().join("resolv.conf"), format!("nameserver {address}\n")).unwrap();
        Self { address, folder, process: None }
    }

    /// From now on it knows these, and nothing else.
    fn knows(&mut self, records: &[String]) {
        self.process = None;
        let listen = format!("--listen-address={}", self.address);
        let own = [
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--pid-file=",
            "--user=root",
            "--log-facility=-",
            "--bind-interfaces",
            "--no-resolv",
            "--no-hosts",
            "--local=/test/",
            &listen,
        ];
        let options = ProcessOptions {
            program: &system_tool("dnsmasq"),
            arguments: own.iter().map(|flag| (*flag).to_owned()).chain(records.iter().cloned()).collect(),
            environment: Vec::new(),
            leftovers: Vec::new(),
        };
        self.process = Some(Process::start(options, Process::new_folder()));
    }

    fn ends(&mut self) {
        self.process = None;
    }

    async fn leads(&self, config: &str, secrets: &[String]) -> Unsealer {
        let conf: PathBuf = self.folder.path().join("resolv.conf");
        let by = ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", LED_BY, "sh", conf.to_str().unwrap()];
        Unsealer::start_by(&by, "config.yaml", config, secrets).await
    }
}

fn config(nodes: &str, cluster: &BaoCluster) -> String {
    format!(
        "{{log_level: debug, listen: \"127.0.0.1:0\", clusters: [{{name: main, {nodes}, probe_interval: 1s, \
         max_interval: 2s, tls: {{ca_cert: {:?}, server_name: localhost}}, key_sources: [{{inline: {}}}]}}]}}\n",
        cluster.ca_file().display().to_string(),
        list(&cluster.shares),
    )
}

fn port(cluster: &BaoCluster, node: usize) -> String {
    cluster.address(node).rsplit(':').next().unwrap().to_owned()
}

/// What lists these nodes as a service, and the address of each.
fn service(cluster: &BaoCluster, nodes: &[usize]) -> Vec<String> {
    let records = nodes.iter().flat_map(|node| {
        let port = port(cluster, *node);
        [
            format!("--srv-host=_vault._tcp.cluster.test,n{node}.cluster.test,{port}"),
            format!("--host-record=n{node}.cluster.test,127.0.0.1"),
        ]
    });
    records.collect()
}

/// Nodes come and go with the records; without a name server those that were found stay.
#[tokio::test]
async fn nodes_are_those_that_srv_records_tell() {
    let mut cluster = BaoCluster::start(3).await;
    cluster.init(5, 3).await;
    let mut names = NameServer::new();
    names.knows(&service(&cluster, &[0]));
    let unsealer = names.leads(&config("srv: _vault._tcp.cluster.test", &cluster), &cluster.shares).await;
    cluster.wait_for(0, |health| !health.sealed).await;
    unsealer.until("node_sealed", &["n0.cluster.test"], |value| value == 0).await;

    names.ends();
    unsealer.until_logged("SRV records of _vault._tcp.cluster.test").await;
    let (_, page) = unsealer.get("/metrics").await;
    assert!(page.contains("n0.cluster.test") && !page.contains("n1.cluster.test"), "{page}");

    names.knows(&service(&cluster, &[0, 1, 2]));
    for node in 0..3 {
        cluster.wait_for(node, |health| !health.sealed).await;
    }
    unsealer.until("node_reachable", &[], |value| value == 3).await;
    names.knows(&service(&cluster, &[0, 1]));
    unsealer.until("node_reachable", &[], |value| value == 2).await;
    assert!(!unsealer.get("/metrics").await.1.contains("n2.cluster.test"));
    unsealer.end().await;
}

/// Every address of a name is a node, and one that was found is unsealed without a name server too.
#[tokio::test]
async fn nodes_are_all_addresses_of_a_name() {
    let mut cluster = BaoCluster::start(1).await;
    cluster.init(5, 3).await;
    let mut names = NameServer::new();
    let host = |address: &str| format!("--host-record=vault.cluster.test,{address}");
    // Nobody listens at the second one.
    names.knows(&[host("127.0.0.1"), host("127.0.0.2")]);
    let nodes = format!("dns: \"vault.cluster.test:{}\"", port(&cluster, 0));
    let unsealer = names.leads(&config(&nodes, &cluster), &cluster.shares).await;
    cluster.wait_for(0, |health| !health.sealed).await;
    unsealer.until("node_reachable", &["127.0.0.1:"], |value| value == 1).await;
    assert_eq!(unsealer.metric("node_reachable", &["127.0.0.2:"]).await, 0);
    assert!(unsealer.get("/metrics").await.1.contains("127.0.0.2:"));

    names.ends();
    unsealer.until_logged("vault.cluster.test has no address").await;
    cluster.kill(0);
    cluster.restart(0);
    cluster.wait_for(0, |health| !health.sealed).await;
    unsealer.end().await;
}
