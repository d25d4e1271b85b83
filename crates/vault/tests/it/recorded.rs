//! Answers of HashiCorp Vault where they differ from those of OpenBao, which the other tests ask: fields that only Vault
//! has, statuses that only its editions give. Taken from the documentation of its API (1.13 to 1.19): its program comes
//! from no package registry.

use std::sync::Arc;

use testkit::RawServer;
use vault::{Credential, ErrorKind, Login, Secret, Vault, VaultOptions};

type Page = (&'static str, &'static str, &'static str);

/// Answers each path with a status and a body.
async fn server(pages: &'static [Page]) -> (RawServer, Vault) {
    let pages = Arc::new(pages);
    let server = RawServer::start(move |mut connection| {
        let pages = Arc::clone(&pages);
        async move {
            while let Some((head, _)) = connection.read_request().await {
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let page = pages.iter().find(|(known, ..)| format!("/v1/{known}") == path);
                let (status, body) =
                    page.map_or(("404 Not Found", "{}"), |(_, status, body)| (*status, *body));
                connection.answer(status, &["content-type: application/json"], body.as_bytes()).await;
            }
        }
    })
    .await;
    let vault = Vault::new(VaultOptions::new(&server.endpoint)).unwrap();
    (server, vault)
}

const SEALED: &[Page] = &[
    (
        "sys/seal-status",
        "200 OK",
        r#"{"type":"shamir","initialized":true,"sealed":true,"t":3,"n":5,"progress":0,"nonce":"","version":"1.19.0+ent",
            "build_date":"2025-03-04T12:36:40Z","migration":false,"recovery_seal":false,"storage_type":"raft",
            "hcp_link_status":"disconnected","hcp_link_resource_ID":"","removed_from_cluster":false,"warnings":null}"#,
    ),
    (
        "sys/health",
        "503 Service Unavailable",
        r#"{"initialized":true,"sealed":true,"standby":true,"performance_standby":false,
            "replication_performance_mode":"unknown","replication_dr_mode":"unknown","server_time_utc":1516639589,
            "version":"1.19.0+ent","enterprise":true,"echo_duration_ms":0,"clock_skew_ms":0}"#,
    ),
    ("sys/leader", "503 Service Unavailable", r#"{"errors":["Vault is sealed"]}"#),
];

#[tokio::test]
async fn a_sealed_vault_is_understood() {
    let (_server, vault) = server(SEALED).await;
    let seal = vault.seal_status().await.unwrap();
    assert_eq!((seal.kind.as_str(), seal.sealed, seal.threshold, seal.shares), ("shamir", true, 3, 5));
    assert_eq!((seal.storage_type.as_str(), seal.cluster_id), ("raft", None));
    let health = vault.health().await.unwrap();
    assert!(health.sealed && health.initialized && health.cluster_id.is_none());
    assert_eq!(vault.find_leader().await.unwrap_err().kind, ErrorKind::Sealed);
}

const STANDBY: &[Page] = &[
    // A performance standby answers 473, a replica for disasters 472: the bodies tell.
    (
        "sys/health",
        "473 Unknown",
        r#"{"initialized":true,"sealed":false,"standby":true,"performance_standby":true,
            "replication_performance_mode":"disabled","replication_dr_mode":"disabled","server_time_utc":1516639589,
            "version":"1.19.0+ent","enterprise":true,"cluster_name":"vault-cluster-3bd69ca2",
            "cluster_id":"00af5aa8-c87d-b5fc-e82e-97cd8dfaf731","last_wal":104,
            "license":{"state":"autoloaded","expiry_time":"2030-01-01T00:00:00Z","terminated":false}}"#,
    ),
    (
        "sys/leader",
        "200 OK",
        r#"{"ha_enabled":true,"is_self":false,"active_time":"0001-01-01T00:00:00Z","leader_address":"",
            "leader_cluster_address":"","performance_standby":true,"performance_standby_last_remote_wal":104,
            "raft_committed_index":0,"raft_applied_index":0}"#,
    ),
    (
        "sys/storage/raft/snapshot",
        "472 Unknown",
        r#"{"errors":["path disabled in replication DR secondary mode"]}"#,
    ),
];

