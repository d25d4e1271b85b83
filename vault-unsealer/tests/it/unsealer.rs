//! The unsealer while a test needs it. Whatever it leaves behind is searched for secrets when it ends.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use runtime::instant_now;
use testkit::{Process, ProcessOptions, RawConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest wait for a state, on a busy machine.
const WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_vault-unsealer"))
}

pub(crate) struct Unsealer {
    pub process: Process,
    secrets: BTreeSet<String>,
    address: String,
}

/// Writes a configuration that its owner alone may read.
pub(crate) fn write_config(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    file
}

/// A list as JSON, which is YAML too.
pub(crate) fn list(items: &[impl AsRef<str>]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| format!("{:?}", item.as_ref())).collect();
    format!("[{}]", quoted.join(", "))
}

impl Unsealer {
    /// Starts it with the configuration in `NAME`, at debug level, and waits until it serves. `secrets` is what
    /// must not be seen anywhere.
    pub(crate) async fn start(name: &str, text: &str, secrets: &[String]) -> Self {
        Self::start_by(&[], name, text, secrets).await
    }

    /// The same by another program, which gets this one and its arguments as the last ones of its own.
    pub(crate) async fn start_by(by: &[&str], name: &str, text: &str, secrets: &[String]) -> Self {
        let folder = Process::new_folder();
        write_config(folder.path(), name, text);
        let own = [program().to_str().unwrap(), "-config", name];
        let words: Vec<String> = by.iter().chain(&own).map(|word| (*word).to_owned()).collect();
        let options = ProcessOptions {
            program: Path::new(&words[0]),
            arguments: words[1..].to_vec(),
            environment: vec![("RUST_BACKTRACE", "1".into())],
            leftovers: Vec::new(),
        };
        let process = Process::start(options, folder);
        let mut new = Self { process, secrets: forms(secrets), address: String::new() };
        let deadline = instant_now() + WITHIN;
        while new.address.is_empty() {
            assert!(!new.process.has_ended(), "it ended:\n{}", new.process.log());
            assert!(instant_now() < deadline, "it does not listen:\n{}", new.process.log());
            runtime::sleep(LOOK_EVERY).await;
            let log = std::fs::read_to_string(new.process.log_path()).unwrap();
            let address = log.lines().find_map(|line| line.split_once("\"addr\":\""));
            new.address =
                address.map(|(_, rest)| rest[..rest.find('"').unwrap()].to_owned()).unwrap_or_default();
        }
        new
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.process.log_path()).unwrap()
    }

    /// What it answers to a GET: status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// The value of a metric: the sum of its lines that hold all of `labels`.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> u64 {
        let (_, text) = self.get("/metrics").await;
        let name = format!("vault_unsealer_{name}");
        let lines = text.lines().filter(|line| {
            line.strip_prefix(&name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
    }

    /// Waits until a metric is as told.
    pub(crate) async fn until(&self, name: &str, labels: &[&str], is_so: impl Fn(u64) -> bool) {
        let deadline = instant_now() + WITHIN;
        loop {
            let value = self.metric(name, labels).await;
            if is_so(value) {
                return;
            }
            assert!(instant_now() < deadline, "{name} {labels:?} is {value}:\n{}", self.process.log());
            runtime::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until it has logged something.
    pub(crate) async fn until_logged(&self, text: &str) {
        let deadline = instant_now() + WITHIN;
        while !self.log().contains(text) {
            assert!(instant_now() < deadline, "{text:?} is not logged:\n{}", self.process.log());
            runtime::sleep(LOOK_EVERY).await;
        }
    }

    /// Ends it, and searches for secrets in its log, its metrics, the listing of its process and whatever it
    /// left in its folder.
    pub(crate) async fn end(mut self) {
        let (_, metrics) = self.get("/metrics").await;
        self.search("metrics", metrics.as_bytes());
        let listing = std::fs::read(format!("/proc/{}/cmdline", self.process.id())).unwrap();
        self.search("the process listing", &listing);
        self.process.signal("TERM");
        assert!(self.process.ended(WITHIN).await.success(), "{}", self.process.log());
        for entry in std::fs::read_dir(self.process.folder()).unwrap() {
            let file = entry.unwrap().path();
            if !file.file_name().unwrap().to_str().unwrap().starts_with("config.") && file.is_file() {
                self.search(&file.display().to_string(), &std::fs::read(&file).unwrap());
            }
        }
    }

    fn search(&self, place: &str, bytes: &[u8]) {
        search(&self.secrets, place, bytes);
    }
}

/// A share as it is, and in its other form.
fn forms(secrets: &[String]) -> BTreeSet<String> {
    let other = |secret: &String| {
        let bytes = STANDARD.decode(secret).ok()?;
        Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    };
    secrets.iter().cloned().chain(secrets.iter().filter_map(other)).collect()
}

fn search(secrets: &BTreeSet<String>, place: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for secret in secrets {
        // A part of it would be bad enough.
        assert!(!text.contains(&secret[..12]), "{place} holds the secret that begins with {}", &secret[..4]);
    }
}

/// Runs the program to its end; its output holds no secret.
pub(crate) async fn run(folder: &Path, args: &[&str], secrets: &[String]) -> Output {
    let output =
        tokio::process::Command::new(program()).args(args).current_dir(folder).output().await.unwrap();
    for bytes in [&output.stdout, &output.stderr] {
        search(&forms(secrets), "the output", bytes);
    }
    output
}

/// Takes everything and never answers.
pub(crate) async fn hang(mut connection: RawConnection) {
    connection.until_closed().await;
}
