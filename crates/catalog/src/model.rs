//! A small catalog in memory that says what the real ones have to answer.
//!
//! It counts nothing: what is referenced, live or charged is found by looking at everything after each
//! change. So it can be wrong in other ways than what it is compared with. A refused verb leaves it as it was.

mod brake;
mod drive;
mod expiry;
mod fleet;
mod imports;
mod limits;
mod repair;
mod strays;

use std::collections::{BTreeMap, BTreeSet};

use types::{
    BlobId, BootId, ByteRange, ETag, ManifestId, Md5, ObjectKey, ReplicaId, Timestamp, Traffic, UploadId,
};

use crate::{
    AbortUpload, BackendId, BackendTotals, BucketId, Client, CommitPart, CommitPut, Committed,
    CompleteUpload, Completed, Content, CopyObject, CopyPart, CreateUpload, DeleteAnswer, DeleteObjects,
    Fate, Instance, LimitKey, ListPage, ListPosition, ListQuery, Listed, ListedObject, NewBlob, Object,
    ObjectState, Part, Precondition, Refusal, ReplicaRow, ReplicaState, Reserve, ReserveFor, SetTags,
    Settled, SettledOutcome, Totals, Upload, WriteOutcome,
};

type Answer<T> = Result<T, Refusal>;

/// A run of bytes: blob, offset in it, length.
type Run = (BlobId, u64, u64);

/// Parts by number, with what holds each.
type Parts = BTreeMap<u32, (Part, Content)>;

#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    living: BTreeMap<BootId, Instance>,
    dead: BTreeSet<BootId>,
    /// Of every owner that ever was: granted, spent.
    grants: BTreeMap<(LimitKey, Traffic, BootId), (u64, u64)>,
    backends: Vec<(BackendTotals, u64)>,
    objects: BTreeMap<(BucketId, ObjectKey), Object>,
    blobs: BTreeMap<BlobId, Blob>,
    manifests: BTreeMap<ManifestId, Manifest>,
    replicas: BTreeMap<ReplicaId, Replica>,
    uploads: BTreeMap<UploadId, (Upload, Phase)>,
    fleet: fleet::Drains,
    braking: brake::Braking,
    waits: repair::Waits,
}

#[derive(Debug, Clone)]
struct Blob {
    size: u64,
    md5: Option<Md5>,
    wanted: u32,
}

#[derive(Debug, Clone, Default)]
struct Manifest {
    runs: Vec<Run>,
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
struct Replica {
    row: ReplicaRow,
    due: Timestamp,
    attempts: u32,
}

#[derive(Debug, Clone)]
enum Phase {
    Open(Parts),
    Completed(String, Box<ObjectState>),
    Aborted,
}

impl Model {
    /// Does it whole or not at all, and then dooms what nothing references.
    fn attempt<T>(&mut self, verb: impl FnOnce(&mut Self) -> Answer<T>) -> Answer<T> {
        let before = self.clone();
        let answer = verb(self);
        match &answer {
            Ok(_) => self.sweep(),
            Err(_) => *self = before,
        }
        answer
    }

    fn sweep(&mut self) {
        let referenced = self.referenced_blobs();
        for replica in self.replicas.values_mut() {
            let kept = !matches!(replica.row.state, ReplicaState::Live | ReplicaState::Suspect);
            if !kept && !referenced.contains(&replica.row.blob) {
                replica.doom(Timestamp::default());
            }
        }
    }

    fn contents(&self) -> impl Iterator<Item = Content> {
        let parts = self.uploads.values().filter_map(|(_, phase)| match phase {
            Phase::Open(parts) => Some(parts.values().map(|(_, content)| *content)),
            _ => None,
        });
        self.objects.values().map(|object| object.state.content).chain(parts.flatten())
    }

    fn referenced_blobs(&self) -> BTreeSet<BlobId> {
        let direct = self.contents().filter_map(|content| match content {
            Content::Blob(blob) => Some(blob),
            Content::Manifest(_) => None,
        });
        let by_manifest = self.manifests.values().flat_map(|manifest| manifest.runs.iter().map(|run| run.0));
        direct.chain(by_manifest).collect()
    }

