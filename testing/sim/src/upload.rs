//! A client's multipart upload, with all that clients do to one: parts sent twice, completed twice, raced.

use bytes::Bytes;
use catalog::{Checksums, Client as Caller, MatchTags, ObjectHeaders, Precondition};
use engine::{
    CompleteUpload, CopyPart, CreateUpload, EngineError, ListedPart, PutPart, ReadConditions, Source, Stored,
    StoredPart,
};
use types::{ETag, UploadId};

use crate::client::{Answer, Client, key_of};
use crate::history::{Condition, Effect, Told};
use crate::world::locked;
use crate::{Ask, Law, Op, PartPlan, UploadEnd, body};

/// Uploads of one key that the history tells apart.
const UPLOADS_MAX: u8 = 32;
/// How often a part is sent before the client gives up.
const TRIES: u64 = 3;

/// An upload under way.
struct Upload<'a> {
    client: &'a Client,
    op: &'a Op,
    id: UploadId,
    /// Its number within the key.
    number: u8,
    call: u32,
    condition: (Condition, Precondition),
    parts: Vec<(u32, ETag, Bytes)>,
}

impl Client {
    pub(crate) async fn multipart(&self, op: &Op, parts: &[PartPlan], end: UploadEnd, ask: Ask) {
        let Some(number) = self.number_upload(op.key) else { return };
        let key = key_of(op.key);
        let answer = self.send(op.patience_ms, |engine, bucket| async move {
            let request = CreateUpload {
                bucket,
                key,
                headers: ObjectHeaders::default(),
                metadata: Vec::new(),
                tags: Vec::new(),
                checksum_algorithm: None,
                checksum_full_object: None,
                open_max: None,
                client: Caller::default(),
            };
            engine.create_upload(request).await
        });
        let Answer::Told(Ok(id)) = answer.await else { return };
        let condition = self.condition(op.key, ask);
        let mut upload =
            Upload { client: self, op, id, number, call: self.new_call(), condition, parts: Vec::new() };
        if !upload.send_all(parts).await {
            return upload.abort().await;
        }
        Box::pin(upload.end(end)).await;
    }

    fn number_upload(&self, key: u8) -> Option<u8> {
        let mut uploads = locked(&self.world().uploads);
        let next = uploads.entry(key).or_default();
        *next += 1;
        (*next <= UPLOADS_MAX).then_some(*next - 1)
    }
}

