//! Transit, secrets, tokens and logins, against a server for development.

use std::sync::Arc;
use std::time::Duration;

use runtime::Chance;
use serde_json::json;
use testkit::{Bao, JwtIssuer};
use tokio::sync::OnceCell;
use vault::{Credential, ErrorKind, Login, Secret, Session, Vault};

async fn shared() -> &'static Bao {
    static SERVER: OnceCell<Bao> = OnceCell::const_new();
    SERVER.get_or_init(Bao::dev).await
}

async fn root() -> (Vault, Secret) {
    let bao = shared().await;
    (bao.client(), bao.root())
}

async fn write(path: &str, body: serde_json::Value) -> serde_json::Value {
    let (vault, root) = root().await;
    vault.write(&root, path, &body).await.unwrap()
}

#[tokio::test]
async fn transit_encrypts_rewraps_and_decrypts() {
    let (vault, root) = root().await;
    write("sys/mounts/transit-a", json!({"type": "transit"})).await;
    write("transit-a/keys/main", json!({})).await;
    let first = vault.transit_encrypt(&root, "transit-a", "main", b"32 bytes of a key").await.unwrap();
    assert!(first.starts_with("vault:v1:"), "{first}");
    write("transit-a/keys/main/rotate", json!({})).await;
    let second = vault.transit_rewrap(&root, "transit-a", "main", &first).await.unwrap();
    assert!(second.starts_with("vault:v2:"), "{second}");
    for ciphertext in [&first, &second] {
        let plain = vault.transit_decrypt(&root, "transit-a", "main", ciphertext).await.unwrap();
        assert_eq!(plain.expose(), b"32 bytes of a key");
    }
    let key = vault.transit_key(&root, "transit-a", "main").await.unwrap();
    assert_eq!((key.kind.as_str(), key.latest_version, key.exportable), ("aes256-gcm96", 2, false));
    let data = vault.transit_data_key(&root, "transit-a", "main").await.unwrap();
    let again = vault.transit_decrypt(&root, "transit-a", "main", &data.ciphertext).await.unwrap();
    assert_eq!((data.plaintext.expose().len(), data.plaintext.expose()), (32, again.expose()));
    // A key that is not there.
    let error = vault.transit_decrypt(&root, "transit-a", "other", &first).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused, "{error}");
    assert_eq!(vault.transit_key(&root, "transit-a", "other").await.unwrap_err().kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn secrets_are_read() {
    let (vault, root) = root().await;
    write("secret/data/apps/one", json!({"data": {"share": "abc", "port": 8200}})).await;
    let fields = vault.kv2_read(&root, "secret", "apps/one").await.unwrap();
    assert_eq!((fields["share"].expose(), fields["port"].expose()), ("abc", "8200"));
    assert!(!format!("{fields:?}").contains("abc"));
    let error = vault.kv2_read(&root, "secret", "apps/none").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn a_wrong_token_is_denied_and_not_shown() {
    let (vault, _) = root().await;
    let token = Secret::from("s.this-is-no-token-0123456789");
    let error = vault.kv2_read(&token, "secret", "x").await.unwrap_err();
    assert_eq!((error.kind.clone(), error.status), (ErrorKind::Denied, Some(403)));
    let text = format!("{error} {error:?}");
    assert!(text.contains(vault.address()) && text.contains("check that the token"), "{text}");
    assert!(!text.contains("0123456789"), "{text}");
}

#[tokio::test]
async fn a_job_logs_in_with_its_identity() {
    let issuer = JwtIssuer::new();
    write("sys/auth/jwt-nomad", json!({"type": "jwt"})).await;
    write("auth/jwt-nomad/config", json!({"jwt_validation_pubkeys": [issuer.public_pem()]})).await;
    let role = json!({
        "role_type": "jwt", "user_claim": "nomad_job_id", "bound_audiences": ["vault.io"],
        "bound_claims": {"nomad_job_id": "vault-backup"}, "token_policies": ["default"], "token_ttl": 600,
    });
    write("auth/jwt-nomad/role/snapshot", role).await;
    let log_in = async |job: &str| {
        let claims =
            json!({"aud": "vault.io", "nbf": 1_700_000_000, "exp": 4_000_000_000_u64, "nomad_job_id": job});
        let login = Login::Jwt {
            mount: "jwt-nomad".into(),
            role: "snapshot".into(),
            jwt: Credential::Value(issuer.sign(&claims).into()),
        };
        root().await.0.log_in(&login).await
    };
    let auth = log_in("vault-backup").await.unwrap();
    assert_eq!((auth.ttl_seconds, auth.renewable), (600, true));
    let error = log_in("another-job").await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Refused | ErrorKind::Denied), "{error}");
}

