//! Reading an object: locate, then stream from one replica after another.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use backend::{BackendError, ByteStream, ErrorKind, Needs};
use bytes::Bytes;
use catalog::{BucketId, Content, Piece, ReplicaAt, ReplicaState, Want};
use format::{BlockVerifier, align_to_blocks};
use futures::{StreamExt, stream};
use runtime::{Instant, Readiness, mutation};
use types::{BackendName, ByteRange, LimitKind, ManifestId, ObjectKey, Traffic};

use crate::conditions::Verdict;
use crate::engine::{Engine, Shared};
use crate::limits::Shut;
use crate::locate::Found;
use crate::readers::ReadGuard;
use crate::recent::Ticket;
use crate::standing::MarkerSeen;
use crate::{EngineError, GetObject, Opened, OpenedBody, Read};

/// How often each replica of a piece is tried before the read fails.
const ROUNDS: usize = 2;
/// Why a replica is suspect that was looked for in vain.
pub(crate) const NOT_THERE: &str = "is not there";

impl Engine {
    /// Opens an object for reading, or tells its state ([`Want::State`]): then no backend is touched.
    ///
    /// The first bytes are on their way before this answers, so that a failure can still be told with a
    /// status. A replica that fails later is replaced by the next one at the same offset, unseen.
    ///
    /// # Errors
    /// [`EngineError::NoSuchKey`], [`EngineError::PreconditionFailed`],
    /// [`EngineError::RangeNotSatisfiable`], [`EngineError::NoSuchPart`], [`EngineError::Unavailable`]. Where the
    /// catalog does not answer, the first of these are [`EngineError::Remembered`].
    pub async fn get_object(&self, request: GetObject) -> Result<Read, EngineError> {
        let shared = &self.shared;
        let guard = shared.readers.enter(shared.catalog.horizon());
        let (found, ticket) = shared.find(&request).await?;
        let guard = if mutation::is_on("reader.first") {
            drop(guard);
            shared.readers.enter(shared.catalog.horizon())
        } else {
            guard
        };
        let Found { object, range, parts, pieces, degraded } = found;
        let decided = |error| if degraded { EngineError::Remembered(Box::new(error)) } else { error };
        if request.conditions.decide(&object).map_err(decided)? == Verdict::NotModified {
            return Ok(Read::NotModified { object: Box::new(object), degraded });
        }
        let size = object.state.size;
        let range = range.map_err(|_| match request.want {
            Want::Part(_) => decided(EngineError::NoSuchPart),
            _ => decided(EngineError::RangeNotSatisfiable { size }),
        })?;
        if request.want == Want::State {
            return Ok(Read::Found(Box::new(Opened { object, range, parts, body: None, degraded })));
        }
        let manifest = match object.state.content {
            Content::Blob(_) => None,
            Content::Manifest(id) => {
                Some(Manifest { id, bucket: object.bucket, key: object.key.clone(), ticket })
            }
        };
        let reading = Reading::new(Arc::clone(shared), guard, manifest, range, pieces);
        let body = reading.open().await?;
        Ok(Read::Found(Box::new(Opened { object, range, parts, body: Some(body), degraded })))
    }
}

/// A read under way.
pub(crate) struct Reading {
    shared: Arc<Shared>,
    /// For whom.
    traffic: Traffic,
    /// Holds back the reaper.
    _guard: ReadGuard,
    manifest: Option<Manifest>,
    /// Bytes of the object still to be given out.
    left: ByteRange,
    pieces: VecDeque<Arc<Piece>>,
    /// The replica that is being read, and what is proved but not given out.
    source: Option<SourceRead>,
    /// The backend that was read from last.
    place: Option<usize>,
    ready: VecDeque<Bytes>,
    /// Replicas tried for the present piece without a byte gained.
    tried: usize,
}

/// Where the pieces of an object come from that are too many for one answer.
pub(crate) struct Manifest {
    id: ManifestId,
    bucket: BucketId,
    key: ObjectKey,
    ticket: Ticket,
}

