//! Runs that log in otherwise than by JWT; and what a person at a terminal sees of one.

use serde_json::json;

use crate::world::{assert_free_of, directory, folder, shared, snapshots};

#[tokio::test(flavor = "multi_thread")]
async fn a_run_logs_in_by_approle() {
    let (world, home) = (shared().await, folder());
    let (leader, root) = (world.leader().await, world.cluster.root());
    leader.write(&root, "sys/auth/backup-role", &json!({"type": "approle"})).await.unwrap();
    let role = json!({"token_policies": "snapshot_policy", "token_ttl": 300});
    leader.write(&root, "auth/backup-role/role/snapshot", &role).await.unwrap();
    let id = leader.read(&root, "auth/backup-role/role/snapshot/role-id").await.unwrap()["role_id"].clone();
    let proof = leader.write(&root, "auth/backup-role/role/snapshot/secret-id", &json!({})).await.unwrap();
    let proof = proof["data"]["secret_id"].as_str().unwrap();

    let disk = home.path().join("disk");
    let config = world.config(1, &format!("destinations:\n{}", directory("disk", &disk)));
    let by_role =
        "{method: approle, mount: backup-role, role_id: \"${ROLE_ID}\", secret_id: \"${SECRET_ID}\"}";
    let config = config.replace("{method: jwt, role: snapshot}", by_role);
    let env = [("ROLE_ID", id.expose()), ("SECRET_ID", proof)];
    world.run_with(home.path(), &config, &["run"], &env, "").await.with_code(0);
    assert_eq!(snapshots(&disk).len(), 1);
    let env = [("ROLE_ID", id.expose()), ("SECRET_ID", "not-the-secret-of-this-role")];
    let refused = world.run_with(home.path(), &config, &["run"], &env, "").await.with_code(1);
    assert!(refused.err.contains("login by approle"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_logs_in_by_its_certificate() {
    let (world, home) = (shared().await, folder());
    let (leader, root) = (world.leader().await, world.cluster.root());
    leader.write(&root, "sys/auth/cert", &json!({"type": "cert"})).await.unwrap();
    let authority = std::fs::read_to_string(world.cluster.ca_file()).unwrap();
    let role = json!({"certificate": authority, "token_policies": "snapshot_policy"});
    leader.write(&root, "auth/cert/certs/snapshot", &role).await.unwrap();

    let (disk, (certificate, key)) = (home.path().join("disk"), world.cluster.client_files());
    let config = world.config(2, &format!("destinations:\n{}", directory("disk", &disk)));
    let config = config.replace("{method: jwt, role: snapshot}", "{method: cert, role: snapshot}");
    let files = format!("tls: {{client_cert_file: {certificate:?}, client_key_file: {key:?}, ca_file");
    let config = config.replace("tls: {ca_file", &files);
    world.run_with(home.path(), &config, &["run"], &[], "").await.with_code(0);
    assert_eq!(snapshots(&disk).len(), 1);
    let unknown = config.replace("role: snapshot", "role: another");
    world.run_with(home.path(), &unknown, &["run"], &[], "").await.with_code(1);
}

/// `script` gives the tool a terminal.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_at_a_terminal_sees_it_move() {
    let (world, home) = (shared().await, folder());
    let (disk, jwt) = (home.path().join("disk"), world.jwt("vault-backup"));
    let path = home.path().join("config.yaml");
    std::fs::write(&path, world.config(0, &format!("destinations:\n{}", directory("disk", &disk)))).unwrap();
    let line = format!("{} run -config {}", env!("CARGO_BIN_EXE_vault-snapshot"), path.display());
    let mut script = tokio::process::Command::new(testkit::system_tool("script"));
    script.args(["-q", "-e", "-c", &line, "/dev/null"]).env("JWT", &jwt).stdin(std::process::Stdio::null());
    let output = script.output().await.unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("\rtaking the snapshot: 0 MiB"), "{shown}");
    let mut secrets = world.cluster.shares.clone();
    secrets.extend([world.cluster.root_token.clone(), jwt]);
    assert_free_of(&secrets, "the terminal", &shown);
}
