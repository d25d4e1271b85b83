//! What was located lately: reads go on from it while the catalog is gone.
//!
//! Filled by reads that the catalog answered and by commits, so it is warm when an outage begins. Bounded in
//! bytes. Its promise: after a write was answered, it never gives what was there before. Each write of a key
//! leaves its number in a slot; whoever located before that number may not teach any more. Slots are shared
//! by many keys: then one that could have been taught is not, which costs nothing but that.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use catalog::{BucketId, Content, Object, Piece, Want};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use runtime::mutation;
use types::{ByteRange, ObjectKey};

use crate::locate::Found;

/// Slots for the numbers of writes.
const SLOTS: usize = 4096;
/// Pieces of one object that are remembered; larger ones are known in part.
const PIECES_MAX: usize = 1024;
/// What an object takes in memory beside what is counted one by one.
const OBJECT_BYTES: usize = 700;
/// What a piece takes beside its paths and block checksums.
const PIECE_BYTES: usize = 200;
/// What a usual object takes, for the first guess of how many there will be.
const USUAL_BYTES: u64 = 1500;

type Key = (BucketId, ObjectKey);

/// Objects that were located lately, and where their bytes lie.
pub(crate) struct Recent {
    /// `None` where reads do not go on without the catalog.
    cache: Option<Cache<Key, Arc<Known>, Weight>>,
    /// By a key's hash: the number of the last write that touched it.
    writes: Box<[AtomicU64]>,
    last_write: AtomicU64,
    hasher: RandomState,
}

/// What is known of an object.
struct Known {
    object: Object,
    /// Ascending; gaps are what no reader asked for.
    pieces: Vec<Arc<Piece>>,
    bytes: u64,
}

/// When a reader began to locate: what it found may be taught unless the key was written since.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket(u64);

#[derive(Clone)]
struct Weight;

impl Weighter<Key, Arc<Known>> for Weight {
    fn weight(&self, key: &Key, known: &Arc<Known>) -> u64 {
        known.bytes + 2 * key.1.as_str().len() as u64
    }
}

impl Recent {
    /// Remembers as much as fits into so many bytes; nothing for 0.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let objects = usize::try_from(bytes_max / USUAL_BYTES).unwrap_or(usize::MAX).max(16);
        Self {
            cache: (bytes_max > 0).then(|| Cache::with_weighter(objects, bytes_max, Weight)),
            writes: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            last_write: AtomicU64::new(0),
            hasher: RandomState::new(),
        }
    }

    /// To be taken before the catalog is asked.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.last_write.load(Ordering::SeqCst))
    }

    /// The catalog has found this.
    pub(crate) fn found(&self, ticket: Ticket, object: &Object, pieces: &[Arc<Piece>]) {
        let Some(cache) = &self.cache else { return };
        let key = (object.bucket, object.key.clone());
        let present = cache.get(&key);
        if present.as_ref().is_some_and(|known| known.holds(object, pieces)) {
            return;
        }
        let in_time =
            || self.slot(&key).load(Ordering::SeqCst) <= ticket.0 || mutation::is_on("recent.ticket");
        if !in_time() {
            return;
        }
        cache.insert(key.clone(), Arc::new(Known::new(object, present.as_deref(), pieces)));
        // Written meanwhile, after the look above: the writer may have been here before us.
        if !in_time() {
            cache.remove(&key);
        }
    }

    /// The catalog knows no such object.
    pub(crate) fn missed(&self, bucket: BucketId, key: &ObjectKey) {
        if let Some(cache) = &self.cache {
            cache.remove(&(bucket, key.clone()));
        }
    }

    /// More pieces of an object that was found.
    pub(crate) fn found_more(
        &self,
        ticket: Ticket,
        bucket: BucketId,
        key: &ObjectKey,
        pieces: &[Arc<Piece>],
    ) {
        let known = self.cache.as_ref().and_then(|cache| cache.get(&(bucket, key.clone())));
        if let Some(known) = known {
            self.found(ticket, &known.object, pieces);
        }
    }

    /// A key is being written, or was: what is known of it may be wrong.
    pub(crate) fn forget(&self, bucket: BucketId, key: &ObjectKey) {
        if mutation::is_on("recent.forget") {
            return;
        }
        let key = (bucket, key.clone());
        self.slot(&key).fetch_max(self.next_write(), Ordering::SeqCst);
        if let Some(cache) = &self.cache {
            cache.remove(&key);
        }
    }

    /// A write was committed, and made this. Its ticket is from before the commit: where another write of the key was
    /// told since, that one may have come behind it, and been a delete, which leaves nothing to compare with.
    pub(crate) fn wrote(&self, ticket: Ticket, object: &Object, pieces: &[Arc<Piece>]) {
        let Some(cache) = &self.cache else { return };
        let key = (object.bucket, object.key.clone());
        let number = self.next_write();
        let before = self.slot(&key).fetch_max(number, Ordering::SeqCst);
        let alone = before <= ticket.0 || mutation::is_on("recent.between");
        let present = cache.get(&key);
        let last_come_last_known = mutation::is_on("recent.latest");
        if present.as_ref().is_some_and(|known| known.object.revision > object.revision)
            && !last_come_last_known
        {
            // A later write was quicker.
            return;
        }
        if present.is_none() && !alone {
            return;
        }
        cache.insert(key.clone(), Arc::new(Known::new(object, present.as_deref(), pieces)));
        if self.slot(&key).load(Ordering::SeqCst) > number && !last_come_last_known {
            // Another write, and nobody here knows which came last.
            cache.remove(&key);
        }
    }

    /// What a reader wants, as far as it is known. `None` where it is not, or not all of it.
    pub(crate) fn find(&self, bucket: BucketId, key: &ObjectKey, want: Want) -> Option<Found> {
        let known = self.cache.as_ref()?.get(&(bucket, key.clone()))?;
        known.find(want)
    }

    fn next_write(&self) -> u64 {
        self.last_write.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn slot(&self, key: &Key) -> &AtomicU64 {
        let hash = self.hasher.hash_one(key);
        let slots = self.writes.len() as u64;
        &self.writes[usize::try_from(hash % slots).expect("an index of the slots fits")]
    }
}

