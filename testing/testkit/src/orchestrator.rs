//! The product as a process: the real binary with a configuration of its own.

mod config;
mod log;
mod probe;
mod program;

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Mutex;
use std::time::Duration;

use runtime::instant_now;

pub use config::ConfigBuilder;

use crate::certificate::{self, Authority};
use crate::process::{Process, ProcessOptions};
use crate::wire::{Keys, WireClient};
use log::Log;

/// Longest wait for a server to be ready, on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// A server that was asked to end is gone by then, whatever it was doing.
const END_WITHIN: Duration = Duration::from_secs(30);
/// What it says at the start where the factor is above 1, until repair is built.
const NO_REPAIR: &str = "this release does not make lost ones again";
/// How often its log and health are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running orchestrator. Dropping it kills it; the test fails then if it logged a warning or an error that
/// nobody allowed, and its log is printed where the test has failed.
#[derive(Debug)]
pub struct Orchestrator {
    /// Where it listens: `http://127.0.0.1:PORT`, or `https://...`.
    pub endpoint: String,
    process: Option<Process>,
    authority: Option<Authority>,
    environment: Vec<(&'static str, String)>,
    allowed: Mutex<Vec<String>>,
}

impl Orchestrator {
    /// The access key that opens all buckets.
    pub const ACCESS_KEY: &'static str = "e2e-access-key";
    /// Its secret.
    pub const SECRET_KEY: &'static str = "e2e-secret-key/with+signs=";

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// Where the binary is missing or old (with the command that builds it), or it does not get ready.
    pub async fn start(config: ConfigBuilder) -> Self {
        let folder = Process::new_folder();
        let authority = config.tls.then(|| Authority::new(folder.path()));
        std::fs::write(folder.path().join("config.yaml"), config.yaml(folder.path()))
            .expect("the folder is ours");
        let mut new = Self {
            endpoint: String::new(),
            process: None,
            authority,
            environment: config.environment,
            allowed: Mutex::new(vec![NO_REPAIR.to_owned()]),
        };
        new.run_in(folder).await;
        new
    }

    /// The binary under test, for its other commands.
    ///
    /// # Panics
    /// Where it is missing or old.
    #[must_use]
    pub fn program() -> PathBuf {
        program::find()
    }

    /// Ends it at once, as `kill -9` does, and starts it again on the same data, at another port.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub async fn kill_and_restart(&mut self) {
        self.kill_and_restart_after(async |_| {}).await;
    }

