//! A client: asks, is told or not, and writes down what it was told.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use catalog::{
    Client as Caller, DeleteItem, ListQuery, Listed, MatchTags, ObjectHeaders, Precondition, Want,
};
use engine::{
    Bucket, CopyObject, DeleteObjects, Engine, EngineError, GetObject, PutObject, Read, ReadConditions,
    Source,
};
use futures::StreamExt;
use types::{ByteRange, ETag, ObjectKey};

use crate::history::{Condition, Effect, NEVER, Record, Told};
use crate::process::Process;
use crate::simulation::Site;
use crate::world::{World, locked};
use crate::{Ask, Deed, Fault, Law, Op, Sign, Verb, body, laws, limits};

/// How long a client waits before it asks again a process that was not there.
const DOWN_RETRY: Duration = Duration::from_millis(150);

/// One client.
pub(crate) struct Client {
    pub(crate) site: Site,
    pub(crate) id: usize,
    calls: AtomicU32,
    /// What it saw last of each key.
    seen: Mutex<BTreeMap<u8, Option<ETag>>>,
    /// It was told to slow down, and did.
    waited: AtomicBool,
}

/// What came back for a request.
pub(crate) enum Answer<T> {
    /// This.
    Told(Result<T, EngineError>),
    /// Nothing: it went away, or the process died. It may have happened.
    Silent,
    /// There was no process to ask.
    Down,
}

/// What was read.
struct Got {
    etag: ETag,
    range: ByteRange,
    bytes: Bytes,
    /// Why it ended early.
    broken: Option<EngineError>,
    /// When the state was told; the bytes may come much later.
    answered: u64,
    answered_ms: u64,
    /// It is what was remembered, for the catalog did not answer.
    degraded: bool,
}

impl Client {
    pub(crate) fn new(site: Site, id: usize) -> Self {
        Self { site, id, calls: AtomicU32::new(0), seen: Mutex::default(), waited: AtomicBool::new(false) }
    }

    pub(crate) fn world(&self) -> &std::sync::Arc<World> {
        self.site.world()
    }

    /// Does all that it is to do.
    pub(crate) async fn run(&self, ops: Vec<Op>) {
        for op in ops {
            runtime::sleep(Duration::from_millis(op.think_ms)).await;
            self.one(&op).await;
        }
    }

    async fn one(&self, op: &Op) {
        match &op.verb {
            Verb::Put { size, condition, flaw } => self.put(op, *size, *condition, *flaw).await,
            Verb::Get { whole } => self.get(op, self.want(op, *whole)).await,
            Verb::Head => self.get(op, Want::State).await,
            Verb::Delete { condition, also } => self.delete(op, *condition, *also).await,
            Verb::List => self.list(op).await,
            Verb::Copy { from, as_seen, condition } => self.copy(op, *from, *as_seen, *condition).await,
            Verb::Tag => self.tag(op).await,
            Verb::Multipart { parts, end, condition } => self.multipart(op, parts, *end, *condition).await,
        }
    }

    /// Reads every key once nothing goes wrong any more: now all of it has to be there.
    pub(crate) async fn read_all_in_the_end(&self) {
        for key in 0..self.world().plan.keys {
            let op = Op {
                think_ms: 0,
                key,
                patience_ms: None,
                retries: 0,
                seed: 0,
                verb: Verb::Get { whole: true },
            };
            self.get(&op, Want::Whole).await;
        }
        let op = Op { think_ms: 0, key: 0, patience_ms: None, retries: 0, seed: 0, verb: Verb::List };
        self.list(&op).await;
    }

    /// Sends a request to the process that runs now.
    pub(crate) async fn send<T, F>(
        &self,
        patience_ms: Option<u64>,
        work: impl FnOnce(Engine, Bucket) -> F,
    ) -> Answer<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, EngineError>> + Send + 'static,
    {
        let Some(process) = self.site.process() else {
            runtime::sleep(DOWN_RETRY).await;
            return Answer::Down;
        };
        let request = process.request(work(process.engine.clone(), process.bucket.clone()));
        let answer = match patience_ms {
            None => request.await,
            Some(patience) => match runtime::timeout(Duration::from_millis(patience), request).await {
                Ok(answer) => answer,
                Err(_) => {
                    self.world().count(Fault::ClientStops);
                    return Answer::Silent;
                }
            },
        };
        match answer {
            Ok(answer) => {
                self.judge_error(&answer);
                self.slow_down(&process, &answer).await;
                Answer::Told(answer)
            }
            Err(crate::process::Broken) => Answer::Silent,
        }
    }

