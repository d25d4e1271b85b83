//! Something that outlives the test process and cleans up behind it: a `static` is never dropped, and a killed test
//! drops nothing.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Runs this script of the shell as soon as the test process is gone, however that ends, or the input of what is
/// returned is dropped.
///
/// In a process group of its own: Ctrl-C goes to the whole group of the tests, and must not end what cleans up.
pub(crate) fn start(script: &str, arguments: &[&OsStr]) -> Child {
    Command::new("/bin/sh")
        .args(["-c", &format!("cat >/dev/null; {script}"), "watchdog"])
        .args(arguments)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("/bin/sh can be started")
}
