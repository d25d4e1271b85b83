//! How the workers are doing.

use std::fmt;
use std::sync::OnceLock;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use runtime::{Status, Workers};

/// Steps, failures and successes of each worker, read when somebody asks.
#[derive(Debug, Default)]
pub(crate) struct WorkerMetrics {
    workers: OnceLock<Workers>,
}

impl WorkerMetrics {
    /// From now on, there are workers to ask.
    pub(crate) fn connect(&self, workers: Workers) {
        // A process has one set of workers.
        let _ = self.workers.set(workers);
    }
}

/// A gauge of each worker: its name, its help, its value where it has one.
type GaugeOf = (&'static str, &'static str, fn(&Status) -> Option<u64>);

impl Collector for WorkerMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(workers) = self.workers.get() else { return Ok(()) };
        let statuses = workers.status();
        let help = "Steps of a worker";
        let mut metric = encoder.encode_descriptor("worker_ticks", help, None, MetricType::Counter)?;
        for status in &statuses {
            for (result, steps) in [("success", status.steps_succeeded), ("error", status.steps_failed)] {
                let labels = [("service", status.name.as_str()), ("result", result)];
                metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&steps, None)?;
            }
        }
        let gauges: [GaugeOf; 2] = [
            ("worker_last_success_timestamp_seconds", "When a step of a worker last succeeded", |status| {
                Some(status.last_success?.as_secs())
            }),
            ("worker_consecutive_failures", "Steps of a worker that failed in a row up to now", |status| {
                Some(status.consecutive_failures)
            }),
        ];
        for (name, help, value) in gauges {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for status in &statuses {
                let Some(value) = value(status) else { continue };
                metric.encode_family(&[("service", status.name.as_str())])?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}
