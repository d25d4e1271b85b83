//! What the configuration says of repair, trimming, proofs and the brake.

use std::sync::Arc;

use ::config::Config;
use catalog::BrakeSettings;
use engine::{Engine, RepairOptions};
use workers::{ScrubOptions, Upkeep};

use crate::metrics::UpkeepMetrics;

const MILLION: f64 = 1_000_000.0;

pub(super) fn upkeep(config: &Config, engine: &Engine, metrics: &Arc<UpkeepMetrics>) -> Upkeep {
    let replication = &config.replication;
    let integrity = &config.integrity;
    let (engine, threshold) = (engine.clone(), replication.unhealthy_threshold);
    let gone = Arc::new(move || engine.gone_for(threshold));
    let scrubs = integrity.enabled && !integrity.scrubber_interval.is_zero();
    Upkeep {
        repair: RepairOptions {
            batch: replication.batch_size,
            at_once: usize::try_from(replication.concurrency).unwrap_or(usize::MAX),
        },
        interval: replication.worker_interval,
        scrub: ScrubOptions {
            interval: integrity.scrubber_interval,
            batch: integrity.scrubber_batch_size,
            age_min: integrity.scrubber_min_age,
        },
        scrubs,
        gone,
        observer: Arc::clone(metrics) as Arc<dyn workers::Observer>,
    }
}

pub(super) fn brake(config: &Config) -> BrakeSettings {
    let brake = &config.cleanup_queue.brake;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share between 0 and 1")]
    let share_ppm = (brake.share * MILLION) as u32;
    BrakeSettings { share_ppm, floor: brake.floor, clients: brake.count_clients }
}