/// A run of blocks on its way from one replica.
struct SourceRead {
    replica: ReplicaAt,
    place: usize,
    stream: ByteStream<BackendError>,
    verifier: BlockVerifier,
    /// Bytes to drop at the front: the run starts at a block, the reader perhaps later.
    skip: u64,
    started: Option<Instant>,
}

impl Reading {
    pub(crate) fn new(
        shared: Arc<Shared>,
        guard: ReadGuard,
        manifest: Option<Manifest>,
        left: ByteRange,
        pieces: Vec<Arc<Piece>>,
    ) -> Self {
        let (pieces, ready) = (VecDeque::from(pieces), VecDeque::new());
        let (traffic, source, place) = (Traffic::Client, None, None);
        Self { shared, traffic, _guard: guard, manifest, left, pieces, source, place, ready, tried: 0 }
    }

    /// A read for ourselves, which draws on the share of the limits that is kept for that.
    pub(crate) fn for_maintenance(mut self) -> Self {
        self.traffic = Traffic::Maintenance;
        self
    }

    /// Waits for the first bytes, then gives the rest as a stream.
    pub(crate) async fn open(mut self) -> Result<OpenedBody, EngineError> {
        let first = self.next().await?;
        let backend = self.backend();
        let first = stream::iter(first.map(Ok));
        let rest = stream::try_unfold(self, |mut reading| async move {
            Ok(reading.next().await?.map(|bytes| (bytes, reading)))
        });
        Ok(OpenedBody { stream: Box::pin(first.chain(rest)), backend })
    }

    fn backend(&self) -> Option<BackendName> {
        self.place.map(|place| self.shared.places[place].name().clone())
    }

    /// The next proved bytes; `None` at the end of the range.
    async fn next(&mut self) -> Result<Option<Bytes>, EngineError> {
        loop {
            if self.left.length == 0 {
                return Ok(None);
            }
            if let Some(bytes) = self.take_ready() {
                return Ok(Some(bytes));
            }
            let piece = self.present_piece().await?;
            if self.source.is_none() {
                let source = self.open_source(&piece).await?;
                self.place = Some(source.place);
                self.source = Some(source);
            }
            self.pull(&piece).await;
        }
    }

    fn take_ready(&mut self) -> Option<Bytes> {
        let mut bytes = self.ready.pop_front()?;
        let piece_end = self.pieces.front().map_or(0, |piece| piece.range.end());
        // Blocks are proved whole; the piece may end within the last one, and the reader want less of it.
        let wanted = self.left.length.min(piece_end.saturating_sub(self.left.start));
        bytes.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
        self.left =
            ByteRange::new(self.left.start + bytes.len() as u64, self.left.length - bytes.len() as u64);
        if self.left.start >= piece_end {
            self.pieces.pop_front();
            self.source = None;
            self.ready.clear();
            self.tried = 0;
        }
        Some(bytes)
    }

    /// The piece that holds the next byte.
    async fn present_piece(&mut self) -> Result<Arc<Piece>, EngineError> {
        while self.pieces.front().is_some_and(|piece| piece.range.end() <= self.left.start) {
            self.pieces.pop_front();
        }
        let lost =
            || EngineError::Unavailable("the object was replaced while it was read for long".to_owned());
        if self.pieces.is_empty() {
            let Manifest { id, bucket, key, ticket } = self.manifest.as_ref().ok_or_else(lost)?;
            let pieces = self.shared.catalog.pieces(*id, self.left.start).await?;
            let pieces: Vec<Arc<Piece>> = pieces.into_iter().map(Arc::new).collect();
            self.shared.recent.found_more(*ticket, *bucket, key, &pieces);
            self.pieces = pieces.into();
        }
        // A manifest dissolves from its front: the first piece that is left may lie further on.
        let holds = |piece: &&Arc<Piece>| piece.range.start <= self.left.start;
        self.pieces.front().filter(holds).cloned().ok_or_else(lost)
    }

