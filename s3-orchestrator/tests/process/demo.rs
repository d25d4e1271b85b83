//! The demo.

use std::path::Path;

use s3_client::{PutBody, PutObject};

use crate::support::{Server, client, run, text};

async fn demo(dir: &Path) -> Server {
    Server::start_with(&["demo", "--dir", &dir.display().to_string(), "--port", "0"]).await
}

fn key(credentials: &str) -> (&str, &str) {
    let value = |name: &str| {
        let line = credentials.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_once(" = ").unwrap().1
    };
    (value("aws_access_key_id"), value("aws_secret_access_key"))
}

#[tokio::test]
async fn a_demo_keeps_its_data_from_run_to_run() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("a folder");
    let mut server = demo(&dir).await;
    server.ready().await;
    let credentials = std::fs::read_to_string(dir.join("credentials")).unwrap();
    let put = PutObject { key: "k", body: PutBody::Bytes("hello".into()), metadata: &[] };
    client(&server.addr, "demo", key(&credentials)).put_object(put).await.unwrap();
    server.signal("INT").await;
    assert_eq!(server.ended().await.code(), Some(0));

    let server = demo(&dir).await;
    server.ready().await;
    assert_eq!(std::fs::read_to_string(dir.join("credentials")).unwrap(), credentials);
    let info = client(&server.addr, "demo", key(&credentials)).head_object("k").await.unwrap();
    assert_eq!(info.size, 5);
    let holds = |name: &str| {
        std::fs::read_dir(dir.join(name).join("demo")).is_ok_and(|mut found| found.next().is_some())
    };
    assert_eq!(["disk-1", "disk-2", "disk-3"].into_iter().filter(|name| holds(name)).count(), 2);
}

#[tokio::test]
async fn a_taken_port_is_said_before_anything_is_made() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("demo");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = run(&["demo", "-dir", &dir.display().to_string(), "-port", &port]).await;
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.starts_with(&format!("error: port {port} is taken")) && stderr.contains("--port"),
        "{stderr}"
    );
    assert!(!dir.exists());
}
