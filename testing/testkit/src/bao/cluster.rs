//! A raft cluster: each node a process of its own, over TLS with an authority of its own.

use std::path::PathBuf;
use std::time::Duration;

use runtime::instant_now;
use tempfile::TempDir;
use vault::{Health, Roots, Secret, Timeouts, TlsOptions, Vault, VaultOptions};

use super::{LOOK_EVERY, STARTS_MAX, WITHIN};
use crate::certificate::{Authority, CA_FILE, CERTIFICATE_FILE, CLIENT_FILE, CLIENT_KEY_FILE, KEY_FILE};
use crate::ports::free_ports;
use crate::process::{Process, ProcessOptions};
use crate::tools::tool;

/// Longest wait for one answer of a node.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A raft cluster of OpenBao. Dropping it kills all nodes and removes their data.
#[derive(Debug)]
pub struct BaoCluster {
    /// The shares of the seal in base64, once it is initialised.
    pub shares: Vec<String>,
    /// A token that may do everything, once it is initialised.
    pub root_token: String,
    nodes: Vec<Node>,
    certificates: TempDir,
}

#[derive(Debug)]
struct Node {
    port: u16,
    process: Option<Process>,
    /// Its data while no process has it.
    folder: Option<TempDir>,
}

impl BaoCluster {
    /// Starts as many nodes, none of them initialised. All but the first wait to join it, or one another.
    ///
    /// # Panics
    /// Where it is not installed (with the command that does it) or does not start.
    pub async fn start(size: usize) -> Self {
        Self::start_with(size, "").await
    }

    /// The same with more in the configuration of each node: `seal "static" {...}`.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub async fn start_with(size: usize, more: &str) -> Self {
        for _ in 0..STARTS_MAX {
            let mut cluster = Self::launch(size, more);
            if cluster.all_answer().await {
                return cluster;
            }
        }
        panic!("a cluster of OpenBao does not start")
    }

    /// Starts as many nodes, initialises them with 5 shares, 3 of them needed, and unseals all.
    ///
    /// # Panics
    /// As [`Self::start`], or where they do not come to lead and follow.
    pub async fn start_unsealed(size: usize) -> Self {
        let mut cluster = Self::start(size).await;
        cluster.init(5, 3).await;
        for node in 0..size {
            cluster.unseal(node).await;
        }
        cluster
    }

    /// Initialises it at the first node, and keeps the shares and the root token.
    ///
    /// # Panics
    /// Where the node refuses it.
    pub async fn init(&mut self, shares: u32, threshold: u32) {
        let made = self.client(0).init(shares, threshold).await.expect("a new cluster can be initialised");
        self.shares = made.keys_base64.iter().map(|share| share.expose().to_owned()).collect();
        self.root_token = made.root_token.expose().to_owned();
    }

    /// Initialises one whose seal opens by itself, and keeps its root token.
    ///
    /// # Panics
    /// Where the node refuses it.
    pub async fn init_auto_unseal(&mut self) {
        let body = serde_json::json!({"recovery_shares": 1, "recovery_threshold": 1});
        // Nobody has a token yet, and none is asked for.
        let made = self.client(0).write(&Secret::from("none"), "sys/init", &body).await;
        let made = made.expect("a new cluster can be initialised");
        self.root_token = made["root_token"].as_str().expect("it has one").to_owned();
    }

    /// Unseals one node with the first shares, and waits until it leads or follows.
    ///
    /// # Panics
    /// Where it does not.
    pub async fn unseal(&self, node: usize) {
        let client = self.client(node);
        // A node that has to join is given no share before it has heard of the cluster.
        self.wait_for(node, |health| health.initialized).await;
        for share in &self.shares {
            let status = client.seal_status().await.expect("the node answers");
            if !status.sealed {
                break;
            }
            let status = client.unseal(&share.as_str().into()).await.expect("the share is right");
            if !status.sealed || status.progress == 0 {
                break;
            }
        }
        self.wait_for(node, |health| !health.sealed).await;
        // It follows once it knows whom.
        let deadline = instant_now() + WITHIN;
        while client.leader().await.map_or(true, |leader| leader.leader_address.is_empty()) {
            assert!(instant_now() < deadline, "node {node} knows no leader:\n{}", self.log(node));
            runtime::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until what a node says of itself is as told.
    ///
    /// # Panics
    /// Where it does not come to that.
    pub async fn wait_for(&self, node: usize, is_so: impl Fn(&Health) -> bool) {
        let client = self.client(node);
        let deadline = instant_now() + WITHIN;
        let mut last = None;
        while !last.as_ref().is_some_and(&is_so) {
            assert!(instant_now() < deadline, "node {node} is {last:?}:\n{}", self.log(node));
            runtime::sleep(LOOK_EVERY).await;
            last = client.health().await.ok();
        }
    }

    /// The certificate of a client, signed by the authority of the cluster, and its key.
    #[must_use]
    pub fn client_files(&self) -> (PathBuf, PathBuf) {
        (self.certificates.path().join(CLIENT_FILE), self.certificates.path().join(CLIENT_KEY_FILE))
    }

    /// The address of a node: `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self, node: usize) -> String {
        format!("https://127.0.0.1:{}", self.nodes[node].port)
    }

    /// How many nodes it has.
    #[must_use]
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// The authority to trust, as a PEM file.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.certificates.path().join(CA_FILE)
    }

    /// A client of a node, that trusts its authority.
    ///
    /// # Panics
    /// Never: its options are legal.
    #[must_use]
    pub fn client(&self, node: usize) -> Vault {
        let ca = std::fs::read(self.ca_file()).expect("the folder is ours");
        let options = VaultOptions {
            tls: TlsOptions { roots: Roots::Only(ca), ..TlsOptions::default() },
            timeouts: Timeouts { call: ANSWER_WITHIN, ..Timeouts::default() },
            ..VaultOptions::new(self.address(node))
        };
        Vault::new(options).expect("the options of a test server are legal")
    }

    /// The token that may do everything.
    #[must_use]
    pub fn root(&self) -> Secret {
        Secret::from(self.root_token.as_str())
    }

    /// Which node leads.
    ///
    /// # Panics
    /// Where none comes to lead.
    pub async fn leader(&self) -> usize {
        let deadline = instant_now() + WITHIN;
        loop {
            for node in (0..self.size()).filter(|node| self.nodes[*node].process.is_some()) {
                if self.client(node).leader().await.is_ok_and(|leader| leader.is_self) {
                    return node;
                }
            }
            assert!(instant_now() < deadline, "no node leads");
            runtime::sleep(LOOK_EVERY).await;
        }
    }

    /// Ends a node at once, as `kill -9` does. Its data stays.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn kill(&mut self, node: usize) {
        let process = self.nodes[node].process.take().expect("it runs");
        self.nodes[node].folder = Some(process.into_folder());
    }

    /// Starts a node that was killed, on its data and port; it is sealed. Does not wait.
    ///
    /// # Panics
    /// Where it runs.
    pub fn restart(&mut self, node: usize) {
        let folder = self.nodes[node].folder.take().expect("it was killed");
        self.nodes[node].process = Some(start_node(folder));
    }

    /// The running process of a node, for those who send it signals.
    ///
    /// # Panics
    /// Where it was killed.
    pub fn process(&mut self, node: usize) -> &mut Process {
        self.nodes[node].process.as_mut().expect("it runs")
    }

    /// The last lines that a node logged.
    #[must_use]
    pub fn log(&self, node: usize) -> String {
        self.nodes[node].process.as_ref().map(Process::log).unwrap_or_default()
    }

    fn launch(size: usize, more: &str) -> Self {
        let certificates = Process::new_folder();
        Authority::new(certificates.path());
        let ports: Vec<(u16, u16)> = (0..size).map(|_| free_ports::<2>().into()).collect();
        let nodes = ports.iter().enumerate().map(|(index, (port, _))| {
            let folder = Process::new_folder();
            std::fs::create_dir(folder.path().join("data")).expect("the folder is ours");
            let text = configuration(index, &ports, &folder, &certificates) + more;
            std::fs::write(folder.path().join("config.hcl"), text).expect("the folder is ours");
            Node { port: *port, process: Some(start_node(folder)), folder: None }
        });
        let nodes = nodes.collect();
        Self { shares: Vec::new(), root_token: String::new(), nodes, certificates }
    }

    /// Whether all nodes come to answer; not, where one ended.
    async fn all_answer(&mut self) -> bool {
        let deadline = instant_now() + WITHIN;
        for node in 0..self.size() {
            while self.client(node).seal_status().await.is_err() {
                if self.process(node).has_ended() {
                    return false;
                }
                assert!(instant_now() < deadline, "node {node} does not answer:\n{}", self.log(node));
                runtime::sleep(LOOK_EVERY).await;
            }
        }
        true
    }
}

