//! What lay on a backend before we knew of it.

/// A replica that was imported keeps its path, which is not of our grammar; the path finds it, and it finds the path.
pub(super) const STEP: &str = "
CREATE TABLE imports (
    backend INTEGER NOT NULL,
    path    TEXT NOT NULL,
    replica BLOB NOT NULL,
    bucket  INTEGER NOT NULL,
    size    INTEGER NOT NULL,
    stamp   TEXT NOT NULL,
    PRIMARY KEY (backend, path)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX imports_of_replica ON imports (replica);
";
