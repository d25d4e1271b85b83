//! A client that a seed drives: puts, overwrites, deletes, copies and multipart uploads, one at a time, until
//! the server is gone. What it was told goes into the history.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runtime::Chance;
use testkit::wire::{Answer, Call, WireClient};

use crate::history::{History, UnderWay};
use crate::upload::Upload;
use crate::value::{Run, Value};

/// The bucket of most keys.
pub(crate) const BUCKET: &str = "chaos";
/// Another, which copies go to as well.
pub(crate) const OTHER: &str = "other";
/// Keys of each worker alone, so that it knows what they hold.
const OWN_KEYS: u64 = 3;
/// Keys that all workers write at once.
const SHARED_KEYS: u64 = 6;
/// Objects that are written once, to be copied.
pub(crate) const FIXED: u64 = 6;

/// Aborts what workers began and did not end.
pub(crate) async fn abort_uploads(wire: &WireClient) {
    for bucket in [BUCKET, OTHER] {
        let uploads = Call::get(&format!("/{bucket}")).flag("uploads");
        let listing = wire.ask(&uploads).await.success("uploads");
        for (key, id) in listing.elements("Key").iter().zip(listing.elements("UploadId")) {
            let abort = Call::new("DELETE", &format!("/{bucket}/{key}")).query("uploadId", &id);
            wire.ask(&abort).await.success("abort");
        }
    }
}

