//! One run: a snapshot from the leader, proved, sealed, stored at every destination, read back.

use std::time::Duration;

use bytes::Bytes;
use companion::Progress;
use destination::{Destination, FanOut, Held};
use futures::StreamExt;
use futures::future::join_all;
use runtime::Phase;
use snapshot::{Checking, Line, Meta, Record, Sealing, SnapshotName, refuse_backwards, size_alarm, sum_up};
use types::Timestamp;

use crate::cluster::Cluster;
use crate::metrics::Stage;
use crate::tool::Tool;
use crate::trouble::Trouble;

/// What is held back until the snapshot says its index, which is in its first kilobyte.
const HELD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How a run ended.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// What was stored, at one destination at least.
    pub(crate) stored: Option<SnapshotName>,
    /// Destinations that failed, and how.
    pub(crate) failures: Vec<(String, Trouble)>,
    /// Something about it that a person should look at.
    pub(crate) alarm: Option<String>,
}

/// A destination, and what it holds.
struct Surveyed {
    destination: Destination,
    held: Vec<Held>,
}

/// A snapshot that was sent whole to whoever took it.
struct Sent {
    name: SnapshotName,
    record: Record,
    outcomes: Vec<std::io::Result<()>>,
}

impl Tool {
    /// Takes a snapshot. `accept`: an index that went back is accepted, once.
    pub(crate) async fn run(&self, accept: bool) -> Result<Report, Trouble> {
        let mut report = Report::default();
        let surveyed = self.survey(&mut report).await;
        if surveyed.is_empty() {
            let failures = report.failures.iter().map(|(name, failure)| format!("{name}: {failure}"));
            let failures: Vec<_> = failures.collect();
            return Err(Trouble::lasting(format!("no destination can be used: {}", failures.join("; "))));
        }
        let sent = self.send_until_whole(&surveyed, accept).await?;
        report.alarm = self.size_alarm(&surveyed, &sent);
        self.settle(&surveyed, sent, &mut report).await;
        Ok(report)
    }

    /// Looks at what the destinations hold. One that cannot say is left out.
    async fn survey(&self, report: &mut Report) -> Vec<Surveyed> {
        let looks = self.destinations.iter().map(|destination| destination.snapshots(&self.config.name));
        let mut surveyed = Vec::new();
        for (destination, looked) in self.destinations.iter().zip(join_all(looks).await) {
            match looked {
                Ok(held) => surveyed.push(Surveyed { destination: destination.clone(), held }),
                Err(error) => self.note(report, &destination.name, error.into()),
            }
        }
        surveyed
    }

    fn note(&self, report: &mut Report, destination: &str, trouble: Trouble) {
        tracing::error!(destination, "the destination failed: {trouble}");
        self.lasting.metrics.failed_at(destination);
        report.failures.push((destination.to_owned(), trouble));
    }

    /// Asks anew for as long as it may help: a leader that is lost in the middle is no reason to go without.
    async fn send_until_whole(&self, surveyed: &[Surveyed], accept: bool) -> Result<Sent, Trouble> {
        // One connection of a lost leader must not be asked for ever.
        let cluster =
            Cluster::new(&self.config.vault, self.config.checks.stall, self.lasting.chance.clone())?;
        let mut attempt = 1;
        loop {
            let trouble = match Box::pin(self.send(&cluster, surveyed, accept)).await {
                Ok(sent) => return Ok(sent),
                Err(trouble) => trouble,
            };
            if !trouble.passing || attempt >= self.config.checks.attempts {
                return Err(trouble);
            }
            tracing::warn!(attempt, "asking for a new snapshot: {trouble}");
            let pause = Duration::from_millis(500 + self.lasting.chance.below(1_000)) * attempt.min(10);
            self.interruptible(runtime::sleep(pause)).await?;
            attempt += 1;
        }
    }

    async fn interruptible<T>(&self, future: impl Future<Output = T>) -> Result<T, Trouble> {
        tokio::select! {
            done = future => Ok(done),
            () = self.lasting.shutdown.reached(Phase::Draining) => Err(Trouble::lasting("it was interrupted")),
        }
    }

