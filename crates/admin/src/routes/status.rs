//! How the backends are doing.

use catalog::{BackendTotals, BrakeState, Drain, Totals};
use engine::{Place, UsageOf};
use types::LimitKind;

use super::{month, rfc3339};
use crate::answer::{Answer, ok};
use crate::api::House;
use crate::query::Query;
use crate::wire::{BackendStatus, Integrity, OverReplication, Replication, Status};

pub(crate) async fn status(house: &House, query: Option<&str>) -> Answer {
    Query::read(query, &[])?;
    let catalog = house.engine.catalog();
    let (totals, drains, brake) =
        match (catalog.totals().await, catalog.drains().await, catalog.brake().await) {
            (Ok(totals), Ok(drains), Ok(brake)) => (Some(totals), drains, brake),
            (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => {
                tracing::warn!(%error, "the admin API tells the status without the catalog");
                (None, Vec::new(), BrakeState::default())
            }
        };
    let db_healthy = totals.is_some();
    let totals = totals.unwrap_or_default();
    let usage = house.grants.usage().await.unwrap_or_default();
    let places = house.engine.places().iter();
    ok(&Status {
        db_healthy,
        usage_period: month(house.clock.now()),
        under_replicated: totals.under_replicated,
        over_replicated: totals.over_replicated,
        uploads_open: totals.uploads_open,
        brake_engaged: brake.engaged_at.is_some(),
        integrity: integrity(house),
        backends: places.map(|place| backend(house, place, &totals, &drains, &usage)).collect(),
    })
}

fn integrity(house: &House) -> Integrity {
    let ages = house.engine.proof_ages();
    Integrity {
        oldest_unverified_seconds: ages.map(|(_, oldest)| oldest.as_secs()),
        never_verified_copies: ages.map(|(never, _)| never),
        deferred_copies: house.engine.upkeep().deferred,
    }
}

pub(crate) async fn replication(house: &House, query: Option<&str>) -> Answer {
    Query::read(query, &[])?;
    let totals = house.engine.catalog().totals().await?;
    ok(&Replication {
        factor: house.engine.settings().factor,
        under_replicated: totals.under_replicated,
        over_replicated: totals.over_replicated,
        computed_at: rfc3339(house.clock.now()),
    })
}

pub(crate) async fn over_replication(house: &House, query: Option<&str>) -> Answer {
    Query::read(query, &[])?;
    let totals = house.engine.catalog().totals().await?;
    ok(&OverReplication { factor: house.engine.settings().factor, pending: totals.over_replicated })
}

fn backend(
    house: &House,
    place: &Place,
    totals: &Totals,
    drains: &[Drain],
    usage: &[UsageOf],
) -> BackendStatus {
    let used = |kind: LimitKind| {
        let mine = usage.iter().find(|one| one.kind == kind && one.backend == *place.name());
        mine.map_or(0, |one| one.spent)
    };
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
        api_requests: used(LimitKind::Requests),
        egress_bytes: used(LimitKind::Egress),
        ingress_bytes: used(LimitKind::Ingress),
        healthy: house.engine.is_healthy(place.id),
        draining: drains.iter().any(|drain| drain.backend == place.id),
    }
}
