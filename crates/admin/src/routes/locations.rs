//! Where an object lies.

use catalog::{Content, Located, Piece, ReplicaAt, ReplicaState, Want};
use types::ObjectKey;

use super::rfc3339;
use crate::answer::{Answer, Refused, ok};
use crate::api::House;
use crate::query::Query;
use crate::wire::{Location, ObjectLocations};

/// Locations in one answer. An object of 10,000 parts has twenty thousand.
const LOCATIONS_MAX: usize = 1000;

pub(crate) async fn locations(house: &House, query: Option<&str>) -> Answer {
    let query = Query::read(query, &["key"])?;
    let name = query.get("key").ok_or_else(|| Refused::bad_request("key is required: bucket/key"))?;
    let wrong = || Refused::bad_request("key must be bucket/key");
    let (bucket, key) = name.split_once('/').ok_or_else(wrong)?;
    let key = ObjectKey::parse(key).map_err(|error| Refused::bad_request(error.to_string()))?;
    let bucket = house.buckets.iter().find(|known| known.name.as_str() == bucket);
    let bucket = bucket.ok_or_else(|| Refused::not_found(format!("there is no bucket of {name:?}")))?;
    let catalog = house.engine.catalog();
    let located = catalog.locate(bucket.id, &key, Want::Whole).await?;
    let located = located.ok_or_else(|| Refused::not_found(format!("there is no object {name:?}")))?;
    let Located { object, mut pieces, .. } = located;
    let mut answer = ObjectLocations {
        key: name.to_owned(),
        size_bytes: object.state.size,
        etag: object.state.etag.as_str().to_owned(),
        locations: Vec::new(),
        truncated: false,
    };
    // A manifest comes in pages of pieces.
    while let Some(end) = pieces.last().map(|piece| piece.range.end()) {
        for piece in &pieces {
            answer.locations.extend(piece.replicas.iter().map(|at| location(house, name, piece, at)));
        }
        answer.truncated = answer.locations.len() > LOCATIONS_MAX;
        let Content::Manifest(manifest) = object.state.content else { break };
        if end >= object.state.size || answer.truncated {
            break;
        }
        pieces = catalog.pieces(manifest, end).await?;
    }
    answer.locations.truncate(LOCATIONS_MAX);
    ok(&answer)
}

fn location(house: &House, name: &str, piece: &Piece, at: &ReplicaAt) -> Location {
    let place = house.engine.places().iter().find(|place| place.id == at.backend);
    // One that left the configuration has a number only.
    let backend =
        place.map_or_else(|| format!("#{}", at.backend.0), |place| place.name().as_str().to_owned());
    let created = rfc3339(at.replica.timestamp());
    let state = if at.state == ReplicaState::Live { "live" } else { "suspect" };
    Location {
        object_key: name.to_owned(),
        backend_name: backend.clone(),
        size: piece.blob_size,
        created: created.clone(),
        backend,
        size_bytes: piece.blob_size,
        created_at: created,
        path: at.path.as_str().to_owned(),
        replica: at.replica.to_string(),
        blob: piece.blob.to_string(),
        state: state.to_owned(),
        offset: piece.range.start,
        length: piece.range.length,
    }
}
