//! `rebalance`, `replication` and `write_path`: how many replicas there are, and where.

use std::time::Duration;

use crate::report::Place;
use crate::scalar::choice;
use crate::section::{nested, none, or, section};

choice! {
    /// Which backend takes a new object.
    pub enum Strategy ("pack or spread") {
        /// The first in configuration order that has room.
        Pack = "pack",
        /// The one with the smallest share of its quota in use.
        Spread = "spread",
    }
}

section! {
    /// Moving replicas until the backends are as the strategy wants them.
    pub struct Rebalance {
        /// Whether replicas are moved.
        pub enabled: bool = or(false),
        /// pack empties the last backends into the first, spread levels their shares.
        pub strategy: Strategy = or(Strategy::Pack),
        /// Pause between two runs.
        pub interval: Duration = or(Duration::from_secs(6 * 3600)),
        /// Replicas moved in one run.
        pub batch_size: u32 = or(100_u32),
        /// Difference in shares of the quota that is left alone; 0 moves for any difference.
        pub threshold: f64 = or(0.1),
        /// Moves at once.
        pub concurrency: u32 = or(5_u32),
    }
}

section! {
    /// How many backends hold each object.
    pub struct Replication {
        /// Backends that hold each object. All are written while the client sends, so each costs its ingress.
        pub factor: u32 = or(1_u32),
        /// Pause between two looks for objects with too few replicas.
        pub worker_interval: Duration = or(Duration::from_secs(300)),
        /// Objects repaired in one run.
        pub batch_size: u32 = or(50_u32),
        /// Repairs at once.
        pub concurrency: u32 = or(5_u32),
        /// How long a backend must have failed before its replicas are made elsewhere; 0 waits not at all.
        pub unhealthy_threshold: Duration = or(Duration::from_secs(600)),
    }
}

section! {
    /// How a write reaches its backends.
    pub struct WritePath {
        /// Replicas that must be written before the client is answered. More is safer, fewer rides out a failing
        /// backend. At most replication.factor.
        pub ack_replicas: u32 = or(1_u32),
        /// How long a backend may take no byte while the others wait, before the write goes on without it.
        pub stall_timeout: Duration = or(Duration::from_secs(5)),
        /// Multipart uploads.
        pub multipart: Multipart = nested(),
        /// A setting of the Go program.
        pub parallel_copies: ParallelCopies = nested(),
        /// A setting of the Go program.
        pub pending_pattern: PendingPattern = nested(),
    }
}

section! {
    /// Multipart uploads.
    pub struct Multipart {
        /// Refuse to complete an upload with a part below 5 MiB that is not the last, as S3 does.
        pub enforce_min_part_size: bool = or(true),
    }
}

section! {
    /// Writing several replicas at once in the Go program.
    pub struct ParallelCopies {
        /// Write to several backends at once.
        pub enabled: bool = or(false),
        /// Replicas written at once.
        pub count: Option<u32> = none(),
        /// Writes at once.
        pub max_in_flight: Option<u32> = none(),
    }
}

section! {
    /// Intents of writes in the Go program.
    pub struct PendingPattern {
        /// Record an intent before each write.
        pub enabled: bool = or(true),
        /// Pause between two looks for forgotten intents.
        pub reaper_tick: Duration = or(Duration::from_secs(60)),
        /// Age of a forgotten intent.
        pub min_age: Duration = or(Duration::from_secs(300)),
        /// Intents settled in one run.
        pub batch_size: u32 = or(50_u32),
    }
}

impl Rebalance {
    pub(crate) fn check(&self, at: &Place<'_>) {
        at.key("threshold").share(self.threshold);
        at.key("interval").above_zero(self.interval);
        at.key("batch_size").at_least(self.batch_size, 1);
        at.key("concurrency").at_least(self.concurrency, 1);
    }
}

impl Replication {
    pub(crate) fn check(&self, at: &Place<'_>, backends: usize) {
        let factor = at.key("factor");
        factor.at_least(self.factor, 1);
        if self.factor as usize > backends && backends > 0 {
            let count =
                if backends == 1 { "there is one".to_owned() } else { format!("there are {backends}") };
            factor.refuse_with(
                format!("{} replicas need {} backends, but {count}", self.factor, self.factor),
                "add backends or lower the factor",
            );
        }
        at.key("worker_interval").above_zero(self.worker_interval);
        at.key("batch_size").at_least(self.batch_size, 1);
        at.key("concurrency").at_least(self.concurrency, 1);
    }
}

impl WritePath {
    pub(crate) fn check(&self, at: &Place<'_>, factor: u32) {
        let ack = at.key("ack_replicas");
        ack.at_least(self.ack_replicas, 1);
        if self.ack_replicas > factor {
            ack.refuse(format!("must not be above replication.factor ({factor})"));
        }
        at.key("stall_timeout").above_zero(self.stall_timeout);
        if let Some(count) = self.parallel_copies.count
            && !(1..=factor).contains(&count)
        {
            at.key("parallel_copies").key("count").refuse(format!("must lie between 1 and {factor}"));
        }
    }
}
