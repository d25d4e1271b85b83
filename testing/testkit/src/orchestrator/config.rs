//! The configuration of an orchestrator under test.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use s3_client::ClientOptions;

use super::{Orchestrator, certificate};
use crate::faketime::MovedClock;

/// What an orchestrator under test is asked to do. Its listener, catalog and credentials are given.
#[derive(Debug)]
pub struct ConfigBuilder {
    pub(super) tls: bool,
    pub(super) environment: Vec<(&'static str, String)>,
    backends: Vec<Backend>,
    factor: usize,
    buckets: Vec<String>,
    server_lines: Vec<String>,
    backend_lines: Vec<String>,
    catalog: Option<PathBuf>,
    more: String,
}

#[derive(Debug)]
enum Backend {
    Directory { name: String, path: Option<PathBuf> },
    S3(Box<ClientOptions>),
}

impl Default for ConfigBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl ConfigBuilder {
    /// Factor 1, no backend, no bucket, http.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tls: false,
            environment: Vec::new(),
            backends: Vec::new(),
            factor: 1,
            buckets: Vec::new(),
            server_lines: Vec::new(),
            backend_lines: Vec::new(),
            catalog: None,
            more: String::new(),
        }
    }

    /// Adds backends that are directories: `disk-0`, `disk-1` and so on, folders of these names.
    #[must_use]
    pub fn directories(mut self, count: usize) -> Self {
        for _ in 0..count {
            let name = format!("disk-{}", self.backends.len());
            self.backends.push(Backend::Directory { name, path: None });
        }
        self
    }

    /// Adds a backend that is this directory, named as those of [`Self::directories`].
    #[must_use]
    pub fn directory_at(mut self, path: &Path) -> Self {
        let name = format!("disk-{}", self.backends.len());
        self.backends.push(Backend::Directory { name, path: Some(path.to_owned()) });
        self
    }

    /// Puts the catalog into this file.
    #[must_use]
    pub fn catalog_at(mut self, path: &Path) -> Self {
        self.catalog = Some(path.to_owned());
        self
    }

    /// Adds a bucket of an S3 server as a backend.
    #[must_use]
    pub fn s3(mut self, bucket: ClientOptions) -> Self {
        self.backends.push(Backend::S3(Box::new(bucket)));
        self
    }

    /// How many replicas each object gets.
    #[must_use]
    pub fn factor(mut self, factor: usize) -> Self {
        self.factor = factor;
        self
    }

    /// Adds a bucket. One key opens them all.
    #[must_use]
    pub fn bucket(mut self, name: &str) -> Self {
        self.buckets.push(name.to_owned());
        self
    }

    /// Over https, with a certificate of an authority that nobody else trusts.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Adds a key of the section `server`: `read_timeout: 2s`.
    #[must_use]
    pub fn server(mut self, line: &str) -> Self {
        self.server_lines.push(line.to_owned());
        self
    }

    /// Adds a key to each backend: `late_arrival_bound: 1s`.
    #[must_use]
    pub fn each_backend(mut self, line: &str) -> Self {
        self.backend_lines.push(line.to_owned());
        self
    }

    /// Adds sections as they stand in the file: none that this builder writes (`server`, `database`,
    /// `buckets`, `backends`, `replication`).
    #[must_use]
    pub fn more(mut self, yaml: &str) -> Self {
        self.more.push_str(yaml);
        self.more.push('\n');
        self
    }

    /// Adds a variable to its environment.
    #[must_use]
    pub fn environment(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// Gives it a clock that the test moves.
    #[must_use]
    pub fn clock(mut self, clock: &MovedClock) -> Self {
        self.environment.extend(clock.environment());
        self
    }

    /// The file.
    pub(super) fn yaml(&self, folder: &Path) -> String {
        let mut text = self.server_section(folder);
        text.push_str("buckets:\n");
        for bucket in &self.buckets {
            let (key, secret) = (Orchestrator::ACCESS_KEY, Orchestrator::SECRET_KEY);
            line(&mut text, &format!("  - name: {bucket:?}"));
            line(&mut text, "    credentials:");
            line(&mut text, &format!("      - access_key_id: {key:?}"));
            line(&mut text, &format!("        secret_access_key: {secret:?}"));
        }
        text.push_str("backends:\n");
        for (index, backend) in self.backends.iter().enumerate() {
            match backend {
                Backend::Directory { name, path } => {
                    let path = path.clone().unwrap_or_else(|| folder.join(name));
                    line(&mut text, &format!("  - name: {name:?}"));
                    line(&mut text, "    type: directory");
                    line(&mut text, &format!("    path: {:?}", path.display().to_string()));
                }
                Backend::S3(bucket) => s3(&mut text, index, bucket),
            }
            for more in &self.backend_lines {
                line(&mut text, &format!("    {more}"));
            }
        }
        let _ = write!(text, "replication:\n  factor: {}\n{}", self.factor, self.more);
        text
    }

    fn server_section(&self, folder: &Path) -> String {
        let file = |name: &str| folder.join(name).display().to_string();
        let mut text = "server:\n  listen_addr: \"127.0.0.1:0\"\n  log_format: json\n".to_owned();
        if self.tls {
            line(&mut text, "  tls:");
            line(&mut text, &format!("    cert_file: {:?}", file(certificate::CERTIFICATE_FILE)));
            line(&mut text, &format!("    key_file: {:?}", file(certificate::KEY_FILE)));
        }
        // A client under test may be starved by the machine for longer than is right for a stranger.
        if !self.server_lines.iter().any(|line| line.starts_with("read_header_timeout:")) {
            line(&mut text, "  read_header_timeout: 60s");
        }
        for more in &self.server_lines {
            line(&mut text, &format!("  {more}"));
        }
        line(&mut text, "database:");
        let catalog =
            self.catalog.as_ref().map_or_else(|| file("catalog.db"), |path| path.display().to_string());
        line(&mut text, &format!("  path: {catalog:?}"));
        text
    }
}

fn s3(text: &mut String, index: usize, bucket: &ClientOptions) {
    line(text, &format!("  - name: \"s3-{index}\""));
    line(text, &format!("    endpoint: {:?}", bucket.endpoint));
    line(text, &format!("    bucket: {:?}", bucket.bucket));
    line(text, &format!("    access_key_id: {:?}", bucket.credentials.access_key_id));
    line(text, &format!("    secret_access_key: {:?}", bucket.credentials.secret_access_key));
    line(text, &format!("    force_path_style: {}", bucket.path_style));
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}
