//! What repair, trimming, proofs and the brake look for.

/// Indexes hold only what is looked for: none of them is touched by a write that has all its replicas.
pub(super) const STEP: &str = "
ALTER TABLE blobs ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE blobs ADD COLUMN last_error TEXT;
CREATE INDEX blobs_endangered ON blobs (replicas_live, next_attempt, blob) WHERE refs > 0 AND replicas_live < wanted;
CREATE INDEX blobs_surplus ON blobs (blob) WHERE refs > 0 AND replicas_live > wanted;

CREATE TABLE rounds (
    id       INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    wanted   INTEGER NOT NULL,
    marked   BLOB,
    scrubbed BLOB
) STRICT;
INSERT INTO rounds (id, wanted) VALUES (1, 0);

CREATE TABLE brake (
    id         INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    share_ppm  INTEGER NOT NULL,
    floor      INTEGER NOT NULL,
    clients    INTEGER NOT NULL,
    engaged_at INTEGER,
    why        TEXT
) STRICT;
INSERT INTO brake (id, share_ppm, floor, clients) VALUES (1, 1000000, 0, 0);

CREATE TABLE brake_minutes (
    minute INTEGER NOT NULL PRIMARY KEY,
    doomed INTEGER NOT NULL
) STRICT;
";
