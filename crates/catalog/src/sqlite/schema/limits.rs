//! Heartbeats of instances; limits, and the grants on them.

/// `limits` holds the sums over all owners that ever were; a grant of a dead one goes and leaves its sum.
pub(super) const STEP: &str = "
ALTER TABLE instances ADD COLUMN beats INTEGER NOT NULL DEFAULT 0;
ALTER TABLE instances ADD COLUMN oldest_read INTEGER NOT NULL DEFAULT 0;

CREATE TABLE limits (
    backend             TEXT NOT NULL,
    kind                INTEGER NOT NULL,
    period              INTEGER NOT NULL,
    granted_client      INTEGER NOT NULL DEFAULT 0,
    granted_maintenance INTEGER NOT NULL DEFAULT 0,
    spent_client        INTEGER NOT NULL DEFAULT 0,
    spent_maintenance   INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (backend, kind, period)
) STRICT, WITHOUT ROWID;

CREATE TABLE grants (
    backend TEXT NOT NULL,
    kind    INTEGER NOT NULL,
    period  INTEGER NOT NULL,
    traffic INTEGER NOT NULL,
    owner   BLOB NOT NULL,
    granted INTEGER NOT NULL,
    spent   INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (backend, kind, period, traffic, owner),
    CHECK (spent <= granted)
) STRICT, WITHOUT ROWID;
CREATE INDEX grants_of_owner ON grants (owner);
";
