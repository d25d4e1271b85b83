//! Programs that `tools/test-env` installs.

use std::ffi::OsString;
use std::path::PathBuf;

/// The path of a program in an environment of its own: `tool("servers", "weed")`.
///
/// # Panics
/// Where it is not installed, with the command that installs it.
#[must_use]
pub fn tool(environment: &str, name: &str) -> PathBuf {
    let group = match environment {
        "servers" | "openbao" => "servers",
        "node" => "npm",
        _ => "clients",
    };
    let program = cache_folder().join("venv").join(environment).join("bin").join(name);
    installed(program, group)
}

/// The folder that holds the npm packages.
///
/// # Panics
/// Where they are not installed, with the command that installs them.
#[must_use]
pub fn node_modules() -> PathBuf {
    let folder = cache_folder().join("npm/node_modules");
    installed(folder.join("@aws-sdk/client-s3/package.json"), "npm");
    folder
}

/// The path of a program that the system brings.
///
/// # Panics
/// Where it is not installed, with the command that installs it.
#[must_use]
pub fn system_tool(name: &str) -> PathBuf {
    let path = system_path();
    let found =
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file());
    installed(found.unwrap_or_else(|| PathBuf::from("/usr/bin").join(name)), "debian")
}

/// Where programs of the system are looked for: its own folders first, for a shim of another tool may come
/// first in `PATH`.
///
/// # Panics
/// Where `PATH` holds what no path can.
#[must_use]
pub fn system_path() -> OsString {
    let own = ["/usr/bin", "/usr/local/bin", "/bin", "/usr/sbin"].map(PathBuf::from);
    let named = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(own.into_iter().chain(std::env::split_paths(&named)))
        .expect("they came out of a PATH")
}

/// The folder of the workspace whose tests run here, which need not be the one that they were built in.
///
/// # Panics
/// Where this process runs outside of a workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    let here = std::env::current_dir().expect("there is a working directory");
    let found = here.ancestors().find(|folder| folder.join("Cargo.lock").is_file());
    found.expect("tests run below the folder with Cargo.lock").to_owned()
}

fn installed(path: PathBuf, group: &str) -> PathBuf {
    let script = workspace().join("tools/test-env");
    assert!(path.is_file(), "{} is missing: install it with `{} {group}`", path.display(), script.display());
    path
}

fn cache_folder() -> PathBuf {
    let named = std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = named.unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").expect("HOME is set where tests run")).join(".cache")
    });
    cache.join("s3-orchestrator")
}