    /// The next replica that answers, read from the block that holds the next byte.
    async fn open_source(&mut self, piece: &Piece) -> Result<SourceRead, EngineError> {
        let wanted = self.left.intersect(piece.range).ok_or_else(|| {
            EngineError::Internal(format!("piece {} does not hold the bytes {}", piece.range, self.left))
        })?;
        let in_blob = ByteRange::new(piece.blob_offset + (wanted.start - piece.range.start), wanted.length);
        let run = align_to_blocks(in_blob, piece.blob_size);
        let order = self.shared.reading_order(&piece.replicas, run.length, self.traffic);
        let mut limits = Shut::default();
        while self.tried < order.len() * ROUNDS {
            let (place, replica) = &order[self.tried % order.len()];
            self.tried += 1;
            if self.shared.readiness(*place) == Readiness::Due {
                // Nothing better is left: this one may be back.
                self.shared.find_out(*place).await;
            }
            let backend = self.shared.places[*place].through(self.traffic);
            // Where bytes are limited, it is known beforehand how many come.
            let counted = self.shared.places[*place].allowance.limits(LimitKind::Egress) && run.length > 0;
            let range = (counted || run != ByteRange::whole(piece.blob_size)).then_some(run);
            let started = Instant::now();
            match backend.get(&replica.path, range).await {
                Ok(download) if download.length == run.length => {
                    self.shared.proofs.reads.fetch_add(u64::from(self.traffic == Traffic::Client), Relaxed);
                    return Ok(SourceRead {
                        replica: replica.clone(),
                        place: *place,
                        stream: download.stream,
                        verifier: BlockVerifier::new(run),
                        skip: in_blob.start - run.start,
                        started: Some(started),
                    });
                }
                Ok(download) => {
                    let why = format!("has {} bytes of the {} that it should", download.length, run.length);
                    self.shared.suspect(*place, replica, &why).await;
                }
                Err(error) => {
                    limits.note(&error);
                    self.shared.read_failed(*place, replica, &error, self.traffic).await;
                }
            }
        }
        if let Some(reached) = limits.reached(self.shared.clock.now()) {
            return Err(reached);
        }
        Err(EngineError::Unavailable(format!("no replica of blob {} can be read at present", piece.blob)))
    }

    /// Takes bytes from the source until some are proved, or drops the source where it fails.
    async fn pull(&mut self, piece: &Piece) {
        while self.ready.is_empty() {
            let Some(source) = &mut self.source else { return };
            let (place, replica) = (source.place, source.replica.clone());
            match source.stream.next().await {
                Some(Ok(bytes)) => {
                    if let Some(started) = source.started.take() {
                        self.shared.health.succeeded(place, started.elapsed());
                    }
                    if let Err(why) = source.take(bytes, piece, &mut self.ready) {
                        self.shared.proofs.read_errors.fetch_add(1, Relaxed);
                        self.source = None;
                        self.ready.clear();
                        self.shared.suspect(place, &replica, &why).await;
                    }
                }
                Some(Err(error)) => {
                    self.source = None;
                    self.shared.read_failed(place, &replica, &error, self.traffic).await;
                }
                None => {
                    self.source = None;
                    self.shared.suspect(place, &replica, "ends before its last byte").await;
                }
            }
        }
        // Bytes were gained: every replica may be tried again.
        self.tried = 0;
    }
}

impl SourceRead {
    /// Proves bytes and appends what the reader has not had to `ready`.
    fn take(&mut self, bytes: Bytes, piece: &Piece, ready: &mut VecDeque<Bytes>) -> Result<(), String> {
        let recorded = |block: u64| piece.blocks.get(usize::try_from(block).ok()?).copied();
        let mut proved = Vec::new();
        if mutation::is_on("read.proved") {
            proved.push(bytes);
        } else {
            self.verifier.update(bytes, recorded, &mut proved).map_err(|error| error.to_string())?;
        }
        for mut bytes in proved {
            let skip = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
            let _ = bytes.split_to(skip);
            self.skip -= skip as u64;
            if !bytes.is_empty() {
                ready.push_back(bytes);
            }
        }
        Ok(())
    }
}

