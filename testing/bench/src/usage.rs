//! What a process has used, as the kernel tells it.

use std::fs;
use std::time::Duration;

/// Ticks of `/proc/PID/stat` a second: fixed by the kernel's interface.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time of a process, all of its threads, those that ended too. Without the ticks' coarseness where the
/// measured time is above a second.
///
/// # Panics
/// Where the process is gone.
#[must_use]
pub fn cpu_time(process: u32) -> Duration {
    let path = format!("/proc/{process}/stat");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let ticks = cpu_ticks(&text).unwrap_or_else(|| panic!("{path} is of another form"));
    Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)
}

/// User and system time. The name of the program, in parentheses, may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// The most memory that a process ever held, in bytes, since the start or [`forget_peak`].
///
/// # Panics
/// Where the process is gone.
#[must_use]
pub fn peak_bytes(process: u32) -> u64 {
    let path = format!("/proc/{process}/status");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    kibibytes(&text, "VmHWM:").unwrap_or_else(|| panic!("{path} has no VmHWM")) << 10
}

fn kibibytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Lets the peak begin anew with what the process holds now. Where the kernel lacks that, the old peak stays.
pub fn forget_peak(process: u32) {
    let _ = fs::write(format!("/proc/{process}/clear_refs"), "5");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found() {
        let stat = "42 (a) name) S 1 42 42 0 -1 4194560 1 2 3 4 250 31 0 0 20 0 1 0 99";
        assert_eq!(cpu_ticks(stat), Some(281));
        assert_eq!(cpu_ticks("42"), None);
        assert_eq!(kibibytes("VmPeak:\t  9 kB\nVmHWM:\t   1234 kB\n", "VmHWM:"), Some(1234));
    }

    #[test]
    fn a_process_can_be_asked() {
        let this = std::process::id();
        let held = vec![1_u8; 32 << 20];
        assert!(peak_bytes(this) > held.iter().map(|&byte| u64::from(byte)).sum());
        let before = cpu_time(this);
        while cpu_time(this) == before {
            std::hint::black_box(held.iter().max());
        }
    }
}
