//! Seals and snapshots, against a real node with TLS.

use futures::{StreamExt, TryStreamExt};
use serde_json::json;
use testkit::BaoCluster;
use vault::{
    BoxError, ErrorKind, Restore, Roots, Secret, SnapshotBody, Stage, TlsOptions, Vault, VaultOptions,
};

#[tokio::test]
async fn one_node_from_its_birth_to_a_restore() {
    let mut cluster = BaoCluster::start(1).await;
    let vault = cluster.client(0);
    let status = vault.seal_status().await.unwrap();
    assert_eq!((status.initialized, status.sealed, status.storage_type.as_str()), (false, true, "raft"));
    assert_eq!(vault.leader().await.unwrap_err().kind, ErrorKind::Sealed);

    cluster.init(5, 3).await;
    shares_are_counted(&cluster, &vault).await;
    cluster.unseal(0).await;
    let leader = vault.leader().await.unwrap();
    assert_eq!((leader.is_self, leader.leader_address), (true, cluster.address(0)));
    let error = vault.init(1, 1).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused, "{error}");

    members_are_known(&cluster, &vault).await;
    a_snapshot_comes_back(&cluster, &vault).await;
    strangers_are_not_trusted(&cluster).await;
}

async fn shares_are_counted(cluster: &BaoCluster, vault: &Vault) {
    let share = |index: usize| Secret::from(cluster.shares[index].as_str());
    let one = vault.unseal(&share(0)).await.unwrap();
    assert_eq!((one.threshold, one.shares, one.progress), (3, 5, 1));
    // The same one again counts once.
    let again = vault.unseal(&share(0)).await.unwrap();
    assert_eq!((again.progress, again.nonce), (1, one.nonce));
    let none = vault.reset_unseal().await.unwrap();
    assert_eq!((none.progress, none.nonce.as_str()), (0, ""));
    // A wrong one among right ones throws all away, and is not quoted.
    let wrong = Secret::from("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB");
    vault.unseal(&share(0)).await.unwrap();
    vault.unseal(&share(1)).await.unwrap();
    let error = vault.unseal(&wrong).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused, "{error}");
    assert!(!format!("{error} {error:?}").contains(wrong.expose()));
    assert_eq!(vault.seal_status().await.unwrap().progress, 0);
}

async fn members_are_known(cluster: &BaoCluster, vault: &Vault) {
    let servers = vault.raft_servers(&cluster.root()).await.unwrap();
    assert_eq!(servers.len(), 1);
    assert!(servers[0].leader && servers[0].voter);
    assert_eq!(servers[0].node_id, "node-0");
    let state = vault.autopilot_state(&cluster.root()).await.unwrap();
    assert!(state.is_none_or(|state| state.servers.len() <= 1));
}

async fn a_snapshot_comes_back(cluster: &BaoCluster, vault: &Vault) {
    let root = cluster.root();
    vault.write(&root, "sys/mounts/kv", &json!({"type": "kv-v2"})).await.unwrap();
    let write = async |value: &str| {
        let body = json!({"data": {"value": value}});
        // The engine needs a moment after it was mounted.
        while vault.write(&root, "kv/data/canary", &body).await.is_err() {
            runtime::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    write("before").await;
    let snapshot = vault.raft_snapshot(&root).await.unwrap();
    assert_eq!((snapshot.node.as_str(), snapshot.status), (vault.address(), 200));
    let bytes: Vec<_> = snapshot.body.try_collect().await.unwrap();
    let bytes = bytes.concat();
    assert!(bytes.starts_with(&[0x1f, 0x8b]), "it is no gzip");

    let chunks: Vec<Result<bytes::Bytes, BoxError>> =
        bytes.chunks(1000).map(|chunk| Ok(bytes::Bytes::copy_from_slice(chunk))).collect();
    let good = move || {
        futures::stream::iter(
            chunks.iter().map(|chunk| Ok(chunk.as_ref().unwrap().clone())).collect::<Vec<_>>(),
        )
    };
    let known = SnapshotBody::with_length(bytes.len() as u64, good());
    for body in [known, SnapshotBody::chunked(good())] {
        write("after").await;
        vault.raft_restore(&root, body, Restore::SameCluster).await.unwrap();
        cluster.wait_for(0, |health| !health.sealed).await;
        let mut value = None;
        while value.is_none() {
            value = vault.kv2_read(&root, "kv", "canary").await.ok();
            runtime::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert_eq!(value.unwrap()["value"].expose(), "before");
    }
    let failing = good().take(1).chain(futures::stream::iter([Err("the disk is gone".into())]));
    let body = SnapshotBody::with_length(bytes.len() as u64, failing);
    let error = vault.raft_restore(&root, body, Restore::SameCluster).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Body | ErrorKind::Refused), "{error}");
}

async fn strangers_are_not_trusted(cluster: &BaoCluster) {
    // The public authorities have not signed it.
    let vault = Vault::new(VaultOptions::new(cluster.address(0))).unwrap();
    let error = vault.health().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable(Stage::Tls), "{error}");
    assert!(error.to_string().contains("CA file"), "{error}");
    // Its own has, but not for this name.
    let roots = Roots::Only(std::fs::read(cluster.ca_file()).unwrap());
    let tls = TlsOptions { roots, server_name: Some("vault.example.org".into()), identity: None };
    let vault = Vault::new(VaultOptions { tls, ..VaultOptions::new(cluster.address(0)) }).unwrap();
    assert_eq!(vault.health().await.unwrap_err().kind, ErrorKind::Unreachable(Stage::Tls));
    // Whoever asks for it trusts anybody.
    let tls = TlsOptions { roots: Roots::Anybody, ..TlsOptions::default() };
    let vault = Vault::new(VaultOptions { tls, ..VaultOptions::new(cluster.address(0)) }).unwrap();
    assert!(vault.health().await.is_ok());
}