    fn present(&self, bucket: BucketId, key: &ObjectKey) -> Option<&Object> {
        self.objects.get(&(bucket, key.clone()))
    }

    fn is_alive(&self, owner: BootId) -> Answer<()> {
        if self.living.contains_key(&owner) { Ok(()) } else { Err(Refusal::Changed("the owner")) }
    }

    fn check(&self, bucket: BucketId, key: &ObjectKey, precondition: &Precondition) -> Answer<()> {
        precondition.check(self.present(bucket, key).map(|object| &object.state.etag))
    }

    fn same_call(&self, bucket: BucketId, key: &ObjectKey, client: &Client, size: u64) -> Option<&Object> {
        self.present(bucket, key)
            .filter(|object| object.state.client.is_same_call(client) && object.state.size == size)
    }

    fn charged(&self, backend: BackendId) -> u64 {
        self.replicas.values().filter(|r| r.row.backend == backend).map(|r| r.row.charged).sum()
    }

    pub(crate) fn begin_boot(&mut self, boot: BootId, at: Timestamp) {
        let others: Vec<BootId> = self.living.keys().copied().filter(|other| *other != boot).collect();
        others.into_iter().for_each(|other| self.die(other, at));
        self.wait_anew(at);
        self.join(boot, at).expect("a new boot");
    }

    fn wait_anew(&mut self, at: Timestamp) {
        for replica in self.replicas.values_mut() {
            let (state, waits) = (replica.row.state, replica.due > Timestamp::default());
            let waits = waits && matches!(state, ReplicaState::Doomed | ReplicaState::Suspect);
            let backend = self.backends.iter().find(|(totals, _)| totals.backend == replica.row.backend);
            let late = backend.expect("a known backend").1;
            if waits && replica.attempts == 0 {
                replica.due = Timestamp::from_millis(at.as_millis() + late);
            } else if waits {
                replica.due = replica.due.min(Timestamp::from_millis(at.as_millis() + 3_600_000));
            }
        }
    }

    fn die(&mut self, boot: BootId, at: Timestamp) {
        self.living.remove(&boot);
        self.dead.insert(boot);
        for replica in self.replicas.values_mut().filter(|r| r.row.owner == Some(boot)) {
            let backend = self.backends.iter().find(|(totals, _)| totals.backend == replica.row.backend);
            let late = backend.expect("a known backend").1;
            replica.doom(Timestamp::from_millis(at.as_millis() + late));
        }
    }

    pub(crate) fn reserve(&mut self, reserve: &Reserve) -> Answer<Vec<ReplicaId>> {
        self.attempt(|m| {
            m.is_alive(reserve.owner)?;
            match &reserve.purpose {
                ReserveFor::Part { upload, bucket, key } => {
                    m.open_upload(*upload, *bucket, key)?;
                }
                ReserveFor::Object { bucket, key, precondition, client, size } => {
                    match m.check(*bucket, key, precondition) {
                        Err(Refusal::PreconditionFailed)
                            if m.same_call(*bucket, key, client, *size).is_some() => {}
                        other => other?,
                    }
                }
            }
            let mut taken = Vec::new();
            let wanted = usize::try_from(reserve.wanted).expect("small");
            for target in &reserve.targets {
                let room = !m.fleet.contains_key(&target.backend)
                    && target.quota.is_none_or(|quota| m.charged(target.backend) + target.charge <= quota);
                if taken.len() == wanted || !room {
                    continue;
                }
                let row = ReplicaRow {
                    replica: target.replica,
                    blob: reserve.blob,
                    backend: target.backend,
                    path: target.path.clone(),
                    charged: target.charge,
                    state: ReplicaState::Writing,
                    owner: Some(reserve.owner),
                };
                m.replicas.insert(target.replica, Replica { row, due: Timestamp::default(), attempts: 0 });
                taken.push(target.replica);
            }
            if taken.len() < usize::try_from(reserve.least).expect("small") {
                return Err(Refusal::OutOfSpace { size: reserve.size });
            }
            Ok(taken)
        })
    }

