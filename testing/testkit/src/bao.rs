//! OpenBao, which speaks what HashiCorp Vault speaks: a server for development, and real raft clusters.

mod cluster;

use std::time::Duration;

use runtime::instant_now;
use vault::{Secret, Vault, VaultOptions};

pub use cluster::BaoCluster;

use crate::ports::free_ports;
use crate::process::{Process, ProcessOptions};
use crate::tools::tool;

/// Longest wait for a state, on a busy machine.
const WITHIN: Duration = Duration::from_secs(90);
/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often a server may lose its ports to another process.
const STARTS_MAX: usize = 4;

/// A server for development: in memory, unsealed, over plain http, with a KV engine of version 2 at `secret`.
#[derive(Debug)]
pub struct Bao {
    /// Where it listens: `http://127.0.0.1:PORT`.
    pub address: String,
    /// A token that may do everything.
    pub root_token: String,
    process: Process,
}

impl Bao {
    /// Starts one.
    ///
    /// # Panics
    /// Where it is not installed (with the command that does it) or does not start.
    pub async fn dev() -> Self {
        let program = tool("openbao", "bao");
        let root_token = "root-token-of-a-test".to_owned();
        for _ in 0..STARTS_MAX {
            let [port] = free_ports();
            let arguments = [
                "server",
                "-dev",
                "-dev-no-store-token",
                &format!("-dev-root-token-id={root_token}"),
                &format!("-dev-listen-address=127.0.0.1:{port}"),
            ]
            .map(str::to_owned)
            .into();
            let options = ProcessOptions {
                program: &program,
                arguments,
                environment: Vec::new(),
                leftovers: Vec::new(),
            };
            let process = Process::start(options, Process::new_folder());
            let mut bao =
                Self { address: format!("http://127.0.0.1:{port}"), root_token: root_token.clone(), process };
            if bao.is_ready().await {
                return bao;
            }
        }
        panic!("OpenBao does not start")
    }

    /// A client of it.
    ///
    /// # Panics
    /// Never: its address is legal.
    #[must_use]
    pub fn client(&self) -> Vault {
        Vault::new(VaultOptions::new(&self.address)).expect("the address of a test server is legal")
    }

    /// The token that may do everything.
    #[must_use]
    pub fn root(&self) -> Secret {
        Secret::from(self.root_token.as_str())
    }

    /// The running process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Whether it gets ready; not, where it ended.
    async fn is_ready(&mut self) -> bool {
        let client = self.client();
        let deadline = instant_now() + WITHIN;
        loop {
            // The engine at `secret` comes a little later than the rest.
            if client.read(&self.root(), "sys/mounts/secret").await.is_ok() {
                return true;
            }
            if self.process.has_ended() {
                return false;
            }
            assert!(instant_now() < deadline, "OpenBao does not get ready:\n{}", self.process.log());
            runtime::sleep(LOOK_EVERY).await;
        }
    }
}
