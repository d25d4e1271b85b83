//! The property: whatever is done in whatever order, a catalog and the model answer alike.

mod brake;
mod imports;
mod limits;
mod repair;
mod ship;
mod strays;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use types::{BackendName, ByteRange, ETag, ObjectKey, ReplicaId, Timestamp, UploadId};

use self::limits::{LimitOp, limit_ops};
use super::{Model, Phase};
use crate::sqlite::Sqlite;
use crate::suite::World;
use crate::suite::world::{Reserved, blocks, decide, key, md5, now, state};
use crate::{
    AbortUpload, BackendTotals, CatalogError, Checksums, Client, CommitMove, CommitPut, CompleteUpload,
    CopyObject, CopyPart, DeleteObjects, ExpiredQuery, Fate, ListPosition, ListQuery, ListedUpload,
    MatchTags, NewBlob, Object, ObjectHeaders, PartsQuery, Piece, Precondition, Refusal, ReplicaState,
    Reserve, ReserveFor, RestoreQuarantined, Retire, SetTags, Settled, SettledOutcome, UploadsQuery, Want,
    WriteOutcome,
};

const KEYS: [&str; 10] = ["a", "a/", "a/b", "a/b/c", "a/c", "b", "b//", "ä/x", "a\0", "a0"];
const SIZES: [u64; 5] = [0, 1, 7, 65_536, 70_000];
/// Small enough to be reached now and then.
const QUOTA: u64 = 400_000;
const CASES: u32 = 96;
const OPS_MAX: usize = 60;
const OPEN_UPLOADS_MAX: u64 = 4;

/// Something to do; the numbers choose among what there is.
#[derive(Debug, Clone)]
enum Op {
    Put { key: u8, sizes: Vec<u8>, factor: u32, guard: u8, fates: u8, call: u8 },
    Abandon { size: u8 },
    Delete { keys: Vec<u8>, guard: u8 },
    Copy { from: u8, to: u8, guard: u8, stale: bool, replace: bool, call: u8 },
    Tag { key: u8, tags: u8 },
    Begin { key: u8 },
    Part { upload: u8, number: u32, sizes: Vec<u8>, fates: u8 },
    CopyPart { upload: u8, number: u32, from: u8, start: u8, length: u8, stale: bool },
    Complete { upload: u8, numbers: u8, guard: u8 },
    Abort { upload: u8 },
    Reap { minutes: u8, fail: u8 },
    Suspect { replica: u8 },
    Drain { backend: u8 },
    Retire { replica: u8, least: u32, except: u8 },
    Move { replica: u8, ends: u8 },
    TakeIn { backend: u8, what: u8 },
    PutOff { replica: u8 },
    Judge { replica: u8, key: u8, what: u8 },
    Import { backend: u8, key: u8, path: u8, size: u8 },
    Expire { prefix: u8, young: bool, tagged: bool, spoilt: u8 },
    Reboot,
    Repeat,
    List { prefix: u8, delimiter: u8, after: u8, limit: u8 },
    Limit(LimitOp),
    Postpone { blob: u8 },
    Factor { wanted: u32 },
    Prove { replica: u8 },
    Brake { what: u8 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let sizes = || prop::collection::vec(0..5_u8, 1..4);
    let op = prop_oneof![
        6 => (0..10_u8, sizes(), 1..4_u32, 0..10_u8, any::<u8>(), 0..6_u8).prop_map(
            |(key, sizes, factor, guard, fates, call)| Op::Put { key, sizes, factor, guard, fates, call }),
        1 => (0..5_u8).prop_map(|size| Op::Abandon { size }),
        3 => (prop::collection::vec(0..10_u8, 1..4), 0..10_u8).prop_map(|(keys, guard)| Op::Delete { keys, guard }),
        3 => (0..10_u8, 0..10_u8, 0..10_u8, prop::bool::weighted(0.1), any::<bool>(), 0..6_u8).prop_map(
            |(from, to, guard, stale, replace, call)| Op::Copy { from, to, guard, stale, replace, call }),
        1 => (0..10_u8, 0..3_u8).prop_map(|(key, tags)| Op::Tag { key, tags }),
        3 => (0..10_u8).prop_map(|key| Op::Begin { key }),
        6 => (any::<u8>(), 1..6_u32, sizes(), any::<u8>()).prop_map(
            |(upload, number, sizes, fates)| Op::Part { upload, number, sizes, fates }),
        4 => (any::<u8>(), 1..6_u32, 0..10_u8, any::<u8>(), any::<u8>(), prop::bool::weighted(0.1)).prop_map(
            |(upload, number, from, start, length, stale)|
                Op::CopyPart { upload, number, from, start, length, stale }),
        4 => (any::<u8>(), any::<u8>(), 0..10_u8).prop_map(
            |(upload, numbers, guard)| Op::Complete { upload, numbers, guard }),
        1 => any::<u8>().prop_map(|upload| Op::Abort { upload }),
        3 => (0..3_u8, any::<u8>()).prop_map(|(minutes, fail)| Op::Reap { minutes, fail }),
        1 => any::<u8>().prop_map(|replica| Op::Suspect { replica }),
        1 => any::<u8>().prop_map(|backend| Op::Drain { backend }),
        2 => (any::<u8>(), 0..3_u32, 0..8_u8).prop_map(
            |(replica, least, except)| Op::Retire { replica, least, except }),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(replica, ends)| Op::Move { replica, ends }),
        2 => (0..3_u8, any::<u8>()).prop_map(|(backend, what)| Op::TakeIn { backend, what }),
        1 => any::<u8>().prop_map(|replica| Op::PutOff { replica }),
        1 => (any::<u8>(), 0..10_u8, 0..6_u8, any::<u8>())
            .prop_map(|(backend, key, path, size)| Op::Import { backend, key, path, size }),
        1 => (any::<u8>(), 0..10_u8, 0..3_u8).prop_map(|(replica, key, what)| Op::Judge { replica, key, what }),
        1 => (0..12_u8, any::<bool>(), any::<bool>(), any::<u8>()).prop_map(
            |(prefix, young, tagged, spoilt)| Op::Expire { prefix, young, tagged, spoilt }),
        1 => Just(Op::Reboot),
        2 => Just(Op::Repeat),
        8 => limit_ops().prop_map(Op::Limit),
        2 => any::<u8>().prop_map(|blob| Op::Postpone { blob }),
        1 => (1..4_u32).prop_map(|wanted| Op::Factor { wanted }),
        1 => any::<u8>().prop_map(|replica| Op::Prove { replica }),
        1 => any::<u8>().prop_map(|what| Op::Brake { what }),
        4 => (0..12_u8, 0..4_u8, 0..24_u8, 0..6_u8).prop_map(
            |(prefix, delimiter, after, limit)| Op::List { prefix, delimiter, after, limit }),
    ];
    prop::collection::vec(op, 1..OPS_MAX)
}

