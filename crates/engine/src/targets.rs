//! The targets of one blob: all are written at once; one that fails is replaced while the body is still
//! whole, and let go later.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use backend::{BackendError, Body, ErrorKind, MetadataEntry, PutOptions, PutReceipt};
use catalog::{AddReplica, NewBlob, Piece, ReplicaAt, ReplicaState, Target, WriteOutcome};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use runtime::{Instant, mutation};
use types::{BackendName, BlobId, BucketName, ByteRange, Md5, ObjectKey, ReplicaId, ReplicaPath};

use crate::EngineError;
use crate::engine::Shared;
use crate::held::{Held, Progress};
use crate::internal::traffic_of;
use crate::limits::Shut;
use crate::liveness::lapsed;
use crate::revocable::{Revocable, Revoke};
use crate::window::Window;

/// The object that a blob is written for.
#[derive(Clone, Copy)]
pub(crate) struct WrittenObject<'a> {
    pub(crate) bucket: &'a BucketName,
    pub(crate) key: &'a ObjectKey,
    /// Live replicas that its blobs should have.
    pub(crate) wanted: u32,
    /// What the stored bytes say of themselves.
    pub(crate) says: &'a [MetadataEntry],
}

/// The targets of one blob that is being written.
pub(crate) struct Targets<'a> {
    shared: &'a Arc<Shared>,
    held: &'a mut Held,
    object: WrittenObject<'a>,
    blob: BlobId,
    size: u64,
    window: Window,
    /// Indices of all places that may take it, best first.
    order: Vec<usize>,
    slots: Vec<Slot>,
    running: FuturesUnordered<Revocable<Ended>>,
    released: bool,
    /// Whether it was limits that were in the way.
    limits: Shut,
}

struct Slot {
    replica: ReplicaId,
    path: ReplicaPath,
    place: usize,
    /// Its number in the window.
    reader: usize,
    progress: Progress,
    state: SlotState,
    /// Gives its request up.
    request: Revoke<Ended>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SlotState {
    Running,
    Live,
    Failed,
}

struct Ended {
    slot: usize,
    started: Instant,
    result: Result<PutReceipt, BackendError>,
}

impl<'a> Targets<'a> {
    /// Starts writing to the targets that were reserved.
    pub(crate) fn start(
        shared: &'a Arc<Shared>,
        held: &'a mut Held,
        object: WrittenObject<'a>,
        (blob, size): (BlobId, u64),
        window: Window,
        order: Vec<usize>,
        taken: Vec<Target>,
    ) -> Self {
        let (slots, running, limits) = (Vec::new(), FuturesUnordered::new(), Shut::default());
        let mut targets =
            Self { shared, held, object, blob, size, window, order, slots, running, released: false, limits };
        for target in taken {
            targets.add(target);
        }
        targets
    }

    fn add(&mut self, target: Target) {
        let Some((place, at)) = self.shared.place(target.backend) else { return };
        let Some(progress) = self.held.progress(target.replica) else { return };
        let Some(reader) = self.window.reader() else {
            // The body is no longer whole; nothing was sent.
            self.held.settle(target.replica, WriteOutcome::Unsent);
            return;
        };
        let slot = self.slots.len();
        let index = reader.index();
        let backend = Arc::clone(at.through(traffic_of(self.object.bucket)));
        let body = Body { length: self.size, stream: Box::pin(reader) };
        let options = PutOptions { metadata: self.object.says.to_vec() };
        let (path, released, begun) = (target.path.clone(), self.released, progress.clone());
        let lease = self.shared.lease.clone();
        let (put, request) = Revocable::new(async move {
            let started = Instant::now();
            if !lease.holds() {
                let result = Err(lapsed(backend.name()));
                return Ended { slot, started, result };
            }
            begun.start();
            if released {
                begun.release();
            }
            let result = backend.put(&path, body, options).await;
            Ended { slot, started, result }
        });
        self.running.push(put);
        let state = SlotState::Running;
        let Target { replica, path, .. } = target;
        self.slots.push(Slot { replica, path, place, reader: index, progress, state, request });
    }