    /// One attempt, from finding the leader to the naming at the destinations.
    async fn send(&self, cluster: &Cluster, surveyed: &[Surveyed], accept: bool) -> Result<Sent, Trouble> {
        let start = runtime::instant_now();
        let leader = self.interruptible(Box::pin(cluster.leader())).await??;
        let snapshot = self.interruptible(Box::pin(leader.snapshot())).await??;
        self.lasting.metrics.took(Stage::Begin, start.elapsed());

        let start = runtime::instant_now();
        let line = Line::new(&self.config.name, &leader.cluster_id);
        let mut passage = Passage {
            body: snapshot.body,
            checking: Checking::start(),
            sealing: Sealing::new(&self.recipients),
            progress: Progress::start("taking the snapshot"),
        };
        let sent = self.pass(&mut passage, line, surveyed, accept).await;
        let Passage { checking, mut sealing, progress, .. } = passage;
        progress.end();
        leader.log_out().await;
        let (name, meta, mut fan_out) = match sent {
            Ok(sent) => sent,
            Err((trouble, fan_out)) => {
                let verdict = checking.verdict(false).await;
                if let Some(fan_out) = fan_out {
                    fan_out.abort().await;
                }
                // What made the check end early says more than that nobody took the next chunk.
                return Err(match verdict {
                    Err(broken) if trouble.message.is_empty() => broken.into(),
                    _ => trouble,
                });
            }
        };
        let last = sealing.finish();
        let proved = match checking.verdict(true).await {
            Ok((_, content_size)) => fan_out.write(&last).await.map(|()| content_size).map_err(Trouble::from),
            Err(broken) => Err(broken.into()),
        };
        let content_size = match proved {
            Ok(content_size) => content_size,
            Err(trouble) => {
                fan_out.abort().await;
                return Err(trouble);
            }
        };
        let outcomes = fan_out.finish().await;
        self.lasting.metrics.took(Stage::Stream, start.elapsed());
        let record = Record {
            snapshot: name.to_string(),
            term: meta.term,
            size: sealing.size,
            sha256: sealing.sha256(),
            content_size,
            verified_at: 0,
        };
        Ok(Sent { name, record, outcomes })
    }

    /// Passes the stream on until its end, or until there is no use in it.
    async fn pass(
        &self,
        passage: &mut Passage,
        line: Line,
        surveyed: &[Surveyed],
        accept: bool,
    ) -> Result<(SnapshotName, Meta, FanOut), (Trouble, Option<FanOut>)> {
        let begun = self.begin(passage, line, surveyed, accept).await.map_err(|trouble| (trouble, None))?;
        let (name, meta, held) = begun;
        let destinations: Vec<_> = surveyed.iter().map(|surveyed| surveyed.destination.clone()).collect();
        let mut fan_out = FanOut::begin(&destinations, &name.to_string(), self.config.checks.stall);
        match self.pass_on(passage, held, &mut fan_out).await {
            Ok(()) => Ok((name, meta, fan_out)),
            Err(trouble) => Err((trouble, Some(fan_out))),
        }
    }

    /// Reads until the index is known: it is part of the name, and says whether the snapshot is wanted at all.
    async fn begin(
        &self,
        passage: &mut Passage,
        line: Line,
        surveyed: &[Surveyed],
        accept: bool,
    ) -> Result<(SnapshotName, Meta, Vec<Bytes>), Trouble> {
        let (mut held, mut held_bytes) = (Vec::new(), 0);
        let meta = loop {
            if let Some(meta) = passage.checking.meta() {
                break meta;
            }
            let is_full = held_bytes >= HELD_BYTES_MAX;
            let chunk = if is_full { None } else { self.interruptible(passage.next()).await?? };
            let Some(chunk) = chunk else {
                break passage.checking.wait_for_meta(!is_full).await.ok_or_else(see_verdict)?;
            };
            held_bytes += chunk.len();
            held.push(chunk);
        };
        let name = SnapshotName {
            line,
            time: self.lasting.clock.now(),
            index: meta.index,
            encrypted: !self.recipients.is_empty(),
        };
        if !accept {
            refuse_backwards(&name, baseline(&name.line, surveyed).await?).map_err(Trouble::lasting)?;
        }
        Ok((name, meta, held))
    }

    async fn pass_on(
        &self,
        passage: &mut Passage,
        held: Vec<Bytes>,
        fan_out: &mut FanOut,
    ) -> Result<(), Trouble> {
        for chunk in held {
            fan_out.write(&chunk).await?;
        }
        while let Some(chunk) = self.interruptible(passage.next()).await?? {
            fan_out.write(&chunk).await?;
        }
        Ok(())
    }