/// A change that can be sent again.
#[derive(Clone)]
enum Change {
    Put(Box<CommitPut>),
    Copy(Box<CopyObject>),
    Delete(DeleteObjects),
    Complete(CompleteUpload),
}

struct Drive {
    w: World,
    model: Model,
    clock: Timestamp,
    uploads: Vec<(UploadId, ObjectKey)>,
    /// The revision that each key had last, also of keys that are gone.
    revisions: BTreeMap<ObjectKey, u64>,
    last: Option<(Change, String)>,
    factor: Option<u32>,
}

/// Both refuse alike, or both answer; gives the answers.
fn alike<T, U>(what: &str, catalog: Result<T, CatalogError>, model: Result<U, Refusal>) -> Option<(T, U)> {
    match (catalog, model) {
        (Ok(catalog), Ok(model)) => Some((catalog, model)),
        (Err(CatalogError::Refused(catalog)), Err(model)) => {
            assert_eq!(catalog, model, "{what}");
            None
        }
        (Err(error), model) => panic!("{what}: the catalog says {error}, the model {:?}", model.err()),
        (Ok(_), Err(model)) => panic!("{what}: the catalog agrees, the model says {model}"),
    }
}

impl Drive {
    async fn new(seed: u64) -> Self {
        let w = World::new(Arc::new(Sqlite::in_memory().unwrap()), seed).await;
        let known = ["one", "two", "three"].iter().zip(&w.backends);
        let backends = known.map(|(name, backend)| {
            let name = BackendName::parse(name).unwrap();
            let totals = BackendTotals {
                backend: *backend,
                name,
                charged: 0,
                doomed_bytes: 0,
                replicas_live: 0,
                replicas_doomed: 0,
            };
            (totals, crate::suite::world::LATE_MS)
        });
        let mut model = Model { backends: backends.collect(), ..Model::default() };
        model.join(w.boot, now()).unwrap();
        Self {
            w,
            model,
            clock: now(),
            uploads: Vec::new(),
            revisions: BTreeMap::new(),
            last: None,
            factor: None,
        }
    }

    fn present(&self, key: &ObjectKey) -> Option<&Object> {
        self.model.present(self.w.bucket, key)
    }

