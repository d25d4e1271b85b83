//! Importing what lies on a backend.

use engine::{ImportJob, ImportRun};
use http::StatusCode;
use types::BucketName;

use super::backends::find;
use crate::answer::{Answer, Refused, json, ok};
use crate::api::House;
use crate::query::Query;
use crate::wire::SyncRun;

/// Takes an import on. It goes on whether or not anybody waits.
pub(crate) async fn begin(house: &House, query: Option<&str>) -> Answer {
    let query = Query::read(query, &["backend", "bucket", "prefix", "dry_run"])?;
    let needed =
        |name: &str| query.get(name).ok_or_else(|| Refused::bad_request(format!("{name} is required")));
    let backend = find(house, needed("backend")?)?.id;
    let name = needed("bucket")?;
    let wanted = BucketName::parse(name).map_err(|error| Refused::bad_request(error.to_string()))?;
    let bucket = house.buckets.iter().find(|known| known.name == wanted).cloned();
    let bucket = bucket.ok_or_else(|| Refused::not_found(format!("there is no bucket {name:?}")))?;
    let prefix = query.get("prefix").unwrap_or_default().to_owned();
    let job = ImportJob { backend, bucket, prefix, dry_run: query.is_on("dry_run")? };
    if !house.engine.begin_import(job) {
        return Err(Refused::conflict("an import is under way: `GET sync` shows it, `DELETE sync` ends it"));
    }
    // The process started it with all the others.
    let _ = house.workers.trigger("sync");
    Ok(json(StatusCode::ACCEPTED, &shown(house, house.engine.import_run())))
}

pub(crate) fn status(house: &House, query: Option<&str>) -> Answer {
    Query::read(query, &[])?;
    ok(&shown(house, house.engine.import_run()))
}

pub(crate) fn end(house: &House, query: Option<&str>) -> Answer {
    Query::read(query, &[])?;
    house.engine.end_import("an operator ended it");
    status(house, None)
}

fn shown(house: &House, run: Option<ImportRun>) -> SyncRun {
    let Some(ImportRun { job, counts, done, error }) = run else { return SyncRun::default() };
    let worker = house.workers.status().into_iter().find(|status| status.name == "sync");
    let failing = worker.filter(|status| !done && status.consecutive_failures > 0);
    let place = house.engine.places().iter().find(|place| place.id == job.backend);
    SyncRun {
        status: match (done, &error) {
            (false, _) => "running",
            (true, None) => "ok",
            (true, Some(_)) => "failed",
        }
        .to_owned(),
        backend: place.map_or(String::new(), |place| place.name().as_str().to_owned()),
        bucket: job.bucket.name.as_str().to_owned(),
        prefix: job.prefix,
        dry_run: job.dry_run,
        listed: counts.listed,
        imported: counts.imported,
        imported_bytes: counts.imported_bytes,
        skipped: counts.known + counts.taken + counts.ours + counts.unfit,
        known: counts.known,
        taken: counts.taken,
        ours: counts.ours,
        unfit: counts.unfit,
        failed: counts.failed,
        requests: counts.requests,
        error: error.or_else(|| failing.and_then(|status| status.last_error)).or(counts.last_error),
    }
}
