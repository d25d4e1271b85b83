//! `lifecycle` and `reconcile`: what happens to objects and backends by themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::report::Place;
use crate::section::{empty, or, required, section};

section! {
    /// Objects that expire.
    pub struct Lifecycle {
        /// Each rule by itself.
        pub rules: Vec<LifecycleRule> = empty(),
        /// Objects removed in one run.
        pub batch_size: u32 = or(100_u32),
    }
}

section! {
    /// Which objects expire, and when. A prefix or tags are required, so that a slip does not empty everything.
    pub struct LifecycleRule {
        /// Keys that begin with this.
        pub prefix: String = or(""),
        /// Objects that carry all of these tags.
        pub tags: BTreeMap<String, String> = or(BTreeMap::new()),
        /// Days since the object was written.
        pub expiration_days: u32 = required(),
    }
}

section! {
    /// Comparing backends with the catalog.
    pub struct Reconcile {
        /// Whether they are compared by themselves.
        pub enabled: bool = or(false),
        /// Pause between two runs.
        pub interval: Duration = or(Duration::from_secs(24 * 3600)),
    }
}

impl Lifecycle {
    pub(crate) fn check(&self, at: &Place<'_>) {
        at.key("batch_size").at_least(self.batch_size, 1);
        for (index, rule) in self.rules.iter().enumerate() {
            let place = at.key("rules").item(index);
            if !place.is_sound() {
                continue;
            }
            place.key("expiration_days").at_least(rule.expiration_days, 1);
            if rule.prefix.is_empty() && rule.tags.is_empty() {
                place.key("prefix").refuse("is required, or tags");
            }
            let same = |other: &LifecycleRule| other.prefix == rule.prefix && other.tags == rule.tags;
            if let Some(first) = self.rules[..index].iter().position(same) {
                place.refuse(format!("has the same filter as rules[{first}]"));
            }
        }
    }
}

section! {
    /// The journal on its way to the backends: what a lost catalog comes back from.
    pub struct Journal {
        /// Least pause between two segments; 0 chooses it by the backends that take them: a second for directories,
        /// a minute for S3, and longer where a limit on requests says so.
        pub interval: Duration = or(Duration::ZERO),
    }
}

impl Reconcile {
    pub(crate) fn check(&self, at: &Place<'_>) {
        at.key("interval").above_zero(self.interval);
    }
}
