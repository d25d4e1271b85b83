//! Thinning out: what no rule of a destination wants goes, and what dead runs left.

use std::collections::BTreeMap;
use std::io;

use snapshot::reasons;
use types::Timestamp;

use crate::destination::{Destination, Held};

/// What was decided on one snapshot.
#[derive(Debug)]
pub struct Decision {
    /// The snapshot.
    pub held: Held,
    /// Why it stays; none: it goes.
    pub reasons: Vec<&'static str>,
}

impl Destination {
    /// What its rules say of each snapshot there.
    ///
    /// # Errors
    /// Those of the place.
    pub async fn judge(&self, name: &str, now: Timestamp) -> io::Result<Vec<Decision>> {
        let mut lines: BTreeMap<_, Vec<Held>> = BTreeMap::new();
        for held in self.snapshots(name).await? {
            lines.entry(held.name.line.clone()).or_default().push(held);
        }
        let mut decisions = Vec::new();
        for line in lines.into_values() {
            let times: Vec<_> = line.iter().map(|held| (held.name.time, held.verified)).collect();
            let reasons = reasons(&times, &self.retention, now);
            decisions.extend(line.into_iter().zip(reasons).map(|(held, reasons)| Decision { held, reasons }));
        }
        Ok(decisions)
    }

    /// Does what they say, and removes what was left half done before this time.
    ///
    /// # Errors
    /// Those of the place.
    pub async fn prune(
        &self,
        name: &str,
        now: Timestamp,
        half_done_before: Timestamp,
    ) -> io::Result<Vec<Decision>> {
        let decisions = self.judge(name, now).await?;
        for decision in decisions.iter().filter(|decision| decision.reasons.is_empty()) {
            let name = &decision.held.name;
            tracing::info!(destination = self.name, "removing {name}: no rule keeps it");
            self.remove(name).await?;
        }
        self.place.sweep(&format!("{name}-"), half_done_before).await?;
        Ok(decisions)
    }
}