impl Known {
    /// What a reader found, with what was known of the same content before.
    fn new(object: &Object, before: Option<&Self>, pieces: &[Arc<Piece>]) -> Self {
        let same = before.filter(|known| known.object.state.content == object.state.content);
        let mut all: Vec<Arc<Piece>> = pieces.iter().take(PIECES_MAX).cloned().collect();
        for old in same.iter().flat_map(|known| &known.pieces) {
            if all.len() < PIECES_MAX && all.iter().all(|new| new.range.start != old.range.start) {
                all.push(Arc::clone(old));
            }
        }
        all.sort_by_key(|piece| piece.range.start);
        let bytes = bytes_of(object) + all.iter().map(|piece| bytes_of_piece(piece)).sum::<usize>();
        Self { object: object.clone(), pieces: all, bytes: bytes as u64 }
    }

    fn holds(&self, object: &Object, pieces: &[Arc<Piece>]) -> bool {
        let known = |piece: &Arc<Piece>| {
            self.piece(piece.range.start).is_some_and(|known| known.replicas == piece.replicas)
        };
        self.object.revision == object.revision
            && (self.pieces.len() >= PIECES_MAX || pieces.iter().all(known))
    }

    fn piece(&self, start: u64) -> Option<&Arc<Piece>> {
        let at = self.pieces.binary_search_by_key(&start, |piece| piece.range.start).ok()?;
        self.pieces.get(at)
    }

    fn find(&self, want: Want) -> Option<Found> {
        let size = self.object.state.size;
        let range = match (want, self.object.state.content) {
            (Want::Part(1), Content::Blob(_)) => Ok(ByteRange::whole(size)),
            (Want::Part(_), Content::Blob(_)) => Err(catalog::Unsatisfiable),
            _ => want.of(size)?,
        };
        let pieces = match range {
            Ok(range) if range.length > 0 => self.covering(range)?,
            _ => Vec::new(),
        };
        Some(Found {
            object: self.object.clone(),
            range,
            parts: None,
            pieces,
            degraded: !mutation::is_on("recent.marked"),
        })
    }

    /// The pieces that hold all of a range.
    fn covering(&self, range: ByteRange) -> Option<Vec<Arc<Piece>>> {
        let first = self.pieces.partition_point(|piece| piece.range.end() <= range.start);
        let (mut at, mut found) = (range.start, Vec::new());
        for piece in &self.pieces[first..] {
            if at >= range.end() {
                break;
            }
            if piece.range.start > at {
                return None;
            }
            at = piece.range.end();
            found.push(Arc::clone(piece));
        }
        (at >= range.end()).then_some(found)
    }
}

