//! What is stored already: find it, list it, verify it.

use destination::{Destination, Held};
use snapshot::{Record, SnapshotName, print_age, read_back};

use crate::tool::Tool;
use crate::trouble::Trouble;

impl Tool {
    /// The destinations that a command means: all, or the one of this name.
    pub(crate) fn chosen(&self, name: Option<&str>) -> Result<Vec<Destination>, Trouble> {
        let chosen: Vec<_> =
            self.destinations.iter().filter(|d| name.is_none_or(|name| d.name == name)).cloned().collect();
        if chosen.is_empty() {
            let known: Vec<&str> =
                self.destinations.iter().map(|destination| destination.name.as_str()).collect();
            return Err(Trouble::lasting(format!(
                "there is no such destination; known: {}",
                known.join(", ")
            )));
        }
        Ok(chosen)
    }

    /// Prints what is stored. False where a destination could not say.
    pub(crate) async fn list(&self) -> bool {
        let mut well = true;
        println!(
            "{:<12} {:<52} {:>10} {:>14} {:>8}  verified",
            "destination", "snapshot", "index", "bytes", "age"
        );
        for destination in &self.destinations {
            match self.rows(destination).await {
                Ok(rows) => rows.iter().for_each(|row| println!("{:<12} {row}", destination.name)),
                Err(trouble) => {
                    eprintln!("error: {}: {trouble}", destination.name);
                    well = false;
                }
            }
        }
        well
    }

    async fn rows(&self, destination: &Destination) -> Result<Vec<String>, Trouble> {
        let now = self.lasting.clock.now();
        let mut rows = Vec::new();
        for held in destination.snapshots(&self.config.name).await? {
            let record = if held.verified { destination.record(&held.name).await? } else { None };
            let verified =
                record.map_or("no".to_owned(), |record| format!("{} ago", print_age(now, record.verified())));
            let (name, taken) = (held.name.to_string(), print_age(now, held.name.time));
            rows.push(format!("{name:<52} {:>10} {:>14} {taken:>8}  {verified}", held.name.index, held.size));
        }
        Ok(rows)
    }

    /// The snapshot that is meant: of this name, or the newest verified one (the newest, where none is).
    pub(crate) async fn find(
        &self,
        destination: &Destination,
        wanted: Option<&str>,
    ) -> Result<Held, Trouble> {
        let held = destination.snapshots(&self.config.name).await?;
        let found = match wanted {
            Some(wanted) => held.into_iter().find(|held| held.name.to_string() == wanted),
            None => held.iter().find(|held| held.verified).or(held.first()).cloned(),
        };
        found.ok_or_else(|| Trouble::lasting(format!("{} has no such snapshot", destination.name)))
    }

    /// Reads a stored snapshot whole and notes that it was found so; or that it was not.
    pub(crate) async fn verify(&self, destination: &Destination, held: &Held) -> Result<String, Trouble> {
        let known = destination.record(&held.name).await?;
        match self.judge(destination, held, known.as_ref()).await {
            Ok((record, how)) => {
                destination.write_record(&held.name, &record).await?;
                Ok(how)
            }
            Err(trouble) => {
                // Whoever looks for the last verified one must not find this.
                destination.place.remove(&held.name.record_file()).await?;
                Err(trouble)
            }
        }
    }

    async fn judge(
        &self,
        destination: &Destination,
        held: &Held,
        known: Option<&Record>,
    ) -> Result<(Record, String), Trouble> {
        let stored = destination.place.read(&held.name.to_string()).await?;
        let read = read_back(stored, held.name.encrypted, &self.identities).await?;
        if known.is_some_and(|record| (record.size, &record.sha256) != (read.size, &read.sha256)) {
            return Err(Trouble::lasting("it is not what was stored: its checksum has changed"));
        }
        let verified_at = self.lasting.clock.now().as_secs();
        match (read.inside, known) {
            (Some((checked, content_size)), _) if checked.meta.index == held.name.index => {
                let (snapshot, term) = (held.name.to_string(), checked.meta.term);
                let record = Record {
                    snapshot,
                    term,
                    size: read.size,
                    sha256: read.sha256,
                    content_size,
                    verified_at,
                };
                Ok((record, "it is whole, inside too".to_owned()))
            }
            (Some(_), _) => Err(Trouble::lasting("it is another snapshot than its name says")),
            (None, Some(record)) => {
                let record = Record { verified_at, ..record.clone() };
                Ok((record, "it is what was stored; without a key, its inside was not looked at".to_owned()))
            }
            (None, None) => {
                Err(Trouble::lasting("it has no record, and without a key its inside cannot be looked at"))
            }
        }
    }

    /// Tells the metrics what is there from runs before.
    pub(crate) async fn remember(&self) {
        let mut newest: Option<(SnapshotName, Record)> = None;
        for destination in &self.destinations {
            let Ok(held) = self.find(destination, None).await else { continue };
            let Ok(Some(record)) = destination.record(&held.name).await else { continue };
            if newest.as_ref().is_none_or(|(name, _)| name.time < held.name.time) {
                newest = Some((held.name, record));
            }
        }
        if let Some((name, record)) = newest {
            self.lasting.metrics.stored(&name, &record, record.verified());
        }
    }
}
