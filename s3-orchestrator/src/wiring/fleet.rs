//! Fleet work from its configuration.

use std::sync::Arc;
use std::time::Duration;

use config::{Config, LifecycleRule};
use engine::{Balance, Bucket, ExpiryRule, Strategy};
use workers::FleetOptions;

use crate::metrics::UpkeepMetrics;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What fleet work a configuration asks for.
pub(super) fn options(config: &Config, buckets: &[Bucket], metrics: &Arc<UpkeepMetrics>) -> FleetOptions {
    let (rebalance, reconcile) = (&config.rebalance, &config.reconcile);
    let rules = config.lifecycle.rules.iter().flat_map(|rule| expiry(rule, config, buckets));
    FleetOptions {
        balance: Balance {
            strategy: match rebalance.strategy {
                config::Strategy::Pack => Strategy::Pack,
                config::Strategy::Spread => Strategy::Spread,
            },
            threshold: rebalance.threshold,
            batch: rebalance.batch_size,
            concurrency: rebalance.concurrency as usize,
        },
        rebalance_every: rebalance.enabled.then_some(rebalance.interval),
        expiry: rules.collect(),
        expiry_batch: config.lifecycle.batch_size,
        upload_idle: config.cleanup_queue.multipart_stale_timeout,
        reconcile_every: reconcile.enabled.then_some(reconcile.interval),
        observer: Arc::clone(metrics) as Arc<dyn workers::Observer>,
    }
}

/// The strategy of rebalancing, as a label.
pub(super) fn strategy(config: &Config) -> &'static str {
    match config.rebalance.strategy {
        config::Strategy::Pack => "pack",
        config::Strategy::Spread => "spread",
    }
}

/// One rule for each bucket that it reaches.
fn expiry(rule: &LifecycleRule, config: &Config, buckets: &[Bucket]) -> Vec<ExpiryRule> {
    let age = DAY * rule.expiration_days;
    let tags: Vec<(String, String)> = rule.tags.clone().into_iter().collect();
    let of_bucket = |(name, prefix): (&types::BucketName, String)| {
        let bucket = buckets.iter().find(|bucket| bucket.name == *name)?.clone();
        Some(ExpiryRule { bucket, prefix, tags: tags.clone(), age })
    };
    rule.reach(&config.buckets).into_iter().filter_map(of_bucket).collect()
}
