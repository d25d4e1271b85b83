//! Limits from their configuration.

use std::sync::Arc;

use ::config::{Backend as BackendConfig, Config, Period, Store};
use catalog::Catalog;
use engine::{BackendLimits, FlushSettings, Grants};
use runtime::Clock;
use types::{BootId, Schedule};

/// Bytes of a download that a provider may have sent before anyone reads them: what the buffers of both ends
/// and of the network hold.
const UNREAD_BYTES_MAX: u64 = 8 << 20;

/// Keeps the grants of all backends.
pub(super) fn keep(config: &Config, catalog: &Arc<dyn Catalog>, boot: BootId, clock: &Clock) -> Grants {
    let limits = config.backends.iter().map(of_backend).collect();
    let flush = &config.usage_flush;
    let near = flush.adaptive_enabled.then_some((flush.adaptive_threshold, flush.fast_interval));
    let flush = FlushSettings { interval: flush.interval, near };
    Grants::keep(Arc::clone(catalog), boot, clock.clone(), limits, flush)
}

fn of_backend(config: &BackendConfig) -> BackendLimits {
    let limit = |value: u64| (value > 0).then_some(value);
    let (egress, ingress) = (config.egress_byte_limit.bytes(), config.ingress_byte_limit.bytes());
    BackendLimits {
        backend: config.name.clone(),
        limits: [config.api_request_limit, egress, ingress].map(limit),
        schedule: match config.limits_period {
            Period::Month => Schedule::monthly(config.limits_anchor),
            Period::Day => Schedule::daily(config.limits_anchor),
        },
        maintenance_share: config.limits_maintenance_share,
        lead_bytes: match &config.store {
            Store::S3(_) => UNREAD_BYTES_MAX,
            // Read as it is asked for.
            Store::Directory(_) => 0,
        },
    }
}
