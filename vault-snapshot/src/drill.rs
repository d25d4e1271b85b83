//! The rehearsal: the newest snapshot, a server of this machine that is thrown away, and paths that must be there.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use runtime::Phase;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use vault::{Secret, Vault, VaultOptions};

use crate::restore::{Proved, say};
use crate::tool::Tool;
use crate::trouble::Trouble;

const START: Duration = Duration::from_secs(60);

impl Tool {
    /// Restores a snapshot into a throw-away server, unseals it, reads the canaries.
    pub(crate) async fn drill(&self, proved: Proved, shares: &[Secret]) -> Result<(), Trouble> {
        let start = runtime::instant_now();
        let mut server = Scratch::start(&self.config.drill.binary)?;
        let rehearsal = async {
            server.answers().await?;
            self.bring_back(&server.vault, &proved, shares).await?;
            self.look_at_canaries(&server.vault, shares).await
        };
        let outcome = tokio::select! {
            outcome = rehearsal => outcome,
            () = self.lasting.shutdown.reached(Phase::Draining) => Err(Trouble::lasting("it was interrupted")),
        };
        let log = server.log();
        server.throw_away().await;
        say("the throw-away server and its files are gone");
        match outcome {
            Ok(count) => {
                let (what, seconds) = (proved.source.name(), start.elapsed().as_secs());
                say(&format!("{what} can be restored: {count} canaries read, {seconds} seconds"));
                Ok(())
            }
            Err(trouble) => {
                eprintln!("the last words of the throw-away server:\n{log}");
                Err(trouble)
            }
        }
    }

    async fn look_at_canaries(&self, vault: &Vault, shares: &[Secret]) -> Result<usize, Trouble> {
        let canaries = &self.config.drill.canaries;
        if canaries.is_empty() {
            say("no canaries are configured: that it unseals is all that is known");
            return Ok(0);
        }
        let token = match &self.config.drill.token {
            Some(token) => Secret::from(token.expose()),
            None => vault.generate_root(shares).await?,
        };
        for canary in canaries {
            let fields = vault.read(&token, canary).await?;
            if fields.is_empty() {
                return Err(Trouble::lasting(format!("the canary {canary} is empty")));
            }
            // Never what is in it.
            say(&format!("read {canary}: {} fields", fields.len()));
        }
        Ok(canaries.len())
    }
}

/// A server with a folder of its own, both gone when this is.
struct Scratch {
    child: Child,
    folder: TempDir,
    vault: Vault,
}

impl Scratch {
    fn start(binary: &Path) -> Result<Self, Trouble> {
        let folder = tempfile::Builder::new().prefix("vault-snapshot-drill-").tempdir()?;
        let [api, cluster] = free_ports()?;
        let path = folder.path().join("server.hcl");
        std::fs::create_dir(folder.path().join("raft"))?;
        std::fs::write(&path, settings(&folder.path().join("raft"), api, cluster))?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        say(&format!("starting a throw-away {} on 127.0.0.1:{api}", binary.display()));
        let child = Command::new(binary)
            .arg("server")
            .arg(format!("-config={}", path.display()))
            // It needs nothing of what our own environment holds: tokens, for one.
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Trouble::lasting(format!("cannot start {}: {error}", binary.display())))?;
        let vault = Vault::new(VaultOptions::new(format!("http://127.0.0.1:{api}")))?;
        Ok(Self { child, folder, vault })
    }

    /// Waits until it answers.
    async fn answers(&mut self) -> Result<(), Trouble> {
        let deadline = runtime::instant_now() + START;
        while self.vault.seal_status().await.is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(Trouble::lasting(format!("the throw-away server ended at once: {status}")));
            }
            if runtime::instant_now() > deadline {
                return Err(Trouble::lasting(format!(
                    "the throw-away server does not answer within {START:?}"
                )));
            }
            runtime::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// The end of what it logged.
    fn log(&self) -> String {
        let log = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().rev().take(10).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    async fn throw_away(mut self) {
        // One that ended by itself is as good.
        let _ = self.child.kill().await;
    }
}

fn free_ports() -> Result<[u16; 2], Trouble> {
    let listeners = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    Ok([listeners[0].local_addr()?.port(), listeners[1].local_addr()?.port()])
}

/// The same for Vault and OpenBao; each warns of what only the other knows.
fn settings(raft: &Path, api: u16, cluster: u16) -> String {
    format!(
        r#"storage "raft" {{
  path    = "{}"
  node_id = "drill"
}}
listener "tcp" {{
  address     = "127.0.0.1:{api}"
  tls_disable = true
  disable_unauthed_generate_root_endpoints = false
}}
api_addr      = "http://127.0.0.1:{api}"
cluster_addr  = "https://127.0.0.1:{cluster}"
disable_mlock = true
"#,
        raft.display()
    )
}
