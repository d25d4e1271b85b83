//! Drains, and the few rows that fleet work looks for: old uploads, suspect and quarantined replicas.

pub(super) const STEP: &str = "
ALTER TABLE backends ADD COLUMN drain_since INTEGER;
ALTER TABLE backends ADD COLUMN drain_moved INTEGER NOT NULL DEFAULT 0;
ALTER TABLE backends ADD COLUMN drain_moved_bytes INTEGER NOT NULL DEFAULT 0;
CREATE INDEX replicas_suspected ON replicas (backend) WHERE state = 2;
CREATE INDEX replicas_quarantined ON replicas (backend, next_attempt) WHERE state = 4;
CREATE INDEX uploads_by_age ON uploads (upload) WHERE state = 0;
";
