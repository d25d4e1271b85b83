//! The internal bucket, and the way to what is not shipped.

pub(super) const STEP: &str = "
CREATE INDEX journal_unshipped ON journal (seq) WHERE shipped = 0;
INSERT INTO buckets (id, name, first_seen) VALUES (0, '.s3-orchestrator', 0);
";
