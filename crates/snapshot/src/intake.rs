//! What every byte of a snapshot passes through: proved while it streams, sealed or opened on its way.

use std::io;
use std::pin::Pin;

use age::{Identity, OpenError, Opener, Recipient, Sealer};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use ring::digest::{Context, SHA256};
use runtime::Task;
use tokio::sync::oneshot;

use crate::check::{Broken, Checked, Meta, check};
use crate::pipe::{Feed, pipe};

/// Stored bytes on their way.
pub type Chunks = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Why a stored snapshot cannot be relied on.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Whoever stores it does not give it out.
    #[error(transparent)]
    Stored(#[from] io::Error),
    /// It cannot be opened.
    #[error(transparent)]
    Closed(#[from] OpenError),
    /// What is inside is not whole.
    #[error("the snapshot is not whole: {0}")]
    Broken(#[from] Broken),
}

/// The structure check of a stream, on a thread of its own.
pub struct Checking {
    /// Absent once all is said.
    feed: Option<Feed>,
    task: Task<Result<Checked, Broken>>,
    meta: Option<oneshot::Receiver<Meta>>,
    size: u64,
}

impl Checking {
    /// Begins with nothing.
    #[must_use]
    pub fn start() -> Self {
        let (feed, reader) = pipe();
        let (tell, meta) = oneshot::channel();
        // Nobody may wait for it; then nobody is told.
        let task = runtime::spawn_blocking(move || check(reader, |meta| _ = tell.send(meta)));
        Self { feed: Some(feed), task, meta: Some(meta), size: 0 }
    }

    /// Takes plain bytes. False where the check has failed already.
    pub async fn take(&mut self, chunk: Bytes) -> bool {
        self.size += chunk.len() as u64;
        match &self.feed {
            Some(feed) => feed.send(chunk).await,
            None => false,
        }
    }

    /// What the snapshot says of itself, if that is known by now.
    pub fn meta(&mut self) -> Option<Meta> {
        let meta = self.meta.as_mut()?.try_recv().ok()?;
        self.meta = None;
        Some(meta)
    }

    /// Waits for it; `None` where the check ends without. `ended`: nothing more will come, which the check has to
    /// know, or both would wait for each other.
    pub async fn wait_for_meta(&mut self, ended: bool) -> Option<Meta> {
        if ended && let Some(feed) = self.feed.take() {
            feed.end().await;
        }
        self.meta.take()?.await.ok()
    }

    /// The verdict, with the bytes that were taken. `whole`: whether the stream came to its end.
    ///
    /// # Errors
    /// Where it is not whole.
    pub async fn verdict(self, whole: bool) -> Result<(Checked, u64), Broken> {
        let Self { feed, task, size, .. } = self;
        match feed {
            Some(feed) if whole => feed.end().await,
            other => drop(other),
        }
        let checked = task.await.map_err(|error| Broken::Unchecked(error.to_string()))??;
        Ok((checked, size))
    }
}

/// Encrypts, or passes through; and sums up what is stored.
pub struct Sealing {
    sealer: Option<Sealer>,
    digest: Context,
    /// Bytes that were given out.
    pub size: u64,
}

impl Sealing {
    /// For these recipients; for none, everything passes as it is.
    #[must_use]
    pub fn new(recipients: &[Recipient]) -> Self {
        let sealer = (!recipients.is_empty()).then(|| Sealer::new(recipients));
        Self { sealer, digest: Context::new(&SHA256), size: 0 }
    }

    /// What is to be stored of these bytes, as far as that is known.
    pub fn push(&mut self, chunk: Bytes) -> Bytes {
        let stored = match &mut self.sealer {
            Some(sealer) => sealer.push(&chunk).into(),
            None => chunk,
        };
        self.count(stored)
    }

    /// The last bytes to store.
    pub fn finish(&mut self) -> Bytes {
        let last = self.sealer.take().map(Sealer::finish).unwrap_or_default();
        self.count(last.into())
    }

    /// SHA-256 of all that was given out.
    #[must_use]
    pub fn sha256(self) -> String {
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
pub struct ReadBack {
    /// Bytes as stored.
    pub size: u64,
    /// SHA-256 of them.
    pub sha256: String,
    /// What is inside; `None` where it is encrypted and no key was given.
    pub inside: Option<(Checked, u64)>,
}

/// Reads stored bytes to their end, only summing them up.
///
/// # Errors
/// Those of reading.
pub async fn sum_up(mut stored: Chunks) -> io::Result<(u64, String)> {
    let (mut digest, mut size) = (Context::new(&SHA256), 0);
    while let Some(chunk) = stored.next().await {
        let chunk = chunk?;
        digest.update(&chunk);
        size += chunk.len() as u64;
    }
    Ok((size, hex::encode(digest.finish())))
}

/// Reads a stored snapshot whole, opens it, and checks what is inside.
///
/// # Errors
/// Where it cannot be read, opened, or relied on.
pub async fn read_back(
    mut stored: Chunks,
    encrypted: bool,
    identities: &[Identity],
) -> Result<ReadBack, Unreadable> {
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

/// What is inside of a stored snapshot, as far as it is proved. Whoever reads it to its end has all of it.
pub fn opened(
    stored: Chunks,
    encrypted: bool,
    identities: &[Identity],
) -> impl Stream<Item = Result<Bytes, Unreadable>> + Send + use<> {
    let opening = Some(Opening::new(encrypted, identities));
    let plain = futures::stream::try_unfold((stored, opening), |(mut stored, opening)| async move {
        let Some(mut opening) = opening else { return Ok(None) };
        Ok::<_, Unreadable>(Some(match stored.next().await {
            Some(chunk) => (opening.push(chunk?)?, (stored, Some(opening))),
            None => (opening.finish()?, (stored, None)),
        }))
    });
    // No empty chunk: it would end a body in chunks.
    plain.filter(|chunk| std::future::ready(!matches!(chunk, Ok(chunk) if chunk.is_empty())))
}

/// Decrypts, or passes through.
struct Opening(Option<Opener>);

impl Opening {
    fn new(encrypted: bool, identities: &[Identity]) -> Self {
        Self(encrypted.then(|| Opener::new(identities.to_vec())))
    }

    fn push(&mut self, chunk: Bytes) -> Result<Bytes, OpenError> {
        match &mut self.0 {
            Some(opener) => opener.push(&chunk).map(Bytes::from),
            None => Ok(chunk),
        }
    }

    fn finish(&mut self) -> Result<Bytes, OpenError> {
        let last = self.0.take().map(Opener::finish).transpose()?;
        Ok(last.unwrap_or_default().into())
    }
}
