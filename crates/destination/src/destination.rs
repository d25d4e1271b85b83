//! A destination as it is configured, and the snapshots there, with their records and pointers beside them.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use config::snapshot::{Config, Retention, Target};
use snapshot::{Acknowledged, Line, Record, SnapshotName};

use crate::bucket::Bucket;
use crate::directory::Directory;
use crate::place::Place;

/// A destination as it is configured.
#[derive(Clone)]
pub struct Destination {
    /// What people call it.
    pub name: String,
    /// What `prune` keeps there.
    pub retention: Retention,
    /// Where it is.
    pub place: Arc<dyn Place>,
}

/// A snapshot there.
#[derive(Debug, Clone)]
pub struct Held {
    /// Its name.
    pub name: SnapshotName,
    /// Bytes as stored.
    pub size: u64,
    /// Whether it has a record.
    pub verified: bool,
}

impl Destination {
    /// All that the configuration names.
    ///
    /// # Errors
    /// Where one cannot be used at all.
    pub fn all(config: &Config) -> io::Result<Vec<Self>> {
        let stall = config.checks.stall;
        let build = |destination: &config::snapshot::Destination| {
            let place: Arc<dyn Place> = match &destination.target {
                Target::Directory(target) => Arc::new(Directory::new(target)),
                Target::S3(target) => Arc::new(Bucket::new(target, stall).map_err(|error| {
                    io::Error::new(error.kind(), format!("destination {}: {error}", destination.name))
                })?),
            };
            let retention = config.retention_of(destination).clone();
            Ok(Self { name: destination.name.clone(), retention, place })
        };
        config.destinations.iter().map(build).collect()
    }

    /// The snapshots there, newest first.
    ///
    /// # Errors
    /// Those of the place.
    pub async fn snapshots(&self, name: &str) -> io::Result<Vec<Held>> {
        let files = self.place.list(&format!("{name}-")).await?;
        let records: HashSet<&str> =
            files.iter().filter_map(|file| file.name.strip_suffix(".json")).collect();
        let held = files.iter().filter_map(|file| {
            let verified = records.contains(file.name.as_str());
            Some(Held { name: SnapshotName::parse(name, &file.name)?, size: file.size, verified })
        });
        let mut held: Vec<Held> = held.collect();
        held.sort_by(|a, b| b.name.time.cmp(&a.name.time).then_with(|| a.name.cmp(&b.name)));
        Ok(held)
    }

    /// The record of a snapshot; `None` where it has none, or one that is not its own.
    ///
    /// # Errors
    /// Those of the place.
    pub async fn record(&self, name: &SnapshotName) -> io::Result<Option<Record>> {
        let text = self.place.read_small(&name.record_file()).await?;
        let record: Option<Record> = text.and_then(|text| serde_json::from_slice(&text).ok());
        Ok(record.filter(|record| record.snapshot == name.to_string()))
    }

    /// Says of a snapshot that it was verified.
    ///
    /// # Errors
    /// Those of the place.
    pub async fn write_record(&self, name: &SnapshotName, record: &Record) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(record).expect("numbers and text are JSON");
        self.place.write_small(&name.record_file(), text).await
    }

    /// Points to the newest verified snapshot of its line.
    ///
    /// # Errors
    /// Those of the place.
    pub async fn point_to(&self, name: &SnapshotName) -> io::Result<()> {
        self.place.write_small(&name.line.latest_file(), format!("{name}\n").into_bytes()).await
    }

    /// The index that an operator accepted, if any was.
    ///
    /// # Errors
    /// Those of the place.
    pub async fn acknowledged(&self, line: &Line) -> io::Result<Option<Acknowledged>> {
        let text = self.place.read_small(&line.acknowledged_file()).await?;
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// Notes an index that is accepted from now on.
    ///
    /// # Errors
    /// Those of the place.
    pub async fn acknowledge(&self, line: &Line, said: &Acknowledged) -> io::Result<()> {
        let text = serde_json::to_vec(said).expect("numbers are JSON");
        self.place.write_small(&line.acknowledged_file(), text).await
    }

    /// Removes a snapshot, its record first: a record without its snapshot would promise what is not there.
    ///
    /// # Errors
    /// Those of the place.
    pub async fn remove(&self, name: &SnapshotName) -> io::Result<()> {
        self.place.remove(&name.record_file()).await?;
        self.place.remove(&name.to_string()).await
    }
}