    /// The same, and does something to its folder in between.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub async fn kill_and_restart_after(&mut self, between: impl AsyncFnOnce(&Path)) {
        let folder = self.process.take().expect("it runs").into_folder();
        between(folder.path()).await;
        self.run_in(folder).await;
    }

    /// Runs a command of the product in such a folder, and waits for its end.
    ///
    /// # Panics
    /// Where it cannot be started.
    #[must_use]
    pub fn run_in_folder(folder: &Path, arguments: &[&str]) -> std::process::Output {
        let mut command = std::process::Command::new(program::find());
        command.args(arguments).current_dir(folder).stdin(std::process::Stdio::null());
        command.output().expect("the product can be started")
    }

    /// Starts another process with the same configuration, at another port, and does not wait for it: one
    /// catalog serves one process at a time. Over http only.
    ///
    /// # Panics
    /// Where it does not listen, or another thread panicked here.
    pub async fn start_beside(&self) -> Self {
        let folder = Process::new_folder();
        // Its paths are absolute.
        std::fs::copy(self.folder().join("config.yaml"), folder.path().join("config.yaml"))
            .expect("both folders are ours");
        self.launch_beside(folder).await
    }

    /// Starts another process beside it, with a copy of its catalog taken at this moment (this one stands still for
    /// that), at another port and over the same backends; does something between the copy and the start, and does
    /// not wait for the process. Over http only.
    ///
    /// # Panics
    /// Where it does not listen, or another thread panicked here.
    pub async fn start_with_copied_catalog(&mut self, between: impl AsyncFnOnce(&Self)) -> Self {
        let folder = Process::new_folder();
        let own = self.folder().to_owned();
        self.process().signal("STOP");
        for name in ["catalog.db", "catalog.db-wal"] {
            std::fs::copy(own.join(name), folder.path().join(name)).expect("the catalog has both files");
        }
        self.process().signal("CONT");
        between(self).await;
        let config = std::fs::read_to_string(own.join("config.yaml")).expect("it was started with it");
        let catalog = |folder: &Path| folder.join("catalog.db").display().to_string();
        assert!(config.contains(&catalog(&own)), "its catalog is elsewhere: {config}");
        let config = config.replace(&catalog(&own), &catalog(folder.path()));
        std::fs::write(folder.path().join("config.yaml"), config).expect("the folder is ours");
        self.launch_beside(folder).await
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// Where it does not get ready.
    pub async fn ready(&mut self) {
        let address = self.endpoint.split_once("://").map(|(_, address)| address.to_owned());
        self.wait_until_ready(&address.expect("it listens")).await;
    }

    /// The raw client, with the key that opens all buckets.
    ///
    /// # Panics
    /// Where it speaks https.
    #[must_use]
    pub fn wire(&self) -> WireClient {
        WireClient::new(&self.endpoint, Keys::new(Self::ACCESS_KEY, Self::SECRET_KEY))
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Panics
    /// Where it does not within the 30 seconds that it has.
    pub async fn stop(&mut self) -> ExitStatus {
        let process = self.process.as_mut().expect("it runs");
        process.signal("TERM");
        process.ended(END_WITHIN).await
    }

    /// The running process, for those who send it signals or measure it.
    ///
    /// # Panics
    /// Never: it is absent only within [`Self::kill_and_restart`].
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it runs")
    }

    /// The folder of its configuration (`config.yaml`), its catalog (`catalog.db`), its log (`log`) and the
    /// directories among its backends (by name).
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.process.as_ref().expect("it runs").folder()
    }

    /// The certificate authority to trust, as a PEM file, where it speaks https.
    #[must_use]
    pub fn ca_file(&self) -> Option<PathBuf> {
        self.authority.as_ref().map(|_| self.folder().join(certificate::CA_FILE))
    }

    /// Lets it log warnings and errors that contain this.
    ///
    /// # Panics
    /// Where another thread panicked here.
    pub fn allow_log(&self, text: &str) {
        self.allowed.lock().expect("nothing panics under it").push(text.to_owned());
    }

    /// How much it has logged, for [`Self::complaints_since`].
    #[must_use]
    pub fn log_mark(&self) -> u64 {
        self.log().len()
    }

    /// The warnings and errors, and whatever is no log line at all, that it has logged since then and that
    /// nobody allowed.
    ///
    /// # Panics
    /// Where another thread panicked here.
    #[must_use]
    pub fn complaints_since(&self, mark: u64) -> Vec<String> {
        let allowed = self.allowed.lock().expect("nothing panics under it");
        let lines = self.log().complaints_since(mark);
        lines.into_iter().filter(|line| !allowed.iter().any(|text| line.contains(text))).collect()
    }

    /// The last lines that it logged.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    fn log(&self) -> Log {
        Log::at(self.folder().join("log"))
    }

    /// Another process, which may log what this one may.
    async fn launch_beside(&self, folder: tempfile::TempDir) -> Self {
        assert!(self.authority.is_none(), "the second process has no certificate");
        let mut second = Self {
            endpoint: String::new(),
            process: None,
            authority: None,
            environment: self.environment.clone(),
            allowed: Mutex::new(self.allowed.lock().expect("nothing panics under it").clone()),
        };
        second.launch_in(folder).await;
        second
    }

    async fn run_in(&mut self, folder: tempfile::TempDir) {
        self.launch_in(folder).await;
        self.ready().await;
    }

    async fn launch_in(&mut self, folder: tempfile::TempDir) {
        let program = program::find();
        let mark = Log::at(folder.path().join("log")).len();
        let arguments = ["serve", "-config", "config.yaml"].map(str::to_owned).into();
        let environment = self.environment.clone();
        let options = ProcessOptions { program: &program, arguments, environment, leftovers: Vec::new() };
        let process = Process::start(options, folder);
        self.process = Some(process);
        let address = self.wait_for_address(mark).await;
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        self.endpoint = format!("{scheme}://{address}");
    }

    /// The address that it took, from its log: the configuration says port 0.
    async fn wait_for_address(&mut self, mark: u64) -> String {
        let deadline = instant_now() + READY_WITHIN;
        loop {
            if let Some(address) = self.log().field_of("listening", "addr", mark) {
                return address;
            }
            self.panic_if_ended();
            assert!(instant_now() < deadline, "it does not listen:\n{}", self.log_tail());
            runtime::sleep(LOOK_EVERY).await;
        }
    }

    async fn wait_until_ready(&mut self, address: &str) {
        let deadline = instant_now() + READY_WITHIN;
        while probe::status(address, "/health/ready", self.authority.as_ref()).await != Some(200) {
            self.panic_if_ended();
            assert!(instant_now() < deadline, "it does not get ready:\n{}", self.log_tail());
            runtime::sleep(LOOK_EVERY).await;
        }
    }

    fn panic_if_ended(&mut self) {
        let ended = self.process().has_ended();
        assert!(!ended, "it ended during its start:\n{}", self.log_tail());
    }
}

impl Drop for Orchestrator {
    fn drop(&mut self) {
        if self.process.is_none() {
            return;
        }
        if std::thread::panicking() {
            eprintln!("the last lines that the orchestrator logged:\n{}", self.log_tail());
            return;
        }
        let complaints = self.complaints_since(0);
        assert!(
            complaints.is_empty(),
            "the orchestrator logged what nobody allowed:\n{}",
            complaints.join("\n")
        );
    }
}