    fn writing(&mut self, owner: BootId, replica: ReplicaId) -> Option<&mut Replica> {
        self.replicas
            .get_mut(&replica)
            .filter(|r| r.row.state == ReplicaState::Writing && r.row.owner == Some(owner))
    }

    pub(crate) fn give_up(&mut self, owner: BootId, fates: &[Fate]) {
        for fate in fates {
            let Some(replica) = self.writing(owner, fate.replica) else { continue };
            match &fate.outcome {
                WriteOutcome::Live { .. } => replica.doom(Timestamp::default()),
                WriteOutcome::Doomed { arrives_until } => replica.doom(arrives_until.unwrap_or_default()),
                WriteOutcome::Unsent => {
                    self.replicas.remove(&fate.replica);
                }
            }
        }
    }

    fn adopt(&mut self, owner: BootId, blobs: &[NewBlob], manifest: ManifestId) -> Answer<Content> {
        for new in blobs {
            let mut live = 0;
            for fate in &new.fates {
                if !matches!(fate.outcome, WriteOutcome::Live { .. }) {
                    self.give_up(owner, std::slice::from_ref(fate));
                    continue;
                }
                let replica = self.writing(owner, fate.replica).filter(|r| r.row.blob == new.blob);
                let replica = replica.ok_or(Refusal::Changed("a replica"))?;
                (replica.row.state, replica.row.owner) = (ReplicaState::Live, None);
                live += 1;
            }
            if live == 0 {
                return Err(Refusal::NothingLive);
            }
            self.blobs.insert(new.blob, Blob { size: new.size, md5: new.md5, wanted: new.wanted });
        }
        if let [one] = blobs {
            return Ok(Content::Blob(one.blob));
        }
        let runs = blobs.iter().filter(|b| b.size > 0).map(|b| (b.blob, 0, b.size)).collect();
        self.manifests.insert(manifest, Manifest { runs, parts: Vec::new() });
        Ok(Content::Manifest(manifest))
    }

    pub(crate) fn commit_put(&mut self, c: &CommitPut) -> Answer<Committed> {
        self.attempt(|m| {
            m.is_alive(c.owner)?;
            if let Err(refusal) = m.check(c.bucket, &c.key, &c.precondition) {
                let won = m.same_call(c.bucket, &c.key, &c.state.client, c.state.size).cloned();
                let won = won.filter(|object| object.state.etag == c.state.etag);
                return match won {
                    Some(object) if refusal == Refusal::PreconditionFailed => {
                        c.blobs.iter().for_each(|blob| m.give_up(c.owner, &blob.fates));
                        Ok(Committed { object, already: true })
                    }
                    _ => Err(refusal),
                };
            }
            let content = m.adopt(c.owner, &c.blobs, c.manifest)?;
            let state = ObjectState { content, ..c.state.clone() };
            Ok(m.store(Object { bucket: c.bucket, key: c.key.clone(), revision: 0, change: c.change, state }))
        })
    }

    fn store(&mut self, object: Object) -> Committed {
        self.objects.insert((object.bucket, object.key.clone()), object.clone());
        Committed { object, already: false }
    }

    pub(crate) fn copy_object(&mut self, c: &CopyObject) -> Answer<Committed> {
        self.attempt(|m| {
            let source = m.present(c.source_bucket, &c.source_key).cloned().ok_or(Refusal::NoSuchKey)?;
            if source.change != c.source_change {
                return Err(Refusal::Changed("the source"));
            }
            let mut state = ObjectState { modified: c.at, client: c.client.clone(), ..source.state };
            if let Some((headers, metadata)) = c.replace_metadata.clone() {
                (state.headers, state.metadata) = (headers, metadata);
            }
            state.tags = c.replace_tags.clone().unwrap_or(state.tags);
            state.checksums = c.replace_checksums.clone().unwrap_or(state.checksums);
            if let Err(refusal) = m.check(c.bucket, &c.key, &c.precondition) {
                let won = m.same_call(c.bucket, &c.key, &c.client, state.size);
                return match won.filter(|object| object.state.etag == state.etag) {
                    Some(object) if refusal == Refusal::PreconditionFailed => {
                        Ok(Committed { object: object.clone(), already: true })
                    }
                    _ => Err(refusal),
                };
            }
            Ok(m.store(Object { bucket: c.bucket, key: c.key.clone(), revision: 0, change: c.change, state }))
        })
    }

