//! How much memory bodies may take.

use std::path::{Path, PathBuf};

use config::Server;

/// Less than this serves nobody.
const LEAST: u64 = 64 << 20;

/// The byte budget of all bodies: what the configuration says, else a quarter of what there is.
pub(crate) fn budget_bytes(server: &Server) -> u64 {
    let available = || smallest_limit(Path::new("/")).unwrap_or(LEAST * 4);
    let budget = server.memory_budget.map_or_else(|| (available() / 4).max(LEAST), |budget| budget.bytes());
    budget.max(server.body_window.bytes())
}

/// The smallest of the container's limits and the machine's memory. `root` is `/`, but for tests.
fn smallest_limit(root: &Path) -> Option<u64> {
    let cgroups = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let files = cgroups.lines().flat_map(limit_files);
    let limits = files.filter_map(|file| std::fs::read_to_string(root.join(file)).ok());
    // `max` and absurdly large numbers both stand for no limit.
    let limits = limits.filter_map(|text| text.trim().parse().ok());
    limits.chain(machine(root)).min()
}

/// Where the limits of a line of `/proc/self/cgroup` stand: its own group's and those around it.
fn limit_files(line: &str) -> Vec<PathBuf> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (base, file) = match fields.next() {
        Some("") => ("sys/fs/cgroup", "memory.max"),
        Some(controllers) if controllers.split(',').any(|name| name == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let group = Path::new(fields.next().unwrap_or_default().trim_start_matches('/'));
    group.ancestors().map(|group| Path::new(base).join(group).join(file)).collect()
}

fn machine(root: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], expected: Option<u64>) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        assert_eq!(smallest_limit(root.path()), expected, "{files:?}");
    }

    #[test]
    fn the_tightest_limit_counts() {
        let machine = ("proc/meminfo", "MemTotal:        2048 kB\nMemFree: 1 kB\n");
        check(&[], None);
        check(&[machine], Some(2 << 20));
        let v2 = ("proc/self/cgroup", "0::/a/b\n");
        check(&[machine, v2, ("sys/fs/cgroup/a/b/memory.max", "max\n")], Some(2 << 20));
        check(&[machine, v2, ("sys/fs/cgroup/a/b/memory.max", "5000\n")], Some(5000));
        let around = ("sys/fs/cgroup/a/memory.max", "4000\n");
        check(&[machine, v2, ("sys/fs/cgroup/a/b/memory.max", "5000\n"), around], Some(4000));
        let v1 = ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/x\n");
        check(
            &[machine, v1, ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712")],
            Some(2 << 20),
        );
        check(&[machine, v1, ("sys/fs/cgroup/memory/memory.limit_in_bytes", "7000")], Some(7000));
    }
}