    /// Runs `feed`, which gives the window its bytes, while the targets take them.
    pub(crate) async fn drive<T>(
        &mut self,
        feed: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let mut feed = pin!(feed);
        let patrol = self.patrol();
        loop {
            tokio::select! {
                biased;
                fed = &mut feed => return fed,
                Some(ended) = self.running.next() => {
                    // One that was let go has ended with that.
                    if let Some(ended) = ended {
                        self.settle(ended).await;
                    }
                    self.check_enough()?;
                }
                () = runtime::sleep(patrol) => {
                    self.let_stalled_go();
                    self.check_enough()?;
                }
            }
        }
    }

    /// The body is proved: the last byte goes out.
    pub(crate) fn release(&mut self) {
        self.released = true;
        for slot in self.slots.iter().filter(|slot| slot.state == SlotState::Running) {
            slot.progress.release();
        }
    }

    /// Waits until all targets have answered, and all that can be replaced are. One that neither takes bytes
    /// nor answers is let go once enough others are done.
    pub(crate) async fn finish(&mut self) -> Result<(), EngineError> {
        let patrol = self.patrol();
        while self.slots.iter().any(|slot| slot.state == SlotState::Running) {
            tokio::select! {
                biased;
                Some(ended) = self.running.next() => {
                    if let Some(ended) = ended {
                        self.settle(ended).await;
                    }
                }
                () = runtime::sleep(patrol) => {
                    self.let_stalled_go();
                    if self.live() >= self.ack_replicas() {
                        self.let_silent_go();
                    }
                }
            }
        }
        self.check_enough()
    }

    /// Stops all writing; what was begun is given up.
    pub(crate) fn give_up(&mut self) {
        self.running.clear();
    }

    /// The backends that have the blob.
    pub(crate) fn backends(&self) -> Vec<BackendName> {
        let live = self.slots.iter().filter(|slot| slot.state == SlotState::Live);
        live.map(|slot| self.shared.places[slot.place].name().clone()).collect()
    }

    /// The blob as a reader wants it, its bytes being those of an object from `start` on.
    pub(crate) fn piece(&self, start: u64, blocks: &[u32]) -> Arc<Piece> {
        let live = self.slots.iter().filter(|slot| slot.state == SlotState::Live);
        let replica_at = |slot: &Slot| ReplicaAt {
            replica: slot.replica,
            backend: self.shared.places[slot.place].id,
            path: slot.path.clone(),
            state: ReplicaState::Live,
        };
        Arc::new(Piece {
            range: ByteRange::new(start, self.size),
            blob: self.blob,
            blob_offset: 0,
            blob_size: self.size,
            replicas: live.map(replica_at).collect(),
            blocks: blocks.to_vec(),
        })
    }

    /// The blob as the commit wants it.
    pub(crate) fn into_blob(self, size: u64, md5: Option<Md5>, blocks: Vec<u32>) -> NewBlob {
        let fates = self.held.fates_of(self.blob);
        NewBlob { blob: self.blob, size, md5, blocks, wanted: self.object.wanted, fates }
    }

    fn live(&self) -> u32 {
        u32::try_from(self.slots.iter().filter(|slot| slot.state == SlotState::Live).count())
            .unwrap_or(u32::MAX)
    }

    /// How many have to take it.
    fn ack_replicas(&self) -> u32 {
        self.shared.settings.ack_replicas.min(self.object.wanted)
    }

    fn check_enough(&self) -> Result<(), EngineError> {
        let hopeful = self.slots.iter().filter(|slot| slot.state != SlotState::Failed).count();
        let enough = usize::try_from(self.ack_replicas()).unwrap_or(usize::MAX);
        if hopeful >= enough || mutation::is_on("write.enough") {
            return Ok(());
        }
        if let Some(reached) = self.limits.reached(self.shared.clock.now()) {
            return Err(reached);
        }
        Err(EngineError::Unavailable(format!(
            "{hopeful} of the {} backends that have to take the object are left",
            self.ack_replicas()
        )))
    }