    pub(crate) fn delete_objects(&mut self, delete: &DeleteObjects) -> Answer<Vec<DeleteAnswer>> {
        self.attempt(|m| {
            let one = |item: &crate::DeleteItem| {
                m.check(delete.bucket, &item.key, &item.precondition)?;
                Ok(m.objects.remove(&(delete.bucket, item.key.clone())).is_some())
            };
            Ok(delete.items.iter().map(one).collect())
        })
    }

    pub(crate) fn set_tags(&mut self, set: &SetTags) -> Answer<Object> {
        let object = self.objects.get_mut(&(set.bucket, set.key.clone())).ok_or(Refusal::NoSuchKey)?;
        (object.state.tags, object.change) = (set.tags.clone(), set.change);
        Ok(object.clone())
    }

    pub(crate) fn create_upload(&mut self, create: &CreateUpload) -> Answer<()> {
        let open = self.uploads.values().filter(|(_, phase)| matches!(phase, Phase::Open(_))).count();
        let open = u64::try_from(open).expect("small");
        if let Some(open_max) = create.open_max.filter(|max| open >= *max) {
            return Err(Refusal::TooManyUploads { bucket: create.bucket_name.clone(), open_max });
        }
        let upload = create.upload.clone();
        self.uploads.insert(upload.upload, (upload, Phase::Open(BTreeMap::new())));
        Ok(())
    }

    fn open_upload(
        &mut self,
        upload: UploadId,
        bucket: BucketId,
        key: &ObjectKey,
    ) -> Answer<(Upload, &mut Parts)> {
        match self.uploads.get_mut(&upload) {
            Some((known, Phase::Open(parts))) if known.bucket == bucket && known.key == *key => {
                Ok((known.clone(), parts))
            }
            _ => Err(Refusal::NoSuchUpload),
        }
    }

    pub(crate) fn commit_part(&mut self, c: &CommitPart) -> Answer<()> {
        self.attempt(|m| {
            m.is_alive(c.owner)?;
            m.open_upload(c.upload, c.bucket, &c.key)?;
            let content = m.adopt(c.owner, &c.blobs, c.manifest)?;
            m.open_upload(c.upload, c.bucket, &c.key)?.1.insert(c.part.number, (c.part.clone(), content));
            Ok(())
        })
    }

    pub(crate) fn copy_part(&mut self, c: &CopyPart) -> Answer<Part> {
        self.attempt(|m| {
            m.open_upload(c.upload, c.bucket, &c.key)?;
            let source = m.present(c.source_bucket, &c.source_key).cloned().ok_or(Refusal::NoSuchKey)?;
            if source.change != c.source_change || c.range.end() > source.state.size {
                return Err(Refusal::Changed("the source"));
            }
            let (mut etag, mut checksums) = (c.opaque_etag.clone(), crate::Checksums::default());
            let runs = cut(&m.runs(&source.state), c.range);
            let whole = match (&runs[..], source.state.content) {
                ([(blob, 0, length)], _) if m.blobs[blob].size == *length => Some(*blob),
                ([], Content::Blob(blob)) if m.blobs[&blob].size == 0 => Some(blob),
                _ => None,
            };
            let content = if let Some(blob) = whole {
                etag = m.blobs[&blob].md5.map_or(etag, ETag::of_md5);
                if source.state.content == Content::Blob(blob) {
                    checksums = source.state.checksums;
                }
                Content::Blob(blob)
            } else {
                m.manifests.insert(c.manifest, Manifest { runs, parts: Vec::new() });
                Content::Manifest(c.manifest)
            };
            let part = Part { number: c.number, size: c.range.length, etag, modified: c.at, checksums };
            m.open_upload(c.upload, c.bucket, &c.key)?.1.insert(c.number, (part.clone(), content));
            Ok(part)
        })
    }