    fn guard(&self, number: u8, key: &ObjectKey) -> Precondition {
        let tags = |tag: ETag| Some(MatchTags::Tags(vec![tag]));
        let present = self.present(key).map_or(ETag::from_text("none"), |object| object.state.etag.clone());
        let (if_match, if_none_match) = match number {
            0 => (None, Some(MatchTags::Any)),
            1 => (Some(MatchTags::Any), None),
            2 => (tags(present), None),
            3 => (tags(ETag::from_text("other")), None),
            4 => (None, tags(present)),
            _ => (None, None),
        };
        Precondition { if_match, if_none_match }
    }

    fn client(call: u8) -> Client {
        let invocation = (call < 2).then(|| format!("call {call}"));
        Client { access_key: "AKIA".to_owned(), invocation }
    }

    async fn reserve(&mut self, purpose: ReserveFor, size: u64, factor: u32) -> Option<Reserved> {
        let blob = self.w.ids.blob();
        let targets = (0..3).map(|backend| self.w.target(blob, backend, size + 3, Some(QUOTA))).collect();
        let reserve = Reserve { blob, owner: self.w.boot, size, purpose, targets, wanted: factor, least: 1 };
        let model = self.model.reserve(&reserve);
        let (targets, expected) = alike("reserve", self.w.catalog.reserve(reserve).await, model)?;
        assert_eq!(targets.iter().map(|target| target.replica).collect::<Vec<_>>(), expected);
        Some(Reserved { blob, size, targets })
    }

    /// Reserves blobs and decides what becomes of them; where one finds no room, the others are let go.
    async fn write(
        &mut self,
        purpose: ReserveFor,
        sizes: &[u8],
        factor: u32,
        fates: u8,
    ) -> Option<Vec<NewBlob>> {
        let mut blobs = Vec::new();
        for size in sizes {
            let size = SIZES[usize::from(*size)];
            let Some(reserved) = self.reserve(purpose.clone(), size, factor).await else {
                self.let_go(&blobs).await;
                return None;
            };
            let until = self.clock.plus(Duration::from_secs(30));
            let outcome = |at: usize| match (fates >> (2 * at)) & 3 {
                0 => WriteOutcome::Doomed { arrives_until: (fates > 99).then_some(until) },
                1 if fates > 99 => WriteOutcome::Unsent,
                _ => WriteOutcome::Live { version: (fates < 20).then(|| "v".to_owned()) },
            };
            let md5 = (!fates.is_multiple_of(7)).then(|| md5(size));
            blobs.push(NewBlob { md5, ..reserved.with(outcome) });
        }
        Some(blobs)
    }

    async fn let_go(&mut self, blobs: &[NewBlob]) {
        let fates: Vec<Fate> = blobs.iter().flat_map(|blob| blob.fates.clone()).collect();
        self.model.give_up(self.w.boot, &fates);
        self.w.catalog.let_go(self.w.boot, fates).await.unwrap();
    }

