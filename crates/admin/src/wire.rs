//! The bodies of the admin API, for both ends.
//!
//! Names are those of the Go program; where its first and its later releases name the same thing differently,
//! both names are there. A field is only ever added.

use serde::{Deserialize, Serialize};

/// Any answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What is wrong, for people.
    pub error: String,
}

/// `GET status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Whether the catalog answers.
    pub db_healthy: bool,
    /// The month that usage is counted in.
    pub usage_period: String,
    /// Referenced blobs with fewer live replicas than wanted.
    pub under_replicated: u64,
    /// Referenced blobs with more live replicas than wanted.
    pub over_replicated: u64,
    /// Open multipart uploads.
    pub uploads_open: u64,
    /// Whether the brake holds all deletes until it is released.
    #[serde(default)]
    pub brake_engaged: bool,
    /// How long ago replicas were proved.
    pub integrity: Integrity,
    /// Each backend of the configuration, in its order.
    pub backends: Vec<BackendStatus>,
}

/// How long ago replicas were proved, in [`Status`]. As of the last walk over all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Integrity {
    /// For how long the one is not proved of which that is longest ago; absent before the first walk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_unverified_seconds: Option<u64>,
    /// Those that were never read whole since they were written; absent before the first walk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub never_verified_copies: Option<u64>,
    /// Those that could not be read when it was their turn, since the start of the process.
    pub deferred_copies: u64,
}

/// `GET replication`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replication {
    /// Replicas that objects should have.
    pub factor: u32,
    /// Blobs with fewer.
    pub under_replicated: u64,
    /// Blobs with more.
    pub over_replicated: u64,
    /// When this was counted.
    pub computed_at: String,
}

/// `GET over-replication`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverReplication {
    /// Replicas that objects should have.
    pub factor: u32,
    /// Blobs with more.
    pub pending: u64,
}

/// `POST backfill-checksums`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfilled {
    /// `ok`.
    pub status: String,
    /// Blobs that had no checksums.
    pub processed: u64,
}

/// `POST`, `GET`, `DELETE sync`: the last import, or the one under way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRun {
    /// `running`, `ok` or `failed`; empty where there was none since the start of the process.
    pub status: String,
    /// The backend.
    pub backend: String,
    /// The bucket.
    pub bucket: String,
    /// What the paths begin with.
    pub prefix: String,
    /// Whether it only looks.
    pub dry_run: bool,
    /// Paths that were listed.
    pub listed: u64,
    /// Objects imported, or to be imported where it only looks.
    pub imported: u64,
    /// Their bytes: each is read once.
    pub imported_bytes: u64,
    /// Paths that were skipped: the sum of the next four.
    pub skipped: u64,
    /// Imported before.
    pub known: u64,
    /// The key is an object already.
    pub taken: u64,
    /// Of an orchestrator, this one or another.
    pub ours: u64,
    /// Too large, or no key.
    pub unfit: u64,
    /// Could not be read, or changed meanwhile.
    pub failed: u64,
    /// Requests sent for all this, or to be sent where it only looks.
    pub requests: u64,
    /// Why it ended, does not get on, or why the last one that failed did so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An answer that has nothing to say but that it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What was done.
    pub status: String,
}

/// A backend in [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendStatus {
    /// Its name.
    pub name: String,
    /// Bytes charged to it.
    pub bytes_used: u64,
    /// Bytes that may be charged; 0 is unlimited.
    pub bytes_limit: u64,
    /// Of the bytes charged, those that wait to be deleted.
    pub bytes_doomed: u64,
    /// Live replicas.
    pub object_count: u64,
    /// Replicas that wait to be deleted.
    pub doomed_count: u64,
    /// Requests sent in the present period.
    pub api_requests: u64,
    /// Bytes that came from it in the present period.
    pub egress_bytes: u64,
    /// Bytes that went to it in the present period.
    pub ingress_bytes: u64,
    /// Whether it did what it was asked lately.
    pub healthy: bool,
    /// Whether it is to become empty.
    pub draining: bool,
}

/// `GET object-locations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectLocations {
    /// `bucket/key`.
    pub key: String,
    /// Bytes of the object.
    pub size_bytes: u64,
    /// Its entity tag.
    pub etag: String,
    /// One for each replica of each blob that it consists of.
    pub locations: Vec<Location>,
    /// Whether there are more than are shown.
    pub truncated: bool,
}

/// Where a replica of (a part of) an object lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// As the first releases of the Go program name it.
    #[serde(rename = "ObjectKey")]
    pub object_key: String,
    /// As the first releases of the Go program name it.
    #[serde(rename = "BackendName")]
    pub backend_name: String,
    /// As the first releases of the Go program name it.
    #[serde(rename = "SizeBytes")]
    pub size: u64,
    /// As the first releases of the Go program name it.
    #[serde(rename = "CreatedAt")]
    pub created: String,
    /// The backend.
    pub backend: String,
    /// Bytes of the blob.
    pub size_bytes: u64,
    /// When the replica was made.
    pub created_at: String,
    /// The replica's path on the backend.
    pub path: String,
    /// The replica.
    pub replica: String,
    /// The blob.
    pub blob: String,
    /// `live` or `suspect`.
    pub state: String,
    /// Where in the object the blob's bytes start.
    pub offset: u64,
    /// How many of the object's bytes lie in it.
    pub length: u64,
}