    /// The runs of an object's bytes.
    fn runs(&self, state: &ObjectState) -> Vec<Run> {
        match state.content {
            Content::Blob(blob) if state.size > 0 => vec![(blob, 0, state.size)],
            Content::Blob(_) => Vec::new(),
            Content::Manifest(manifest) => self.manifests[&manifest].runs.clone(),
        }
    }

    pub(crate) fn complete_upload(&mut self, c: &CompleteUpload) -> Answer<Completed> {
        self.attempt(|m| {
            if let Some((upload, Phase::Completed(fingerprint, state))) = m.uploads.get(&c.upload)
                && (upload.bucket, &upload.key, fingerprint) == (c.bucket, &c.key, &c.fingerprint)
            {
                return Ok(Completed { state: (**state).clone(), already: true });
            }
            let (upload, parts) = m.open_upload(c.upload, c.bucket, &c.key)?;
            let parts = parts.clone();
            let given: Vec<Part> = parts.values().map(|(part, _)| part.clone()).collect();
            let completion = (c.decide)(&upload, &given)?;
            m.check(c.bucket, &c.key, &c.precondition)?;
            let mut made = Manifest::default();
            for number in &completion.numbers {
                let (part, content) = &parts[number];
                made.parts.push(part.clone());
                match content {
                    Content::Blob(_) if part.size == 0 => {}
                    Content::Blob(blob) => made.runs.push((*blob, 0, part.size)),
                    // The part's manifest ends here: its runs are the object's now.
                    Content::Manifest(manifest) => {
                        made.runs.extend(m.manifests.remove(manifest).expect("a part holds it").runs);
                    }
                }
            }
            m.manifests.insert(c.manifest, made);
            let state = ObjectState { content: Content::Manifest(c.manifest), ..completion.state };
            let phase = Phase::Completed(c.fingerprint.clone(), Box::new(state.clone()));
            m.uploads.insert(c.upload, (upload, phase));
            m.store(Object {
                bucket: c.bucket,
                key: c.key.clone(),
                revision: 0,
                change: c.change,
                state: state.clone(),
            });
            Ok(Completed { state, already: false })
        })
    }

    pub(crate) fn abort_upload(&mut self, abort: &AbortUpload) -> Answer<()> {
        self.attempt(|m| {
            let (upload, _) = m.open_upload(abort.upload, abort.bucket, &abort.key)?;
            m.uploads.insert(abort.upload, (upload, Phase::Aborted));
            Ok(())
        })
    }

    /// What may be deleted at `now`, with how often it was tried.
    pub(crate) fn doomed(&self, now: Timestamp) -> BTreeMap<ReplicaId, u32> {
        if self.braking.engaged {
            return BTreeMap::new();
        }
        let doomed = self.replicas.values().filter(|r| r.row.state == ReplicaState::Doomed && r.due <= now);
        doomed.map(|r| (r.row.replica, r.attempts)).collect()
    }

    pub(crate) fn next_doomed(&self) -> Option<Timestamp> {
        let held = self.braking.engaged;
        let doomed = |r: &&Replica| r.row.state == ReplicaState::Doomed && !held;
        self.replicas.values().filter(doomed).map(|r| r.due).min()
    }

    pub(crate) fn settle(&mut self, settled: &[Settled]) {
        for one in settled {
            match &one.outcome {
                SettledOutcome::Gone => {
                    self.replicas.remove(&one.replica);
                }
                SettledOutcome::Failed { retry_at, .. } => {
                    let replica = self.replicas.get_mut(&one.replica).expect("it was claimed");
                    (replica.due, replica.attempts) = (*retry_at, replica.attempts + 1);
                }
            }
        }
    }

    /// All manifests that nothing references are gone.
    pub(crate) fn dissolve(&mut self) {
        let held: BTreeSet<_> =
            self.contents().collect::<Vec<_>>().into_iter().filter_map(manifest_of).collect();
        self.manifests.retain(|id, _| held.contains(id));
        self.sweep();
    }

