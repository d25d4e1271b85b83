//! Strays: shown, restored, deleted.

use std::time::Duration;

use catalog::Quarantined;
use engine::{Bucket, EngineError};
use http::StatusCode;
use types::{ObjectKey, ReplicaId, Timestamp};

use super::rfc3339;
use crate::answer::{Answer, Refused, json, ok};
use crate::api::House;
use crate::query::Query;
use crate::wire::{Quarantine, QuarantineAnswer, QuarantineItem};

/// Replicas that are shown where nothing else is asked for.
const SHOWN: u32 = 100;
/// The end of the year 9999: what is behind it cannot be written down.
const LAST_DAY_MS: u64 = 253_402_300_799_999;
/// How long a restoration is waited for: it reads all bytes.
const WAIT: Duration = Duration::from_secs(30);

pub(crate) async fn list(house: &House, query: Option<&str>) -> Answer {
    let query = Query::read(query, &["after", "limit"])?;
    let limit = query.number("limit", 1, 1000)?.unwrap_or(SHOWN);
    let after = query.get("after").map(replica).transpose()?;
    let rows = house.engine.catalog().quarantined(after, limit).await?;
    let more = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let next = rows.last().filter(|_| more).map(|row| row.replica.to_string());
    ok(&Quarantine { items: rows.iter().map(|row| item(house, row)).collect(), next })
}

fn item(house: &House, row: &Quarantined) -> QuarantineItem {
    let says = house.engine.says_for(row);
    QuarantineItem {
        id: row.replica.to_string(),
        backend: row.name.as_str().to_owned(),
        path: row.path.as_str().to_owned(),
        blob: row.blob.to_string(),
        size_bytes: row.size,
        charged_bytes: row.charged,
        written_at: rfc3339(row.replica.timestamp()),
        deleted_at: ends(row.until),
        key: says.map(|(bucket, key)| format!("{bucket}/{key}")),
    }
}

/// A time that no calendar has is none.
fn ends(until: Timestamp) -> String {
    if until.as_millis() > LAST_DAY_MS { "never".to_owned() } else { rfc3339(until) }
}

pub(crate) async fn delete(house: &House, id: &str, query: Option<&str>) -> Answer {
    Query::read(query, &[])?;
    let id = replica(id)?;
    if house.engine.delete_quarantined(&[id]).await? == 0 {
        return Err(Refused::not_found(format!("{id} is in no quarantine")));
    }
    ok(&QuarantineAnswer { status: "deleted".to_owned(), id: id.to_string(), key: None })
}

/// Makes a stray an object: of the key that it was written for, or of another one.
pub(crate) async fn restore(house: &House, id: &str, query: Option<&str>) -> Answer {
    let query = Query::read(query, &["key"])?;
    let id = replica(id)?;
    let found = house.engine.find_quarantined(id).await?;
    let found = found.ok_or_else(|| Refused::not_found(format!("{id} is in no quarantine")))?;
    let name = match query.get("key") {
        Some(name) => name.to_owned(),
        None => {
            let says = house.engine.says_for(&found).map(|(bucket, key)| format!("{bucket}/{key}"));
            says.ok_or_else(|| Refused::bad_request("its path does not spell a key: name one, bucket/key"))?
        }
    };
    let (bucket, key) = object(house, &name)?;
    let engine = house.engine.clone();
    let mut restoring = runtime::spawn(async move { engine.restore_quarantined(&found, &bucket, key).await });
    let answer = |status: &str| QuarantineAnswer {
        status: status.to_owned(),
        id: id.to_string(),
        key: Some(name.clone()),
    };
    match runtime::timeout(WAIT, &mut restoring).await {
        Ok(Ok(Ok(_))) => ok(&answer("restored")),
        Ok(Ok(Err(EngineError::PreconditionFailed))) => {
            Err(Refused::conflict(format!("there is an object {name:?}: name another key")))
        }
        Ok(Ok(Err(error))) => Err(error.into()),
        Ok(Err(_)) => Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "the restoration was cut off")),
        Err(_) => {
            // It goes on: the log says how it ends.
            restoring.detach();
            Ok(json(StatusCode::ACCEPTED, &answer("running")))
        }
    }
}

fn object(house: &House, name: &str) -> Result<(Bucket, ObjectKey), Refused> {
    let (bucket, key) = name.split_once('/').ok_or_else(|| Refused::bad_request("key must be bucket/key"))?;
    let key = ObjectKey::parse(key).map_err(|error| Refused::bad_request(error.to_string()))?;
    let bucket = house.buckets.iter().find(|known| known.name.as_str() == bucket);
    let bucket = bucket.ok_or_else(|| Refused::not_found(format!("there is no bucket of {name:?}")))?;
    Ok((bucket.clone(), key))
}

fn replica(text: &str) -> Result<ReplicaId, Refused> {
    text.parse().map_err(|_| Refused::bad_request(format!("{text:?} is no id of a replica")))
}
