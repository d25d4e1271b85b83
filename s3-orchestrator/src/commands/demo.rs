//! `demo`: a whole server out of nothing, in one folder.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use config::Config;
use ring::rand::{SecureRandom, SystemRandom};

use super::serve;
use crate::cli::fail;

/// The bucket that a demo has.
const BUCKET: &str = "demo";
/// The backends that a demo has.
const BACKENDS: [&str; 3] = ["disk-1", "disk-2", "disk-3"];

/// Serves what lies in `dir`, and makes it where it is missing.
pub(crate) fn run(dir: &Path, port: u16) -> ExitCode {
    match prepare(dir, port) {
        Ok((config, credentials)) => {
            let dir = dir.display().to_string();
            serve::run_config(&config, &[], |address| print_hints(&dir, address, &credentials))
        }
        Err(error) => fail(&error),
    }
}

/// The folder with all that the demo needs, its configuration, and the file with its key.
fn prepare(dir: &Path, port: u16) -> Result<(Config, PathBuf), String> {
    let cannot = |error: std::io::Error| format!("cannot prepare {}: {error}", dir.display());
    if port > 0 {
        check_port(port)?;
    }
    fs::create_dir_all(dir).map_err(cannot)?;
    let dir = fs::canonicalize(dir).map_err(cannot)?;
    let credentials = dir.join("credentials");
    let key = Key::of_file(&credentials)?;
    let text = configuration(&dir, port, &key);
    let loaded = Config::parse(&text, "the demo's configuration", &|_| None);
    loaded.map(|loaded| (loaded.config, credentials)).map_err(|problems| problems.to_string())
}

/// Says what to do about a taken port before anything is made.
fn check_port(port: u16) -> Result<(), String> {
    match std::net::TcpListener::bind(("127.0.0.1", port)) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => Err(format!(
            "port {port} is taken by another program, perhaps a demo that still runs: end that one, or choose \
             another port with `--port {}`",
            port.checked_add(1).unwrap_or(9000)
        )),
        _ => Ok(()),
    }
}

fn configuration(dir: &Path, port: u16, key: &Key) -> String {
    let quoted = |path: PathBuf| {
        let text = path.display().to_string();
        let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace("${", "$${");
        format!("\"{escaped}\"")
    };
    let backends = BACKENDS.map(|name| {
        let path = quoted(dir.join(name));
        format!("  - {{ name: {name}, type: directory, path: {path}, quota_bytes: 1GB }}\n")
    });
    format!(
        "deployment: demo\n\
         server: {{ listen_addr: \"127.0.0.1:{port}\", shutdown_delay: 0s }}\n\
         routing_strategy: spread\n\
         replication: {{ factor: 2 }}\n\
         buckets:\n  - name: {BUCKET}\n    credentials:\n      - access_key_id: \"{}\"\n        \
         secret_access_key: \"{}\"\n\
         database: {{ path: {} }}\n\
         telemetry: {{ metrics: {{ enabled: true }} }}\n\
         backends:\n{}",
        key.id,
        key.secret,
        quoted(dir.join("catalog.db")),
        backends.concat()
    )
}

/// A key pair in a file of the form that the AWS tools read.
struct Key {
    id: String,
    secret: String,
}

impl Key {
    /// The key in the file; a new one where there is none.
    fn of_file(path: &Path) -> Result<Self, String> {
        let cannot = |error: std::io::Error| format!("cannot keep the key in {}: {error}", path.display());
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text)
                .ok_or_else(|| format!("{} holds no key: remove it, and a new one is made", path.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let key = Self::new()?;
                let mut file =
                    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(cannot)?;
                file.write_all(key.text().as_bytes()).map_err(cannot)?;
                Ok(key)
            }
            Err(error) => Err(cannot(error)),
        }
    }

    fn new() -> Result<Self, String> {
        let mut bytes = [0; 30];
        SystemRandom::new().fill(&mut bytes).map_err(|_| "the system gives no randomness for a key")?;
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        Ok(Self { id: format!("DEMO{}", hex(&bytes[..8]).to_uppercase()), secret: hex(&bytes[8..]) })
    }

    fn text(&self) -> String {
        format!("[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n", self.id, self.secret)
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| {
            let (_, value) =
                text.lines().filter_map(|line| line.split_once('=')).find(|(key, _)| key.trim() == name)?;
            let value = value.trim();
            let legal = !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric());
            legal.then(|| value.to_owned())
        };
        Some(Self { id: value("aws_access_key_id")?, secret: value("aws_secret_access_key")? })
    }
}

fn print_hints(dir: &str, address: &str, credentials: &Path) {
    let key = format!("AWS_SHARED_CREDENTIALS_FILE={}", in_shell(&credentials.display().to_string()));
    let endpoint = format!("http://{address}");
    println!(
        "\nThe demo serves bucket `{BUCKET}` at {endpoint}\n\n\
         Paste one of these into another terminal:\n\n  \
         export {key} AWS_ENDPOINT_URL={endpoint} AWS_DEFAULT_REGION=us-east-1; \
         echo hello | aws s3 cp - s3://{BUCKET}/hello.txt && aws s3 ls s3://{BUCKET}/\n\n  \
         {key} rclone lsl --s3-provider Other --s3-env-auth --s3-region us-east-1 \
         --s3-endpoint {endpoint} :s3:{BUCKET}\n\n\
         Each object lies on two of the three backends in {dir}. Metrics: {endpoint}/metrics\n\
         Ctrl-C ends it; the next `demo` goes on with the same data. Remove {dir} to start afresh.\n"
    );
}

/// A word as a shell reads it back.
fn in_shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials");
        let first = Key::of_file(&path).unwrap();
        let second = Key::of_file(&path).unwrap();
        assert_eq!((&first.id, &first.secret), (&second.id, &second.secret));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_ne!(Key::new().unwrap().secret, first.secret);
    }

    #[test]
    fn any_folder_will_do() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("it's a \"${HOME}\" folder");
        let (config, credentials) = prepare(&dir, 0).unwrap();
        assert!(config.database.path.starts_with(fs::canonicalize(&dir).unwrap()));
        assert!(config.not_built().is_empty());
        assert!(in_shell(&credentials.display().to_string()).contains(r"it'\''s"));
    }
}