    async fn step(&mut self, op: &Op) {
        match op {
            Op::Put { key: at, sizes, factor, guard, fates, call } => {
                self.put(key(KEYS[usize::from(*at)]), sizes, *factor, *guard, *fates, *call).await;
            }
            Op::Abandon { size } => {
                let size = SIZES[usize::from(*size)];
                let purpose = self.w.object_request(&key("any"), size, Precondition::default());
                self.reserve(purpose, size, 2).await;
            }
            Op::Delete { keys, guard } => self.delete(keys, *guard).await,
            Op::Copy { from, to, guard, stale, replace, call } => {
                self.copy(*from, *to, *guard, *stale, *replace, *call).await;
            }
            Op::Tag { key: at, tags } => self.tag(key(KEYS[usize::from(*at)]), *tags).await,
            Op::Begin { key: at } => {
                let mut create = self.w.upload_of(KEYS[usize::from(*at)]);
                create.open_max = Some(OPEN_UPLOADS_MAX);
                self.uploads.push((create.upload.upload, create.upload.key.clone()));
                let model = self.model.create_upload(&create);
                alike("create", self.w.catalog.create_upload(create).await, model);
            }
            Op::Part { upload, number, sizes, fates } => self.part(*upload, *number, sizes, *fates).await,
            Op::CopyPart { upload, number, from, start, length, stale } => {
                self.copy_part(*upload, *number, *from, (*start, *length), *stale).await;
            }
            Op::Complete { upload, numbers, guard } => self.complete(*upload, *numbers, *guard).await,
            Op::Abort { upload } => {
                let Some((upload, key)) = self.an_upload(*upload) else { return };
                let (change, bucket) = (self.w.ids.change(), self.w.bucket);
                let abort = AbortUpload { change, at: now(), upload, bucket, key };
                let model = self.model.abort_upload(&abort);
                alike("abort", self.w.catalog.abort_upload(abort).await, model);
            }
            Op::Reap { minutes, fail } => self.reap(*minutes, *fail).await,
            Op::Suspect { replica } => {
                let known: Vec<ReplicaId> = self.model.replicas.keys().copied().collect();
                let Some(replica) = pick(&known, *replica) else { return };
                self.model.mark_suspect(*replica);
                self.w.catalog.mark_suspect(self.w.ids.change(), *replica, "why").await.unwrap();
            }
            Op::Drain { backend } => self.drain(*backend).await,
            Op::Retire { replica, least, except } => self.retire(*replica, *least, *except).await,
            Op::Move { replica, ends } => self.make_another(*replica, *ends).await,
            Op::TakeIn { backend, what } => self.take_in(*backend, *what).await,
            Op::PutOff { replica } => self.put_off(*replica).await,
            Op::Import { backend, key: at, path, size } => {
                self.import(*backend, key(KEYS[usize::from(*at)]), *path, *size).await;
            }
            Op::Judge { replica, key: at, what } => {
                self.judge(*replica, key(KEYS[usize::from(*at)]), *what).await;
            }
            Op::Expire { prefix, young, tagged, spoilt } => {
                self.expire(*prefix, *young, *tagged, *spoilt).await;
            }
            Op::Reboot => {
                self.w.boot = self.w.ids.boot();
                self.model.begin_boot(self.w.boot, self.clock);
                // The next round looks at all blobs again.
                self.factor = None;
                self.w.catalog.begin_boot(self.w.boot, self.clock).await.unwrap();
            }
            Op::Repeat => self.repeat().await,
            Op::Limit(op) => self.limit_step(op).await,
            Op::Postpone { blob } => self.postpone(*blob).await,
            Op::Factor { wanted } => self.change_factor(*wanted).await,
            Op::Prove { replica } => self.prove(*replica).await,
            Op::Brake { what } => self.brake(*what).await,
            Op::List { prefix, delimiter, after, limit } => {
                self.list(*prefix, *delimiter, *after, u32::from(*limit)).await;
            }
        }
    }

    /// Starts a drain, or cancels it: mostly the latter, or soon nothing would have room.
    async fn drain(&mut self, backend: u8) {
        let id = self.w.backends[usize::from(backend % 3)];
        if backend < 90 {
            self.model.start_drain(id);
            return self.w.catalog.start_drain(self.w.ids.change(), id, now()).await.unwrap();
        }
        for id in self.w.backends.clone() {
            let (change, expected) = (self.w.ids.change(), self.model.cancel_drain(id));
            assert_eq!(self.w.catalog.cancel_drain(change, id).await.unwrap(), expected);
        }
    }

    async fn retire(&mut self, replica: u8, least: u32, except: u8) {
        let known: Vec<ReplicaId> = self.model.replicas.keys().copied().collect();
        let Some(replica) = pick(&known, replica) else { return };
        let excepted = (0..3).filter(|at| except >> at & 1 == 1).map(|at| self.w.backends[at]);
        let except = excepted.collect();
        let retire = Retire { change: self.w.ids.change(), replica: *replica, least, except };
        let model = self.model.retire(&retire);
        for _ in 0..2 {
            let made = self.w.catalog.retire_replica(retire.clone()).await.unwrap();
            assert_eq!(made, model, "the same answer to the same change");
        }
    }

    /// Makes one more replica of a blob, or is let down halfway.
    async fn make_another(&mut self, replica: u8, ends: u8) {
        let known: Vec<_> = self.model.replicas.values().map(|r| r.row.blob).collect();
        let Some(blob) = pick(&known, replica).copied() else { return };
        let targets: Vec<_> = (0..3).map(|backend| self.w.target(blob, backend, 11, Some(QUOTA))).collect();
        let model = self.model.reserve_move(blob, self.w.boot, &targets);
        let reserved = self.w.catalog.reserve_move(blob, self.w.boot, targets).await;
        let Some((taken, expected)) = alike("reserve a move", reserved, model) else { return };
        assert_eq!(taken.as_ref().map(|target| target.replica), expected);
        let Some(target) = taken else { return };
        if ends < 40 {
            // Its owner is never heard of again.
            return;
        }
        let outcome = WriteOutcome::Doomed { arrives_until: None };
        let fates = vec![Fate { replica: target.replica, outcome }];
        if ends < 80 {
            self.model.give_up(self.w.boot, &fates);
            return self.w.catalog.let_go(self.w.boot, fates).await.unwrap();
        }
        let commit = CommitMove {
            change: self.w.ids.change(),
            owner: self.w.boot,
            blob,
            replica: target.replica,
            version: None,
        };
        let model = self.model.commit_move(&commit);
        alike("commit a move", self.w.catalog.commit_move(commit).await, model);
    }