impl Upload<'_> {
    /// Sends all parts; false where one could not be sent.
    async fn send_all(&mut self, parts: &[PartPlan]) -> bool {
        for (index, part) in parts.iter().enumerate() {
            // Numbers may have gaps.
            let number = 1 + 2 * u32::try_from(index).unwrap_or(0);
            let seed = self.op.seed.wrapping_add(1 + index as u64);
            let sent = match part {
                PartPlan::Put { size, again } => {
                    if *again
                        && self.put_again(number, body::draw(*size / 2 + 1, !seed), !seed).await.is_none()
                    {
                        return false;
                    }
                    let data = body::draw(*size, seed);
                    self.put_again(number, data.clone(), seed).await.map(|etag| (number, etag, data))
                }
                PartPlan::Copy { from } => self.copy(number, *from, seed).await,
            };
            let Some(sent) = sent else { return false };
            self.parts.push(sent);
        }
        true
    }

    /// Sends a part until it is taken.
    async fn put_again(&self, number: u32, data: Bytes, seed: u64) -> Option<ETag> {
        for attempt in 0..TRIES {
            match self.put(number, &data, seed.wrapping_add(attempt << 32)).await {
                Answer::Told(Ok(part)) => return Some(part.etag),
                Answer::Told(Err(EngineError::NoSuchUpload)) => return None,
                _ => {}
            }
        }
        None
    }

    async fn put(&self, number: u32, data: &Bytes, seed: u64) -> Answer<StoredPart> {
        let incoming = body::incoming(self.client.world(), data, seed, None);
        let (upload, key) = (self.id, key_of(self.op.key));
        let answer = self.client.send(self.op.patience_ms, |engine, bucket| async move {
            engine.put_part(PutPart { bucket, key, upload, number, body: incoming }).await
        });
        let answer = answer.await;
        if let Answer::Told(Ok(part)) = &answer
            && part.etag != ETag::of_md5(engine::md5_of(data))
        {
            let what = format!("part {number} has the entity tag {}", part.etag);
            self.client.world().violate(Law::Durable, what);
        }
        answer
    }

    /// A part from the object that was seen last at a key.
    async fn copy(&self, number: u32, from: u8, seed: u64) -> Option<(u32, ETag, Bytes)> {
        let etag = self.client.seen(from)?;
        let whole = self.client.world().bytes_of(&etag);
        let size = whole.len() as u64;
        let range = (size > 0 && !seed.is_multiple_of(3)).then(|| {
            let first = seed % size;
            (first, first + (seed >> 9) % (size - first))
        });
        let (upload, key) = (self.id, key_of(self.op.key));
        let answer = self.client.send(self.op.patience_ms, |engine, bucket| async move {
            let conditions =
                ReadConditions { if_match: Some(MatchTags::Tags(vec![etag])), ..ReadConditions::default() };
            let source = Source { bucket: bucket.clone(), key: key_of(from), conditions };
            engine.copy_part(CopyPart { source, range, bucket, key, upload, number }).await
        });
        let Answer::Told(Ok(part)) = answer.await else { return None };
        let bytes = match range {
            None => whole,
            Some((first, last)) => {
                let index = |at: u64| usize::try_from(at).unwrap_or(0);
                whole.slice(index(first)..=index(last))
            }
        };
        Some((number, part.etag, bytes))
    }

    async fn end(&self, end: UploadEnd) {
        let first = self.parts.first().cloned();
        let resend = async {
            if let Some((number, ..)) = first {
                // Other bytes: whether it comes before or behind the completion, nobody may see a mixture.
                let data = body::draw(333, self.op.seed ^ 0xface);
                self.put(number, &data, self.op.seed ^ 0xface).await;
            }
        };
        match end {
            UploadEnd::Complete => drop(self.complete_at_last().await),
            UploadEnd::CompleteTwice => {
                if self.complete_at_last().await {
                    self.complete().await;
                }
            }
            UploadEnd::CompleteWhilePart => {
                futures::join!(self.complete(), resend);
            }
            UploadEnd::CompleteRace => {
                let (a, b) = futures::join!(self.complete(), self.complete());
                if matches!(a, Some(Told::Done)) || matches!(b, Some(Told::Done)) {
                    self.part_comes_too_late().await;
                }
            }
            UploadEnd::CompleteAbortRace => {
                futures::join!(self.complete(), self.abort());
            }
            UploadEnd::Abort => self.abort().await,
            UploadEnd::Leave => {}
        }
    }

    /// Completes, again and again where nothing was answered; true where it was done.
    async fn complete_at_last(&self) -> bool {
        for _ in 0..=self.op.retries {
            match self.complete().await {
                Some(Told::Done) => return true,
                Some(Told::Nothing) | None => {}
                Some(_) => return false,
            }
        }
        false
    }

    async fn complete(&self) -> Option<Told> {
        let client = self.client;
        let world = client.world();
        let listed = |(number, etag, _): &(u32, ETag, Bytes)| ListedPart {
            number: *number,
            etag: etag.clone(),
            checksums: Checksums::default(),
        };
        let parts: Vec<_> = self.parts.iter().map(listed).collect();
        let whole: Vec<u8> = self.parts.iter().flat_map(|(.., bytes)| bytes.to_vec()).collect();
        let expected = self.etag();
        let content = world.learn(&expected, whole.into());
        let (condition, precondition) = self.condition.clone();
        let (upload, key, call) = (self.id, key_of(self.op.key), self.call);
        let caller = client.caller(call);
        let invoke = world.next_number();
        let answer: Answer<Stored> = client
            .send(self.op.patience_ms, |engine, bucket| async move {
                let request = CompleteUpload {
                    bucket,
                    key,
                    upload,
                    parts,
                    precondition,
                    checksums: Checksums::default(),
                    checksum_full_object: None,
                    size: None,
                    client: caller,
                };
                engine.complete_upload(request).await
            })
            .await;
        if let Answer::Told(Ok(stored)) = &answer {
            if stored.etag != expected {
                world.violate(
                    Law::Durable,
                    format!("an upload of {expected} was completed as {}", stored.etag),
                );
            }
            client.saw(self.op.key, Some(stored.etag.clone()));
        }
        let told = client.told(&answer)?;
        let effect = Effect::Complete { upload: self.number, content, call, condition, told };
        client.record(self.op.key, invoke, effect);
        Some(told)
    }

    /// The MD5 of the parts' MD5s, as S3 makes it.
    fn etag(&self) -> ETag {
        let md5s = self.parts.iter().flat_map(|(_, etag, _)| etag.md5().map_or([0; 16], |md5| md5.0));
        let all: Vec<u8> = md5s.collect();
        ETag::from_text(&format!("{}-{}", engine::md5_of(&all).to_hex(), self.parts.len()))
    }

    async fn part_comes_too_late(&self) {
        let data = body::draw(77, self.op.seed ^ 0x1a7e);
        if let Answer::Told(Ok(_)) = self.put(9, &data, self.op.seed ^ 0x1a7e).await {
            let what = "a part was taken by an upload that was completed";
            self.client.world().violate(Law::OldOrNew, what);
        }
    }

    async fn abort(&self) {
        let world = self.client.world();
        let (upload, key) = (self.id, key_of(self.op.key));
        let invoke = world.next_number();
        let answer = self.client.send(self.op.patience_ms, |engine, bucket| async move {
            engine.abort_upload(&bucket, &key, upload).await
        });
        let answer = answer.await;
        if let Some(told) = self.client.told(&answer) {
            self.client.record(self.op.key, invoke, Effect::Abort { upload: self.number, told });
        }
    }
}