    /// Does as it is told where limits are reached.
    async fn slow_down<T>(&self, process: &Process, answer: &Result<T, EngineError>) {
        match limits::refused_for(answer) {
            Some(retry_after) => {
                let providers = self.site.providers();
                let wait = limits::judge_refusal(self.world(), providers, process, retry_after);
                self.waited.store(!wait.is_zero(), Ordering::Relaxed);
                runtime::sleep(wait).await;
            }
            None if self.waited.swap(false, Ordering::Relaxed) && answer.is_ok() => {
                self.world().saw(Sign::ServedAgain);
            }
            None => {}
        }
    }

    /// What must never be answered.
    fn judge_error<T>(&self, answer: &Result<T, EngineError>) {
        let Err(error) = answer else { return };
        let world = self.world();
        if let EngineError::Internal(why) = error {
            world.violate(Law::Books, format!("a client was answered: {why}"));
        }
        // What the rebuilt catalog says may be of before something was deleted.
        let rebuilt = world.deeds().contains_key(&Deed::Rebuilt);
        // What was imported may have been taken from under us.
        let gone = rebuilt || world.imports.betrayed();
        let nothing_wrong = (world.plan.is_calm() || world.is_calm()) && !gone;
        if nothing_wrong && matches!(error, EngineError::Unavailable(_) | EngineError::OutOfSpace { .. }) {
            world.violate(Law::Answered, format!("all is well, and a client was answered: {error}"));
        }
    }

    /// What an answer means for the history; `None` where nothing happened.
    pub(crate) fn told<T>(&self, answer: &Answer<T>) -> Option<Told> {
        match answer {
            Answer::Down => None,
            Answer::Silent => Some(Told::Nothing),
            Answer::Told(Ok(_)) => Some(Told::Done),
            Answer::Told(Err(error)) => told_of(error),
        }
    }

    pub(crate) fn record(&self, key: u8, invoke: u64, effect: Effect) {
        let answer = if effect.told() == Told::Nothing { NEVER } else { self.world().next_number() };
        self.world().record(Record { key, client: self.id, invoke, answer, effect });
    }

    pub(crate) fn new_call(&self) -> u32 {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        u32::try_from(self.id).unwrap_or(0) * 10_000 + number
    }

    pub(crate) fn caller(&self, call: u32) -> Caller {
        Caller { access_key: format!("client-{}", self.id), invocation: Some(format!("call-{call}")) }
    }

    pub(crate) fn saw(&self, key: u8, etag: Option<ETag>) {
        locked(&self.seen).insert(key, etag);
    }

    pub(crate) fn seen(&self, key: u8) -> Option<ETag> {
        locked(&self.seen).get(&key).cloned().flatten()
    }

    /// A condition as the history and as the product knows it.
    pub(crate) fn condition(&self, key: u8, ask: Ask) -> (Condition, Precondition) {
        let if_match = |tags| Precondition { if_match: Some(tags), if_none_match: None };
        let if_none_match = |tags| Precondition { if_match: None, if_none_match: Some(tags) };
        match (ask, self.seen(key)) {
            (Ask::Absent, _) => (Condition::Absent, if_none_match(MatchTags::Any)),
            (Ask::Present, _) => (Condition::Present, if_match(MatchTags::Any)),
            (Ask::AsSeen, Some(etag)) => {
                (Condition::Is(self.world().number_of(&etag)), if_match(MatchTags::Tags(vec![etag])))
            }
            (Ask::NotAsSeen, Some(etag)) => {
                (Condition::IsNot(self.world().number_of(&etag)), if_none_match(MatchTags::Tags(vec![etag])))
            }
            _ => (Condition::None, Precondition::default()),
        }
    }

