//! What real servers do not show on demand: silence, redirects, answers that are none.

use std::time::Duration;

use futures::StreamExt;
use testkit::RawServer;
use vault::{Credential, ErrorKind, Login, Secret, Stage, Timeouts, Vault, VaultOptions};

fn client(address: &str) -> Vault {
    let timeouts = Timeouts {
        connect: Duration::from_secs(20),
        call: Duration::from_millis(300),
        answer: Duration::from_secs(20),
        stall: Duration::from_millis(300),
    };
    Vault::new(VaultOptions { timeouts, ..VaultOptions::new(address) }).unwrap()
}

#[tokio::test]
async fn a_node_that_hangs_is_waited_for_no_longer_than_told() {
    let server = RawServer::start(|mut connection| async move {
        connection.until_closed().await;
    })
    .await;
    let error = client(&server.endpoint).health().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoAnswer, "{error}");
    assert!(error.to_string().contains(&server.endpoint), "{error}");
}

#[tokio::test]
async fn a_redirect_is_named_and_not_followed() {
    let server = RawServer::start(|mut connection| async move {
        while connection.read_request().await.is_some() {
            let location = "Location: https://10.9.8.7:8200/v1/sys/storage/raft/snapshot";
            connection.answer("307 Temporary Redirect", &[location], b"").await;
        }
    })
    .await;
    let error = client(&server.endpoint).raft_snapshot(&Secret::from("s.0123456789")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Standby { leader: Some("https://10.9.8.7:8200".into()) });
    assert!(error.to_string().contains("ask the leader https://10.9.8.7:8200"), "{error}");
    assert_eq!(server.heads().len(), 1);
}

#[tokio::test]
async fn a_snapshot_that_breaks_off_is_an_error() {
    let server = RawServer::start(|mut connection| async move {
        connection.read_request().await;
        connection.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n").await;
        if connection.index == 1 {
            connection.until_closed().await;
        }
    })
    .await;
    let vault = client(&server.endpoint);
    for _ in ["closed", "silent"] {
        let mut snapshot = vault.raft_snapshot(&Secret::from("s.0123456789")).await.unwrap();
        assert_eq!(snapshot.body.next().await.unwrap().unwrap(), "abcde");
        let error = snapshot.body.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind, ErrorKind::NoAnswer, "{error}");
    }
}

#[tokio::test]
async fn what_is_no_vault_is_said_to_be_none() {
    let server = RawServer::start(|mut connection| async move {
        while connection.read_request().await.is_some() {
            connection.answer("200 OK", &[], b"<html>welcome, s.0123456789</html>").await;
        }
    })
    .await;
    let error = client(&server.endpoint).seal_status().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
    assert!(!error.to_string().contains("0123456789"), "{error}");
}

#[tokio::test]
async fn a_token_comes_from_the_environment() {
    let server = RawServer::start(|mut connection| async move {
        connection.read_request().await;
        connection.answer("200 OK", &[], br#"{"data":{"ttl":60,"renewable":true,"policies":[]}}"#).await;
    })
    .await;
    // One that is set wherever tests run.
    let login = |name: &str| Login::Token(Credential::Env(name.to_owned()));
    let auth = client(&server.endpoint).log_in(&login("CARGO_MANIFEST_DIR")).await.unwrap();
    assert_eq!((auth.token.expose(), auth.ttl_seconds), (env!("CARGO_MANIFEST_DIR"), 60));
    let error = client(&server.endpoint).log_in(&login("S3O_NO_SUCH_VARIABLE")).await.unwrap_err();
    assert!(error.to_string().contains("S3O_NO_SUCH_VARIABLE is not set"), "{error}");
}

#[tokio::test]
async fn nobody_there_is_nobody_there() {
    let [port] = testkit::free_ports();
    let error = client(&format!("http://127.0.0.1:{port}")).health().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable(Stage::Tcp), "{error}");
}

#[tokio::test]
async fn a_connection_is_used_again_until_the_node_closes_it() {
    let server = RawServer::start(|mut connection| async move {
        for _ in 0..2 {
            connection.read_request().await;
            let body = br#"{"initialized":true,"sealed":false,"version":"1"}"#;
            connection.answer("429 Too Many Requests", &[], body).await;
        }
    })
    .await;
    let vault = client(&server.endpoint);
    for _ in 0..4 {
        assert!(!vault.health().await.unwrap().sealed);
    }
    assert_eq!((server.connections(), server.count("GET /v1/sys/health ")), (2, 4));
}
