//! One more replica of a blob, made of those that there are; and the end of one that others stand in for.
//!
//! Together they are a move. The order is the safety: the new replica is live before the old one is doomed, and
//! the old one is doomed only under a recount. Cut off in between, there is one replica too many.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use backend::{BackendError, Body, BodyError, ErrorKind, Needs, PutOptions, PutReceipt};
use catalog::{
    BackendId, CommitMove, Held as HeldReplica, MoveSource, Retire, Retired, Target, WriteOutcome,
};
use futures::StreamExt;
use runtime::mutation;
use types::{BlobId, ByteRange, ObjectKey, ReplicaId, ReplicaPath, Traffic};

use crate::EngineError;
use crate::engine::{Place, Shared};
use crate::get::Reading;
use crate::held::Held;
use crate::limits::Shut;
use crate::liveness::lapsed;

/// What became of making a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// It is live on this backend.
    Live(BackendId),
    /// Nothing references the blob any more.
    Gone,
    /// None of the places has room for it, or all have it.
    NoRoom,
}

/// What became of moving a replica away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// It is doomed; so many bytes went over the wire for that.
    Away { copied_bytes: u64 },
    /// It needs no moving any more.
    Gone,
    /// It stays, for no place takes it.
    NoRoom,
    /// It stays, for too few others count.
    Needed,
}

impl Shared {
    /// Makes one more live replica of a blob on the first of these places that takes it.
    pub(crate) async fn make_replica(
        self: &Arc<Self>,
        blob: BlobId,
        order: &[usize],
    ) -> Result<Made, EngineError> {
        // Registered before it is located: what it is made of is not deleted meanwhile.
        let mut guard = self.readers.enter(self.catalog.horizon());
        let Some(source) = self.catalog.move_source(blob).await? else { return Ok(Made::Gone) };
        if mutation::is_on("move.reads-first") {
            guard = self.readers.enter(self.catalog.horizon());
        }
        let size = source.piece.blob_size;
        let _budget = self.take_budget(size.min(self.settings.window_bytes)).await?;
        let mut held = Held::new(self);
        let targets = self.offer_beside(&source, order).await?;
        held.expect(blob, &targets);
        let (owner, reserve) = (self.boot, || self.catalog.reserve_move(blob, self.boot, targets.clone()));
        let reserved = held.reserved(self.repeat(reserve).await.map(Vec::from_iter));
        let target = match reserved {
            Ok(taken) => taken.into_iter().next(),
            Err(error) if Self::has_changed(&error) => return Ok(Made::Gone),
            Err(error) => return Err(error.into()),
        };
        let Some(target) = target else { return Ok(Made::NoRoom) };
        let pieces = vec![Arc::new(source.piece.clone())];
        let reading =
            Reading::new(Arc::clone(self), guard, None, ByteRange::whole(size), pieces).for_maintenance();
        let version = match self.write_replica(&mut held, &source, &target, reading).await {
            Ok(receipt) => receipt.version,
            Err(error) => {
                held.let_go().await;
                return Err(error);
            }
        };
        held.settle(target.replica, WriteOutcome::Live { version: version.clone() });
        let commit = CommitMove { change: self.ids.change(), owner, blob, replica: target.replica, version };
        match self.repeat(|| self.catalog.commit_move(commit.clone())).await {
            Ok(()) => {
                held.committed();
                Ok(Made::Live(target.backend))
            }
            Err(error) => {
                held.let_go().await;
                if Self::has_changed(&error) { Ok(Made::Gone) } else { Err(error.into()) }
            }
        }
    }

    /// Moves a replica away: makes another where too few of those that there are count, then dooms it.
    ///
    /// `except` are backends whose replicas do not count, `least` is how many others have to.
    pub(crate) async fn move_away(
        self: &Arc<Self>,
        held: &HeldReplica,
        order: &[usize],
        least: u32,
        except: &[BackendId],
    ) -> Result<Moved, EngineError> {
        let mut copied_bytes = 0;
        if held.live_elsewhere(|backend| !except.contains(&backend)) < least {
            match self.make_replica(held.blob, order).await? {
                Made::Live(_) => copied_bytes = held.size,
                Made::Gone => return Ok(Moved::Gone),
                Made::NoRoom => return Ok(Moved::NoRoom),
            }
        }
        let retire =
            Retire { change: self.ids.change(), replica: held.replica, least, except: except.to_vec() };
        let retired = self.repeat(|| self.catalog.retire_replica(retire.clone())).await?;
        Ok(match retired {
            Retired::Doomed => {
                self.wake_reaper();
                Moved::Away { copied_bytes }
            }
            Retired::Gone => Moved::Gone,
            Retired::Needed { .. } => Moved::Needed,
        })
    }

    /// A place for the new replica on each of these backends, named after the same key as the others.
    async fn offer_beside(&self, source: &MoveSource, order: &[usize]) -> Result<Vec<Target>, EngineError> {
        let known = source.replicas().iter().filter_map(|at| Some((self.place(at.backend)?.1, at)));
        let known: Vec<_> = known.collect();
        let Some((there, at)) =
            known.iter().find(|(there, at)| there.grammar.parse(at.path.as_str()).is_some())
        else {
            return self.offer_for_import(source, order).await;
        };
        let name = |place: &Place, replica| place.grammar.beside(&there.grammar, at.path.as_str(), replica);
        Ok(self.offer_named(source, order, name))
    }