    async fn settle(&mut self, ended: Ended) {
        let slot = &mut self.slots[ended.slot];
        if slot.state != SlotState::Running {
            return;
        }
        let result = ended.result.and_then(|receipt| {
            if self.window.has_all(slot.reader) || mutation::is_on("target.took-all") {
                return Ok(receipt);
            }
            let backend = self.shared.places[slot.place].name();
            Err(BackendError::new(backend, "put", ErrorKind::Corrupt, "was answered before it had all bytes"))
        });
        match result {
            Ok(receipt) => {
                slot.state = SlotState::Live;
                self.shared.health.succeeded(slot.place, ended.started.elapsed());
                self.held.settle(slot.replica, WriteOutcome::Live { version: receipt.version });
            }
            Err(error) => {
                let late_arrival = self.shared.places[slot.place].backend.profile().late_arrival_bound;
                let outcome = match error.kind {
                    // Certainly nothing was stored, nor will be.
                    ErrorKind::Unavailable
                    | ErrorKind::Unsupported
                    | ErrorKind::Refused
                    | ErrorKind::LimitReached { .. } => WriteOutcome::Unsent,
                    ErrorKind::Unknown if mutation::is_on("target.unknown") => WriteOutcome::Unsent,
                    ErrorKind::Unknown | ErrorKind::Corrupt => self.held.unknown(late_arrival),
                    _ => WriteOutcome::Doomed { arrives_until: None },
                };
                self.held.settle(slot.replica, outcome);
                self.limits.note(&error);
                self.fail(ended.slot, &error).await;
            }
        }
    }

    async fn fail(&mut self, index: usize, error: &BackendError) {
        let slot = &mut self.slots[index];
        slot.state = SlotState::Failed;
        let failed = self.shared.places[slot.place].name();
        match error.kind {
            ErrorKind::BadBody => return,
            // Nobody asked it: no fault of the backend.
            ErrorKind::LimitReached { .. } => {
                tracing::debug!(backend.name = %failed, blob = %self.blob, %error, "a target's limit is reached");
            }
            _ => {
                self.shared.health.failed(slot.place);
                tracing::warn!(backend.name = %failed, blob = %self.blob, why = %error, "a target of a write failed");
            }
        }
        if self.window.is_whole() {
            self.replace().await;
        }
    }

    /// Reserves a place that has not been tried and starts over there.
    async fn replace(&mut self) {
        let untried: Vec<usize> = self
            .order
            .iter()
            .copied()
            .filter(|place| self.slots.iter().all(|slot| slot.place != *place))
            .collect();
        if untried.is_empty() {
            return;
        }
        let WrittenObject { bucket, key, .. } = self.object;
        let targets = self.shared.offer(&untried, bucket, key, self.blob, self.size);
        self.held.expect(self.blob, &targets);
        let add = AddReplica { blob: self.blob, owner: self.shared.boot, targets };
        let answer = self.shared.repeat(|| self.shared.catalog.add_replica(add.clone())).await;
        match self.held.reserved(answer.map(Vec::from_iter)) {
            Ok(taken) => taken.into_iter().for_each(|target| self.add(target)),
            Err(error) => tracing::warn!(%error, blob = %self.blob, "could not reserve a replacement"),
        }
    }

    /// How long to wait before looking for stalled targets again.
    fn patrol(&self) -> Duration {
        (self.shared.settings.stall_timeout / 4).max(Duration::from_millis(10))
    }

    fn let_stalled_go(&mut self) {
        let patience = self.shared.settings.stall_timeout;
        self.let_go_where(
            |window, slot| window.is_stalled(slot.reader, patience),
            "takes no byte while others wait",
        );
    }

    fn let_silent_go(&mut self) {
        let patience = self.shared.settings.stall_timeout;
        self.let_go_where(
            |window, slot| window.idle(slot.reader) >= patience,
            "does not answer while others have",
        );
    }

    fn let_go_where(&mut self, stalled: impl Fn(&Window, &Slot) -> bool, why: &str) {
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            if slot.state != SlotState::Running || !stalled(&self.window, slot) {
                continue;
            }
            let place = &self.shared.places[slot.place];
            tracing::warn!(backend.name = %place.name(), blob = %self.blob, why, "a target of a write was let go");
            self.shared.stalled(slot.place);
            // Nothing more of it leaves: what was sent by now may still arrive, and that is waited for.
            if !mutation::is_on("target.let-go") {
                slot.request.revoke();
            }
            let outcome = self.held.unknown(place.backend.profile().late_arrival_bound);
            self.held.settle(slot.replica, outcome);
            self.slots[index].state = SlotState::Failed;
            self.window.abandon(self.slots[index].reader);
        }
    }
}
