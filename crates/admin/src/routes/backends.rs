//! Emptying a backend, and forgetting it.

use std::time::Duration;

use catalog::{Drain, OnBackend, Removed};
use engine::Place;
use http::StatusCode;

use super::rfc3339;
use crate::answer::{Answer, Refused, json, ok};
use crate::api::House;
use crate::guard::Guard;
use crate::query::Query;
use crate::wire::{BackendAnswer, DrainStatus, PurgePreview};

/// How long a confirmation holds.
const CONFIRM_WITHIN: Duration = Duration::from_secs(60);

pub(crate) async fn start_drain(house: &House, name: &str, query: Option<&str>) -> Answer {
    Query::read(query, &[])?;
    let place = find(house, name)?;
    house.engine.start_drain(place.id).await?;
    // Without that worker nothing would happen before the next start: a status that does not move tells.
    let _ = house.workers.trigger("drain");
    Ok(json(StatusCode::ACCEPTED, &told("drain started", name)))
}

pub(crate) async fn cancel_drain(house: &House, name: &str, query: Option<&str>) -> Answer {
    Query::read(query, &[])?;
    let place = find(house, name)?;
    if !house.engine.cancel_drain(place.id).await? {
        return Err(Refused::conflict(format!("backend {name} does not drain")));
    }
    ok(&told("drain cancelled", name))
}

pub(crate) async fn drain_status(house: &House, name: &str, query: Option<&str>) -> Answer {
    Query::read(query, &[])?;
    let place = find(house, name)?;
    let drain = drain_of(house, place).await?;
    let Some(Drain { since, moved, moved_bytes, left, .. }) = drain else {
        let totals = house.engine.catalog().totals().await?;
        let there = totals.backends.into_iter().find(|known| known.backend == place.id);
        return ok(&DrainStatus {
            active: false,
            drained: false,
            objects_remaining: there.as_ref().map_or(0, |known| known.replicas_live),
            bytes_remaining: there.as_ref().map_or(0, |known| known.charged - known.doomed_bytes),
            objects_moved: 0,
            bytes_moved: 0,
            objects_doomed: there.as_ref().map_or(0, |known| known.replicas_doomed),
            since: None,
            error: None,
        });
    };
    ok(&DrainStatus {
        active: true,
        drained: left.is_drained(),
        objects_remaining: left.live + left.suspect + left.writing + left.quarantined,
        bytes_remaining: left.bytes,
        objects_moved: moved,
        bytes_moved: moved_bytes,
        objects_doomed: left.doomed,
        since: Some(rfc3339(since)),
        error: house.engine.drain_trouble(place.id),
    })
}

/// Forgets a backend that is empty. One that is not loses nothing: it has to be drained first. With `purge`, what
/// waits to be deleted there is given up, once the operator has confirmed that the backend is gone for good.
pub(crate) async fn remove(house: &House, guard: &Guard, name: &str, query: Option<&str>) -> Answer {
    let query = Query::read(query, &["purge", "confirm"])?;
    let (purge, confirm) = (query.is_on("purge")?, query.get("confirm"));
    let place = find(house, name)?;
    let Some(drain) = drain_of(house, place).await? else {
        return Err(Refused::conflict(format!("backend {name} does not drain: start with `drain {name}`")));
    };
    let (what, now) = (format!("purge|{name}"), house.clock.now());
    match confirm {
        None if purge && drain.left.is_drained() => {
            let totals = house.engine.catalog().totals().await?;
            let there = totals.backends.iter().find(|known| known.backend == place.id);
            return ok(&PurgePreview {
                status: "confirmation required".to_owned(),
                backend: name.to_owned(),
                object_count: drain.left.doomed,
                total_bytes: there.map_or(0, |known| known.doomed_bytes),
                confirm_token: guard.confirmation(&what, now.plus(CONFIRM_WITHIN)),
                expires_in: CONFIRM_WITHIN.as_secs(),
            });
        }
        Some(shown) if purge && !guard.is_confirmed(&what, shown, now) => {
            return Err(Refused::new(StatusCode::FORBIDDEN, "this confirms nothing, or no longer"));
        }
        Some(_) if !purge => return Err(Refused::bad_request("confirm goes with purge")),
        _ => {}
    }
    match house.engine.remove_backend(place.id, purge && confirm.is_some()).await? {
        Removed::Forgotten | Removed::Unknown => {
            tracing::warn!(backend.name = %name, purge, "backend removed: take it out of the configuration before the next start");
            ok(&told(if purge { "backend purged" } else { "backend removed" }, name))
        }
        Removed::Occupied(left) => Err(Refused::conflict(occupied(name, left))),
    }
}

fn occupied(name: &str, left: OnBackend) -> String {
    let kinds = [
        (left.live, "live"),
        (left.suspect, "suspect"),
        (left.writing, "being written"),
        (left.quarantined, "in quarantine"),
        (left.doomed, "waiting to be deleted"),
    ];
    let there = kinds.iter().filter(|(count, _)| *count > 0);
    let list: Vec<String> = there.map(|(count, kind)| format!("{count} {kind}")).collect();
    format!("backend {name} still has replicas: {}", list.join(", "))
}

async fn drain_of(house: &House, place: &Place) -> Result<Option<Drain>, Refused> {
    let drains = house.engine.catalog().drains().await?;
    Ok(drains.into_iter().find(|drain| drain.backend == place.id))
}

pub(crate) fn find<'a>(house: &'a House, name: &str) -> Result<&'a Place, Refused> {
    let place = house.engine.places().iter().find(|place| place.name().as_str() == name);
    place.ok_or_else(|| Refused::not_found(format!("there is no backend {name:?}")))
}

fn told(status: &str, backend: &str) -> BackendAnswer {
    BackendAnswer { status: status.to_owned(), backend: backend.to_owned() }
}