    /// The same for a blob that lies only where it was imported: its key was its path.
    async fn offer_for_import(
        &self,
        source: &MoveSource,
        order: &[usize],
    ) -> Result<Vec<Target>, EngineError> {
        for at in source.replicas() {
            let Some(imported) = self.catalog.import_of(at.replica).await? else { continue };
            let Ok(key) = ObjectKey::parse(at.path.as_str()) else { continue };
            let blob = source.piece.blob;
            let name =
                |place: &Place, replica| Some(place.grammar.replica(&imported.bucket, &key, blob, replica));
            return Ok(self.offer_named(source, order, name));
        }
        Ok(Vec::new())
    }

    fn offer_named(
        &self,
        source: &MoveSource,
        order: &[usize],
        name: impl Fn(&Place, ReplicaId) -> Option<ReplicaPath>,
    ) -> Vec<Target> {
        let size = source.piece.blob_size;
        let target = |&index: &usize| {
            let place = &self.places[index];
            // One that would refuse it is no place for it.
            let shut = place.allowance.shut_until(Traffic::Maintenance, Needs::put(size)).is_some();
            let fits = !shut
                && size <= place.backend.profile().put_bytes_max
                && place.object_bytes_max.is_none_or(|max| size <= max);
            if !fits {
                return None;
            }
            let replica = self.ids.replica();
            Some(Target {
                backend: place.id,
                replica,
                path: name(place, replica)?,
                charge: place.backend.profile().charge(size),
                quota: place.quota,
            })
        };
        order.iter().filter_map(target).collect()
    }

    /// Streams the proved bytes of a blob to a target.
    async fn write_replica(
        &self,
        held: &mut Held,
        source: &MoveSource,
        target: &Target,
        reading: Reading,
    ) -> Result<PutReceipt, EngineError> {
        let (index, place) = self.place(target.backend).expect("targets are offered on places");
        let metadata = self.said_by(source).await;
        let bytes = reading.open().await?.stream;
        let taken = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&taken);
        let stream = bytes.map(move |chunk| {
            count.fetch_add(chunk.as_ref().map_or(0, |bytes| bytes.len() as u64), Relaxed);
            chunk.map_err(|error| BodyError(error.to_string()))
        });
        let body = Body { length: source.piece.blob_size, stream: Box::pin(stream) };
        if !self.lease.holds() {
            return Err(EngineError::Unavailable(lapsed(place.name()).to_string()));
        }
        if let Some(progress) = held.progress(target.replica) {
            progress.start();
            progress.release();
        }
        let started = runtime::instant_now();
        let answer = place.maintenance.put(&target.path, body, PutOptions { metadata }).await;
        let answer = answer.and_then(|receipt| {
            if taken.load(Relaxed) == source.piece.blob_size || mutation::is_on("move.took-all") {
                return Ok(receipt);
            }
            let why = "was answered before it had all bytes";
            Err(BackendError::new(place.name(), "put", ErrorKind::Corrupt, why))
        });
        match answer {
            Ok(receipt) => {
                self.health.succeeded(index, started.elapsed());
                Ok(receipt)
            }
            Err(error) => {
                held.settle(target.replica, self.outcome_of(held, &error, index));
                if !matches!(error.kind, ErrorKind::BadBody | ErrorKind::LimitReached { .. }) {
                    self.health.failed(index);
                }
                let mut limits = Shut::default();
                limits.note(&error);
                let reached = limits.reached(self.clock.now());
                Err(reached.unwrap_or_else(|| EngineError::Unavailable(error.to_string())))
            }
        }
    }

    /// What a put that failed leaves behind.
    fn outcome_of(&self, held: &Held, error: &BackendError, index: usize) -> WriteOutcome {
        let late_arrival = self.places[index].backend.profile().late_arrival_bound;
        match error.kind {
            // Certainly nothing was stored, nor will be.
            ErrorKind::Unavailable | ErrorKind::Unsupported | ErrorKind::LimitReached { .. } => {
                WriteOutcome::Unsent
            }
            ErrorKind::Unknown | ErrorKind::Corrupt => held.unknown(late_arrival),
            _ => WriteOutcome::Doomed { arrives_until: None },
        }
    }

    /// What the first replica that answers says of itself. It goes with the bytes, for whoever reads them with a
    /// plain S3 tool; without it they are as good.
    async fn said_by(&self, source: &MoveSource) -> Vec<backend::MetadataEntry> {
        for at in source.replicas() {
            let Some((_, place)) = self.place(at.backend) else { continue };
            if let Ok(stat) = place.maintenance.head(&at.path).await {
                return stat.metadata.into_iter().filter(|(name, _)| name.starts_with("s3o-")).collect();
            }
        }
        Vec::new()
    }
}