    async fn put(&self, op: &Op, size: usize, ask: Ask, flaw: Option<Fault>) {
        let world = self.world();
        let data = body::draw(size, op.seed);
        // Nothing is missing of nothing.
        let flaw = flaw.filter(|flaw| size > 0 || *flaw != Fault::BodyShort);
        let etag = ETag::of_md5(engine::md5_of(&data));
        let content = world.learn(&etag, data.clone());
        let call = self.new_call();
        let (condition, precondition) = self.condition(op.key, ask);
        for _ in 0..=op.retries {
            let invoke = world.next_number();
            let incoming = body::incoming(world, &data, op.seed, flaw);
            let (precondition, client) = (precondition.clone(), self.caller(call));
            let answer = self.send(op.patience_ms, |engine, bucket| {
                let key = key_of(op.key);
                let request = PutObject {
                    bucket,
                    key,
                    body: incoming,
                    headers: ObjectHeaders::default(),
                    metadata: Vec::new(),
                    tags: Vec::new(),
                    precondition,
                    client,
                };
                async move { engine.put_object(request).await }
            });
            let answer = answer.await;
            if let (Answer::Told(Ok(_)), Some(flaw)) = (&answer, flaw) {
                world.violate(Law::Durable, format!("a body with the flaw {} was taken", flaw.as_str()));
            }
            if let Answer::Told(Ok(stored)) = &answer {
                self.judge_stored(&stored.etag, &etag, stored.backends.len());
                self.saw(op.key, Some(etag.clone()));
            }
            // A flawed body has no effect, whatever was told.
            let told = self.told(&answer).filter(|_| flaw.is_none());
            if let Some(told) = told {
                self.record(op.key, invoke, Effect::Write { content, call, condition, told });
            }
            if matches!(answer, Answer::Told(Ok(_))) || told.is_some_and(|told| told != Told::Nothing) {
                return;
            }
        }
    }

    fn judge_stored(&self, found: &ETag, expected: &ETag, backends: usize) {
        let world = self.world();
        if found != expected {
            world.violate(Law::Durable, format!("a put of {expected} was answered with {found}"));
        }
        let at_least = world.plan.ack_replicas.min(world.plan.factor_min());
        if backends < at_least as usize {
            let what = format!("a put was answered with {backends} replicas of {at_least}");
            world.violate(Law::Durable, what);
        }
    }

    fn want(&self, op: &Op, whole: bool) -> Want {
        if whole {
            return Want::Whole;
        }
        let size = self.seen(op.key).map_or(1, |etag| self.world().bytes_of(&etag).len() as u64).max(1);
        let start = op.seed % size;
        match op.seed % 3 {
            0 => Want::From { start, last: None },
            1 => Want::From { start, last: Some(start + (op.seed >> 8) % size) },
            _ => Want::Last(1 + start),
        }
    }

    async fn get(&self, op: &Op, want: Want) {
        let world = self.world();
        let invoke = world.next_number();
        let invoked_ms = world.now_ms();
        let numbers = std::sync::Arc::clone(world);
        let answer = self.send(op.patience_ms, |engine, bucket| {
            let request =
                GetObject { bucket, key: key_of(op.key), want, conditions: ReadConditions::default() };
            let slow = op.seed.is_multiple_of(5);
            async move { read(&numbers, &engine, request, slow).await }
        });
        match answer.await {
            Answer::Told(Ok(got)) => {
                self.judge_memory(op.key, got.degraded, invoked_ms, got.answered_ms);
                let content = Some(world.number_of(&got.etag));
                let effect = Effect::Read { content };
                self.saw(op.key, Some(got.etag.clone()));
                world.record(Record { key: op.key, client: self.id, invoke, answer: got.answered, effect });
                if want != Want::State {
                    self.judge_bytes(op.key, &got);
                }
            }
            Answer::Told(Err(EngineError::NoSuchKey)) => {
                self.judge_memory(op.key, false, invoked_ms, world.now_ms());
                self.saw(op.key, None);
                self.record(op.key, invoke, Effect::Read { content: None });
            }
            Answer::Told(Err(EngineError::Unavailable(_))) if world.catalog_is_away(false) => {
                world.saw(Sign::UnknownRead);
            }
            _ => {}
        }
    }

    /// An answer from memory says so, and is given while the catalog does not answer. That there is nothing, only
    /// the catalog can say.
    fn judge_memory(&self, key: u8, degraded: bool, invoked_ms: u64, answered_ms: u64) {
        let world = self.world();
        if degraded {
            world.saw(Sign::DegradedRead);
        }
        if degraded && !world.reads_may_be_degraded(invoked_ms) {
            let what = format!("a read of key {key} was answered from memory, and the catalog answers");
            world.violate(Law::Degraded, what);
        }
        if !degraded && world.no_read_was_answered(invoked_ms, answered_ms) {
            let what =
                format!("a read of key {key} was answered as if by the catalog, which answered nothing");
            world.violate(Law::Degraded, what);
        }
    }

