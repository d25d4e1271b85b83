//! Writing a body: each blob is reserved, then streamed to all its targets at once.
//!
//! A body that fits the window is proved before anything is reserved for it: a bad one leaves no trace at
//! all. A longer one streams while it comes in, its last byte held back until it is proved. A body above
//! the largest put of the backends becomes several blobs, written in turn and committed together; only what we
//! keep for ourselves is always one.

use std::sync::Arc;

use backend::{MetadataEntry, Needs};
use catalog::{BackendId, BucketId, NewBlob, Piece, Refusal, Reserve, ReserveFor, Target};
use format::BlockHasher;
use runtime::Readiness;
use types::{BackendName, BlobId, BucketName, Md5, ObjectKey};

use crate::engine::Shared;
use crate::held::Held;
use crate::intake::{Intake, Proof};
use crate::internal::traffic_of;
use crate::limits::Shut;
use crate::placement::{self, Candidate};
use crate::targets::{Targets, WrittenObject};
use crate::window::Window;
use crate::{Bucket, EngineError, Strategy};

/// A body that lies on its backends, not yet committed.
pub(crate) struct Written {
    pub(crate) blobs: Vec<NewBlob>,
    /// The same as readers will want them.
    pub(crate) pieces: Vec<Arc<Piece>>,
    pub(crate) proof: Proof,
    /// Where the first blob lies.
    pub(crate) backends: Vec<BackendName>,
    /// Gives all of it up unless it is committed.
    pub(crate) held: Held,
}

/// What a body is written for.
pub(crate) struct WriteFor<'a> {
    pub(crate) bucket: &'a Bucket,
    pub(crate) key: &'a ObjectKey,
    pub(crate) purpose: ReserveFor,
    /// What the stored bytes say of themselves.
    pub(crate) says: Vec<MetadataEntry>,
}

impl Shared {
    /// Takes a body in and writes it.
    pub(crate) async fn write_body(
        self: &Arc<Self>,
        write: WriteFor<'_>,
        mut intake: Intake,
    ) -> Result<Written, EngineError> {
        let length = intake.length();
        let _budget = self.take_budget(length.min(self.settings.window_bytes)).await?;
        self.find_out_for_write(self.ack_replicas_of(write.bucket)).await;
        let candidates = self.candidates().await?;
        let blob_max = if write.bucket.id == BucketId::INTERNAL {
            // A rebuild reads it without a catalog that could say of what it consists.
            placement::whole_bytes_max(&candidates, 1).filter(|max| length <= *max)
        } else {
            placement::blob_bytes_max(&candidates, length, self.factor_of(write.bucket))
        };
        let Some(blob_max) = blob_max else {
            return Err(EngineError::OutOfSpace { size: length });
        };
        let (blobs, pieces) = (Vec::new(), Vec::new());
        let mut writer = BodyWriter { shared: self, write, candidates, held: Held::new(self), blobs, pieces };
        let result = if length <= self.settings.window_bytes.min(blob_max) {
            writer.write_proved(intake).await
        } else {
            writer.write_streaming(&mut intake, blob_max).await
        };
        match result {
            Ok((proof, backends)) => {
                let BodyWriter { blobs, pieces, held, .. } = writer;
                Ok(Written { blobs, pieces, proof, backends, held })
            }
            Err(error) => {
                writer.held.let_go().await;
                Err(error)
            }
        }
    }

    pub(crate) async fn candidates(&self) -> Result<Vec<Candidate>, EngineError> {
        // Only spreading looks at how full a backend is.
        let charged = match self.settings.strategy {
            Strategy::Pack => Vec::new(),
            Strategy::Spread => self.catalog.charged().await?,
        };
        let charged_to = |id: BackendId| charged.iter().find(|(other, ..)| *other == id).map_or(0, |c| c.2);
        let candidate = |(index, place): (usize, &crate::Place)| Candidate {
            charged: charged_to(place.id),
            quota: place.quota,
            put_bytes_max: place.backend.profile().put_bytes_max,
            object_bytes_max: place.object_bytes_max,
            shut_until: None,
            doubtful: self.health.rank(index).0,
            gone: self.readiness(index) != Readiness::Ready,
        };
        Ok(self.places.iter().enumerate().map(candidate).collect())
    }

    /// Places for one replica each, as reservations want them.
    pub(crate) fn offer(
        &self,
        order: &[usize],
        bucket: &BucketName,
        key: &ObjectKey,
        blob: BlobId,
        size: u64,
    ) -> Vec<Target> {
        let target = |&index: &usize| {
            let place = &self.places[index];
            let replica = self.ids.replica();
            Target {
                backend: place.id,
                replica,
                path: place.grammar.replica(bucket, key, blob, replica),
                charge: place.backend.profile().charge(size),
                quota: place.quota,
            }
        };
        order.iter().map(target).collect()
    }
}

struct BodyWriter<'a> {
    shared: &'a Arc<Shared>,
    write: WriteFor<'a>,
    candidates: Vec<Candidate>,
    held: Held,
    blobs: Vec<NewBlob>,
    pieces: Vec<Arc<Piece>>,
}

