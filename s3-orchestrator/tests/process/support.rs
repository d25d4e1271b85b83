//! A process under test: started with a configuration, watched by its log, asked over HTTP.

use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use s3_client::{ClientOptions, Credentials, S3Client};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// Longer than anything takes on a busy machine; reached only by a test that fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary with these arguments.
pub(crate) fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s3-orchestrator"));
    command.args(args).kill_on_drop(true).stdin(Stdio::null());
    command
}

/// Runs a command that ends by itself.
pub(crate) async fn run(args: &[&str]) -> Output {
    let output = program(args).env("VAULT_TOKEN", "a token").output();
    runtime::timeout(PATIENCE, output).await.expect("the command ends").unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A configuration with one directory in `dir`, whose `server` and other sections say this as well.
pub(crate) fn config(dir: &Path, server: &str, more: &str) -> String {
    let path = dir.join("config.yaml");
    let text = format!(
        "server: {{ listen_addr: \"127.0.0.1:0\"{server} }}\n\
         database: {{ path: \"{dir}/catalog.db\" }}\n\
         buckets: [{{ name: b, credentials: [{{ access_key_id: key, secret_access_key: secret }}] }}]\n\
         backends: [{{ type: directory, name: disk, path: \"{dir}/disk\", quota_bytes: 1GB }}]\n{more}\n",
        dir = dir.display()
    );
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// A server that runs.
pub(crate) struct Server {
    child: Child,
    log: watch::Receiver<Vec<Value>>,
    pub(crate) addr: String,
}

impl Server {
    /// Starts with a configuration; returns as soon as it listens.
    pub(crate) async fn start(config: &str) -> Self {
        Self::start_with(&["-config", config]).await
    }

    pub(crate) async fn start_with(args: &[&str]) -> Self {
        Self::run(program(args)).await
    }

    /// Starts it by this command; returns as soon as it listens.
    pub(crate) async fn run(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, log) = watch::channel(Vec::new());
        runtime::spawn(async move {
            let mut lines = stdout.lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // Shown where the test fails.
                println!("{line}");
                let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
                sender.send_modify(|log| log.push(line));
            }
        })
        .detach();
        let mut server = Self { child, log, addr: String::new() };
        server.addr = server.said("listening").await["addr"].as_str().unwrap().to_owned();
        server
    }

    /// Waits for the first line of the log whose message holds this.
    pub(crate) async fn said(&mut self, message: &str) -> Value {
        let says = |line: &Value| line["message"].as_str().is_some_and(|text| text.contains(message));
        let waiting = self.log.wait_for(|log| log.iter().any(says));
        let log = runtime::timeout(PATIENCE, waiting).await;
        let log = log.unwrap_or_else(|_| panic!("{message:?} was not logged")).expect("the process lives");
        log.iter().find(|line| says(line)).unwrap().clone()
    }

    /// Waits for the first line of the log that is so.
    pub(crate) async fn logged(&self, is: impl Fn(&Value) -> bool) -> Value {
        let mut log = self.log.clone();
        let waiting = log.wait_for(|log| log.iter().any(&is));
        let log = runtime::timeout(PATIENCE, waiting).await;
        let log = log.unwrap_or_else(|_| panic!("no such line was logged")).expect("the process lives");
        log.iter().find(|line| is(line)).unwrap().clone()
    }

    /// How often a message was logged that holds this.
    pub(crate) fn times_said(&self, message: &str) -> usize {
        let log = self.log.borrow();
        log.iter().filter(|line| line["message"].as_str().is_some_and(|text| text.contains(message))).count()
    }

    pub(crate) async fn ready(&self) {
        wait_until("it is ready", async || self.status("/health/ready").await == 200).await;
    }

    pub(crate) async fn status(&self, path: &str) -> u16 {
        get(&self.addr, path).await.0
    }

    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("the process lives").to_string();
        let status = Command::new("kill").args([format!("-{name}"), pid]).status().await.unwrap();
        assert!(status.success());
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        runtime::timeout(PATIENCE, self.child.wait()).await.expect("the process ends").unwrap()
    }

    /// Whether it has not ended.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

/// A client of one bucket.
pub(crate) fn client(addr: &str, bucket: &str, (id, secret): (&str, &str)) -> S3Client {
    let credentials = Credentials {
        access_key_id: id.to_owned(),
        secret_access_key: secret.to_owned(),
        session_token: None,
    };
    S3Client::new(ClientOptions::new(format!("http://{addr}"), bucket, credentials)).unwrap()
}

/// Waits for a state.
pub(crate) async fn wait_until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is().await {
            runtime::sleep(Duration::from_millis(20)).await;
        }
    };
    runtime::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

/// Status, head and body of a GET.
pub(crate) async fn get(addr: &str, path: &str) -> (u16, String, String) {
    request(addr, "GET", path, "").await
}

/// Status, head and body of a request on a connection of its own. 0 where there is no answer.
pub(crate) async fn request(addr: &str, method: &str, path: &str, headers: &str) -> (u16, String, String) {
    let exchange = async {
        let mut stream = TcpStream::connect(addr).await?;
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(text(&answer))
    };
    let Ok(Ok(answer)) = runtime::timeout(PATIENCE, exchange).await else { return Default::default() };
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, head.to_owned(), body.to_owned())
}
