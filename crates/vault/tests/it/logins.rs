//! Logins by a client certificate, and by the identity of a Kubernetes service account, at real servers.

use std::sync::{Arc, Mutex};

use runtime::Chance;
use serde_json::json;
use testkit::{Bao, BaoCluster, JwtIssuer, RawServer};
use vault::{Credential, ErrorKind, Identity, Login, Roots, Session, TlsOptions, Vault, VaultOptions};

#[tokio::test]
async fn a_client_logs_in_with_its_certificate() {
    let cluster = BaoCluster::start_unsealed(1).await;
    let (vault, root) = (cluster.client(0), cluster.root());
    let (certificate, key) = cluster.client_files();
    vault.write(&root, "sys/auth/cert", &json!({"type": "cert"})).await.unwrap();
    let authority = std::fs::read_to_string(cluster.ca_file()).unwrap();
    let role = json!({"certificate": authority, "token_policies": "default", "token_ttl": 300});
    vault.write(&root, "auth/cert/certs/ops", &role).await.unwrap();

    let client = |identity: Option<Identity>| {
        let roots = Roots::Only(authority.clone().into_bytes());
        let tls = TlsOptions { roots, identity, ..TlsOptions::default() };
        Vault::new(VaultOptions { tls, ..VaultOptions::new(cluster.address(0)) }).unwrap()
    };
    let identity =
        Identity { certificates: std::fs::read(certificate).unwrap(), key: std::fs::read(key).unwrap() };
    let known = client(Some(identity));
    for name in [Some("ops".to_owned()), None] {
        let auth = known.log_in(&Login::Cert { mount: "cert".into(), name }).await.unwrap();
        assert_eq!(auth.ttl_seconds, 300);
        known.token_info(&auth.token).await.unwrap();
    }
    let other = Login::Cert { mount: "cert".into(), name: Some("another".into()) };
    assert!(known.log_in(&other).await.is_err());
    let error = client(None).log_in(&Login::Cert { mount: "cert".into(), name: None }).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Refused | ErrorKind::Denied), "{error}");
}

/// OpenBao asks the API of Kubernetes whether an identity is good. There is no Kubernetes here, so a server answers
/// that one question as its API does: for the identity that was given out last.
async fn token_review(good: Arc<Mutex<String>>) -> RawServer {
    RawServer::start(move |mut connection| {
        let good = Arc::clone(&good);
        async move {
            while let Some((_, body)) = connection.read_request().await {
                let review: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
                let known = review["spec"]["token"] == good.lock().unwrap().as_str();
                let user = json!({
                    "username": "system:serviceaccount:backup:vault-backup", "uid": "u-1",
                    "groups": ["system:serviceaccounts", "system:authenticated"],
                });
                let status = if known {
                    json!({"authenticated": true, "user": user, "audiences": ["vault"]})
                } else {
                    json!({"authenticated": false, "error": "the token has expired"})
                };
                let answer =
                    json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": status});
                let kind = ["content-type: application/json"];
                connection.answer("201 Created", &kind, answer.to_string().as_bytes()).await;
            }
        }
    })
    .await
}