impl Shared {
    /// The replicas in the order in which to try them: live before suspect, those on backends that are there and
    /// whose limits let so many bytes pass before others, then as health ranks them.
    fn reading_order(
        self: &Arc<Self>,
        replicas: &[ReplicaAt],
        bytes: u64,
        traffic: Traffic,
    ) -> Vec<(usize, ReplicaAt)> {
        let mut order: Vec<(usize, ReplicaAt)> = replicas
            .iter()
            .filter_map(|replica| self.place(replica.backend).map(|(place, _)| (place, replica.clone())))
            .collect();
        order.sort_by_key(|(place, replica)| {
            let (doubtful, latency) = self.health.rank(*place);
            let gone = self.readiness(*place) != Readiness::Ready;
            // One that is known to end before its limit does is better than one that is not.
            let shut = self.places[*place].allowance.shut_until(traffic, Needs::get(bytes)).is_some();
            (replica.state != ReplicaState::Live, gone || shut, doubtful, latency, *place)
        });
        let mut readiness = order.iter().map(|(place, _)| (*place, self.readiness(*place)));
        if readiness.next().is_some_and(|(_, first)| first == Readiness::Ready) {
            // This read does not need them; the next one may.
            readiness
                .filter(|(_, other)| *other == Readiness::Due)
                .for_each(|(place, _)| self.find_out_aside(place));
        }
        order
    }

    async fn read_failed(&self, place: usize, replica: &ReplicaAt, error: &BackendError, traffic: Traffic) {
        match error.kind {
            ErrorKind::NotFound => self.suspect(place, replica, NOT_THERE).await,
            // No fault of the backend: nobody asked it.
            ErrorKind::LimitReached { .. } => {
                tracing::debug!(%error, replica = %replica.replica, "a limit is reached, reading the next replica");
            }
            // Whoever reads for ourselves reads much, and tells what came of it.
            _ if traffic == Traffic::Maintenance => {
                self.health.failed(place);
                tracing::debug!(%error, replica = %replica.replica, "a replica could not be read, trying the next");
            }
            _ => {
                self.health.failed(place);
                tracing::warn!(%error, replica = %replica.replica, "a replica could not be read, trying the next");
            }
        }
    }

    /// Notes that a replica holds wrong bytes or none, as long as its backend is the one that we know: where
    /// its marker is gone, the backend is missing, not the replica.
    pub(crate) async fn suspect(&self, place: usize, replica: &ReplicaAt, why: &str) {
        let name = self.places[place].name();
        self.health.failed(place);
        let marker = self.marker(place).await;
        if !mutation::is_on("suspect.marker") && marker != MarkerSeen::There {
            if marker == MarkerSeen::Missing
                && let Some(breaker) = self.places[place].backend.breaker()
            {
                breaker.trip(None);
            }
            tracing::error!(backend.name = %name, "the backend's marker is not readable: the backend is missing");
            return;
        }
        // A disk that was mounted between the two looks has its marker by now, and the replica too.
        if why == NOT_THERE && self.places[place].maintenance.head(&replica.path).await.is_ok() {
            tracing::warn!(backend.name = %name, replica = %replica.replica, "a replica was not there, and is there now");
            return;
        }
        tracing::error!(backend.name = %name, replica = %replica.replica, path = %replica.path, "replica is suspect: it {why}");
        let change = self.ids.change();
        match self.catalog.mark_suspect(change, replica.replica, why).await {
            Ok(()) if replica.state == ReplicaState::Live => self.note_lost(),
            Ok(()) => self.short.ring(),
            Err(error) => {
                tracing::warn!(%error, replica = %replica.replica, "could not note that a replica is suspect");
            }
        }
    }
}
