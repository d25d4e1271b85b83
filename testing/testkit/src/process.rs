//! A program that runs as long as a test needs it.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use runtime::instant_now;
use tempfile::TempDir;

use crate::watchdog;

/// Stops the program and removes its files.
const END: &str = "kill -9 \"$1\" 2>/dev/null; shift; rm -rf \"$@\"";
/// How often the end of a program is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How to start a program.
#[derive(Debug, Clone)]
pub struct ProcessOptions<'a> {
    /// The program.
    pub program: &'a Path,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What is added to its environment.
    pub environment: Vec<(&'a str, String)>,
    /// Files that it leaves outside its folder.
    pub leftovers: Vec<PathBuf>,
}

/// A running program with a folder of its own. Dropping it kills it and removes its files.
#[derive(Debug)]
pub struct Process {
    child: Child,
    watchdog: Child,
    /// Taken only by [`Process::into_folder`].
    folder: Option<TempDir>,
    leftovers: Vec<PathBuf>,
}

impl Process {
    /// A folder for the data of a program that is about to start.
    ///
    /// # Panics
    /// Where the machine refuses one.
    #[must_use]
    pub fn new_folder() -> TempDir {
        tempfile::Builder::new().prefix("s3o-test-").tempdir().expect("a temporary folder can be made")
    }

    /// Starts a program. What it prints goes to the end of the file `log` in its folder, which is also its
    /// working folder.
    ///
    /// # Panics
    /// Where it cannot be started.
    #[must_use]
    pub fn start(options: ProcessOptions<'_>, folder: TempDir) -> Self {
        let log = OpenOptions::new().create(true).append(true).open(folder.path().join("log"));
        let log = log.expect("the folder is ours");
        let child = Command::new(options.program)
            .args(&options.arguments)
            .envs(options.environment)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file handle can be cloned"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", options.program.display()));
        let id = child.id().to_string();
        let mut told = vec![OsStr::new(&id), folder.path().as_os_str()];
        told.extend(options.leftovers.iter().map(|path| path.as_os_str()));
        let watchdog = watchdog::start(END, &told);
        Self { child, watchdog, folder: Some(folder), leftovers: options.leftovers }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it a signal, by name: `TERM`, `HUP`, `STOP`, `CONT`.
    ///
    /// # Panics
    /// Where it has ended.
    pub fn signal(&mut self, name: &str) {
        assert!(!self.has_ended(), "the program has ended by itself:\n{}", self.log());
        let sent = Command::new("/bin/sh")
            .args(["-c", "kill -s \"$1\" \"$2\"", "kill", name, &self.id().to_string()])
            .status();
        assert!(sent.expect("/bin/sh can be started").success(), "signal {name} was refused");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// Where it is still there after this time.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let deadline = instant_now() + within;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status;
            }
            assert!(instant_now() < deadline, "still there after {within:?}:\n{}", self.log());
            runtime::sleep(LOOK_EVERY).await;
        }
    }

    /// Kills it, as `kill -9` does, and keeps its folder.
    ///
    /// # Panics
    /// Never: the folder leaves only here.
    #[must_use]
    pub fn into_folder(mut self) -> TempDir {
        self.end();
        self.folder.take().expect("it leaves only here")
    }

    /// The end of what it printed.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log_path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Its folder.
    ///
    /// # Panics
    /// Never: the folder leaves only with the process.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().expect("it leaves only with the process").path()
    }

    /// Where what it prints is written.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.folder().join("log")
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn end(&mut self) {
        // The watchdog first, so that it never kills an id that has passed to another.
        for process in [&mut self.watchdog, &mut self.child] {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        for file in &self.leftovers {
            let _ = std::fs::remove_file(file);
        }
    }
}
