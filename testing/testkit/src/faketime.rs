//! A clock that a test moves under a running program: libfaketime, loaded ahead of the system's library.

use std::path::{Path, PathBuf};

use crate::tools::system_tool;

/// The clock of programs that are started with its variables. What counts forward only, they see as it is.
#[derive(Debug)]
pub struct MovedClock {
    file: PathBuf,
    folder: tempfile::TempDir,
}

impl MovedClock {
    /// A clock that is right so far.
    ///
    /// # Panics
    /// Where libfaketime is not installed (with the command that does it).
    #[must_use]
    pub fn new() -> Self {
        // The package of the program is what brings the library.
        let _ = system_tool("faketime");
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let new = Self { file: folder.path().join("offset"), folder };
        new.set(0);
        new
    }

    /// The variables of a program that is to have this clock.
    ///
    /// # Panics
    /// Where libfaketime is not where its package puts it.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("LD_PRELOAD", library().display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            // It looks at the file once in a second.
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
        ]
    }

    /// From now on (a second later at most) it is so many seconds ahead, or behind.
    ///
    /// # Panics
    /// Never: the folder is ours.
    pub fn set(&self, ahead_s: i64) {
        // Whoever looks meanwhile sees the old or the new one.
        let new = self.folder.path().join("new");
        std::fs::write(&new, format!("{ahead_s:+}\n")).expect("the folder is ours");
        std::fs::rename(&new, &self.file).expect("the folder is ours");
    }
}

impl Default for MovedClock {
    fn default() -> Self {
        Self::new()
    }
}

fn library() -> PathBuf {
    let name = "faketime/libfaketimeMT.so.1";
    let folders = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from);
    // Debian puts it below a folder of the machine's kind.
    let kinds = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let found =
        folders.into_iter().chain(kinds).map(|folder| folder.join(name)).find(|path| Path::is_file(path));
    found.expect("the package libfaketime has its library (on Debian: apt-get install faketime)")
}
