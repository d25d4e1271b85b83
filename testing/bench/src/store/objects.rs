//! What the store keeps.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::content::PIECE_BYTES;

/// Bytes of different pieces that are remembered, so that equal ones are kept once.
const SHARED_BYTES_MAX: usize = 256 << 20;

/// The bytes of an object, in order.
pub type Pieces = Arc<[Bytes]>;

/// An object.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its bytes.
    pub pieces: Pieces,
    /// Their number.
    pub length: u64,
    /// Differs from that of any other object. No digest of anything.
    pub etag: u64,
    /// Names as they came, with `x-amz-meta-`.
    pub metadata: Arc<[(String, String)]>,
}

/// All buckets.
#[derive(Debug, Default)]
pub(super) struct Objects {
    buckets: Mutex<HashMap<String, BTreeMap<String, Object>>>,
    shared: Mutex<Shared>,
    etags: AtomicU64,
    /// Before the next MiB of a body is taken.
    pause: Duration,
    pub(super) counts: Arc<Counts>,
}

/// What a provider would bill.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) requests: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
}

#[derive(Debug, Default)]
struct Shared {
    bytes: usize,
    pieces: HashMap<u64, Bytes>,
}

impl Objects {
    pub(super) fn new(pause: Duration) -> Self {
        Self { pause, ..Self::default() }
    }

    pub(super) fn put(
        &self,
        bucket: &str,
        key: &str,
        pieces: Vec<Bytes>,
        metadata: Vec<(String, String)>,
    ) -> u64 {
        let etag = self.etags.fetch_add(1, Ordering::Relaxed);
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        let object = Object { pieces: pieces.into(), length, etag, metadata: metadata.into() };
        self.insert(bucket, key, object);
        etag
    }

    pub(super) fn insert(&self, bucket: &str, key: &str, object: Object) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if !buckets.contains_key(bucket) {
            buckets.insert(bucket.to_owned(), BTreeMap::new());
        }
        if let Some(objects) = buckets.get_mut(bucket) {
            objects.insert(key.to_owned(), object);
        }
    }

    pub(super) fn get(&self, bucket: &str, key: &str) -> Option<Object> {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.get(bucket)?.get(key).cloned()
    }

    pub(super) fn remove(&self, bucket: &str, key: &str) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.get_mut(bucket).and_then(|objects| objects.remove(key));
    }

    /// Up to `max` objects under a prefix, behind a key.
    pub(super) fn list(&self, bucket: &str, prefix: &str, after: &str, max: usize) -> Vec<(String, Object)> {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(objects) = buckets.get(bucket) else { return Vec::new() };
        let from = if after >= prefix && !after.is_empty() {
            Bound::Excluded(after)
        } else {
            Bound::Included(prefix)
        };
        let range = objects.range::<str, _>((from, Bound::Unbounded));
        let under = range.take_while(|(key, _)| key.starts_with(prefix));
        under.take(max).map(|(key, object)| (key.clone(), object.clone())).collect()
    }

    /// The piece that is kept for these bytes: the one that is there already, where one is.
    fn share(&self, piece: Bytes) -> Bytes {
        let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &piece);
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let known = shared.pieces.get(&sum).cloned();
        if known.is_none() && shared.bytes + piece.len() <= SHARED_BYTES_MAX {
            shared.bytes += piece.len();
            shared.pieces.insert(sum, piece.clone());
        }
        drop(shared);
        known.filter(|known| *known == piece).unwrap_or(piece)
    }
}

/// Cuts a body that comes in into pieces.
pub(super) struct Intake<'a> {
    objects: &'a Objects,
    pieces: Vec<Bytes>,
    open: BytesMut,
}

impl<'a> Intake<'a> {
    pub(super) fn new(objects: &'a Objects) -> Self {
        Self { objects, pieces: Vec::new(), open: BytesMut::new() }
    }

    pub(super) async fn push(&mut self, mut chunk: Bytes) {
        while !chunk.is_empty() {
            let length = chunk.len().min(PIECE_BYTES - self.open.len());
            self.open.extend_from_slice(&chunk.split_to(length));
            if self.open.len() == PIECE_BYTES {
                self.close();
                if !self.objects.pause.is_zero() {
                    runtime::sleep(self.objects.pause).await;
                }
            }
        }
    }

    fn close(&mut self) {
        let piece = self.open.split().freeze();
        self.pieces.push(self.objects.share(piece));
    }

    pub(super) fn finish(mut self) -> Vec<Bytes> {
        if !self.open.is_empty() {
            self.close();
        }
        self.pieces
    }
}
