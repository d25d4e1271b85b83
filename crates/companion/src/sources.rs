//! Where shares come from. Each source is asked when a node is sealed, each fails alone.

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use vault::{Secret, SecretBytes, Session};

use crate::settings::inline_shares;
use crate::shares::{Shares, texts_in};

/// No list of shares is longer.
const BYTES_MAX: u64 = 64 * 1024;

/// One source.
#[derive(Debug)]
pub enum Source {
    /// The configuration file, which is read again each time.
    Inline {
        /// That file.
        file: PathBuf,
        /// The key in it.
        place: String,
    },
    /// A file of their own.
    File(PathBuf),
    /// Environment variables.
    Env(Vec<String>),
    /// What a command prints.
    Exec {
        /// The program and its arguments.
        command: Vec<String>,
        /// After this it is killed.
        timeout: Duration,
    },
    /// A credential of systemd, by its name.
    Credential(String),
    /// A secret in the KV engine of another vault.
    Vault {
        /// The login there.
        session: Box<Session>,
        /// Where the engine is mounted.
        mount: String,
        /// The secret.
        path: String,
        /// Which of its fields hold shares; all, where none is named.
        fields: Vec<String>,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline { file, place } => write!(f, "{place} in {}", file.display()),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Env(names) => write!(f, "environment {}", names.join(", ")),
            // Its arguments may hold a secret.
            Self::Exec { command, .. } => write!(f, "command {}", command[0]),
            Self::Credential(name) => write!(f, "credential {name}"),
            Self::Vault { session, mount, path, .. } => {
                write!(f, "secret {mount}/{path} at {}", session.vault().address())
            }
        }
    }
}

/// What the sources gave, and what those that failed have to say. Never holds a share in words.
pub async fn fetch(sources: &[Source], allow_readable: bool) -> (Shares, Vec<String>) {
    let mut shares = Shares::default();
    let mut problems = Vec::new();
    // All at once: one that hangs costs its own time only.
    let answers = futures::future::join_all(sources.iter().map(|source| source.texts(allow_readable))).await;
    for (source, answer) in sources.iter().zip(answers) {
        match answer {
            Ok(texts) if texts.is_empty() => problems.push(format!("{source}: it holds no share")),
            Ok(texts) => {
                let before = shares.malformed;
                texts.iter().for_each(|text| shares.add(text));
                let malformed = shares.malformed - before;
                if malformed > 0 {
                    problems
                        .push(format!("{source}: {malformed} of its texts are no share in hex or base64"));
                }
            }
            Err(why) => problems.push(format!("{source}: {why}")),
        }
    }
    (shares, problems)
}

impl Source {
    async fn texts(&self, allow_readable: bool) -> Result<Vec<Secret>, String> {
        match self {
            Self::Inline { file, place } => inline_shares(file, place),
            Self::File(path) => file_texts(path, allow_readable).await,
            Self::Credential(name) => {
                let folder = std::env::var_os("CREDENTIALS_DIRECTORY")
                    .ok_or("CREDENTIALS_DIRECTORY is not set: start the program by systemd")?;
                // systemd alone decides who reads it.
                file_texts(&Path::new(&folder).join(name), true).await
            }
            Self::Env(names) => {
                let texts = names.iter().map(|name| {
                    std::env::var(name).map(Secret::from).map_err(|_| format!("{name} is not set"))
                });
                let set: Vec<Secret> = texts.clone().filter_map(Result::ok).collect();
                // One that is missing leaves the others.
                if set.is_empty() { texts.collect() } else { Ok(set) }
            }
            Self::Exec { command, timeout } => run(command, *timeout).await,
            Self::Vault { session, mount, path, fields } => {
                let read = |token: std::sync::Arc<Secret>| {
                    let (vault, mount, path) = (session.vault().clone(), mount.clone(), path.clone());
                    async move { vault.kv2_read(&token, &mount, &path).await }
                };
                let found = session.call(read).await.map_err(|error| error.to_string())?;
                let wanted = |name: &String| fields.is_empty() || fields.contains(name);
                let values = found.iter().filter(|(name, _)| wanted(name));
                Ok(values.flat_map(|(_, value)| texts_in(value)).collect())
            }
        }
    }
}

/// Refuses a file that others than its owner may read.
///
/// # Errors
/// Says what to do about it.
pub fn check_readers(path: &Path, allow_readable: bool) -> Result<(), String> {
    let mode = std::fs::metadata(path).map_err(|error| error.to_string())?.permissions().mode();
    if mode & 0o044 == 0 || allow_readable {
        return Ok(());
    }
    Err(format!(
        "others than its owner may read it (mode {:03o}): chmod 600 it, or set allow_readable_files \
         (or the flag -allow-readable-files) where that is meant",
        mode & 0o777
    ))
}

async fn file_texts(path: &Path, allow_readable: bool) -> Result<Vec<Secret>, String> {
    check_readers(path, allow_readable)?;
    let file = tokio::fs::File::open(path).await.map_err(|error| error.to_string())?;
    let mut bytes = Vec::with_capacity(4096);
    file.take(BYTES_MAX).read_to_end(&mut bytes).await.map_err(|error| error.to_string())?;
    texts_of(bytes)
}

fn texts_of(bytes: Vec<u8>) -> Result<Vec<Secret>, String> {
    let text = Secret::try_from(SecretBytes::from(bytes)).map_err(|error| error.to_string())?;
    Ok(texts_in(&text))
}

/// Runs a command. What it says on stderr goes nowhere: it may hold what it should not.
async fn run(command: &[String], timeout: Duration) -> Result<Vec<Secret>, String> {
    let mut child = tokio::process::Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("it does not start: {error}"))?;
    let output = child.stdout.take().expect("it was asked for");
    let mut bytes = Vec::with_capacity(4096);
    let whole = async {
        output.take(BYTES_MAX).read_to_end(&mut bytes).await?;
        child.wait().await
    };
    match runtime::timeout(timeout, whole).await {
        Err(runtime::Elapsed) => Err(format!("it did not end within {timeout:?}, and was killed")),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(status)) if !status.success() => Err(format!("it failed ({status})")),
        Ok(Ok(_)) => texts_of(bytes),
    }
}