/// The other way: the cluster's key is known to OpenBao, which reads the identity itself.
#[tokio::test]
async fn a_projected_token_is_read_anew_for_each_login() {
    let (bao, issuer) = (Bao::dev().await, JwtIssuer::new());
    let (vault, root) = (bao.client(), bao.root());
    vault.write(&root, "sys/auth/kubernetes", &json!({"type": "jwt"})).await.unwrap();
    let config = json!({"jwt_validation_pubkeys": [issuer.public_pem()]});
    vault.write(&root, "auth/kubernetes/config", &config).await.unwrap();
    let role = json!({
        "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "token_policies": "default",
        "bound_subject": "system:serviceaccount:backup:vault-backup", "token_ttl": 600,
    });
    vault.write(&root, "auth/kubernetes/role/snapshot", &role).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let project = |account: &str| {
        let token = issuer.sign(&json!({
            "iss": "https://kubernetes.default.svc", "aud": ["vault"], "nbf": 1_700_000_000,
            "iat": 1_700_000_000, "exp": 4_000_000_000_u64, "sub": format!("system:serviceaccount:backup:{account}"),
        }));
        std::fs::write(&file, token).unwrap();
    };
    project("vault-backup");
    let login = Login::Jwt {
        mount: "kubernetes".into(),
        role: "snapshot".into(),
        jwt: Credential::File(file.clone()),
    };
    let session = Session::new(vault.clone(), login.clone(), Chance::seeded(1));
    let first = session.token().await.unwrap();
    // The token of Vault is taken away in the middle: the session logs in again.
    vault.write(&root, "auth/token/revoke", &json!({"token": first.expose()})).await.unwrap();
    let vault = &vault;
    session.call(|token| async move { vault.token_info(&token).await }).await.unwrap();
    assert_ne!(session.token().await.unwrap().expose(), first.expose());
    project("another");
    let error = vault.log_in(&login).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Refused | ErrorKind::Denied), "{error}");
}

#[tokio::test]
async fn a_pod_logs_in_with_its_projected_token() {
    let (bao, issuer, good) = (Bao::dev().await, JwtIssuer::new(), Arc::new(Mutex::new(String::new())));
    let (vault, root) = (bao.client(), bao.root());
    let kubernetes = token_review(Arc::clone(&good)).await;
    vault.write(&root, "sys/auth/kubernetes", &json!({"type": "kubernetes"})).await.unwrap();
    // It is not asked for: that server speaks plain http.
    let authority = rcgen::generate_simple_self_signed(["kubernetes".to_owned()]).unwrap().cert.pem();
    let config = json!({
        "kubernetes_ca_cert": authority, "kubernetes_host": kubernetes.endpoint, "token_reviewer_jwt": issuer.sign(&json!({"sub": "reviewer"})),
        "disable_local_ca_jwt": true, "pem_keys": [issuer.public_pem()],
    });
    vault.write(&root, "auth/kubernetes/config", &config).await.unwrap();
    let role = json!({
        "bound_service_account_names": "vault-backup", "bound_service_account_namespaces": "backup",
        "audience": "vault", "token_policies": "default", "token_ttl": 600,
    });
    vault.write(&root, "auth/kubernetes/role/snapshot", &role).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    // What the kubelet does: a new token in the same file, and the old one is worth nothing.
    let project = |account: &str, id: u32| {
        let token = issuer.sign(&json!({
            "iss": "https://kubernetes.default.svc", "aud": ["vault"], "jti": id.to_string(), "nbf": 1_700_000_000,
            "iat": 1_700_000_000, "exp": 4_000_000_000_u64, "sub": format!("system:serviceaccount:backup:{account}"),
            "kubernetes.io": {"namespace": "backup", "serviceaccount": {"name": account, "uid": "u-1"}},
        }));
        std::fs::write(&file, &token).unwrap();
        *good.lock().unwrap() = token;
    };
    project("vault-backup", 1);
    let login = Login::Jwt {
        mount: "kubernetes".into(),
        role: "snapshot".into(),
        jwt: Credential::File(file.clone()),
    };
    let session = Session::new(vault.clone(), login.clone(), Chance::seeded(1));
    let first = session.token().await.unwrap();
    assert!(kubernetes.count("POST /apis/authentication.k8s.io/v1/tokenreviews") >= 1);

    // The token of Vault is taken away in the middle: the session logs in again, with the identity as it is now.
    project("vault-backup", 2);
    vault.write(&root, "auth/token/revoke", &json!({"token": first.expose()})).await.unwrap();
    let vault = &vault;
    session.call(|token| async move { vault.token_info(&token).await }).await.unwrap();
    assert_ne!(session.token().await.unwrap().expose(), first.expose());

    project("another", 3);
    let error = vault.log_in(&login).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Refused | ErrorKind::Denied), "{error}");
    assert!(!format!("{error} {error:?}").contains(good.lock().unwrap().as_str()), "{error}");
}
