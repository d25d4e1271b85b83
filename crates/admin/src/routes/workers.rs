//! The workers: how they are doing, and waking them.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use runtime::{Activity, Status};

use super::rfc3339;
use crate::answer::{Answer, Refused, json, ok};
use crate::api::House;
use crate::query::Query;
use crate::wire::{Progress, Triggered, Worker};

/// Routes that wake workers: the route, the worker (or the kind of several), and the Go program's name for
/// what was done.
const TRIGGERS: &[(&str, &str, &str)] = &[
    ("replicate", "repair", "copies_created"),
    ("over-replication", "trim", "copies_removed"),
    ("scrub", "scrub", "checked"),
    ("rebalance", "rebalance", "moved"),
    ("reconcile", "reconcile", "scanned"),
    ("lifecycle", "lifecycle", "deleted"),
];

/// How long a trigger waits for what it started, where nothing else is asked for. Whoever waits longer follows the
/// status.
const WAIT: Duration = Duration::from_secs(5);
const WAIT_SECONDS_MAX: u32 = 60;
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(crate) fn list(house: &House, query: Option<&str>) -> Answer {
    Query::read(query, &[])?;
    ok(&house.workers.status().iter().map(worker).collect::<Vec<_>>())
}

fn worker(status: &Status) -> Worker {
    let activity = match status.activity {
        Activity::Waiting => "waiting",
        Activity::Working => "working",
        Activity::BackingOff => "backing_off",
        Activity::Stopped => "stopped",
    };
    let progress = status.progress.as_ref();
    Worker {
        name: status.name.clone(),
        activity: activity.to_owned(),
        last_success: status.last_success.map(rfc3339),
        last_failure: status.last_failure.map(rfc3339),
        last_error: status.last_error.clone(),
        consecutive_failures: status.consecutive_failures,
        steps_succeeded: status.steps_succeeded,
        steps_failed: status.steps_failed,
        done: status.done,
        failed: status.failed,
        next_step: status.next_step.map(rfc3339),
        progress: progress.map(|p| Progress { done: p.done, total: p.total, note: p.note.clone() }),
    }
}

pub(crate) fn is_triggered(route: &str) -> bool {
    TRIGGERS.iter().any(|(known, ..)| *known == route)
}

/// Wakes workers, and waits a little for what they do. The work goes on whether or not anybody waits.
pub(crate) async fn trigger(house: &House, route: &str, query: Option<&str>) -> Answer {
    // A batch is as large as the configuration says, and one follows the other: a size is accepted and means nothing.
    let query = Query::read(query, &["wait", "backend", "batch_size"])?;
    query.number("batch_size", 1, 10_000)?;
    let wait = query.number("wait", 0, WAIT_SECONDS_MAX)?;
    let wait = wait.map_or(WAIT, |seconds| Duration::from_secs(seconds.into()));
    let (_, kind, counted) = TRIGGERS.iter().find(|(known, ..)| *known == route).expect("the route is one");
    let before = of_kind(house, kind, query.get("backend"));
    if before.is_empty() {
        return Err(Refused::not_found(format!("no worker of this configuration does {route}")));
    }
    for status in &before {
        // Its name was read from the list.
        let _ = house.workers.trigger(&status.name);
    }
    let deadline = runtime::instant_now() + wait;
    loop {
        let now = of_kind(house, kind, query.get("backend"));
        let settled = before.iter().zip(&now).all(|(before, now)| has_settled(house, before, now));
        if settled || runtime::instant_now() >= deadline {
            return Ok(triggered(&before, &now, settled, counted));
        }
        runtime::sleep(LOOK_EVERY).await;
    }
}

/// The workers of a kind, or the one of it that is for a backend.
fn of_kind(house: &House, kind: &str, backend: Option<&str>) -> Vec<Status> {
    let is_meant = |name: &str| match (name.strip_prefix(kind), backend) {
        (Some(""), None) => true,
        (Some(rest), None) => rest.starts_with('/'),
        (Some(rest), Some(backend)) => rest.strip_prefix('/') == Some(backend),
        (None, _) => false,
    };
    house.workers.status().into_iter().filter(|status| is_meant(&status.name)).collect()
}

/// Whether a worker has made a step since, and has nothing more to do at once.
fn has_settled(house: &House, before: &Status, now: &Status) -> bool {
    let steps = |status: &Status| status.steps_succeeded + status.steps_failed;
    let soon = house.clock.now().plus(LOOK_EVERY);
    match now.activity {
        Activity::Working => false,
        Activity::Stopped => true,
        Activity::Waiting | Activity::BackingOff => {
            steps(now) > steps(before) && now.next_step.is_none_or(|next| next > soon)
        }
    }
}

fn triggered(
    before: &[Status],
    now: &[Status],
    settled: bool,
    counted: &str,
) -> http::Response<bytes::Bytes> {
    let since = |count: fn(&Status) -> u64| {
        let pairs = before.iter().zip(now);
        pairs.map(|(before, now)| count(now).saturating_sub(count(before))).sum::<u64>()
    };
    let done = since(|status| status.done);
    let failing = now.iter().find(|status| status.consecutive_failures > 0);
    let word = match (settled, failing) {
        (false, _) => "running",
        (true, Some(_)) => "failed",
        (true, None) => "ok",
    };
    let body = Triggered {
        status: word.to_owned(),
        workers: now.iter().map(|status| status.name.clone()).collect(),
        done,
        failed: since(|status| status.failed),
        reason: failing.and_then(|status| status.last_error.clone()),
        counted: BTreeMap::from([(counted.to_owned(), done)]),
    };
    json(if settled { StatusCode::OK } else { StatusCode::ACCEPTED }, &body)
}
