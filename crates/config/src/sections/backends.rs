//! `backends`: where bytes lie, and how much of each the owner allows.

use std::collections::HashMap;
use std::time::Duration;

use types::BackendName;

use crate::report::Place;
use crate::scalar::choice;
use crate::section::{Map, empty, or, required, section};
use crate::units::ByteSize;

use super::store::Store;

choice! {
    /// How often limits start over.
    pub enum Period ("month or day") {
        /// Each month.
        Month = "month",
        /// Each day.
        Day = "day",
    }
}

impl Period {
    /// The first day of a month, the first hour of a day.
    fn first_anchor(self) -> u8 {
        match self {
            Self::Month => 1,
            Self::Day => 0,
        }
    }
}

section! {
    /// One bucket at one provider, or one directory.
    pub struct Backend |map| {
        + /// What it is and how it is reached.
        pub store: Store,
        /// Its name in logs, metrics and the catalog; the default is `backend-` and its index. Once bytes lie on
        /// it, the name must not change.
        pub name: BackendName = or(default_name(map)),
        /// Put in front of every path on it.
        pub prefix: String = or(""),
        /// Bytes that may be stored on it; 0 is unlimited. Charged before the first byte is sent, so it is never passed.
        pub quota_bytes: ByteSize = or(ByteSize(0)),
        /// Largest object in bytes that is placed on it; 0 is unlimited.
        pub max_object_size: ByteSize = or(ByteSize(0)),
        /// Bytes that the provider charges for the smallest object; smaller ones count as this many.
        pub min_billable_bytes: ByteSize = or(ByteSize(0)),
        /// How long after its request was given up a write may still arrive there. Bytes of a write with an unknown
        /// outcome stay charged for that long; of one that a crash cut short, for at least twice the pace of the
        /// journal. The default is 15m for s3 and 0s for directory.
        pub late_arrival_bound: Duration = or(store.late_arrival_default()),
        /// Bytes per second at which a body must pass to or from it, over any stretch of server.backend_timeout in
        /// which it is waited for; a slower one is given up. Time in which a client is waited for does not count.
        /// 0 is no bound.
        pub min_bytes_per_sec: ByteSize = or(ByteSize::kib(4)),
        /// Requests per period; 0 is unlimited. No attempt is sent that is not covered, see limits.md. Not together with
        /// request_limits.
        pub api_request_limit: u64 = or(0_u64),
        /// Bytes read from it per period; 0 is unlimited.
        pub egress_byte_limit: ByteSize = or(ByteSize(0)),
        /// Bytes sent to it per period; 0 is unlimited.
        pub ingress_byte_limit: ByteSize = or(ByteSize(0)),
        /// The period of these limits: month or day.
        pub limits_period: Period = or(Period::Month),
        /// When the period begins, in UTC: day of the month 1 to 28, or hour of the day 0 to 23. The default is 1
        /// for a month and 0 for a day.
        pub limits_anchor: u8 = or(limits_period.first_anchor()),
        /// The part of each of these limits, between 0 and 0.5, that requests of clients leave to maintenance: deletes,
        /// repair, moves.
        pub limits_maintenance_share: f64 = or(0.05),
        /// Limits for kinds of requests, where a provider counts them apart.
        pub request_limits: Vec<RequestPool> = empty(),
        /// Operations that the provider does not charge.
        pub unmetered: Vec<String> = empty(),
    }
}

section! {
    /// A limit for some operations.
    pub struct RequestPool {
        /// Its name in metrics.
        pub name: String = required(),
        /// Operations that count; `*` is all that are not unmetered.
        pub operations: Vec<String> = required(),
        /// Requests per period; 0 counts without limiting.
        pub limit: u64 = or(0_u64),
    }
}

fn default_name(map: &Map<'_>) -> BackendName {
    let name = format!("backend-{}", map.place().index());
    BackendName::parse(&name).expect("letters, a dash and digits are a legal name")
}

impl Backend {
    /// The quota in bytes; `None` is unlimited.
    #[must_use]
    pub fn quota(&self) -> Option<u64> {
        (self.quota_bytes.0 > 0).then_some(self.quota_bytes.0)
    }

    /// The largest object that is placed here; `None` is unlimited.
    #[must_use]
    pub fn object_size_max(&self) -> Option<u64> {
        (self.max_object_size.0 > 0).then_some(self.max_object_size.0)
    }

    fn check(&self, at: &Place<'_>) {
        self.store.check(at);
        let anchors = match self.limits_period {
            Period::Month => 1..=28,
            Period::Day => 0..=23,
        };
        if !anchors.contains(&self.limits_anchor) && at.sound(&["limits_period", "limits_anchor"]) {
            let (first, last) = (anchors.start(), anchors.end());
            let message =
                format!("must lie between {first} and {last} for a {}", self.limits_period.as_str());
            at.key("limits_anchor").refuse(message);
        }
        if !(0.0..=0.5).contains(&self.limits_maintenance_share) {
            at.key("limits_maintenance_share").refuse("must lie between 0 and 0.5");
        }
        if self.api_request_limit > 0 && !self.request_limits.is_empty() {
            let hint = "a pool with operations [\"*\"] is the same as api_request_limit";
            at.key("api_request_limit").refuse_with("does not go together with request_limits", hint);
        }
        // Far below the 1,024 bytes that a path may have at most.
        if self.prefix.len() > 256
            || self.prefix.starts_with('/')
            || self.prefix.chars().any(char::is_control)
        {
            at.key("prefix").refuse("must be at most 256 bytes, without `/` in front or control characters");
        }
        self.check_pools(at);
    }

    fn check_pools(&self, at: &Place<'_>) {
        let mut names: HashMap<&str, usize> = HashMap::new();
        for (index, pool) in self.request_limits.iter().enumerate() {
            if let Some(first) = names.insert(&pool.name, index)
                && !pool.name.is_empty()
            {
                let place = at.key("request_limits").item(index).key("name");
                place.refuse(format!("is the name of request_limits[{first}] already"));
            }
        }
    }
}

/// Checks all backends: each by itself, and that they differ.
pub(crate) fn check_backends(backends: &[Backend], at: &Place<'_>) {
    let mut names: HashMap<&BackendName, usize> = HashMap::new();
    let mut stores: HashMap<String, usize> = HashMap::new();
    for (index, backend) in backends.iter().enumerate() {
        let place = at.item(index);
        backend.check(&place);
        let name = place.key("name");
        if name.is_sound()
            && let Some(first) = names.insert(&backend.name, index)
        {
            name.refuse(format!("`{}` is the name of backends[{first}] already", backend.name));
        }
        let Some((key, identity)) = backend.store.identity(&backend.prefix) else { continue };
        if let Some(first) = stores.insert(identity, index) {
            let hint = "give each a `prefix` of its own, or remove one";
            place.key(key).refuse_with(format!("is the same place as that of backends[{first}]"), hint);
        }
    }
}