fn bytes_of(object: &Object) -> usize {
    let state = &object.state;
    let pairs = state.metadata.iter().chain(&state.tags).map(|(name, value)| 48 + name.len() + value.len());
    let headers = &state.headers;
    let headers = [
        &headers.content_type,
        &headers.cache_control,
        &headers.content_disposition,
        &headers.content_encoding,
        &headers.content_language,
        &headers.expires,
        &headers.website_redirect,
        &headers.storage_class,
    ];
    let headers = headers.into_iter().flatten().map(String::len);
    OBJECT_BYTES + object.key.as_str().len() + pairs.sum::<usize>() + headers.sum::<usize>()
}

fn bytes_of_piece(piece: &Piece) -> usize {
    let replicas = piece.replicas.iter().map(|replica| 80 + replica.path.as_str().len());
    PIECE_BYTES + 4 * piece.blocks.len() + replicas.sum::<usize>()
}

/// Forgets keys when it is dropped: whatever becomes of the write in whose midst its caller may go away,
/// what was known before is not given out.
pub(crate) struct Forgetting<'a> {
    recent: &'a Recent,
    ticket: Ticket,
    bucket: BucketId,
    keys: Vec<ObjectKey>,
}

impl<'a> Forgetting<'a> {
    /// These keys are about to be written.
    pub(crate) fn new(recent: &'a Recent, bucket: BucketId, keys: Vec<ObjectKey>) -> Self {
        Self { recent, ticket: recent.ticket(), bucket, keys }
    }

    /// The write was committed, and made this of its only key.
    pub(crate) fn wrote(mut self, object: &Object, pieces: &[Arc<Piece>]) {
        self.keys.clear();
        self.recent.wrote(self.ticket, object, pieces);
    }
}

impl Drop for Forgetting<'_> {
    fn drop(&mut self) {
        for key in &self.keys {
            self.recent.forget(self.bucket, key);
        }
    }
}

#[cfg(test)]
mod tests {
    use catalog::{BackendId, Checksums, Client, ObjectHeaders, ObjectState, ReplicaAt, ReplicaState};
    use types::{BlobId, ChangeId, ETag, ManifestId, ReplicaId, ReplicaPath, Timestamp};

    use super::*;

    const NOTHING: fn() -> Timestamp = Timestamp::default;
    const BUCKET: BucketId = BucketId(1);

    fn key(name: &str) -> ObjectKey {
        ObjectKey::parse(name).unwrap()
    }

    fn object(name: &str, revision: u64, content: Content, size: u64) -> Object {
        Object {
            bucket: BUCKET,
            key: key(name),
            revision,
            change: ChangeId::from_parts(NOTHING(), u128::from(revision)),
            state: ObjectState {
                size,
                etag: ETag::from_text("a"),
                modified: NOTHING(),
                content,
                headers: ObjectHeaders::default(),
                metadata: Vec::new(),
                tags: Vec::new(),
                checksums: Checksums::default(),
                client: Client::default(),
            },
        }
    }

    fn blob(name: &str, revision: u64) -> Object {
        object(name, revision, Content::Blob(BlobId::from_parts(NOTHING(), u128::from(revision))), 100)
    }

    fn piece(start: u64, length: u64, replica: u128) -> Arc<Piece> {
        let at = ReplicaAt {
            replica: ReplicaId::from_parts(NOTHING(), replica),
            backend: BackendId(1),
            path: ReplicaPath::parse("p").unwrap(),
            state: ReplicaState::Live,
        };
        Arc::new(Piece {
            range: ByteRange::new(start, length),
            blob: BlobId::from_parts(NOTHING(), 1),
            blob_offset: 0,
            blob_size: length,
            replicas: vec![at],
            blocks: vec![7],
        })
    }

    /// A write that nobody else comes in between of.
    fn wrote(recent: &Recent, object: &Object, pieces: &[Arc<Piece>]) {
        recent.wrote(recent.ticket(), object, pieces);
    }

    fn revision(recent: &Recent, name: &str) -> Option<u64> {
        recent.find(BUCKET, &key(name), Want::State).map(|found| found.object.revision)
    }

    #[test]
    fn what_was_located_before_a_write_is_not_taught_after_it() {
        let recent = Recent::new(1 << 20);
        let early = recent.ticket();
        recent.found(early, &blob("k", 1), &[piece(0, 100, 1)]);
        assert_eq!(revision(&recent, "k"), Some(1));
        wrote(&recent, &blob("k", 2), &[piece(0, 100, 2)]);
        recent.found(early, &blob("k", 1), &[piece(0, 100, 1)]);
        assert_eq!(revision(&recent, "k"), Some(2));
        // A delete leaves nothing that a revision could be compared with.
        recent.forget(BUCKET, &key("k"));
        recent.found(early, &blob("k", 2), &[piece(0, 100, 2)]);
        assert_eq!(revision(&recent, "k"), None);
        recent.found(recent.ticket(), &blob("k", 3), &[]);
        assert_eq!(revision(&recent, "k"), Some(3));
    }