    /// What became of it at each destination: read back, recorded, pointed to, thinned out.
    async fn settle(&self, surveyed: &[Surveyed], sent: Sent, report: &mut Report) {
        let start = runtime::instant_now();
        let Sent { name, record, outcomes } = sent;
        let settling = surveyed.iter().zip(outcomes).map(|(surveyed, outcome)| async {
            outcome?;
            self.confirm(&surveyed.destination, &name, record.clone()).await?;
            // It is there, whatever becomes of older ones.
            Ok(self.prune(&surveyed.destination).await)
        });
        let settled = join_all(settling).await;
        self.lasting.metrics.took(Stage::Verify, start.elapsed());
        for (surveyed, outcome) in surveyed.iter().zip(settled) {
            let destination = &surveyed.destination.name;
            match outcome {
                Ok(pruned) => {
                    tracing::info!(destination, size = record.size, "stored and verified {name}");
                    report.stored = Some(name.clone());
                    if let Err(error) = pruned {
                        let trouble =
                            Trouble::lasting(format!("it has the snapshot, and is not thinned out: {error}"));
                        self.note(report, destination, trouble);
                    }
                }
                Err(trouble) => self.note(report, destination, trouble),
            }
        }
        if report.stored.is_some() {
            self.lasting.metrics.stored(&name, &record, self.lasting.clock.now());
        }
    }

    /// Reads a stored snapshot back, and only then says that it is there.
    async fn confirm(
        &self,
        destination: &Destination,
        name: &SnapshotName,
        record: Record,
    ) -> Result<(), Trouble> {
        let (place, file) = (&*destination.place, name.to_string());
        let (size, sha256) = sum_up(place.read(&file).await?).await?;
        if (size, &sha256) != (record.size, &record.sha256) {
            // Not even a mistaken name may lead to it.
            place.remove(&file).await?;
            let message =
                format!("what was read back is not what was stored: {size} bytes of {}", record.size);
            return Err(Trouble::lasting(message));
        }
        let record = Record { verified_at: self.lasting.clock.now().as_secs(), ..record };
        destination.write_record(name, &record).await?;
        Ok(destination.point_to(name).await?)
    }

    /// An alarm where the snapshot is much smaller than the one before.
    fn size_alarm(&self, surveyed: &[Surveyed], sent: &Sent) -> Option<String> {
        let before = newest(&sent.name.line, surveyed)?;
        let alarm = size_alarm(sent.record.size, before.size, self.config.checks.size_drop);
        self.lasting.metrics.size_dropped(alarm.is_some());
        let alarm = format!("{} {}", sent.name, alarm?);
        tracing::error!("{alarm}");
        Some(alarm)
    }
}

/// A stream on its way: proved, sealed, counted.
struct Passage {
    body: vault::Download,
    checking: Checking,
    sealing: Sealing,
    progress: Progress,
}

impl Passage {
    /// The next bytes to store.
    async fn next(&mut self) -> Result<Option<Bytes>, Trouble> {
        let Some(chunk) = self.body.next().await else { return Ok(None) };
        let chunk = chunk?;
        self.progress.add(chunk.len());
        if !self.checking.take(chunk.clone()).await {
            return Err(see_verdict());
        }
        Ok(Some(self.sealing.push(chunk)))
    }
}

/// The check ended early, and knows why.
fn see_verdict() -> Trouble {
    Trouble::passing("")
}

fn newest<'a>(line: &Line, surveyed: &'a [Surveyed]) -> Option<&'a Held> {
    let all = surveyed.iter().flat_map(|surveyed| &surveyed.held).filter(|held| held.name.line == *line);
    all.max_by_key(|held| held.name.time)
}

/// The index that a new snapshot must not be below, and since when.
async fn baseline(line: &Line, surveyed: &[Surveyed]) -> Result<Option<(u64, Timestamp)>, Trouble> {
    let newest = newest(line, surveyed).map(|held| (held.name.index, held.name.time));
    let mut latest = newest;
    for surveyed in surveyed {
        let said = surveyed.destination.acknowledged(line).await?;
        if let Some(said) =
            said.map(|said| (said.index, Timestamp::from_millis(said.at.saturating_mul(1000))))
            && latest.is_none_or(|(_, time)| said.1 >= time)
        {
            latest = Some(said);
        }
    }
    Ok(latest)
}
