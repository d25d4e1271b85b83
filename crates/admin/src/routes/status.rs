//! How the backends are doing.

use catalog::{BackendTotals, Drain, Totals};
use engine::Place;

use super::month;
use crate::answer::{Answer, ok};
use crate::api::House;
use crate::query::Query;
use crate::wire::{BackendStatus, Status};

pub(crate) async fn status(house: &House, query: Option<&str>) -> Answer {
    Query::read(query, &[])?;
    let catalog = house.engine.catalog();
    let (totals, drains) = match (catalog.totals().await, catalog.drains().await) {
        (Ok(totals), Ok(drains)) => (Some(totals), drains),
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(%error, "the admin API tells the status without the catalog");
            (None, Vec::new())
        }
    };
    let db_healthy = totals.is_some();
    let totals = totals.unwrap_or_default();
    let places = house.engine.places().iter();
    ok(&Status {
        db_healthy,
        usage_period: month(house.clock.now()),
        under_replicated: totals.under_replicated,
        uploads_open: totals.uploads_open,
        backends: places.map(|place| backend(house, place, &totals, &drains)).collect(),
    })
}

fn backend(house: &House, place: &Place, totals: &Totals, drains: &[Drain]) -> BackendStatus {
    let of = |read: fn(&BackendTotals) -> u64| {
        totals.backends.iter().find(|known| known.backend == place.id).map_or(0, read)
    };
    BackendStatus {
        name: place.name().as_str().to_owned(),
        bytes_used: of(|known| known.charged),
        bytes_limit: place.quota.unwrap_or(0),
        bytes_doomed: of(|known| known.doomed_bytes),
        object_count: of(|known| known.replicas_live),
        doomed_count: of(|known| known.replicas_doomed),
        healthy: house.engine.is_healthy(place.id),
        draining: drains.iter().any(|drain| drain.backend == place.id),
    }
}
