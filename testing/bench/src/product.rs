//! The product: its real binary, built if need be, in front of backends, with a folder of its own.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use runtime::instant_now;
use s3_client::{ClientOptions, Credentials};
use testkit::{Process, ProcessOptions, free_ports};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The bucket that clients see.
pub const BUCKET: &str = "bench";
const ACCESS_KEY: &str = "BENCHACCESSKEY";
const SECRET_KEY: &str = "benchsecretkey";

/// Longest wait until it is ready, on a busy machine.
const READY_SECONDS_MAX: u64 = 60;
/// How often it may lose its port to another process.
const STARTS_MAX: usize = 4;

/// What stands behind it.
#[derive(Debug, Clone)]
pub enum Behind {
    /// A bucket at an S3 server.
    S3(Box<ClientOptions>),
    /// A directory in its folder.
    Directory,
}

/// How to run it.
#[derive(Debug, Clone, Default)]
pub struct ProductOptions {
    /// Its backends.
    pub backends: Vec<Behind>,
    /// `replication.factor`.
    pub factor: u32,
    /// `server.memory_budget`, such as `128MB`; what the machine suggests where it is empty.
    pub memory_budget: String,
    /// Bytes of memory that the operating system grants it.
    pub memory_bytes_max: Option<u64>,
}

/// The product, running. Dropping it kills it and removes its folder.
#[derive(Debug)]
pub struct Product {
    /// Where it listens: `http://127.0.0.1:PORT`.
    pub endpoint: String,
    process: Process,
}

impl Product {
    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// Where it cannot be built or does not start, with what it said.
    pub async fn start(options: &ProductOptions) -> Self {
        let mut last = String::new();
        for _ in 0..STARTS_MAX {
            let mut product = Self::launch(options);
            match product.wait_until_ready().await {
                Ok(()) => return product,
                Err(why) => last = format!("{why}\n{}", product.log()),
            }
        }
        panic!("s3-orchestrator does not start: {last}")
    }

    fn launch(options: &ProductOptions) -> Self {
        let folder = Process::new_folder();
        let [port] = free_ports();
        let config = folder.path().join("config.yaml");
        std::fs::write(&config, configuration(options, port, folder.path())).expect("the folder is ours");
        let binary = binary();
        let of_binary = ["-config".to_owned(), config.display().to_string()];
        let (program, arguments) = match options.memory_bytes_max {
            None => (binary, of_binary.to_vec()),
            Some(bytes) => limited(binary, &of_binary, bytes),
        };
        let options =
            ProcessOptions { program: &program, arguments, environment: Vec::new(), leftovers: Vec::new() };
        let process = Process::start(options, folder);
        Self { endpoint: format!("http://127.0.0.1:{port}"), process }
    }

    async fn wait_until_ready(&mut self) -> Result<(), String> {
        let deadline = instant_now() + Duration::from_secs(READY_SECONDS_MAX);
        while !self.is_ready().await {
            if self.process.has_ended() {
                return Err("it ended at once".to_owned());
            }
            if instant_now() > deadline {
                return Err(format!("not ready after {READY_SECONDS_MAX} seconds"));
            }
            runtime::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn is_ready(&self) -> bool {
        let address = self.endpoint.trim_start_matches("http://");
        let Ok(mut stream) = TcpStream::connect(address).await else { return false };
        let request = format!("GET /health/ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        let mut answer = Vec::new();
        let asked = stream.write_all(request.as_bytes()).await.is_ok();
        asked && stream.read_to_end(&mut answer).await.is_ok() && answer.starts_with(b"HTTP/1.1 200")
    }

    /// How to speak to its bucket.
    #[must_use]
    pub fn options(&self) -> ClientOptions {
        ClientOptions::new(&self.endpoint, BUCKET, credentials())
    }

    /// Its process id.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// The end of what it printed.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// A key for its bucket.
#[must_use]
pub fn credentials() -> Credentials {
    Credentials {
        access_key_id: ACCESS_KEY.to_owned(),
        secret_access_key: SECRET_KEY.to_owned(),
        session_token: None,
    }
}

fn configuration(options: &ProductOptions, port: u16, folder: &Path) -> String {
    let budget = match options.memory_budget.as_str() {
        "" => String::new(),
        text => format!(", memory_budget: {text}"),
    };
    let mut text = format!(
        "deployment: bench\n\
         server: {{ listen_addr: \"127.0.0.1:{port}\"{budget} }}\n\
         replication: {{ factor: {} }}\n\
         buckets:\n  - name: {BUCKET}\n    credentials:\n      - access_key_id: {ACCESS_KEY}\n        \
         secret_access_key: {SECRET_KEY}\n\
         database: {{ path: \"{}\" }}\n\
         backends:\n",
        options.factor,
        folder.join("catalog.db").display(),
    );
    for (index, backend) in options.backends.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = match backend {
            Behind::Directory => {
                let path = folder.join(format!("disk-{index}"));
                writeln!(text, "  - {{ name: disk-{index}, type: directory, path: \"{}\" }}", path.display())
            }
            Behind::S3(s3) => writeln!(
                text,
                "  - {{ name: store-{index}, endpoint: \"{}\", bucket: {}, region: us-east-1, \
                 access_key_id: {}, secret_access_key: {}, force_path_style: true }}",
                s3.endpoint, s3.bucket, s3.credentials.access_key_id, s3.credentials.secret_access_key,
            ),
        };
    }
    text
}

/// A limit on what a process may write to in memory, touched or not. It needs neither privileges nor
/// control groups, and is stricter than a container's limit, for it counts what is only reserved, too.
fn limited(binary: PathBuf, arguments: &[String], bytes: u64) -> (PathBuf, Vec<String>) {
    let mut all = vec![format!("--data={bytes}"), "--".to_owned(), binary.display().to_string()];
    all.extend_from_slice(arguments);
    (PathBuf::from("/usr/bin/prlimit"), all)
}

/// The product's binary: the one that `S3O_BINARY` names, or that of the profile that this program was built
/// with.
fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| std::env::var_os("S3O_BINARY").map_or_else(build, PathBuf::from)).clone()
}

fn build() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root).args(["build", "--quiet", "--locked", "-p", "s3-orchestrator"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo can be started where it built this program");
    assert!(status.success(), "s3-orchestrator cannot be built");
    let this = std::env::current_exe().expect("a program knows where it lies");
    // Tests lie in `deps`, one folder further down.
    let folders = this.ancestors().skip(1).take(2);
    let mut found = folders.map(|folder| folder.join("s3-orchestrator")).filter(|file| file.is_file());
    found.next().expect("s3-orchestrator lies beside what was built with it")
}
