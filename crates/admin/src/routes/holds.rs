//! What holds until an operator has looked: the brake on deletes, and limits after a rebuild.

use http::StatusCode;

use super::rfc3339;
use crate::answer::{Answer, Refused, ok};
use crate::api::House;
use crate::query::Query;
use crate::wire::{Backfilled, Brake, ClosedLimits, Done};

pub(crate) async fn brake(house: &House, query: Option<&str>) -> Answer {
    Query::read(query, &[])?;
    let state = house.engine.brake().await?;
    ok(&Brake {
        engaged: state.engaged_at.is_some(),
        engaged_at: state.engaged_at.map(rfc3339),
        why: state.why,
        doomed_in_hour: state.doomed_in_hour,
    })
}

pub(crate) async fn release_brake(house: &House, query: Option<&str>) -> Answer {
    Query::read(query, &[])?;
    house.engine.release_brake().await?;
    brake(house, None).await
}

pub(crate) async fn limits(house: &House, query: Option<&str>) -> Answer {
    Query::read(query, &[])?;
    let closed = house.engine.catalog().limits_closed().await?;
    ok(&ClosedLimits { closed: closed.is_some(), since: closed.map(rfc3339) })
}

pub(crate) async fn open_limits(house: &House, query: Option<&str>) -> Answer {
    Query::read(query, &[])?;
    house.engine.catalog().open_limits().await?;
    tracing::warn!("an operator opened the limits: what is left of this period may be spent");
    limits(house, None).await
}

/// Writes down what was spent of the limits. They hold without it: what counts is what was granted.
pub(crate) async fn flush_usage(house: &House, query: Option<&str>) -> Answer {
    Query::read(query, &[])?;
    if house.grants.flush().await {
        return ok(&Done { status: "flushed".to_owned() });
    }
    Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, "the catalog does not answer"))
}

/// Every blob has the checksums of its blocks from the moment on at which it is written or imported.
pub(crate) fn backfill(query: Option<&str>) -> Answer {
    let query = Query::read(query, &["batch_size", "max", "delay_ms"])?;
    query.number("batch_size", 1, 10_000)?;
    ok(&Backfilled { status: "ok".to_owned(), processed: 0 })
}