#[tokio::test]
async fn a_standby_of_vault_is_understood() {
    let (_server, vault) = server(STANDBY).await;
    let health = vault.health().await.unwrap();
    assert!(health.standby && !health.sealed);
    assert_eq!(vault.find_leader().await.unwrap_err().kind, ErrorKind::Standby { leader: None });
    let error = vault.raft_snapshot(&Secret::from("hvs.CAESIJ0123456789")).await.unwrap_err();
    assert!(
        error.to_string().contains("DR secondary") && !error.to_string().contains("0123456789"),
        "{error}"
    );
}

const ACTIVE: &[Page] = &[
    (
        "auth/jwt/login",
        "200 OK",
        r#"{"request_id":"f1a6","lease_id":"","renewable":false,"lease_duration":0,"data":null,"wrap_info":null,
            "warnings":null,"auth":{"client_token":"hvs.CAESIJ0123456789","accessor":"pZpm","policies":["default","snap"],
            "token_policies":["default","snap"],"metadata":{"role":"snapshot"},"lease_duration":1800,"renewable":true,
            "entity_id":"1b2c","token_type":"service","orphan":true,"mfa_requirement":null,"num_uses":0},
            "mount_type":""}"#,
    ),
    (
        "sys/storage/raft/configuration",
        "200 OK",
        r#"{"request_id":"a","data":{"config":{"index":0,"servers":[
            {"address":"10.0.0.1:8201","leader":true,"node_id":"vault-1","protocol_version":"3","voter":true},
            {"address":"10.0.0.2:8201","leader":false,"node_id":"vault-2","protocol_version":"3","voter":false}]}}}"#,
    ),
    (
        "sys/storage/raft/autopilot/state",
        "200 OK",
        r#"{"request_id":"a","data":{"healthy":true,"failure_tolerance":1,"optimistic_failure_tolerance":3,"leader":"vault-1",
            "voters":["vault-1"],"non_voters":["vault-2"],"redundancy_zones":{},"upgrade_info":{"status":"idle"},"servers":{"vault-1":{
            "address":"10.0.0.1:8201","healthy":true,"id":"vault-1","last_contact":"0s","last_index":63,"last_term":3,
            "name":"vault-1","node_status":"alive","node_type":"voter","stable_since":"2024-01-01T00:00:00Z",
            "status":"leader","upgrade_version":"1.19.0","version":"1.19.0"}}}}"#,
    ),
    (
        "secret/data/shares",
        "200 OK",
        r#"{"request_id":"a","data":{"data":{"one":"abc"},"metadata":{"created_time":"2024-01-01T00:00:00Z",
            "custom_metadata":{"owner":"ops"},"deletion_time":"","destroyed":false,"version":2}},"mount_type":"kv"}"#,
    ),
];

#[tokio::test]
async fn an_active_vault_is_understood() {
    let (_server, vault) = server(ACTIVE).await;
    let login = Login::Jwt {
        mount: "jwt".into(),
        role: "snapshot".into(),
        jwt: Credential::Value("header.payload.signature".into()),
    };
    let auth = vault.log_in(&login).await.unwrap();
    assert_eq!((auth.ttl_seconds, auth.renewable), (1800, true));
    let servers = vault.raft_servers(&auth.token).await.unwrap();
    assert_eq!((servers.len(), servers[0].voter, servers[1].voter), (2, true, false));
    let state = vault.autopilot_state(&auth.token).await.unwrap().unwrap();
    assert_eq!((state.failure_tolerance, state.servers["vault-1"].last_index), (1, 63));
    let fields = vault.kv2_read(&auth.token, "secret", "shares").await.unwrap();
    assert_eq!((fields.len(), fields["one"].expose()), (1, "abc"));
}
