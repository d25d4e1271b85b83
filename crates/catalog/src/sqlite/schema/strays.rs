//! Replicas that were taken in and wait for their proof.

/// There are few of them, and no write of any other replica touches the index.
pub(super) const STEP: &str = "
CREATE INDEX replicas_taken_in ON replicas (next_attempt, replica) WHERE state = 2 AND next_attempt > 0;
";
