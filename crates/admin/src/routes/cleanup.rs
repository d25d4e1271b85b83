//! What waits to be deleted.

use catalog::DoomedRow;
use types::Timestamp;

use super::rfc3339;
use crate::answer::{Answer, ok};
use crate::api::House;
use crate::query::Query;
use crate::wire::{CleanupItem, CleanupQueue};

/// Replicas that are shown where nothing else is asked for.
const SHOWN: u32 = 50;

pub(crate) async fn queue(house: &House, query: Option<&str>) -> Answer {
    let query = Query::read(query, &["limit"])?;
    let limit = query.number("limit", 1, 1000)?.unwrap_or(SHOWN);
    let page = house.engine.catalog().doomed(limit).await?;
    let now = house.clock.now();
    let mut items: Vec<CleanupItem> = page.rows.iter().map(|row| item(row, now)).collect();
    items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    ok(&CleanupQueue { depth: page.depth, items })
}

fn item(row: &DoomedRow, now: Timestamp) -> CleanupItem {
    CleanupItem {
        id: row.replica.to_string(),
        backend_name: row.name.as_str().to_owned(),
        object_key: row.path.as_str().to_owned(),
        reason: if row.error.is_some() { "retry" } else { "doomed" }.to_owned(),
        attempts: row.attempts,
        size_bytes: row.charged,
        next_attempt: (row.due > now).then(|| rfc3339(row.due)),
        last_error: row.error.clone(),
    }
}
