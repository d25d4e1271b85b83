//! Makes the process keep to itself what it knows: no core dump, no debugger, no page in the swap.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Below this limit, locking everything would let a later allocation fail, and the process with it.
const LOCKABLE_BYTES_MIN: u64 = 256 * 1024 * 1024;
/// The bit of the capability that lifts the limit.
const CAP_IPC_LOCK: u32 = 14;

/// Does all of it. Gives what could not be done, in words for the operator.
#[must_use]
pub fn harden(lock_memory: bool) -> Vec<String> {
    let mut undone = Vec::new();
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        undone.push(format!("core dumps could not be switched off: {error}"));
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        undone.push(format!("the process could not be hidden from debuggers: {error}"));
    }
    if lock_memory && let Err(why) = lock_everything() {
        undone.push(format!(
            "memory is not locked, so keys may reach the swap: {why}; give the process CAP_IPC_LOCK or \
             LimitMEMLOCK=infinity, or set disable_mlock where there is no swap"
        ));
    }
    undone
}

fn lock_everything() -> Result<(), String> {
    let limit = getrlimit(Resource::Memlock).current;
    if limit.is_some_and(|bytes| bytes < LOCKABLE_BYTES_MIN) && !has_capability(CAP_IPC_LOCK) {
        return Err("the limit for locked memory is too small".to_owned());
    }
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(flags).map_err(|error| error.to_string())
}

fn has_capability(bit: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    bits >> bit & 1 == 1
}