    /// The operator restores a replica, or deletes it; or its time is over.
    async fn judge(&mut self, replica: u8, key: ObjectKey, what: u8) {
        let known: Vec<ReplicaId> = self.model.replicas.keys().copied().collect();
        let Some(replica) = pick(&known, replica).copied() else { return };
        let (catalog, change) = (&self.w.catalog, self.w.ids.change());
        if what == 0 {
            let made = catalog.doom_quarantined(change, vec![replica]).await.unwrap();
            assert_eq!(made, self.model.doom_quarantined(&[replica], None));
        } else if what == 1 {
            let made = catalog.expire_quarantined(change, self.clock, 1000).await.unwrap();
            assert_eq!(made, self.model.doom_quarantined(&[], Some(self.clock)));
        } else {
            let (bucket, blocks) = (self.w.bucket, blocks(7));
            let state = state(7);
            let restore =
                RestoreQuarantined { change, replica, bucket, key, state, md5: md5(7), blocks, wanted: 2 };
            let model = self.model.restore(&restore);
            let made = catalog.restore_quarantined(restore).await;
            let Some((made, expected)) = alike("restore", made, model) else { return };
            self.rises(&made.object, false);
            assert_eq!(Object { revision: 0, ..made.object }, expected);
        }
    }

    /// Expires what is old enough, in pages of three rows; some of it as it was before it changed.
    async fn expire(&mut self, prefix: u8, young: bool, tagged: bool, spoilt: u8) {
        let mut query = ExpiredQuery {
            bucket: self.w.bucket,
            prefix: KEYS.get(usize::from(prefix)).map_or(String::new(), |key| (*key).to_owned()),
            tags: if tagged { vec![("0".to_owned(), "v".to_owned())] } else { Vec::new() },
            before: if young { now() } else { now().plus(Duration::from_secs(1)) },
            after: None,
            rows_max: 3,
        };
        let expected = self.model.expired(&query);
        let mut seen = Vec::new();
        loop {
            let page = self.w.catalog.expired(&query).await.unwrap();
            seen.extend(page.objects);
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        assert_eq!(seen, expected);
        for (at, object) in seen.iter_mut().enumerate().filter(|(at, _)| spoilt >> (at % 8) & 1 == 1) {
            object.change = if at % 2 == 0 { self.w.ids.change() } else { object.change };
        }
        let model = self.model.expire(self.w.bucket, &seen);
        let change = self.w.ids.change();
        let made = self.w.catalog.expire_objects(change, self.w.bucket, seen).await.unwrap();
        assert_eq!(made, model);
    }

    async fn put(&mut self, key: ObjectKey, sizes: &[u8], factor: u32, guard: u8, fates: u8, call: u8) {
        let size = sizes.iter().map(|size| SIZES[usize::from(*size)]).sum();
        let precondition = self.guard(guard, &key);
        let client = Self::client(call);
        let purpose = ReserveFor::Object {
            bucket: self.w.bucket,
            key: key.clone(),
            precondition: precondition.clone(),
            client: client.clone(),
            size,
        };
        let Some(blobs) = self.write(purpose, sizes, factor, fates).await else { return };
        let mut wanted = crate::ObjectState { client, ..state(size) };
        wanted.checksums.crc32 = fates.is_multiple_of(2).then(|| "AAAAAA==".to_owned());
        let put = self.w.put_of(&key, &[], wanted);
        let put = CommitPut { precondition, blobs: blobs.clone(), ..put };
        let model = self.model.commit_put(&put);
        let answers = alike("put", self.w.catalog.commit_put(put.clone()).await, model);
        let Some((mut made, expected)) = answers else { return self.let_go(&blobs).await };
        self.last = Some((Change::Put(Box::new(put)), format!("{made:?}")));
        self.rises(&made.object, made.already);
        made.object.revision = 0;
        assert_eq!((made.object, made.already), (expected.object, expected.already));
    }

    /// A revision is higher than every one that its key had.
    fn rises(&mut self, object: &Object, already: bool) {
        let before = self.revisions.insert(object.key.clone(), object.revision).unwrap_or(0);
        assert!(
            object.revision > before || (already && object.revision == before),
            "{object:?} after {before}"
        );
    }

    async fn delete(&mut self, keys: &[u8], guard: u8) {
        let names: Vec<&str> = keys.iter().map(|at| KEYS[usize::from(*at)]).collect();
        let mut delete = self.w.delete_of(&names);
        for item in &mut delete.items {
            item.precondition = self.guard(guard, &item.key);
        }
        let model = self.model.delete_objects(&delete);
        let answers = alike("delete", self.w.catalog.delete_objects(delete.clone()).await, model);
        let (made, expected) = answers.expect("a delete answers for each item");
        assert_eq!(made, expected);
        self.last = Some((Change::Delete(delete), format!("{made:?}")));
    }

    async fn copy(&mut self, from: u8, to: u8, guard: u8, stale: bool, replace: bool, call: u8) {
        let (from, to) = (key(KEYS[usize::from(from)]), KEYS[usize::from(to)]);
        let source = self.present(&from).cloned();
        let mut copy = match &source {
            Some(source) => self.w.copy_of(source, to),
            None => {
                let change = self.w.ids.change();
                let none = Object { bucket: self.w.bucket, key: from, revision: 0, change, state: state(0) };
                self.w.copy_of(&none, to)
            }
        };
        if stale {
            copy.source_change = self.w.ids.change();
        }
        (copy.precondition, copy.client) = (self.guard(guard, &copy.key), Self::client(call));
        if replace {
            let headers = ObjectHeaders {
                expires: Some("never".to_owned()),
                storage_class: Some("STANDARD_IA".to_owned()),
                ..ObjectHeaders::default()
            };
            copy.replace_metadata = Some((headers, vec![("a".to_owned(), "b".to_owned())]));
            copy.replace_tags = Some(vec![("c".to_owned(), "d".to_owned())]);
            copy.replace_checksums =
                Some(Checksums { crc32: Some("AAAAAA==".to_owned()), ..Checksums::default() });
        }
        let model = self.model.copy_object(&copy);
        let answers = alike("copy", self.w.catalog.copy_object(copy.clone()).await, model);
        let Some((mut made, expected)) = answers else { return };
        self.last = Some((Change::Copy(Box::new(copy)), format!("{made:?}")));
        self.rises(&made.object, made.already);
        made.object.revision = 0;
        assert_eq!((made.object, made.already), (expected.object, expected.already));
    }

    async fn tag(&mut self, key: ObjectKey, tags: u8) {
        let tags = (0..tags).map(|tag| (tag.to_string(), "v".to_owned())).collect();
        let set = SetTags { change: self.w.ids.change(), bucket: self.w.bucket, key, tags };
        let model = self.model.set_tags(&set);
        let Some((mut made, expected)) = alike("tags", self.w.catalog.set_tags(set).await, model) else {
            return;
        };
        self.rises(&made, false);
        made.revision = 0;
        assert_eq!(made, expected);
    }

    fn an_upload(&self, number: u8) -> Option<(UploadId, ObjectKey)> {
        // The latest ones, so that most are open.
        let recent = &self.uploads[self.uploads.len().saturating_sub(3)..];
        pick(recent, number).cloned()
    }

    async fn part(&mut self, upload: u8, number: u32, sizes: &[u8], fates: u8) {
        let Some((upload, key)) = self.an_upload(upload) else { return };
        let purpose = ReserveFor::Part { upload, bucket: self.w.bucket, key: key.clone() };
        let Some(blobs) = self.write(purpose, sizes, 2, fates).await else { return };
        let mut part = self.w.part_of(upload, key.as_str(), number, &[]);
        part.part.size = blobs.iter().map(|blob| blob.size).sum();
        part.blobs.clone_from(&blobs);
        let model = self.model.commit_part(&part);
        if alike("part", self.w.catalog.commit_part(part).await, model).is_none() {
            self.let_go(&blobs).await;
        }
    }

    async fn copy_part(&mut self, upload: u8, number: u32, from: u8, range: (u8, u8), stale: bool) {
        let Some((upload, target)) = self.an_upload(upload) else { return };
        let source_key = key(KEYS[usize::from(from)]);
        let source = self.present(&source_key);
        let size = source.map_or(0, |source| source.state.size);
        // Often the whole, often the edges of a blob, sometimes anything.
        let start = if range.0 < 100 { 0 } else { size * u64::from(range.0) / 300 };
        let length = if range.1 < 100 { size - start } else { (size - start) * u64::from(range.1) / 300 };
        let change = source.filter(|_| !stale).map_or_else(|| self.w.ids.change(), |source| source.change);
        let copy = CopyPart {
            change: self.w.ids.change(),
            at: now(),
            source_bucket: self.w.bucket,
            source_key,
            source_change: change,
            range: ByteRange::new(start, length),
            upload,
            bucket: self.w.bucket,
            key: target,
            number,
            manifest: self.w.ids.manifest(),
            opaque_etag: ETag::from_text("00112233445566778899aabbccddeeff"),
        };
        let model = self.model.copy_part(&copy);
        if let Some((made, expected)) = alike("copy part", self.w.catalog.copy_part(copy).await, model) {
            assert_eq!(made, expected);
        }
    }

    async fn complete(&mut self, upload: u8, numbers: u8, guard: u8) {
        let Some((upload, key)) = self.an_upload(upload) else { return };
        let present = match self.model.uploads.get(&upload) {
            Some((_, Phase::Open(parts))) => parts.keys().copied().collect(),
            _ => vec![1],
        };
        // All of them, mostly; or some; or one too many.
        let mut chosen: Vec<u32> =
            present.into_iter().filter(|number| numbers < 128 || numbers >> number & 1 == 1).collect();
        if numbers % 16 == 15 {
            chosen.push(9);
        }
        let precondition = self.guard(guard, &key);
        let complete = self.w.complete_of(upload, key.as_str(), &chosen);
        let complete = CompleteUpload { precondition, decide: decide(&chosen), ..complete };
        let model = self.model.complete_upload(&complete);
        let answers = alike("complete", self.w.catalog.complete_upload(complete.clone()).await, model);
        if let Some((made, expected)) = answers {
            assert_eq!(made, expected);
            if !made.already {
                self.last = Some((Change::Complete(complete), format!("{made:?}")));
            }
        }
    }

    async fn reap(&mut self, minutes: u8, fail: u8) {
        self.clock = self.clock.plus(Duration::from_mins(u64::from(minutes)));
        assert_eq!(self.w.catalog.next_doomed(&self.w.backends).await.unwrap(), self.model.next_doomed());
        let limit = u32::from(fail % 5) + 1;
        let horizon = self.w.catalog.horizon();
        while self.w.catalog.dissolve_manifests(self.w.ids.change(), horizon, limit).await.unwrap() {}
        self.model.dissolve();
        let horizon = self.w.catalog.horizon();
        let claimed =
            self.w.catalog.claim_doomed(&self.w.backends, horizon, self.clock, 10_000).await.unwrap();
        let tried: BTreeMap<_, _> = claimed.iter().map(|doomed| (doomed.replica, doomed.attempts)).collect();
        assert_eq!(tried, self.model.doomed(self.clock));
        let retry_at = self.clock.plus(Duration::from_mins(2));
        let outcome = |at: usize| match fail >> (at % 8) & 1 {
            0 => SettledOutcome::Gone,
            _ => SettledOutcome::Failed { retry_at, error: "down".to_owned() },
        };
        let settled: Vec<Settled> = (0..)
            .zip(&claimed)
            .map(|(at, doomed)| Settled { replica: doomed.replica, outcome: outcome(at) })
            .collect();
        self.model.settle(&settled);
        self.w.catalog.settle_doomed(self.w.ids.change(), settled).await.unwrap();
    }

    /// The last change once more: the same answer, and (by the comparison that follows) nothing else.
    async fn repeat(&self) {
        let Some((change, answer)) = &self.last else { return };
        let catalog = &self.w.catalog;
        let again = match change.clone() {
            Change::Put(put) => format!("{:?}", catalog.commit_put(*put).await.unwrap()),
            Change::Copy(copy) => format!("{:?}", catalog.copy_object(*copy).await.unwrap()),
            Change::Delete(delete) => format!("{:?}", catalog.delete_objects(delete).await.unwrap()),
            Change::Complete(complete) => format!("{:?}", catalog.complete_upload(complete).await.unwrap()),
        };
        assert_eq!(again, *answer);
    }

    async fn list(&self, prefix: u8, delimiter: u8, after: u8, limit: u32) {
        let text = |at: u8| KEYS.get(usize::from(at)).map_or(String::new(), |key| (*key).to_owned());
        let after = match after {
            at if usize::from(at) < KEYS.len() => Some(ListPosition::Key(text(at))),
            at if usize::from(at) < 2 * KEYS.len() => Some(ListPosition::Prefix(text(at - 10))),
            _ => None,
        };
        let delimiter = ["/", "b", "//"].get(usize::from(delimiter)).map(|text| (*text).to_owned());
        let query = ListQuery { bucket: self.w.bucket, prefix: text(prefix), delimiter, after, limit };
        assert_eq!(self.w.catalog.list(&query).await.unwrap(), self.model.list(&query), "{query:?}");
    }

    /// All that can be seen is as the model says.
    async fn compare(&self) {
        let catalog = &self.w.catalog;
        let rows = catalog.replicas(None, 10_000).await.unwrap();
        assert_eq!(rows, self.model.replicas.values().map(|r| r.row.clone()).collect::<Vec<_>>());
        assert_eq!(catalog.totals().await.unwrap(), self.model.totals());
        assert_eq!(catalog.drains().await.unwrap(), self.model.drains(now()));
        for name in KEYS {
            let key = key(name);
            let found = catalog.locate(self.w.bucket, &key, Want::Whole).await.unwrap();
            let expected = self.present(&key);
            assert_eq!(found.is_some(), expected.is_some(), "{name:?}");
            let (Some(found), Some(expected)) = (found, expected) else { continue };
            let object = Object { revision: 0, ..found.object.clone() };
            assert_eq!(object, *expected);
            assert!(found.object.revision >= self.revisions.get(&key).copied().unwrap_or(0));
            assert_eq!(found.pieces, self.pieces(expected));
        }
        self.compare_uploads().await;
        self.compare_limits().await;
        self.compare_repair().await;
        self.compare_imports().await;
        self.compare_proofs().await;
        self.compare_brake().await;
    }

    fn pieces(&self, object: &Object) -> Vec<Piece> {
        let mut start = 0;
        let mut pieces = Vec::new();
        for (blob, blob_offset, length) in self.model.runs(&object.state) {
            let readable = |state| {
                let rows = self.model.replicas.values().map(|r| &r.row);
                rows.filter(move |row| row.blob == blob && row.state == state)
            };
            let replicas = readable(ReplicaState::Live).chain(readable(ReplicaState::Suspect));
            let at = |row: &crate::ReplicaRow| crate::ReplicaAt {
                replica: row.replica,
                backend: row.backend,
                path: row.path.clone(),
                state: row.state,
            };
            let blob_size = self.model.blobs[&blob].size;
            pieces.push(Piece {
                range: ByteRange::new(start, length),
                blob,
                blob_offset,
                blob_size,
                replicas: replicas.map(at).collect(),
                blocks: blocks(blob_size),
            });
            start += length;
        }
        pieces
    }

    async fn compare_uploads(&self) {
        let query = UploadsQuery {
            bucket: self.w.bucket,
            prefix: String::new(),
            delimiter: None,
            after_key: None,
            after_upload: None,
            limit: 1000,
        };
        let mut open: Vec<_> =
            self.model.uploads.values().filter(|(_, phase)| matches!(phase, Phase::Open(_))).collect();
        open.sort_by_key(|(upload, _)| (upload.key.clone(), upload.upload));
        let page = self.w.catalog.list_uploads(&query).await.unwrap();
        let expected: Vec<_> =
            open.iter().map(|(upload, _)| ListedUpload::Upload(Box::new(upload.clone()))).collect();
        assert_eq!((page.lines, page.truncated), (expected, false));
        for (upload, phase) in open {
            let Phase::Open(parts) = phase else { continue };
            let query = PartsQuery {
                upload: upload.upload,
                bucket: upload.bucket,
                key: upload.key.clone(),
                after: 0,
                limit: 1000,
            };
            let page = self.w.catalog.list_parts(&query).await.unwrap();
            assert_eq!(page.parts, parts.values().map(|(part, _)| part.clone()).collect::<Vec<_>>());
        }
    }
}

fn pick<T: Debug>(among: &[T], number: u8) -> Option<&T> {
    (!among.is_empty()).then(|| &among[usize::from(number) % among.len()])
}

async fn run(seed: u64, ops: Vec<Op>) {
    let mut drive = Drive::new(seed).await;
    for op in &ops {
        drive.step(op).await;
        drive.compare().await;
    }
    drive.w.audit().await;
}

/// The seed of this run, printed, and what it decides.
fn seeded() -> (u64, TestRng) {
    let chosen = std::env::var("CATALOG_SEED").ok().map(|text| text.parse().expect("a number"));
    let seed: u64 = chosen.unwrap_or_else(|| runtime::Chance::from_os().next_u64());
    println!("CATALOG_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    (seed, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// `CATALOG_SEED` repeats a run.
#[test]
fn a_catalog_answers_as_the_model_does() {
    let (seed, rng) = seeded();
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runner.run(&ops(), |ops| {
        executor.block_on(run(seed, ops));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("with CATALOG_SEED={seed}: {error}"));
}