    /// The bytes are those of the object, also where there are fewer of them than there should be.
    fn judge_bytes(&self, key: u8, got: &Got) {
        let whole = self.world().bytes_of(&got.etag);
        let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(whole.len());
        let mut expected = whole.slice(index(got.range.start)..index(got.range.end()));
        if let Some(error) = &got.broken {
            expected.truncate(got.bytes.len());
            // A limit that is reached before the last slice is no fault.
            if !matches!(error, EngineError::LimitReached { .. }) {
                self.judge_error::<()>(&Err(EngineError::Unavailable(error.to_string())));
            }
        }
        laws::same_bytes(
            self.world(),
            &format!("a read of key {key}, range {}", got.range),
            &expected,
            &got.bytes,
        );
    }

    async fn delete(&self, op: &Op, ask: Ask, also: Option<u8>) {
        let (condition, precondition) = self.condition(op.key, ask);
        let mut wanted = vec![(op.key, condition, precondition)];
        wanted.extend(
            also.filter(|key| *key != op.key).map(|key| (key, Condition::None, Precondition::default())),
        );
        for _ in 0..=op.retries {
            let invoke = self.world().next_number();
            let item = |(key, _, precondition): &(u8, Condition, Precondition)| DeleteItem {
                key: key_of(*key),
                precondition: precondition.clone(),
            };
            let items: Vec<_> = wanted.iter().map(item).collect();
            let answer = self.send(op.patience_ms, |engine, bucket| async move {
                engine.delete_objects(DeleteObjects { bucket, items }).await
            });
            let answer = answer.await;
            let Some(told) = self.told(&answer) else { continue };
            for (index, (key, condition, _)) in wanted.iter().enumerate() {
                let (told, existed) = match &answer {
                    Answer::Told(Ok(answers)) => match &answers[index] {
                        Ok(existed) => (Told::Done, *existed),
                        Err(error) => (told_of(error).unwrap_or(Told::Nothing), false),
                    },
                    _ => (told, false),
                };
                if told == Told::Done {
                    self.saw(*key, None);
                }
                self.record(*key, invoke, Effect::Delete { condition: *condition, told, existed });
            }
            if told != Told::Nothing {
                return;
            }
        }
    }

    async fn list(&self, op: &Op) {
        let world = self.world();
        let invoke = world.next_number();
        let answer = self.send(op.patience_ms, |engine, bucket| async move {
            let query = ListQuery {
                bucket: bucket.id,
                prefix: String::new(),
                delimiter: None,
                after: None,
                limit: 1_000,
            };
            engine.list_objects(&query).await
        });
        let Answer::Told(Ok(page)) = answer.await else { return };
        for key in 0..world.plan.keys {
            let name = key_of(key);
            let listed = page.lines.iter().find_map(|line| match line {
                Listed::Object(object) if object.key == name => Some(world.number_of(&object.etag)),
                _ => None,
            });
            self.record(key, invoke, Effect::Read { content: listed });
        }
    }

