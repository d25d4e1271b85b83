//! A cluster with something in it, a login for it, and a way to run the tool. Everything runs at debug level, and
//! whatever the tool prints or leaves behind is searched for secrets.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{BaoCluster, JwtIssuer};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::OnceCell;
use vault::{Secret, Vault};

/// As in the guide: what a job may read, and nothing else.
const POLICY: &str = r#"path "sys/storage/raft/snapshot" {capabilities = ["read"]}"#;

/// A key pair of age, made by the reference program.
pub(crate) const IDENTITY: &str =
    "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";

pub(crate) struct World {
    pub(crate) cluster: BaoCluster,
    issuer: JwtIssuer,
}

/// What a run of the tool gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }
}

/// One cluster for all tests that leave it as it is.
pub(crate) async fn shared() -> &'static World {
    static WORLD: OnceCell<World> = OnceCell::const_new();
    WORLD.get_or_init(|| World::start(3, 0)).await
}

impl World {
    /// A cluster with a canary, as many MiB of data besides, and the role of the guide.
    pub(crate) async fn start(nodes: usize, mib: usize) -> Self {
        let world = Self { cluster: BaoCluster::start_unsealed(nodes).await, issuer: JwtIssuer::new() };
        let leader = world.leader().await;
        world.wait_for_voters(&leader).await;
        let write = async |path: &str, body: Value| {
            let written = leader.write(&world.cluster.root(), path, &body).await;
            written.unwrap_or_else(|error| panic!("{path}: {error}"))
        };
        write("sys/mounts/secret", json!({"type": "kv", "options": {"version": "1"}})).await;
        write("secret/canary", json!({"bird": "yellow"})).await;
        for entry in 0..mib * 2 {
            write(&format!("secret/filler/{entry}"), json!({"noise": noise()})).await;
        }
        write("sys/policies/acl/snapshot_policy", json!({"policy": POLICY})).await;
        write("sys/auth/jwt", json!({"type": "jwt"})).await;
        write("auth/jwt/config", json!({"jwt_validation_pubkeys": world.issuer.public_pem()})).await;
        let claims = json!({"nomad_job_id": "vault-backup", "nomad_namespace": "vault-cluster", "nomad_task": "vault-backup"});
        let role = json!({
            "role_type": "jwt", "user_claim": "nomad_job_id", "bound_audiences": ["vault.io"], "bound_claims": claims,
            "token_policies": ["snapshot_policy"], "token_period": "30m",
        });
        write("auth/jwt/role/snapshot", role).await;
        world
    }

    /// A member that does not vote yet elects nobody.
    async fn wait_for_voters(&self, leader: &Vault) {
        let deadline = runtime::instant_now() + std::time::Duration::from_secs(120);
        loop {
            let servers = leader.raft_servers(&self.cluster.root()).await.unwrap_or_default();
            if servers.iter().filter(|server| server.voter).count() == self.cluster.size() {
                return;
            }
            assert!(runtime::instant_now() < deadline, "they do not come to vote: {servers:?}");
            runtime::sleep(std::time::Duration::from_millis(200)).await;
        }
    }

    pub(crate) async fn leader(&self) -> Vault {
        self.cluster.client(self.cluster.leader().await)
    }

    /// The identity of a task of this job.
    pub(crate) fn jwt(&self, job: &str) -> String {
        let now = runtime::Clock::system().now().as_secs();
        self.issuer.sign(&json!({
            "aud": "vault.io", "iss": "test", "sub": "task", "iat": now - 5, "nbf": now - 5, "exp": now + 3600,
            "nomad_job_id": job, "nomad_namespace": "vault-cluster", "nomad_task": "vault-backup",
        }))
    }

    /// A configuration that logs in by JWT at one node, followed by more of it.
    pub(crate) fn config(&self, node: usize, more: &str) -> String {
        format!(
            "log_level: debug\nvault:\n  addresses: [\"{}\"]\n  auth: {{method: jwt, role: snapshot}}\n  \
             tls: {{ca_file: \"{}\"}}\n{more}",
            self.cluster.address(node),
            self.cluster.ca_file().display()
        )
    }