    #[test]
    fn of_two_writes_the_later_one_stays() {
        let recent = Recent::new(1 << 20);
        wrote(&recent, &blob("k", 6), &[]);
        wrote(&recent, &blob("k", 5), &[]);
        assert_eq!(revision(&recent, "k"), Some(6));
    }

    /// A delete that came behind a write and was answered before it: seed 1807 of the simulation.
    #[test]
    fn what_was_deleted_before_its_write_was_answered_is_not_remembered() {
        let recent = Recent::new(1 << 20);
        let write = Forgetting::new(&recent, BUCKET, vec![key("k")]);
        drop(Forgetting::new(&recent, BUCKET, vec![key("k")]));
        write.wrote(&blob("k", 1), &[]);
        assert_eq!(revision(&recent, "k"), None);
        // Of two writes the revisions tell.
        let (first, second) = [(); 2].map(|()| Forgetting::new(&recent, BUCKET, vec![key("k")])).into();
        recent.found(recent.ticket(), &blob("k", 2), &[]);
        first.wrote(&blob("k", 3), &[]);
        second.wrote(&blob("k", 4), &[]);
        assert_eq!(revision(&recent, "k"), Some(4));
    }

    #[test]
    fn whoever_goes_away_in_the_midst_of_a_write_leaves_nothing_known() {
        let recent = Recent::new(1 << 20);
        wrote(&recent, &blob("k", 1), &[]);
        drop(Forgetting::new(&recent, BUCKET, vec![key("k")]));
        assert_eq!(revision(&recent, "k"), None);
        Forgetting::new(&recent, BUCKET, vec![key("k")]).wrote(&blob("k", 2), &[]);
        assert_eq!(revision(&recent, "k"), Some(2));
    }

    #[test]
    fn a_range_is_given_where_all_of_it_is_known() {
        let recent = Recent::new(1 << 20);
        let manifest = Content::Manifest(ManifestId::from_parts(NOTHING(), 1));
        let large = object("k", 1, manifest, 300);
        let find = |want| recent.find(BUCKET, &key("k"), want).map(|found| found.pieces.len());
        let from = |start, last| Want::From { start, last: Some(last) };
        recent.found(recent.ticket(), &large, &[piece(0, 100, 1)]);
        recent.found_more(recent.ticket(), BUCKET, &key("k"), &[piece(200, 100, 3)]);
        assert_eq!(
            (find(from(10, 99)), find(from(250, 260)), find(Want::Last(100))),
            (Some(1), Some(1), Some(1))
        );
        assert_eq!((find(from(10, 100)), find(Want::Whole), find(Want::Part(1))), (None, None, None));
        assert_eq!((find(Want::State), find(from(300, 310))), (Some(0), Some(0)));
        recent.found(recent.ticket(), &large, &[piece(100, 100, 2)]);
        assert_eq!((find(Want::Whole), find(from(99, 100))), (Some(3), Some(2)));
        // Other content: nothing of it is known.
        wrote(&recent, &blob("k", 2), &[]);
        assert_eq!((find(Want::State), find(Want::Whole)), (Some(0), None));
    }

    #[test]
    fn a_replica_that_moved_is_learnt() {
        let recent = Recent::new(1 << 20);
        recent.found(recent.ticket(), &blob("k", 1), &[piece(0, 100, 1)]);
        recent.found(recent.ticket(), &blob("k", 1), &[piece(0, 100, 2)]);
        let found = recent.find(BUCKET, &key("k"), Want::Whole).unwrap();
        assert_eq!(found.pieces, [piece(0, 100, 2)]);
    }

    #[test]
    fn it_keeps_within_its_bytes() {
        let recent = Recent::new(1 << 20);
        for number in 0..20_000 {
            wrote(&recent, &blob(&format!("key-{number}"), 1), &[piece(0, 100, 1)]);
        }
        let cache = recent.cache.as_ref().unwrap();
        assert!(cache.weight() <= 1 << 20, "{} bytes", cache.weight());
        assert!(cache.len() > 200, "{} objects", cache.len());
        let none = Recent::new(0);
        wrote(&none, &blob("k", 1), &[]);
        assert_eq!(revision(&none, "k"), None);
    }
}