/// `GET cleanup-queue`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanupQueue {
    /// How many replicas wait to be deleted.
    pub depth: u64,
    /// Those that are due first.
    pub items: Vec<CleanupItem>,
}

/// A replica that waits to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanupItem {
    /// The replica.
    #[serde(rename = "ID")]
    pub id: String,
    /// The backend.
    #[serde(rename = "BackendName")]
    pub backend_name: String,
    /// The path on the backend.
    #[serde(rename = "ObjectKey")]
    pub object_key: String,
    /// `doomed`, or `retry` where a delete failed.
    #[serde(rename = "Reason")]
    pub reason: String,
    /// Deletes tried so far.
    #[serde(rename = "Attempts")]
    pub attempts: u32,
    /// Bytes charged until it is gone.
    #[serde(rename = "SizeBytes")]
    pub size_bytes: u64,
    /// When the next try is due; absent where it is due now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<String>,
    /// Why the last one failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// One line of `GET workers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// Its name.
    pub name: String,
    /// `waiting`, `working`, `backing_off` or `stopped`.
    pub activity: String,
    /// When a step last succeeded.
    pub last_success: Option<String>,
    /// When one last failed.
    pub last_failure: Option<String>,
    /// Why.
    pub last_error: Option<String>,
    /// Steps that failed in a row, up to now.
    pub consecutive_failures: u64,
    /// Steps that succeeded since the start of the process.
    pub steps_succeeded: u64,
    /// Steps that failed since then.
    pub steps_failed: u64,
    /// Things done since then.
    pub done: u64,
    /// Things that failed since then; each counts once per try.
    pub failed: u64,
    /// When the next step is due.
    pub next_step: Option<String>,
    /// How far long work has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// How far long work has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Things done.
    pub done: u64,
    /// Things in all, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What the numbers count.
    pub note: String,
}

/// `GET` and `PUT log-level`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
}

/// `GET brake` and `POST brake/release`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brake {
    /// Whether nothing is deleted until it is released.
    pub engaged: bool,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engaged_at: Option<String>,
    /// Why; empty while all is well.
    pub why: String,
    /// Replicas that count and were doomed within an hour.
    pub doomed_in_hour: u64,
}

/// `GET limits` and `POST limits/open`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedLimits {
    /// Whether nothing is granted of the periods that began before a rebuild.
    pub closed: bool,
    /// When the catalog was rebuilt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// The answer to a trigger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Triggered {
    /// `ok` where all that was due is done, `failed` where a step failed, `running` where it still goes on.
    pub status: String,
    /// The workers that were woken; `GET workers` tells how they go on.
    pub workers: Vec<String>,
    /// Things done since the trigger.
    pub done: u64,
    /// Things that failed since then.
    pub failed: u64,
    /// Why the last failed step failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `done` under the name that the Go program has for it here.
    #[serde(flatten)]
    pub counted: std::collections::BTreeMap<String, u64>,
}

/// `GET drain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainStatus {
    /// Whether it is to become empty.
    pub active: bool,
    /// Whether nothing is left on it that somebody may want to read.
    pub drained: bool,
    /// Replicas that are still on it.
    pub objects_remaining: u64,
    /// Bytes charged for them.
    pub bytes_remaining: u64,
    /// Replicas that it had and no longer has.
    pub objects_moved: u64,
    /// Bytes that were charged for them.
    pub bytes_moved: u64,
    /// Replicas that wait to be deleted from it.
    pub objects_doomed: u64,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Why it does not get on, where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What became of something done to a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendAnswer {
    /// What happened, for people.
    pub status: String,
    /// The backend.
    pub backend: String,
}

/// `GET quarantine`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Strays, in the order of their ids.
    pub items: Vec<QuarantineItem>,
    /// Behind which id (`after`) the next page starts, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Bytes of ours that no row named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineItem {
    /// The replica, as its path names it.
    pub id: String,
    /// The backend.
    pub backend: String,
    /// The path on it.
    pub path: String,
    /// The blob, as its path names it.
    pub blob: String,
    /// Bytes that lie there.
    pub size_bytes: u64,
    /// Bytes charged for them.
    pub charged_bytes: u64,
    /// When it was written.
    pub written_at: String,
    /// When it is deleted, unless somebody decides otherwise; `never` where only an operator ends it.
    pub deleted_at: String,
    /// `bucket/key` that it was written for, where its path spells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What became of a stray.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineAnswer {
    /// `restored`, `deleted`, or `running` where its bytes are still being read.
    pub status: String,
    /// The replica.
    pub id: String,
    /// `bucket/key` that it is restored to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// `DELETE backends/NAME?purge=true`: what it would give up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgePreview {
    /// `confirmation required`.
    pub status: String,
    /// The backend.
    pub backend: String,
    /// Replicas that wait to be deleted from it.
    pub object_count: u64,
    /// Bytes charged for them.
    pub total_bytes: u64,
    /// Send this as `confirm`.
    pub confirm_token: String,
    /// Seconds in which it holds.
    pub expires_in: u64,
}