    /// Runs the tool as a job of the guide would.
    pub(crate) async fn run(&self, folder: &Path, config: &str, args: &[&str]) -> Ran {
        let jwt = self.jwt("vault-backup");
        self.run_with(folder, config, args, &[("JWT", &jwt)], "").await
    }

    /// The unseal keys, one a line.
    pub(crate) fn shares(&self) -> String {
        self.cluster.shares[..3].join("\n")
    }

    /// Runs the tool with this environment and input, and looks for secrets in whatever came of it.
    pub(crate) async fn run_with(
        &self,
        folder: &Path,
        config: &str,
        args: &[&str],
        env: &[(&str, &str)],
        input: &str,
    ) -> Ran {
        let ran = run(folder, config, args, env, input).await;
        let jwts = env
            .iter()
            .filter(|(name, _)| !["VAULT_ADDR", "TMPDIR"].contains(name))
            .map(|(_, value)| (*value).to_owned());
        self.assert_secret_free(folder, &ran, jwts);
        ran
    }

    /// Nothing secret is in what was printed, nor in what lies in the folder.
    fn assert_secret_free(&self, folder: &Path, ran: &Ran, more: impl Iterator<Item = String>) {
        let mut secrets: Vec<String> = self.cluster.shares.clone();
        secrets.extend([self.cluster.root_token.clone(), IDENTITY.to_owned()]);
        secrets.extend(more);
        assert_free_of(&secrets, "the output", &format!("{}{}", ran.out, ran.err));
        for path in files(folder) {
            // What the test itself wrote for the tool to read.
            if ["config.yaml", "keys", "identity"].iter().any(|name| path.ends_with(name)) {
                continue;
            }
            let text = std::fs::read(&path).unwrap_or_default();
            assert_free_of(&secrets, &path.display().to_string(), &String::from_utf8_lossy(&text));
        }
    }
}

pub(crate) fn assert_free_of(secrets: &[String], place: &str, text: &str) {
    for secret in secrets.iter().filter(|secret| secret.len() > 8) {
        assert!(!text.contains(secret.as_str()), "{place} holds a secret: {}...", &secret[..6]);
    }
    // Tokens that a login made: their beginning and least length are known, no more. (Four letters alone would be
    // met by chance in the 40 MiB of random bytes of a snapshot, once in a hundred runs.)
    let is_token = |word: &str| {
        word.len() >= 26 && (word.starts_with("hvs.") || word.starts_with("s.") && word.len() == 26)
    };
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
    assert!(!words.any(is_token), "{place} holds a token");
}

/// All files below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found
}

/// The names of the snapshots in a folder, in order.
pub(crate) fn snapshots(folder: &Path) -> Vec<String> {
    let names =
        files(folder).into_iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        names.filter(|name| name.ends_with(".snap") || name.ends_with(".snap.age")).collect();
    names.sort();
    names
}

pub(crate) fn command(folder: &Path, config: &str, args: &[&str], env: &[(&str, &str)]) -> Command {
    let path = folder.join("config.yaml");
    std::fs::write(&path, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vault-snapshot"));
    // Nothing of this machine's own: no VAULT_TOKEN, no NOMAD_TOKEN.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).envs(env.iter().copied());
    command.args(args).arg("-config").arg(path).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) async fn run(
    folder: &Path,
    config: &str,
    args: &[&str],
    env: &[(&str, &str)],
    input: &str,
) -> Ran {
    let mut child = command(folder, config, args, env).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Who does not read it has its reasons.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}

pub(crate) fn folder() -> TempDir {
    tempfile::Builder::new().prefix("vault-snapshot-test-").tempdir().unwrap()
}

/// A destination in this folder, as one line of YAML.
pub(crate) fn directory(name: &str, path: &Path) -> String {
    format!("  - {{name: {name}, type: directory, path: \"{}\"}}\n", path.display())
}

/// Half a MiB that cannot be compressed, as text.
fn noise() -> String {
    let mut bytes = vec![0; 256 * 1024];
    SystemRandom::new().fill(&mut bytes).unwrap();
    hex::encode(bytes)
}

/// Reads the canary with a token of the cluster that was saved.
pub(crate) async fn canary(vault: &Vault, token: &Secret) -> Option<String> {
    let fields = vault.read(token, "secret/canary").await.ok()?;
    fields.get("bird").map(|bird| bird.expose().to_owned())
}
