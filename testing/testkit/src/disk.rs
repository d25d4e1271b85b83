//! A disk of its own size, which a test can fill.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use tempfile::TempDir;

use crate::watchdog;

/// Takes the disk away.
const TAKE_AWAY: &str = "umount -l \"$1\" 2>/dev/null; rmdir \"$1\"";
/// What fills it.
const FILLER: &str = "filler";
const CHUNK_BYTES: usize = 64 * 1024;

/// A file system in memory, mounted in a folder of its own. Dropping it takes it away.
#[derive(Debug)]
pub struct SmallDisk {
    watchdog: Child,
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many bytes.
    ///
    /// # Panics
    /// Where this user may not mount, with what to do.
    #[must_use]
    pub fn mount(bytes: u64) -> Self {
        let folder = TempDir::with_prefix("s3o-disk-").expect("a temporary folder can be made").keep();
        let size = format!("size={bytes}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(&folder).output();
        let mounted = mounted.expect("mount can be started (on Debian: apt-get install mount)");
        assert!(
            mounted.status.success(),
            "cannot mount a small disk, which tests need to fill one: {}; run the tests as root (in a container: \
             with --privileged, or --cap-add SYS_ADMIN)",
            String::from_utf8_lossy(&mounted.stderr).trim()
        );
        let watchdog = watchdog::start(TAKE_AWAY, &[folder.as_os_str()]);
        Self { watchdog, folder }
    }

    /// A path on it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Fills it to the last byte.
    ///
    /// # Panics
    /// Where writing fails for another reason.
    pub fn fill(&self) {
        let mut filler = fs::File::create(self.path(FILLER)).expect("an inode is left");
        let mut chunk = vec![1; CHUNK_BYTES];
        while !chunk.is_empty() {
            match filler.write_all(&chunk) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => chunk.truncate(chunk.len() / 2),
                Err(error) => panic!("the disk fails otherwise: {error}"),
            }
        }
    }

    /// Gives back what [`Self::fill`] took.
    pub fn free(&self) {
        let _ = fs::remove_file(self.path(FILLER));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // It ends when its input does.
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
        debug_assert!(!is_there(&self.folder), "{} is still there", self.folder.display());
    }
}

fn is_there(folder: &Path) -> bool {
    folder.exists()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use std::process::Stdio;
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_is_full_until_it_is_freed_and_gone_in_the_end() {
        let disk = SmallDisk::mount(1 << 20);
        let (before, after) = (disk.path("before"), disk.path("after"));
        fs::write(&before, "before").expect("there is room");
        disk.fill();
        let full = fs::write(&after, vec![1; 4096]).expect_err("it is full");
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        assert_eq!(fs::read(&before).expect("what is there can be read"), b"before");
        disk.free();
        fs::write(&after, vec![1; 4096]).expect("there is room again");
        let folder = disk.folder.clone();
        drop(disk);
        assert!(!folder.exists());
    }

    /// Set where the test below runs itself, as one that is cut off.
    const IS_CUT_OFF: &str = "S3O_TEST_HOLDS_A_DISK";

    #[tokio::test]
    async fn ctrl_c_leaves_no_disk() {
        if std::env::var_os(IS_CUT_OFF).is_some() {
            let disk = SmallDisk::mount(1 << 20);
            println!("held {}", disk.folder.display());
            return std::future::pending().await;
        }
        // A terminal sends the signal to all processes of the group, a supervisor perhaps another one.
        for signal in ["INT", "TERM", "KILL"] {
            let mut other = Command::new(std::env::current_exe().expect("a process knows its file"))
                .args(["--exact", "disk::tests::ctrl_c_leaves_no_disk", "--nocapture"])
                .env(IS_CUT_OFF, "1")
                .process_group(0)
                .stdout(Stdio::piped())
                .spawn()
                .expect("it can be started");
            let mut lines = BufReader::new(other.stdout.take().expect("it is piped")).lines();
            let folder = lines
                .find_map(|line| Some(line.ok()?.split_once("held ")?.1.to_owned()))
                .expect("it says where the disk is");
            assert!(Path::new(&folder).is_dir());
            let group = format!("-{}", other.id());
            let sent = Command::new("/bin/sh")
                .args(["-c", "kill -s \"$1\" -- \"$2\"", "kill", signal, &group])
                .status();
            assert!(sent.expect("/bin/sh can be started").success());
            assert!(!other.wait().expect("it ends").success());
            let deadline = runtime::instant_now() + Duration::from_secs(60);
            while Path::new(&folder).exists() {
                assert!(runtime::instant_now() < deadline, "{signal}: {folder} is still there");
                runtime::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}