impl BodyWriter<'_> {
    /// A body that fits the window: all of it is taken in and proved, then it is written.
    async fn write_proved(&mut self, mut intake: Intake) -> Result<(Proof, Vec<BackendName>), EngineError> {
        let length = intake.length();
        let window = Window::new(length, length.max(1));
        let mut blocks = BlockHasher::new();
        while let Some(bytes) = intake.next(u64::MAX).await? {
            blocks.update(&bytes);
            window.push(bytes).await;
        }
        let proof = intake.prove().await?;
        window.release();
        let blob = self.shared.ids.blob();
        let mut targets = self.reserve(blob, length, window).await?;
        targets.release();
        targets.finish().await?;
        let backends = targets.backends();
        let blocks = blocks.finish();
        let piece = targets.piece(0, &blocks);
        let new_blob = targets.into_blob(length, Some(proof.md5), blocks);
        self.pieces.push(piece);
        self.blobs.push(new_blob);
        Ok((proof, backends))
    }

    /// A longer body: blob after blob, each streamed as it comes in.
    async fn write_streaming(
        &mut self,
        intake: &mut Intake,
        blob_max: u64,
    ) -> Result<(Proof, Vec<BackendName>), EngineError> {
        let length = intake.length();
        let mut left = length;
        let mut backends = Vec::new();
        while left > blob_max {
            let written = self.write_blob(intake, blob_max, None).await?;
            backends.extend(written.0);
            left -= blob_max;
        }
        let (last, proof) = self.write_blob(intake, left, Some(left == length)).await?;
        backends.extend(last);
        let proof = proof.ok_or_else(|| EngineError::Internal("the last blob was not proved".to_owned()))?;
        backends.sort();
        backends.dedup();
        Ok((proof, backends))
    }

    /// One blob of a longer body. `last` is set for the last one: whether it is the only one, too.
    async fn write_blob(
        &mut self,
        intake: &mut Intake,
        size: u64,
        last: Option<bool>,
    ) -> Result<(Vec<BackendName>, Option<Proof>), EngineError> {
        // What a body was granted covers more than what lies in the window: chunks on their way to a digest,
        // in the drivers' hands, and the unused ends of the buffers that chunks were read into.
        let window = Window::new(size, (self.shared.settings.window_bytes / 2).max(1));
        let start = self.pieces.last().map_or(0, |piece| piece.range.end());
        let blob = self.shared.ids.blob();
        let mut targets = self.reserve(blob, size, window.clone()).await?;
        let mut blocks = BlockHasher::new();
        let fed = targets.drive(feed(intake, &window, &mut blocks, size, last.is_some())).await;
        let proof = match fed {
            Ok(proof) => proof,
            Err(error) => {
                window.fail(&error.to_string());
                targets.give_up();
                return Err(error);
            }
        };
        window.release();
        targets.release();
        targets.finish().await?;
        let md5: Option<Md5> = proof.as_ref().filter(|_| last == Some(true)).map(|proof| proof.md5);
        let backends = targets.backends();
        let blocks = blocks.finish();
        let piece = targets.piece(start, &blocks);
        let new_blob = targets.into_blob(size, md5, blocks);
        self.pieces.push(piece);
        self.blobs.push(new_blob);
        Ok((backends, proof))
    }

    async fn reserve(&mut self, blob: BlobId, size: u64, window: Window) -> Result<Targets<'_>, EngineError> {
        let settings = &self.shared.settings;
        let object = match &self.write.purpose {
            ReserveFor::Object { size, .. } => *size,
            ReserveFor::Part { .. } => size,
        };
        let traffic = traffic_of(&self.write.bucket.name);
        for (candidate, place) in self.candidates.iter_mut().zip(&self.shared.places) {
            candidate.shut_until = place.allowance.shut_until(traffic, Needs::put(size));
        }
        let order = placement::order(&self.candidates, settings.strategy, object, size);
        let mut shut = Shut::default();
        self.candidates.iter().filter_map(|candidate| candidate.shut_until).for_each(|at| shut.until(at));
        let ack_replicas = self.shared.ack_replicas_of(self.write.bucket);
        let least = usize::try_from(ack_replicas).unwrap_or(usize::MAX);
        let mut reached = shut.reached(self.shared.clock.now());
        if let Some(reached) = reached.take_if(|_| order.len() < least) {
            return Err(reached);
        }
        let all = order.len();
        let order = placement::without_gone(&self.candidates, order, ack_replicas);
        let some_are_gone = order.len() < all;
        let (bucket, key) = (&self.write.bucket.name, self.write.key);
        let targets = self.shared.offer(&order, bucket, key, blob, size);
        self.held.expect(blob, &targets);
        let reserve = Reserve {
            blob,
            owner: self.shared.boot,
            size,
            purpose: self.write.purpose.clone(),
            targets,
            wanted: self.shared.factor_of(self.write.bucket),
            least: ack_replicas,
        };
        let answer = self.shared.repeat(|| self.shared.catalog.reserve(reserve.clone())).await;
        let taken = self.held.reserved(answer).map_err(|error| match (error.refusal(), reached) {
            // The others may have room.
            (Some(Refusal::OutOfSpace { .. }), Some(reached)) => reached,
            (Some(Refusal::OutOfSpace { .. }), None) if some_are_gone => {
                EngineError::Unavailable(format!("no backend that answers has room for {size} bytes"))
            }
            _ => error.into(),
        })?;
        let wanted = self.shared.factor_of(self.write.bucket);
        let object = WrittenObject { bucket, key, wanted, says: &self.write.says };
        Ok(Targets::start(self.shared, &mut self.held, object, (blob, size), window, order, taken))
    }
}

/// Moves one blob's bytes from the body into the window; proves the body behind the last one.
async fn feed(
    intake: &mut Intake,
    window: &Window,
    blocks: &mut BlockHasher,
    size: u64,
    last: bool,
) -> Result<Option<Proof>, EngineError> {
    let mut left = size;
    while left > 0 {
        let Some(bytes) = intake.next(left).await? else {
            return Err(EngineError::Internal("a body ended before its length without an error".to_owned()));
        };
        left -= bytes.len() as u64;
        blocks.update(&bytes);
        window.push(bytes).await;
    }
    if !last {
        return Ok(None);
    }
    intake.prove().await.map(Some)
}
