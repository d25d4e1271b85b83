//! Shipper: brings the journal to the backends as segments, and now and then everything as a snapshot.
//!
//! At most one file per pace, so that a provider's free requests last. After each segment the catalog proves
//! that it is still the newest: who finds a segment that it did not write stops writing.

use std::time::Duration;

use async_trait::async_trait;
use engine::{Engine, Shelf, Snapshot};
use runtime::{Instant, Step, Worker, WorkerError};

/// See the module.
pub struct Shipper {
    engine: Engine,
    pace: Duration,
    /// Whether this catalog is proved to be the newest, since the start of the process.
    proved: bool,
    /// What lies on the backends; read again after a failure.
    shelf: Option<Shelf>,
    snapshot: Option<Snapshot>,
    /// When a file was stored last.
    stored_at: Option<Instant>,
}

impl Shipper {
    /// The one of this engine; it stores a file no more often than once per `pace`.
    #[must_use]
    pub fn new(engine: Engine, pace: Duration) -> Self {
        Self { engine, pace, proved: false, shelf: None, snapshot: None, stored_at: None }
    }

    /// How long it has to wait until it may store the next file.
    fn pause(&self) -> Option<Duration> {
        let since = self.stored_at?.elapsed();
        self.pace.checked_sub(since).filter(|pause| !pause.is_zero())
    }

    async fn prove(&mut self) -> Result<(), WorkerError> {
        if !self.proved {
            self.proved = self.engine.prove_newest(None).await?;
        }
        if self.proved || self.engine.frozen().is_some() {
            return Ok(());
        }
        Err("no backend could say whether this is the newest catalog".into())
    }

    /// Ships what there is as one segment; says whether there was something.
    async fn segment(&mut self, shelf: &mut Shelf) -> Result<bool, WorkerError> {
        let Some(segment) = self.engine.ship_segment(shelf.next).await? else { return Ok(false) };
        self.stored_at = Some(runtime::instant_now());
        shelf.add(&segment);
        self.engine.prove_since_segment().await?;
        Ok(true)
    }

    /// Goes on with a snapshot, or begins one that is due; says whether a file was stored.
    async fn snapshot(&mut self, shelf: &Shelf) -> Result<Snapshotted, WorkerError> {
        if self.snapshot.is_none() {
            if !shelf.snapshot_is_due() {
                return Ok(Snapshotted::Nothing);
            }
            self.snapshot = Some(self.engine.begin_snapshot(shelf.next).await?);
        }
        let snapshot = self.snapshot.as_mut().expect("it was made just now");
        if !snapshot.is_read() {
            self.engine.snapshot_page(snapshot).await?;
            self.stored_at = Some(runtime::instant_now());
            return Ok(Snapshotted::Page);
        }
        if !self.engine.complete_snapshot(snapshot).await? {
            return Ok(Snapshotted::Nothing);
        }
        self.stored_at = Some(runtime::instant_now());
        self.snapshot = None;
        Ok(Snapshotted::Whole)
    }
}

/// What a step did for a snapshot.
enum Snapshotted {
    Nothing,
    Page,
    Whole,
}

#[async_trait]
impl Worker for Shipper {
    fn name(&self) -> String {
        "shipper".to_owned()
    }

    async fn step(&mut self) -> Result<Step, WorkerError> {
        self.prove().await?;
        if self.engine.frozen().is_some() {
            return Ok(Step::IDLE);
        }
        if let Some(pause) = self.pause() {
            return Ok(Step::IDLE.due_after(pause));
        }
        // Whatever fails from here on, the shelf is read again.
        let mut shelf = match self.shelf.take() {
            Some(shelf) => shelf,
            None => self.engine.shelf().await?,
        };
        let mut done = u64::from(self.segment(&mut shelf).await?);
        if done == 0 {
            match self.snapshot(&shelf).await? {
                Snapshotted::Nothing => {}
                Snapshotted::Page => done = 1,
                // Older files are gone.
                Snapshotted::Whole => return Ok(Step::finished(1).due_after(self.pace)),
            }
        }
        self.shelf = Some(shelf);
        let step = Step::finished(done);
        Ok(if done > 0 { step.due_after(self.pace) } else { step })
    }
}
