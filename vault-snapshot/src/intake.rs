//! What every byte of a snapshot passes through: proved while it streams, sealed or opened on its way.

use age::{Identity, Opener, Recipient, Sealer};
use bytes::Bytes;
use futures::StreamExt;
use ring::digest::{Context, SHA256};
use runtime::Task;
use tokio::sync::oneshot;

use crate::check::{Broken, Checked, Meta, check};
use crate::pipe::{Feed, pipe};
use crate::place::Chunks;
use crate::trouble::Trouble;

/// The structure check of a stream, on a thread of its own.
pub(crate) struct Checking {
    /// Absent once all is said.
    feed: Option<Feed>,
    task: Task<Result<Checked, Broken>>,
    meta: Option<oneshot::Receiver<Meta>>,
    size: u64,
}

impl Checking {
    pub(crate) fn start() -> Self {
        let (feed, reader) = pipe();
        let (tell, meta) = oneshot::channel();
        // Nobody may wait for it; then nobody is told.
        let task = runtime::spawn_blocking(move || check(reader, |meta| _ = tell.send(meta)));
        Self { feed: Some(feed), task, meta: Some(meta), size: 0 }
    }

    /// Takes plain bytes. False where the check has failed already.
    pub(crate) async fn take(&mut self, chunk: Bytes) -> bool {
        self.size += chunk.len() as u64;
        match &self.feed {
            Some(feed) => feed.send(chunk).await,
            None => false,
        }
    }

    /// What the snapshot says of itself, if that is known by now.
    pub(crate) fn meta(&mut self) -> Option<Meta> {
        let meta = self.meta.as_mut()?.try_recv().ok()?;
        self.meta = None;
        Some(meta)
    }

    /// Waits for it; `None` where the check ends without. `ended`: nothing more will come, which the check has to
    /// know, or both would wait for each other.
    pub(crate) async fn wait_for_meta(&mut self, ended: bool) -> Option<Meta> {
        if ended && let Some(feed) = self.feed.take() {
            feed.end().await;
        }
        self.meta.take()?.await.ok()
    }

    /// The verdict, with the bytes that were taken. `whole`: whether the stream came to its end.
    pub(crate) async fn verdict(self, whole: bool) -> Result<(Checked, u64), Trouble> {
        let Self { feed, task, size, .. } = self;
        match feed {
            Some(feed) if whole => feed.end().await,
            other => drop(other),
        }
        let judged =
            task.await.map_err(|error| Trouble::lasting(format!("the check broke down: {error}")))?;
        // Asking again gives another stream.
        judged
            .map(|checked| (checked, size))
            .map_err(|broken| Trouble::passing(format!("the snapshot is not whole: {broken}")))
    }
}

/// Encrypts, or passes through; and sums up what is stored.
pub(crate) struct Sealing {
    sealer: Option<Sealer>,
    digest: Context,
    pub(crate) size: u64,
}

impl Sealing {
    pub(crate) fn new(recipients: &[Recipient]) -> Self {
        let sealer = (!recipients.is_empty()).then(|| Sealer::new(recipients));
        Self { sealer, digest: Context::new(&SHA256), size: 0 }
    }

    pub(crate) fn push(&mut self, chunk: Bytes) -> Bytes {
        let stored = match &mut self.sealer {
            Some(sealer) => sealer.push(&chunk).into(),
            None => chunk,
        };
        self.count(stored)
    }

    /// The last bytes to store.
    pub(crate) fn finish(&mut self) -> Bytes {
        let last = self.sealer.take().map(Sealer::finish).unwrap_or_default();
        self.count(last.into())
    }

    /// SHA-256 of all that was given out.
    pub(crate) fn sha256(self) -> String {
        hex::encode(self.digest.finish())
    }

    fn count(&mut self, stored: Bytes) -> Bytes {
        self.digest.update(&stored);
        self.size += stored.len() as u64;
        stored
    }
}

/// What reading a stored snapshot whole has shown.
#[derive(Debug)]
pub(crate) struct ReadBack {
    pub(crate) size: u64,
    pub(crate) sha256: String,
    /// What is inside; `None` where it is encrypted and no key was given.
    pub(crate) inside: Option<(Checked, u64)>,
}

/// Reads stored bytes to their end, only summing them up.
pub(crate) async fn sum_up(mut stored: Chunks) -> Result<(u64, String), Trouble> {
    let (mut digest, mut size) = (Context::new(&SHA256), 0);
    while let Some(chunk) = stored.next().await {
        let chunk = chunk?;
        digest.update(&chunk);
        size += chunk.len() as u64;
    }
    Ok((size, hex::encode(digest.finish())))
}

/// Reads a stored snapshot whole, opens it, and checks what is inside.
pub(crate) async fn read_back(
    mut stored: Chunks,
    encrypted: bool,
    identities: &[Identity],
) -> Result<ReadBack, Trouble> {
    if encrypted && identities.is_empty() {
        let (size, sha256) = sum_up(stored).await?;
        return Ok(ReadBack { size, sha256, inside: None });
    }
    let mut opening = Opening::new(encrypted, identities);
    let mut checking = Checking::start();
    let (mut digest, mut size) = (Context::new(&SHA256), 0);
    let mut sound = true;
    while let Some(chunk) = stored.next().await {
        let chunk = chunk?;
        digest.update(&chunk);
        size += chunk.len() as u64;
        // All of it is read even so: its checksum says whether it is the store that changed it.
        sound = sound && checking.take(opening.push(chunk)?).await;
    }
    sound = sound && checking.take(opening.finish()?).await;
    let inside = checking.verdict(sound).await?;
    Ok(ReadBack { size, sha256: hex::encode(digest.finish()), inside: Some(inside) })
}

/// Decrypts, or passes through.
pub(crate) struct Opening(Option<Opener>);

impl Opening {
    pub(crate) fn new(encrypted: bool, identities: &[Identity]) -> Self {
        Self(encrypted.then(|| Opener::new(identities.to_vec())))
    }

    pub(crate) fn push(&mut self, chunk: Bytes) -> Result<Bytes, Trouble> {
        match &mut self.0 {
            Some(opener) => {
                opener.push(&chunk).map(Bytes::from).map_err(|error| Trouble::lasting(error.to_string()))
            }
            None => Ok(chunk),
        }
    }

    pub(crate) fn finish(&mut self) -> Result<Bytes, Trouble> {
        let last = self.0.take().map(Opener::finish).transpose();
        last.map(|last| last.unwrap_or_default().into()).map_err(|error| Trouble::lasting(error.to_string()))
    }
}