#[tokio::test]
async fn a_role_logs_in_with_its_secret() {
    write("sys/auth/approle", json!({"type": "approle"})).await;
    write("auth/approle/role/app", json!({"token_ttl": 60})).await;
    let (vault, root) = root().await;
    let role_id = vault.read(&root, "auth/approle/role/app/role-id").await.unwrap()["role_id"].clone();
    let secret_id = write("auth/approle/role/app/secret-id", json!({})).await;
    let login = |secret: &str| Login::AppRole {
        mount: "approle".into(),
        role_id: Credential::Value(role_id.clone()),
        secret_id: Some(Credential::Value(secret.into())),
    };
    let good = secret_id["data"]["secret_id"].as_str().unwrap();
    assert_eq!(vault.log_in(&login(good)).await.unwrap().ttl_seconds, 60);
    assert!(vault.log_in(&login("not-the-secret")).await.is_err());
}

async fn short_token(ttl: &str, max: &str) -> String {
    let body = json!({"ttl": ttl, "explicit_max_ttl": max, "policies": ["default"], "no_parent": true});
    let answer = write("auth/token/create", body).await;
    answer["auth"]["client_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_session_renews_its_token_before_it_ends() {
    let token = short_token("6s", "0").await;
    let (vault, _) = root().await;
    let login = Login::Token(Credential::Value(token.as_str().into()));
    let session = Arc::new(Session::new(vault.clone(), login, Chance::seeded(1)));
    let kept = Arc::clone(&session);
    let _keeper = runtime::spawn(async move { kept.keep().await });
    // Long after its first life, it still is alive.
    runtime::sleep(Duration::from_secs(9)).await;
    let held = session.token().await.unwrap();
    assert_eq!(held.expose(), token);
    vault.token_info(&held).await.unwrap();
}

#[tokio::test]
async fn a_session_reads_its_token_file_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let (first, second) = (short_token("1h", "0").await, short_token("2h", "0").await);
    std::fs::write(&file, format!("{first}\n")).unwrap();
    let (vault, root) = root().await;
    let session =
        Session::new(vault.clone(), Login::Token(Credential::File(file.clone())), Chance::seeded(1));
    assert_eq!(session.token().await.unwrap().expose(), first);
    std::fs::write(&file, format!("{second}\n\n")).unwrap();
    assert_eq!(session.token().await.unwrap().expose(), second);
    // One that the server refuses is given up, and the file asked again.
    vault.write(&root, "auth/token/revoke", &json!({"token": second})).await.unwrap();
    std::fs::write(&file, &first).unwrap();
    let vault = &vault;
    let info = session.call(|token| async move { vault.token_info(&token).await }).await.unwrap();
    assert!(info.ttl_seconds > 0);
}

#[tokio::test]
async fn a_session_logs_in_again_where_its_token_is_denied() {
    write("sys/auth/approle-b", json!({"type": "approle"})).await;
    write(
        "auth/approle-b/role/app",
        json!({"token_ttl": "1h", "bind_secret_id": false, "token_bound_cidrs": ["127.0.0.1/32"]}),
    )
    .await;
    let (vault, root) = root().await;
    let role_id = vault.read(&root, "auth/approle-b/role/app/role-id").await.unwrap()["role_id"].clone();
    let login =
        Login::AppRole { mount: "approle-b".into(), role_id: Credential::Value(role_id), secret_id: None };
    let session = Session::new(vault.clone(), login, Chance::seeded(1));
    let first = session.token().await.unwrap();
    vault.write(&root, "auth/token/revoke", &json!({"token": first.expose()})).await.unwrap();
    let vault = &vault;
    session.call(|token| async move { vault.token_info(&token).await }).await.unwrap();
    assert_ne!(session.token().await.unwrap().expose(), first.expose());
}