fn start_node(folder: TempDir) -> Process {
    let options = ProcessOptions {
        program: &tool("openbao", "bao"),
        arguments: ["server", "-config=config.hcl"].map(str::to_owned).into(),
        environment: Vec::new(),
        leftovers: Vec::new(),
    };
    Process::start(options, folder)
}

fn configuration(index: usize, ports: &[(u16, u16)], folder: &TempDir, certificates: &TempDir) -> String {
    let (port, cluster_port) = ports[index];
    let file = |name: &str| certificates.path().join(name).display().to_string();
    let (ca, certificate, key) = (file(CA_FILE), file(CERTIFICATE_FILE), file(KEY_FILE));
    let joins: String = (ports.iter().enumerate().filter(|(other, _)| *other != index))
        .map(|(_, (other, _))| {
            format!(
                "  retry_join {{\n    leader_api_addr = \"https://127.0.0.1:{other}\"\n    \
                 leader_ca_cert_file = \"{ca}\"\n  }}\n"
            )
        })
        .collect();
    format!(
        "storage \"raft\" {{\n  path = \"{data}\"\n  node_id = \"node-{index}\"\n{joins}}}\n\
         listener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  cluster_address = \"127.0.0.1:{cluster_port}\"\n  \
         tls_cert_file = \"{certificate}\"\n  tls_key_file = \"{key}\"\n}}\n\
         api_addr = \"https://127.0.0.1:{port}\"\ncluster_addr = \"https://127.0.0.1:{cluster_port}\"\n",
        data = folder.path().join("data").display(),
    )
}