/// Why a worker stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The server is gone.
    Gone(#[expect(dead_code, reason = "for people who read a failed test")] io::Error),
    /// It said that it could not, which only a worker that endures may hear.
    Refused,
    /// The server did what it must not.
    Wrong(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

/// One client.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Its number, which its keys begin with.
    pub(crate) number: u64,
    /// Where it sends requests to.
    pub(crate) wire: WireClient,
    /// What all clients know.
    pub(crate) history: Arc<History>,
    /// Its multipart upload, where one is open.
    pub(crate) upload: Option<Upload>,
    /// What decides what it does.
    pub(crate) chance: Chance,
    /// Whether an answer of 500 and above is none, as a lost one, rather than wrong.
    pub(crate) endures: bool,
    count: u64,
}

/// The number of a run, of whatever else there is: worker 1,000 and above belong to the test itself.
fn number(worker: u64, count: u64) -> u64 {
    (worker << 32) | count
}

/// The value of a fixed object.
pub(crate) fn fixed(index: u64) -> (String, Value) {
    let length = [0, 1, 700, 65_536, 70_001, 1_300_000][usize::try_from(index % 6).unwrap_or(0)];
    (format!("/{BUCKET}/fixed/{index}"), Value::of(Run { number: number(1000, index), length }))
}

impl Worker {
    /// A worker with a seed of its own.
    pub(crate) fn new(number: u64, seed: u64, wire: WireClient, history: Arc<History>) -> Self {
        let chance = Chance::seeded(seed ^ (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self { number, wire, history, upload: None, chance, endures: false, count: 0 }
    }

    /// Works until something stops it.
    pub(crate) async fn run(&mut self) -> Stop {
        loop {
            if let Err(stop) = self.step().await {
                return stop;
            }
        }
    }

    /// Works until it is told to end, whatever fails; a wrong answer alone stops it. What an upload came to that
    /// failed it does not ask: it begins another. Says how often it was refused or got no answer.
    pub(crate) async fn endure(&mut self, end: &AtomicBool) -> Result<u64, String> {
        self.endures = true;
        let mut failed = 0;
        while !end.load(Ordering::Relaxed) {
            match self.step().await {
                Ok(()) => {}
                Err(Stop::Wrong(text)) => return Err(text),
                Err(Stop::Gone(_) | Stop::Refused) => {
                    failed += 1;
                    self.upload = None;
                    // As a client does that tries again.
                    runtime::sleep(Duration::from_millis(20 + self.chance.below(200))).await;
                }
            }
        }
        Ok(failed)
    }

    async fn step(&mut self) -> Result<(), Stop> {
        match self.chance.below(100) {
            0..30 => self.put(&self.own_key()).await,
            30..40 => self.put(&self.shared_key()).await,
            40..48 => self.delete(&self.own_key()).await,
            48..51 => self.delete(&self.shared_key()).await,
            51..54 => self.delete_three().await,
            54..66 => self.copy().await,
            66..72 => self.read(&self.own_key()).await,
            72..78 => self.read(&self.shared_key()).await,
            _ => self.multipart().await,
        }
    }

    /// A key that only this worker writes.
    pub(crate) fn own_key(&self) -> String {
        let bucket = if self.chance.happens(0.1) { OTHER } else { BUCKET };
        format!("/{bucket}/own/{}/{}", self.number, self.chance.below(OWN_KEYS))
    }

    fn shared_key(&self) -> String {
        format!("/{BUCKET}/shared/{}", self.chance.below(SHARED_KEYS))
    }

    /// Bytes that nobody has written before: mostly few, now and then many.
    pub(crate) fn new_run(&mut self) -> Run {
        self.count += 1;
        let length = match self.chance.below(100) {
            0..4 => 0,
            4..70 => self.chance.below(5_000),
            70..97 => self.chance.below(200_000),
            _ => 500_000 + self.chance.below(2_500_000),
        };
        let length = usize::try_from(length).expect("it is small");
        Run { number: number(self.number, self.count), length }
    }

    async fn put(&mut self, key: &str) -> Result<(), Stop> {
        let value = Value::of(self.new_run());
        let call = Call::put(key, value.bytes());
        let write = self.history.begin(key, Some(value.clone()));
        let answer = self.wire.send(&call).await?;
        self.expect(&answer, 200, &call)?;
        if answer.etag() != value.etag {
            return Err(Stop::Wrong(format!(
                "PUT {key} was answered with {}, not {}",
                answer.etag(),
                value.etag
            )));
        }
        self.history.acknowledge(&write);
        Ok(())
    }

    async fn delete(&mut self, key: &str) -> Result<(), Stop> {
        let call = Call::new("DELETE", key);
        let write = self.history.begin(key, None);
        let answer = self.wire.send(&call).await?;
        self.expect(&answer, 204, &call)?;
        self.history.acknowledge(&write);
        Ok(())
    }

    /// Three keys in one request.
    async fn delete_three(&mut self) -> Result<(), Stop> {
        let keys: Vec<String> = (0..3).map(|index| format!("own/{}/{index}", self.number)).collect();
        let items: String = keys.iter().map(|key| format!("<Object><Key>{key}</Key></Object>")).collect();
        let call =
            Call::new("POST", &format!("/{BUCKET}")).flag("delete").body(format!("<Delete>{items}</Delete>"));
        let digest = content_md5(&call.body);
        let call = call.header("content-md5", &digest);
        let writes: Vec<UnderWay> =
            keys.iter().map(|key| self.history.begin(&format!("/{BUCKET}/{key}"), None)).collect();
        let answer = self.wire.send(&call).await?;
        self.expect(&answer, 200, &call)?;
        if answer.text().contains("<Error>") {
            let codes = answer.elements("Code");
            let is_refused =
                |code: &String| ["InternalError", "ServiceUnavailable", "SlowDown"].contains(&code.as_str());
            if self.endures && !codes.is_empty() && codes.iter().all(is_refused) {
                return Err(Stop::Refused);
            }
            return Err(Stop::Wrong(format!("a delete of many was refused: {}", answer.text())));
        }
        for write in &writes {
            self.history.acknowledge(write);
        }
        Ok(())
    }

    async fn copy(&mut self) -> Result<(), Stop> {
        let (source, value) = fixed(self.chance.below(FIXED));
        let target = if self.chance.happens(0.2) { self.shared_key() } else { self.own_key() };
        let call = Call::new("PUT", &target).header("x-amz-copy-source", &source);
        let write = self.history.begin(&target, Some(value.clone()));
        let answer = self.wire.send(&call).await?;
        self.expect(&answer, 200, &call)?;
        match answer.element("ETag") {
            Some(etag) if etag == value.etag => self.history.acknowledge(&write),
            other => {
                return Err(Stop::Wrong(format!("a copy of {source} was answered with the tag {other:?}")));
            }
        }
        Ok(())
    }

    async fn read(&mut self, key: &str) -> Result<(), Stop> {
        let began = self.history.now();
        let answer = self.wire.send(&Call::get(key)).await?;
        if self.endures && answer.status >= 500 {
            return Err(Stop::Refused);
        }
        self.history.judge(key, began, &answer).map(|_| ()).map_err(Stop::Wrong)
    }

    /// Fails unless the answer has this status.
    pub(crate) fn expect(&self, answer: &Answer, status: u16, call: &Call) -> Result<(), Stop> {
        if answer.status == status {
            return Ok(());
        }
        if self.endures && answer.status >= 500 {
            return Err(Stop::Refused);
        }
        let (method, path) = (&call.method, &call.path);
        Err(Stop::Wrong(format!("{method} {path} was answered with {} {}", answer.status, answer.text())))
    }
}

/// The value of `Content-MD5` for a body.
pub(crate) fn content_md5(body: &[u8]) -> String {
    use base64::Engine;
    use md5::{Digest, Md5};

    base64::engine::general_purpose::STANDARD.encode(Md5::digest(body))
}