    pub(crate) fn mark_suspect(&mut self, replica: ReplicaId) {
        if let Some(replica) = self.replicas.get_mut(&replica)
            && replica.row.state == ReplicaState::Live
        {
            replica.row.state = ReplicaState::Suspect;
            self.waits.remove(&replica.row.blob);
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        let sum = |backend: BackendId, what: fn(&Replica) -> u64| {
            self.replicas.values().filter(|r| r.row.backend == backend).map(what).sum()
        };
        let backends = self.backends.iter().map(|(known, _)| BackendTotals {
            charged: self.charged(known.backend),
            doomed_bytes: sum(known.backend, |r| {
                if r.row.state == ReplicaState::Doomed { r.row.charged } else { 0 }
            }),
            replicas_live: sum(known.backend, |r| u64::from(r.row.state == ReplicaState::Live)),
            replicas_doomed: sum(known.backend, |r| u64::from(r.row.state == ReplicaState::Doomed)),
            ..known.clone()
        });
        let is_short = |blob: &BlobId| {
            let live =
                self.replicas.values().filter(|r| r.row.blob == *blob && r.row.state == ReplicaState::Live);
            u32::try_from(live.count()).expect("small") < self.blobs[blob].wanted
        };
        let short = self.referenced_blobs().iter().filter(|blob| is_short(blob)).count();
        let open = self.uploads.values().filter(|(_, phase)| matches!(phase, Phase::Open(_))).count();
        Totals {
            backends: backends.collect(),
            under_replicated: u64::try_from(short).expect("small"),
            over_replicated: u64::try_from(self.surplus().len()).expect("small"),
            uploads_open: u64::try_from(open).expect("small"),
        }
    }

    /// A listing the long way: all keys, rolled up, from where it goes on.
    pub(crate) fn list(&self, query: &ListQuery) -> ListPage {
        let mut lines: Vec<Listed> = Vec::new();
        for ((bucket, key), object) in &self.objects {
            let text = key.as_str();
            let Some(rest) = text.strip_prefix(&query.prefix).filter(|_| *bucket == query.bucket) else {
                continue;
            };
            let delimiter = query.delimiter.as_deref();
            let at = delimiter.and_then(|d| rest.find(d).map(|at| query.prefix.len() + at + d.len()));
            let common = at.map(|at| &text[..at]);
            let seen = match &query.after {
                None => false,
                Some(ListPosition::Prefix(prefix)) => text.starts_with(prefix) || text < &prefix[..],
                Some(ListPosition::Key(after)) => text <= &after[..] || common == Some(&after[..]),
            };
            if seen {
                continue;
            }
            let line = match common {
                Some(common) => Listed::Prefix(common.to_owned()),
                None => Listed::Object(ListedObject {
                    key: key.clone(),
                    size: object.state.size,
                    etag: object.state.etag.clone(),
                    modified: object.state.modified,
                    checksums: object.state.checksums.clone(),
                    storage_class: object.state.headers.storage_class.clone(),
                }),
            };
            if lines.last() != Some(&line) {
                lines.push(line);
            }
        }
        let limit = usize::try_from(query.limit).expect("small");
        let truncated = limit > 0 && lines.len() > limit;
        lines.truncate(limit);
        ListPage { lines, truncated }
    }
}

impl Replica {
    fn doom(&mut self, due: Timestamp) {
        (self.row.state, self.row.owner, self.due, self.attempts) = (ReplicaState::Doomed, None, due, 0);
    }
}

fn manifest_of(content: Content) -> Option<ManifestId> {
    match content {
        Content::Manifest(manifest) => Some(manifest),
        Content::Blob(_) => None,
    }
}

/// The part of runs that lies in a range.
fn cut(runs: &[Run], range: ByteRange) -> Vec<Run> {
    let mut start = 0;
    let mut found = Vec::new();
    for (blob, offset, length) in runs {
        if let Some(shared) = ByteRange::new(start, *length).intersect(range) {
            found.push((*blob, offset + shared.start - start, shared.length));
        }
        start += length;
    }
    found
}
