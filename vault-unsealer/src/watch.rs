//! Which nodes there are, and a loop for each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use runtime::{Chance, Task};
use vault::{Vault, VaultOptions};

use crate::alarms::Alarms;
use crate::board::Board;
use crate::config::{Cluster, Config, Nodes};
use crate::node::{Node, Round, Shared};
use connect::srv;

/// How often nodes that are found by name are looked up.
const LOOK_UP_EVERY: Duration = Duration::from_secs(30);
/// For so long a run that ends waits for nodes that are on their way, and how often it looks.
const ONCE_WITHIN: Duration = Duration::from_secs(120);
const ONCE_EVERY: Duration = Duration::from_secs(1);

/// What all nodes of a cluster share.
pub(crate) fn shared(
    config: &Config,
    cluster: Cluster,
    board: &Arc<Board>,
    alarms: &Arc<Alarms>,
) -> Arc<Shared> {
    Arc::new(Shared {
        cluster,
        hold_file: config.hold_file.clone(),
        allow_readable_files: config.allow_readable_files,
        board: Arc::clone(board),
        alarms: Arc::clone(alarms),
        chance: Chance::from_os(),
        proved: crate::attempt::Proved::default(),
        has_keys: false.into(),
        seen_id: std::sync::Mutex::default(),
    })
}

/// Looks after a cluster for as long as it is polled.
pub(crate) async fn cluster(shared: Arc<Shared>) {
    let mut watched: BTreeMap<String, Task<()>> = BTreeMap::new();
    loop {
        match find(&shared.cluster).await {
            Ok(found) => {
                let gone = |address: &String| !found.iter().any(|vault| vault.address() == address);
                for address in watched.keys().filter(|address| gone(address)) {
                    shared.board.remove(&shared.cluster.name, address);
                }
                watched.retain(|address, _| !gone(address));
                for vault in found {
                    let shared = Arc::clone(&shared);
                    watched
                        .entry(vault.address().to_owned())
                        .or_insert_with(|| runtime::spawn(Node::new(shared, vault).watch()));
                }
                shared.alarms.clear(&shared.cluster.name);
            }
            // Those that were found before are looked after all the same.
            Err(why) => shared.alarms.raise(&shared.cluster.name, &why),
        }
        if matches!(shared.cluster.nodes, Nodes::List(_)) {
            return std::future::pending().await;
        }
        runtime::sleep(LOOK_UP_EVERY.min(shared.cluster.probe_interval.max(Duration::from_secs(1)))).await;
    }
}

/// Unseals a cluster once. Whether all its nodes are open in the end.
pub(crate) async fn once(shared: Arc<Shared>) -> bool {
    let nodes = match find(&shared.cluster).await {
        Ok(nodes) => nodes,
        Err(why) => {
            tracing::error!("{why}");
            return false;
        }
    };
    let deadline = runtime::instant_now() + ONCE_WITHIN;
    let nodes: Vec<Node> = nodes.into_iter().map(|vault| Node::new(Arc::clone(&shared), vault)).collect();
    // A node that has to join is known for one once another is known to have keys.
    futures::future::join_all(nodes.iter().map(Node::look)).await;
    let each = nodes.into_iter().map(|mut node| async move {
        loop {
            match node.round().await {
                Round::Open => return true,
                Round::Failed => return false,
                Round::Wait if runtime::instant_now() > deadline => return false,
                Round::Wait => runtime::sleep(ONCE_EVERY).await,
            }
        }
    });
    let open = futures::future::join_all(each).await;
    !open.is_empty() && open.into_iter().all(|open| open)
}

/// The nodes that there are now.
pub(crate) async fn find(cluster: &Cluster) -> Result<Vec<Vault>, String> {
    let (addresses, server_name) = match &cluster.nodes {
        Nodes::List(addresses) => (addresses.clone(), None),
        Nodes::Name { scheme, host, port } => {
            let found = tokio::net::lookup_host((host.as_str(), *port)).await;
            let found: Vec<SocketAddr> =
                found.map_err(|error| format!("{host} has no address: {error}"))?.collect();
            // Its certificate bears the name that was asked for.
            (found.iter().map(|address| format!("{scheme}://{address}")).collect(), Some(host.clone()))
        }
        Nodes::Srv { scheme, name } => {
            let found = srv::resolve(name).await?;
            (found.iter().map(|(host, port)| format!("{scheme}://{host}:{port}")).collect(), None)
        }
    };
    let client = |address: String| {
        let mut options = VaultOptions { address, ..cluster.options.clone() };
        options.tls.server_name = options.tls.server_name.or_else(|| server_name.clone());
        Vault::new(options).map_err(|error| error.to_string())
    };
    addresses.into_iter().map(client).collect()
}
