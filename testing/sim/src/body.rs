//! Bodies that clients send: in chunks, perhaps slowly, perhaps not to their end. Each chunk is counted for as long
//! as anybody holds it, so that the memory of a request is measured and not believed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use engine::{BodyFault, Expected, Incoming};
use futures::{StreamExt, stream};
use runtime::Chance;
use types::Md5;

use crate::world::World;
use crate::{Fault, limits};

/// Largest chunk that a client sends.
pub(crate) const CHUNK_BYTES_MAX: u64 = 1_400;

/// Counts the bytes of chunks that somebody holds.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    held: AtomicU64,
    most: AtomicU64,
}

impl Ledger {
    /// The most that was ever held at once.
    pub(crate) fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    /// What is held now.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    fn chunk(self: &Arc<Self>, bytes: &[u8]) -> Bytes {
        let held = self.held.fetch_add(bytes.len() as u64, Ordering::Relaxed) + bytes.len() as u64;
        self.most.fetch_max(held, Ordering::Relaxed);
        Bytes::from_owner(Chunk { bytes: bytes.to_vec(), ledger: Arc::clone(self) })
    }
}

struct Chunk {
    bytes: Vec<u8>,
    ledger: Arc<Ledger>,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.ledger.held.fetch_sub(self.bytes.len() as u64, Ordering::Relaxed);
    }
}

/// Bytes that no other body has.
pub(crate) fn draw(size: usize, seed: u64) -> Bytes {
    let chance = Chance::seeded(seed);
    let mut data = Vec::with_capacity(size + 8);
    while data.len() < size {
        data.extend_from_slice(&chance.next_u64().to_le_bytes());
    }
    data.truncate(size);
    data.into()
}

/// A body on its way to the process.
pub(crate) fn incoming(world: &Arc<World>, data: &Bytes, seed: u64, flaw: Option<Fault>) -> Incoming {
    let sending = Sending {
        world: Arc::clone(world),
        left: data.clone(),
        chance: Chance::seeded(seed ^ 0xb0d7),
        ends_at: ends_at(data, seed, flaw),
        sent: 0,
        flaw,
        pause_ms: if seed.is_multiple_of(7) { limits::pause_ms(world, data.len() / 700).max(60) } else { 0 },
        lingers: seed.is_multiple_of(2),
    };
    let mut expected = Expected::default();
    if flaw == Some(Fault::BodyWrongDigest) {
        world.count(Fault::BodyWrongDigest);
        expected.md5 = Some(Md5([7; 16]));
    } else if seed.is_multiple_of(3) {
        expected.md5 = Some(engine::md5_of(data));
    }
    let chunks = stream::unfold(sending, |mut sending| async move {
        let item = sending.next().await?;
        Some((item, sending))
    });
    Incoming { length: data.len() as u64, stream: Box::pin(chunks.fuse()), expected }
}

/// After how many bytes it ends; all of them, where nothing is wrong.
fn ends_at(data: &Bytes, seed: u64, flaw: Option<Fault>) -> usize {
    match flaw {
        Some(Fault::BodyBreaks | Fault::BodyShort) => {
            let below = Chance::seeded(seed ^ 0xe4d).below(data.len() as u64);
            usize::try_from(below).unwrap_or(0)
        }
        _ => data.len(),
    }
}

struct Sending {
    world: Arc<World>,
    left: Bytes,
    chance: Chance,
    ends_at: usize,
    sent: usize,
    flaw: Option<Fault>,
    /// How long it pauses between two chunks at most.
    pause_ms: u64,
    lingers: bool,
}

impl Sending {
    async fn next(&mut self) -> Option<Result<Bytes, BodyFault>> {
        runtime::simulation::point("client.chunk").await;
        if self.pause_ms > 0 {
            runtime::sleep(Duration::from_millis(self.chance.below(self.pause_ms))).await;
        }
        if self.sent >= self.ends_at {
            if self.lingers {
                // All bytes are there, and what proves them is not.
                self.lingers = false;
                runtime::sleep(Duration::from_millis(self.chance.below(800))).await;
            }
            return match self.flaw.take() {
                Some(flaw @ Fault::BodyBreaks) => {
                    self.world.count(flaw);
                    Some(Err(BodyFault::Disconnected("the client broke off".to_owned())))
                }
                Some(flaw @ Fault::BodyShort) => {
                    self.world.count(flaw);
                    None
                }
                _ => None,
            };
        }
        let size = usize::try_from(1 + self.chance.below(CHUNK_BYTES_MAX)).unwrap_or(1);
        let chunk = self.left.split_to(size.min(self.ends_at - self.sent));
        self.sent += chunk.len();
        Some(Ok(self.world.memory.chunk(&chunk)))
    }
}
