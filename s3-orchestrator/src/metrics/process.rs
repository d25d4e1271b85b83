//! The process, as Prometheus's own collectors show it on Linux.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Ticks per second in `/proc`: the same on every Linux, whatever the kernel's own clock.
const TICKS: f64 = 100.0;
/// Fields of `/proc/self/stat` behind the name of the program, counted from 0.
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;
const THREADS: usize = 17;
const START_TICKS: usize = 19;

/// Reads `/proc` when it is asked. What a system lacks is left out.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stat = Stat::read();
        if let Some(seconds) = stat.as_ref().and_then(Stat::cpu_seconds) {
            let mut metric = encoder.encode_descriptor(
                "process_cpu_seconds",
                "CPU time used",
                None,
                MetricType::Counter,
            )?;
            metric.encode_counter::<NoLabelSet, f64, u64>(&seconds, None)?;
        }
        let gauges = [
            (
                "process_start_time_seconds",
                "When it started, since 1970",
                stat.as_ref().and_then(Stat::started),
            ),
            ("process_threads", "Threads", stat.as_ref().and_then(|stat| stat.number(THREADS))),
            ("process_resident_memory_bytes", "Memory in RAM", memory("VmRSS:")),
            ("process_virtual_memory_bytes", "Memory mapped", memory("VmSize:")),
            ("process_open_fds", "Open files and sockets", open_files()),
            ("process_max_fds", "Files and sockets that may be open", open_files_max()),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}

/// `/proc/self/stat` behind the name of the program, which may hold anything.
struct Stat(Vec<String>);

impl Stat {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        let (_, fields) = text.rsplit_once(") ")?;
        Some(Self(fields.split_whitespace().map(str::to_owned).collect()))
    }

    fn number(&self, field: usize) -> Option<f64> {
        self.0.get(field)?.parse().ok()
    }

    fn cpu_seconds(&self) -> Option<f64> {
        Some((self.number(USER_TICKS)? + self.number(SYSTEM_TICKS)?) / TICKS)
    }

    fn started(&self) -> Option<f64> {
        let text = fs::read_to_string("/proc/stat").ok()?;
        let boot: f64 = text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        Some(boot + self.number(START_TICKS)? / TICKS)
    }
}

fn memory(line: &str) -> Option<f64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let value = text.lines().find_map(|found| found.strip_prefix(line))?;
    let kibibytes: f64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

#[expect(clippy::cast_precision_loss, reason = "nobody opens 2^53 files")]
fn open_files() -> Option<f64> {
    // One of them is the directory that is being read.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

fn open_files_max() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
