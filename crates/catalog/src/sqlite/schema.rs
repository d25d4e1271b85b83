//! The tables, and the steps that lead to them. `docs/catalog.md` says what each column means.
//!
//! A step, once released, is never changed; a new one is added behind it and only adds. So the previous
//! release keeps running on the new schema.

mod fleet;
mod imports;
mod limits;
mod repair;
mod shipping;
mod strays;

use rusqlite::{Connection, params};

/// "S3OC": marks a file as ours.
pub(super) const APPLICATION_ID: i32 = 0x5333_4f43;
/// Rises when a release can no longer run on the schema of the one before.
pub(super) const MAJOR: i64 = 1;

/// The steps; the number of a step is its place, from 1.
pub(super) const STEPS: &[&str] =
    &[STEP_1, limits::STEP, fleet::STEP, shipping::STEP, repair::STEP, imports::STEP, strays::STEP];

/// Runs the steps behind `done`, each in a transaction of its own.
pub(super) fn migrate(conn: &mut Connection, done: usize) -> rusqlite::Result<()> {
    for (place, step) in STEPS.iter().enumerate().skip(done) {
        let tx = conn.transaction()?;
        tx.execute_batch(step)?;
        let number = i64::try_from(place + 1).expect("there are few steps");
        tx.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('schema_minor', ?1)", params![number])?;
        tx.commit()?;
    }
    Ok(())
}

const STEP_1: &str = "
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE counters (
    id         INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    sequence   INTEGER NOT NULL,
    doomed_seq INTEGER NOT NULL
) STRICT;
INSERT INTO counters (id, sequence, doomed_seq) VALUES (1, 0, 0);

CREATE TABLE instances (
    boot  BLOB NOT NULL PRIMARY KEY,
    alive INTEGER NOT NULL,
    began INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE buckets (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    name         TEXT NOT NULL UNIQUE,
    first_seen   INTEGER NOT NULL,
    uploads_open INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE backends (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    name            TEXT NOT NULL UNIQUE,
    late_arrival_ms INTEGER NOT NULL,
    charged         INTEGER NOT NULL DEFAULT 0,
    replicas_live   INTEGER NOT NULL DEFAULT 0,
    replicas_doomed INTEGER NOT NULL DEFAULT 0,
    doomed_bytes    INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE objects (
    bucket     INTEGER NOT NULL,
    key        BLOB NOT NULL,
    size       INTEGER NOT NULL,
    etag       TEXT NOT NULL,
    modified   INTEGER NOT NULL,
    checksums  TEXT,
    revision   INTEGER NOT NULL,
    change     BLOB NOT NULL,
    blob       BLOB,
    manifest   BLOB,
    headers    TEXT,
    metadata   TEXT,
    tags       TEXT,
    access_key TEXT NOT NULL,
    invocation TEXT,
    PRIMARY KEY (bucket, key),
    CHECK ((blob IS NULL) <> (manifest IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE blobs (
    blob          BLOB NOT NULL PRIMARY KEY,
    size          INTEGER NOT NULL,
    refs          INTEGER NOT NULL CHECK (refs >= 0),
    wanted        INTEGER NOT NULL,
    replicas_live INTEGER NOT NULL CHECK (replicas_live >= 0),
    next_attempt  INTEGER NOT NULL DEFAULT 0,
    md5           BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX blobs_under_replicated ON blobs (next_attempt) WHERE refs > 0 AND replicas_live < wanted;

CREATE TABLE blocks (
    blob BLOB NOT NULL PRIMARY KEY,
    crcs BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE manifests (
    manifest   BLOB NOT NULL PRIMARY KEY,
    refs       INTEGER NOT NULL CHECK (refs >= 0),
    size       INTEGER NOT NULL,
    parts      INTEGER NOT NULL,
    doomed_seq INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX manifests_dissolving ON manifests (doomed_seq) WHERE refs = 0;

CREATE TABLE entries (
    manifest    BLOB NOT NULL,
    start       INTEGER NOT NULL,
    blob        BLOB NOT NULL,
    blob_offset INTEGER NOT NULL,
    length      INTEGER NOT NULL CHECK (length > 0),
    PRIMARY KEY (manifest, start)
) STRICT, WITHOUT ROWID;

CREATE TABLE manifest_parts (
    manifest  BLOB NOT NULL,
    number    INTEGER NOT NULL,
    start     INTEGER NOT NULL,
    size      INTEGER NOT NULL,
    etag      TEXT NOT NULL,
    checksums TEXT,
    PRIMARY KEY (manifest, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE replicas (
    replica      BLOB NOT NULL PRIMARY KEY,
    blob         BLOB NOT NULL,
    backend      INTEGER NOT NULL,
    path         TEXT NOT NULL,
    charged      INTEGER NOT NULL,
    state        INTEGER NOT NULL,
    owner        BLOB,
    doomed_seq   INTEGER,
    next_attempt INTEGER NOT NULL DEFAULT 0,
    attempts     INTEGER NOT NULL DEFAULT 0,
    last_error   TEXT,
    version      TEXT,
    verified_at  INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX replicas_of_blob ON replicas (blob);
CREATE INDEX replicas_writing ON replicas (owner) WHERE state = 0;
CREATE INDEX replicas_doomed ON replicas (backend, next_attempt, doomed_seq) WHERE state = 3;

CREATE TABLE uploads (
    upload             BLOB NOT NULL PRIMARY KEY,
    bucket             INTEGER NOT NULL,
    key                BLOB NOT NULL,
    state              INTEGER NOT NULL,
    initiated          INTEGER NOT NULL,
    settled_at         INTEGER,
    headers            TEXT,
    metadata           TEXT,
    tags               TEXT,
    checksum_algorithm TEXT,
    checksum_type      TEXT,
    access_key         TEXT NOT NULL,
    invocation         TEXT,
    fingerprint        TEXT,
    answer             TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX uploads_open ON uploads (bucket, key, upload) WHERE state = 0;
CREATE INDEX uploads_settled ON uploads (settled_at) WHERE state > 0;

CREATE TABLE parts (
    upload    BLOB NOT NULL,
    number    INTEGER NOT NULL,
    size      INTEGER NOT NULL,
    etag      TEXT NOT NULL,
    modified  INTEGER NOT NULL,
    checksums TEXT,
    blob      BLOB,
    manifest  BLOB,
    PRIMARY KEY (upload, number),
    CHECK ((blob IS NULL) <> (manifest IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE journal (
    change  BLOB NOT NULL PRIMARY KEY,
    seq     INTEGER NOT NULL,
    shipped INTEGER NOT NULL DEFAULT 0,
    entry   TEXT NOT NULL,
    answer  TEXT
) STRICT, WITHOUT ROWID;
";
