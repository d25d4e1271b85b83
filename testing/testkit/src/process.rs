//! A program that runs as long as a test needs it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Waits until its input ends, which it does when the test process does, however that ends. Then it stops
/// the program and removes its files. (A `static` is never dropped, and a killed test drops nothing.)
const WATCHDOG: &str = "cat >/dev/null; kill -9 \"$1\" 2>/dev/null; shift; rm -rf \"$@\"";

/// How to start a program.
#[derive(Debug)]
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
    folder: TempDir,
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

    /// Starts a program. What it prints goes to a file in its folder, which is also its working folder.
    ///
    /// # Panics
    /// Where it cannot be started.
    #[must_use]
    pub fn start(options: ProcessOptions<'_>, folder: TempDir) -> Self {
        let log = File::create(folder.path().join("log")).expect("the folder is ours");
        let child = Command::new(options.program)
            .args(&options.arguments)
            .envs(options.environment)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file handle can be cloned"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", options.program.display()));
        let watchdog = Command::new("/bin/sh")
            .args(["-c", WATCHDOG, "watchdog", &child.id().to_string()])
            .arg(folder.path())
            .args(&options.leftovers)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("/bin/sh can be started");
        Self { child, watchdog, folder, leftovers: options.leftovers }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// The end of what it printed.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log_path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Where what it prints is written.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The watchdog first, so that it never kills an id that has passed to another.
        for process in [&mut self.watchdog, &mut self.child] {
            let _ = process.kill();
            let _ = process.wait();
        }
        for file in &self.leftovers {
            let _ = std::fs::remove_file(file);
        }
    }
}
