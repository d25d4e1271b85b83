//! How much is logged.

use bytes::Bytes;

use crate::answer::{Answer, Refused, ok};
use crate::api::House;
use crate::query::Query;
use crate::wire::Level;

pub(crate) fn get(house: &House, query: Option<&str>) -> Answer {
    Query::read(query, &[])?;
    ok(&Level { level: house.level.get() })
}

pub(crate) fn set(house: &House, query: Option<&str>, body: &Bytes) -> Answer {
    Query::read(query, &[])?;
    let wanted: Level = serde_json::from_slice(body)
        .map_err(|error| Refused::bad_request(format!("the body must be {{\"level\": ...}}: {error}")))?;
    house.level.set(&wanted.level).map_err(Refused::bad_request)?;
    get(house, None)
}
