//! S3 servers: SeaweedFS, and moto as a second one that is different.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use runtime::instant_now;
use s3_client::{ClientOptions, Credentials, S3Client};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::ports::free_ports;
use crate::process::{Process, ProcessOptions};
use crate::tools::tool;

/// Longest wait for a server to be ready, on a busy machine.
const READY_SECONDS_MAX: u64 = 90;
/// How often a server may lose its ports to another process.
const STARTS_MAX: usize = 4;

/// A running S3 server.
#[derive(Debug)]
pub struct S3Server {
    /// Where it listens: `http://127.0.0.1:PORT`.
    pub endpoint: String,
    /// A key that may do everything.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// Absent only while it is dead.
    process: Option<Process>,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    leftovers: Vec<PathBuf>,
    /// What it stores, while it is dead.
    folder: Option<TempDir>,
}

impl S3Server {
    /// How to speak to a bucket of this server.
    #[must_use]
    pub fn options(&self, bucket: &str) -> ClientOptions {
        let credentials = Credentials {
            access_key_id: self.access_key.clone(),
            secret_access_key: self.secret_key.clone(),
            session_token: None,
        };
        ClientOptions::new(&self.endpoint, bucket, credentials)
    }

    /// Makes a bucket that nobody else uses.
    ///
    /// # Panics
    /// Where the server refuses it.
    pub async fn new_bucket(&self) -> ClientOptions {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let bucket = format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let options = self.options(&bucket);
        let client = S3Client::new(options.clone()).expect("the options of a test server are legal");
        client.create_bucket().await.expect("a test server makes a bucket");
        options
    }

    /// The process id of the server, for those who want to stop it.
    ///
    /// # Panics
    /// Where it is dead.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// Sends it a signal, by name: `STOP`, `CONT`.
    ///
    /// # Panics
    /// Where it is dead.
    pub fn signal(&mut self, name: &str) {
        self.process.as_mut().expect("it runs").signal(name);
    }

    /// Ends it at once, as `kill -9` does. What it stores stays.
    ///
    /// # Panics
    /// Where it is dead.
    pub fn kill(&mut self) {
        self.folder = Some(self.process.take().expect("it runs").into_folder());
    }

    /// Starts it again where it was, with what it stored, and waits until it stores something.
    ///
    /// # Panics
    /// Where it was not killed, or does not come back.
    pub async fn restart(&mut self) {
        let folder = self.folder.take().expect("it was killed");
        self.launch(folder);
        if let Err(why) = self.wait_until_ready().await {
            panic!("it does not come back: {why}\n{}", self.log());
        }
    }

    fn launch(&mut self, folder: TempDir) {
        let options = ProcessOptions {
            program: &self.program,
            arguments: self.arguments.clone(),
            environment: self.environment.clone(),
            leftovers: self.leftovers.clone(),
        };
        self.process = Some(Process::start(options, folder));
    }

    fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// Starts a server over and over until it gets its ports, then waits until it stores a bucket.
    async fn start(name: &str, launch: impl Fn() -> Self) -> Self {
        let mut last = String::new();
        for _ in 0..STARTS_MAX {
            let mut server = launch();
            match server.wait_until_ready().await {
                Ok(()) => return server,
                Err(why) => last = format!("{why}\n{}", server.log()),
            }
        }
        panic!("{name} does not start: {last}")
    }