    async fn copy(&self, op: &Op, from: u8, as_seen: bool, ask: Ask) {
        let world = self.world();
        let seen = self.seen(from).filter(|_| as_seen);
        let (condition, precondition) = self.condition(op.key, ask);
        let call = self.new_call();
        let invoke = world.next_number();
        let tags = seen.clone();
        let answer = self.send(op.patience_ms, |engine, bucket| {
            let conditions = ReadConditions {
                if_match: tags.map(|etag| MatchTags::Tags(vec![etag])),
                ..ReadConditions::default()
            };
            let request = CopyObject {
                source: Source { bucket: bucket.clone(), key: key_of(from), conditions },
                bucket,
                key: key_of(op.key),
                precondition,
                replace_metadata: None,
                replace_tags: None,
                checksum: None,
                client: Caller::default(),
            };
            async move { engine.copy_object(request).await }
        });
        match answer.await {
            Answer::Told(Ok(stored)) => {
                let content = world.number_of(&stored.etag);
                if seen.is_some_and(|etag| etag != stored.etag) {
                    world.violate(Law::OldOrNew, "a copy took another state than the one it demanded");
                }
                self.saw(op.key, Some(stored.etag));
                self.record(from, invoke, Effect::Read { content: Some(content) });
                let effect = Effect::Copy { contents: vec![content], call, condition, told: Told::Done };
                self.record(op.key, invoke, effect);
            }
            Answer::Told(Err(EngineError::NoSuchKey)) => {
                self.record(from, invoke, Effect::Read { content: None });
            }
            Answer::Told(Err(EngineError::PreconditionFailed)) => match seen {
                Some(etag) => {
                    let content = world.number_of(&etag);
                    self.record(from, invoke, Effect::ReadOther { content });
                }
                None => {
                    let told = Told::PreconditionFailed;
                    self.record(op.key, invoke, Effect::Copy { contents: Vec::new(), call, condition, told });
                }
            },
            Answer::Told(Err(error)) if told_of(&error).is_none() => {}
            Answer::Down => {}
            _ => self.copied_perhaps(op.key, invoke, call, condition),
        }
    }

    /// A copy of which nothing is known: it may have taken whatever anybody ever wrote.
    fn copied_perhaps(&self, key: u8, invoke: u64, call: u32, condition: Condition) {
        let mut contents: Vec<u32> = locked(&self.world().records)
            .iter()
            .filter_map(|record| match &record.effect {
                Effect::Write { content, .. } | Effect::Complete { content, .. } => Some(*content),
                Effect::Read { content } => *content,
                _ => None,
            })
            .collect();
        contents.sort_unstable();
        contents.dedup();
        self.record(key, invoke, Effect::Copy { contents, call, condition, told: Told::Nothing });
    }

    async fn tag(&self, op: &Op) {
        let invoke = self.world().next_number();
        let tags = vec![("tag".to_owned(), op.seed.to_string())];
        let key = key_of(op.key);
        let answer = self
            .send(op.patience_ms, |engine, bucket| async move { engine.set_tags(&bucket, &key, tags).await });
        let answer = answer.await;
        if let Some(told @ (Told::Done | Told::NoSuchKey)) = self.told(&answer) {
            self.record(op.key, invoke, Effect::Touch { told });
        }
    }
}

/// What an error says of the effect; `None` where there certainly was none and nothing else was learnt.
pub(crate) fn told_of(error: &EngineError) -> Option<Told> {
    match error {
        EngineError::NoSuchKey => Some(Told::NoSuchKey),
        EngineError::PreconditionFailed => Some(Told::PreconditionFailed),
        EngineError::NoSuchUpload => Some(Told::NoSuchUpload),
        // All repetitions lost their answer.
        EngineError::Unavailable(why) if why.contains("answer was lost") => Some(Told::Nothing),
        _ => None,
    }
}

async fn read(numbers: &World, engine: &Engine, request: GetObject, slow: bool) -> Result<Got, EngineError> {
    let opened = match engine.get_object(request).await? {
        Read::Found(opened) => *opened,
        Read::NotModified { .. } => {
            return Err(EngineError::Internal("no condition was asked for".to_owned()));
        }
    };
    let answered = numbers.next_number();
    let answered_ms = numbers.now_ms();
    let mut bytes = Vec::new();
    let mut broken = None;
    let pieces = usize::try_from(opened.range.length / 1_900).unwrap_or(usize::MAX);
    let pause_ms = if slow { limits::pause_ms(numbers, pieces) } else { 0 };
    if let Some(body) = opened.body {
        let mut stream = body.stream;
        while let Some(chunk) = stream.next().await {
            match chunk {
                Ok(chunk) => bytes.extend_from_slice(&chunk),
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
            runtime::simulation::point("client.reads").await;
            if pause_ms > 0 {
                runtime::sleep(Duration::from_millis(numbers.chance.below(pause_ms))).await;
            }
        }
    }
    let etag = opened.object.state.etag;
    let (range, degraded) = (opened.range, opened.degraded);
    Ok(Got { etag, range, bytes: bytes.into(), broken, answered, answered_ms, degraded })
}

pub(crate) fn key_of(key: u8) -> ObjectKey {
    ObjectKey::parse(&format!("key-{key}")).unwrap()
}