    async fn wait_until_ready(&mut self) -> Result<(), String> {
        let client = S3Client::new(self.options("ready")).expect("the options of a test server are legal");
        let deadline = instant_now() + Duration::from_secs(READY_SECONDS_MAX);
        loop {
            let error = match self.try_once(&client).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if self.process.as_mut().is_none_or(Process::has_ended) {
                return Err("it ended at once".to_owned());
            }
            if instant_now() > deadline {
                return Err(format!("not ready after {READY_SECONDS_MAX} seconds: {error}"));
            }
            runtime::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether it takes a bucket and an object: listening alone is not being ready.
    async fn try_once(&self, client: &S3Client) -> Result<(), s3_client::Error> {
        if client.head_bucket().await.is_err() {
            client.create_bucket().await?;
        }
        let body = s3_client::PutBody::Bytes(b"ready"[..].into());
        let put = s3_client::PutObject { key: "ready", body, metadata: &[] };
        client.put_object(put).await.map(|_| ())
    }
}

/// SeaweedFS: checks signatures, keeps what a real provider keeps.
#[derive(Debug)]
pub struct Seaweed;

impl Seaweed {
    /// Starts one.
    ///
    /// # Panics
    /// Where it is not installed (with the command that does it) or does not start.
    pub async fn start() -> S3Server {
        let program = tool("servers", "weed");
        S3Server::start("SeaweedFS", || {
            let (access_key, secret_key) = ("test-access-key".to_owned(), "test-secret-key".to_owned());
            let folder = Process::new_folder();
            let ports = free_ports::<10>();
            let names = [
                "s3.port",
                "s3.port.grpc",
                "master.port",
                "master.port.grpc",
                "volume.port",
                "volume.port.grpc",
                "filer.port",
                "filer.port.grpc",
                "admin.port",
                "admin.port.grpc",
            ];
            let mut arguments: Vec<String> = [
                "mini",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-webdav=false",
                "-admin.ui=false",
                "-master.telemetry=false",
            ]
            .map(str::to_owned)
            .into();
            // What can be told where to put its files is told.
            for (flag, file) in
                [("dir", "data"), ("filer.localSocket", "filer.sock"), ("s3.localSocket", "s3.sock")]
            {
                arguments.push(format!("-{flag}={}", folder.path().join(file).display()));
            }
            std::fs::create_dir(folder.path().join("data")).expect("the folder is ours");
            arguments.extend(names.iter().zip(ports).map(|(name, port)| format!("-{name}={port}")));
            let environment = vec![
                ("AWS_ACCESS_KEY_ID", access_key.clone()),
                ("AWS_SECRET_ACCESS_KEY", secret_key.clone()),
            ];
            // The rest has a fixed place.
            let leftovers = names.iter().zip(ports).filter_map(|(name, port)| {
                let role = name.strip_suffix(".port.grpc")?;
                Some(format!("/tmp/seaweedfs-{role}-grpc-{port}.sock").into())
            });
            let mut server = S3Server {
                endpoint: format!("http://127.0.0.1:{}", ports[0]),
                access_key,
                secret_key,
                process: None,
                program: program.clone(),
                arguments,
                environment,
                leftovers: leftovers.collect(),
                folder: None,
            };
            server.launch(folder);
            server
        })
        .await
    }
}

/// moto: a mock in Python. Checks no signatures; good for what it answers differently.
#[derive(Debug)]
pub struct Moto;

impl Moto {
    /// Starts one.
    ///
    /// # Panics
    /// Where it is not installed (with the command that does it) or does not start.
    pub async fn start() -> S3Server {
        let program = tool("servers", "moto_server");
        S3Server::start("moto", || {
            let [port] = free_ports();
            let arguments = ["-H", "127.0.0.1", "-p", &port.to_string()].map(str::to_owned).into();
            let mut server = S3Server {
                endpoint: format!("http://127.0.0.1:{port}"),
                access_key: "test".to_owned(),
                secret_key: "test".to_owned(),
                process: None,
                program: program.clone(),
                arguments,
                environment: Vec::new(),
                leftovers: Vec::new(),
                folder: None,
            };
            server.launch(Process::new_folder());
            server
        })
        .await
    }
}

/// One SeaweedFS for all tests of a binary. Use buckets of your own.
pub async fn shared_seaweed() -> &'static S3Server {
    static SERVER: OnceCell<S3Server> = OnceCell::const_new();
    SERVER.get_or_init(Seaweed::start).await
}

/// One moto for all tests of a binary. Use buckets of your own.
pub async fn shared_moto() -> &'static S3Server {
    static SERVER: OnceCell<S3Server> = OnceCell::const_new();
    SERVER.get_or_init(Moto::start).await
}
