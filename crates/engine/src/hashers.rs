//! The MD5 of long bodies: several bodies at once on one thread, for together they cost a third.
//!
//! Nobody waits for company. A thread takes what is there, up to four bodies; while it computes the others queue
//! up, so the busier the process is, the more of them are computed side by side. No body waits for one that
//! is slower than it: each turn takes from each body only what all of them have.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};
use md5_lanes::{LANES, Lane, Md5, update_all};
use tokio::sync::{Semaphore, oneshot};

/// Bytes of one body that may wait to be digested. As many again may be in a thread's hands.
const WAITING_BYTES_MAX: usize = 512 << 10;
/// Bytes behind one place of a body.
const PLACE_BYTES: usize = 4096;

/// Computes the MD5 of long bodies.
#[derive(Clone)]
pub(crate) struct Hashers(Arc<Shared>);

struct Shared {
    turns: Mutex<Turns>,
    threads_max: usize,
}

/// Who is due, and who serves them.
#[derive(Default)]
struct Turns {
    due: VecDeque<Arc<Body>>,
    threads: usize,
}

/// A body whose MD5 is computed while it comes in.
pub(crate) struct Hashing {
    body: Arc<Body>,
    hashers: Hashers,
}

struct Body {
    places: Semaphore,
    state: Mutex<State>,
}

struct State {
    md5: Md5,
    waiting: VecDeque<Bytes>,
    /// Whether it is due, or in a thread's hands.
    in_turn: bool,
    /// Set at the end of the body.
    wanted: Option<oneshot::Sender<[u8; 16]>>,
}

impl Default for Hashers {
    fn default() -> Self {
        let threads_max = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Shared { turns: Mutex::default(), threads_max }))
    }
}

impl Hashers {
    /// Begins with a body.
    pub(crate) fn begin(&self) -> Hashing {
        let state = State { md5: Md5::new(), waiting: VecDeque::new(), in_turn: false, wanted: None };
        let places = Semaphore::new(WAITING_BYTES_MAX / PLACE_BYTES);
        let body = Arc::new(Body { places, state: Mutex::new(state) });
        Hashing { body, hashers: self.clone() }
    }

    /// A body has something to do.
    fn is_due(&self, body: Arc<Body>) {
        let mut turns = lock(&self.0.turns);
        turns.due.push_back(body);
        self.call_thread(turns);
    }

    /// Begins with one more thread where there is none, and where those that there are leave a whole turn waiting.
    fn call_thread(&self, mut turns: MutexGuard<'_, Turns>) {
        let enough = turns.threads > 0 && turns.due.len() < LANES;
        if enough || turns.threads >= self.0.threads_max {
            return;
        }
        turns.threads += 1;
        drop(turns);
        let hashers = self.clone();
        // It ends by itself, when nothing is due any more.
        runtime::spawn_blocking(move || hashers.serve()).detach();
    }

    fn serve(&self) {
        while let Some(bodies) = self.next() {
            let mut turn: Vec<Taken> = bodies.into_iter().map(Taken::new).collect();
            while digest_what_all_have(&mut turn) {}
            for taken in turn {
                if let Some(body) = taken.give_back() {
                    self.is_due(body);
                }
            }
        }
    }

    /// The bodies of the next turn. `None` where none is due: the thread ends with that.
    fn next(&self) -> Option<Vec<Arc<Body>>> {
        let mut turns = lock(&self.0.turns);
        if turns.due.is_empty() {
            turns.threads -= 1;
            return None;
        }
        let count = turns.due.len().min(LANES);
        let bodies = turns.due.drain(..count).collect();
        self.call_thread(turns);
        Some(bodies)
    }
}

impl Hashing {
    /// Takes the next bytes; waits while too many wait already.
    pub(crate) async fn update(&self, bytes: &Bytes) {
        let Ok(room) = self.body.places.acquire_many(places(bytes)).await else { return };
        room.forget();
        self.change(|state| state.waiting.push_back(bytes.clone()));
    }

    /// The digest. `None` where the thread was lost.
    pub(crate) async fn finish(self) -> Option<[u8; 16]> {
        let (wanted, digest) = oneshot::channel();
        self.change(|state| state.wanted = Some(wanted));
        digest.await.ok()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.body.state);
        change(&mut state);
        if !std::mem::replace(&mut state.in_turn, true) {
            drop(state);
            self.hashers.is_due(Arc::clone(&self.body));
        }
    }
}

impl Drop for Hashing {
    fn drop(&mut self) {
        let mut state = lock(&self.body.state);
        // Nobody wants to know any more.
        if state.wanted.is_none() {
            state.waiting.clear();
        }
    }
}

/// The places that a chunk takes, however large it is.
fn places(bytes: &Bytes) -> u32 {
    let places = bytes.len().div_ceil(PLACE_BYTES).clamp(1, WAITING_BYTES_MAX / PLACE_BYTES);
    u32::try_from(places).expect("there are few places")
}

/// A body in a thread's hands.
struct Taken {
    body: Arc<Body>,
    md5: Md5,
    chunks: VecDeque<Bytes>,
}

impl Taken {
    fn new(body: Arc<Body>) -> Self {
        let mut state = lock(&body.state);
        let (md5, chunks) = (std::mem::take(&mut state.md5), std::mem::take(&mut state.waiting));
        drop(state);
        // What was taken makes place for as much: then the body comes in while this is computed.
        let freed: u32 = chunks.iter().map(places).sum();
        body.places.add_permits(usize::try_from(freed).expect("there are few places"));
        Self { body, md5, chunks }
    }

    /// Leaves what was computed with the body, which is given where more of it has come meanwhile.
    fn give_back(self) -> Option<Arc<Body>> {
        let mut state = lock(&self.body.state);
        if !state.waiting.is_empty() {
            state.md5 = self.md5;
            drop(state);
            return Some(self.body);
        }
        state.in_turn = false;
        if let Some(wanted) = state.wanted.take() {
            // The request may be gone.
            let _ = wanted.send(self.md5.finish());
        } else {
            state.md5 = self.md5;
        }
        None
    }
}

/// Takes each body that has something further by what all of those have. Says whether one had.
fn digest_what_all_have(turn: &mut [Taken]) -> bool {
    let mut busy: Vec<&mut Taken> = turn.iter_mut().filter(|taken| !taken.chunks.is_empty()).collect();
    let Some(bytes) = busy.iter().map(|taken| taken.chunks[0].len()).min() else { return false };
    let mut lanes: Vec<Lane<'_>> =
        busy.iter_mut().map(|taken| Lane { md5: &mut taken.md5, bytes: &taken.chunks[0][..bytes] }).collect();
    update_all(&mut lanes);
    for taken in busy {
        taken.chunks[0].advance(bytes);
        if taken.chunks[0].is_empty() {
            taken.chunks.pop_front();
        }
    }
    true
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::md5_of;

    /// Bytes that are another's nowhere.
    fn content(seed: u8, length: usize) -> Bytes {
        (0..length).map(|at| u8::try_from((at * 7 + at / 251) % 251).unwrap() ^ seed).collect()
    }

    async fn digest(hashers: Hashers, seed: u8, length: usize, chunk: usize) -> bool {
        let all = content(seed, length);
        let hashing = hashers.begin();
        for bytes in all.chunks(chunk) {
            hashing.update(&all.slice_ref(bytes)).await;
        }
        hashing.finish().await == Some(md5_of(&all).0)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_bodies_at_once_have_their_own_digests() {
        let hashers = Hashers::default();
        let bodies = (0_u8..12).map(|seed| {
            let chunk = [1 << 17, 10_000, 77_777, 1 << 20][usize::from(seed) % 4];
            let length = 300_000 * usize::from(seed % 5) + usize::from(seed);
            runtime::spawn(digest(hashers.clone(), seed, length, chunk))
        });
        let bodies: Vec<_> = bodies.collect();
        for body in bodies {
            assert!(body.await.unwrap());
        }
        // The threads end when nothing is due; the last one may still be about to.
        while lock(&hashers.0.turns).threads > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_goes_with_its_request() {
        // Without a thread nothing is ever taken.
        let hashers = Hashers(Arc::new(Shared { turns: Mutex::default(), threads_max: 0 }));
        let hashing = hashers.begin();
        let chunk = content(1, WAITING_BYTES_MAX / 2);
        hashing.update(&chunk).await;
        hashing.update(&chunk).await;
        let more = content(2, 1);
        let mut waits = Box::pin(hashing.update(&more));
        assert!(futures::poll!(&mut waits).is_pending());
        let body = Arc::clone(&hashing.body);
        assert_eq!(lock(&body.state).waiting.len(), 2);
        // The thread that comes for it makes place for as much.
        let taken = Taken::new(Arc::clone(&body));
        waits.await;
        assert_eq!((taken.chunks.len(), lock(&body.state).waiting.len()), (2, 1));
        drop(hashing);
        assert!(lock(&body.state).waiting.is_empty());
    }

    #[tokio::test]
    async fn a_thread_that_leaves_a_whole_turn_waiting_calls_another() {
        let hashers = Hashers(Arc::new(Shared { turns: Mutex::default(), threads_max: 2 }));
        // Both threads have their hands full while eight bodies come.
        lock(&hashers.0.turns).threads = 2;
        let mut bodies = Vec::new();
        for seed in 0_u8..8 {
            let hashing = hashers.begin();
            hashing.update(&content(seed, 1000)).await;
            bodies.push(runtime::spawn(hashing.finish()));
        }
        tokio::task::yield_now().await;
        // One of them ended, the other takes its next turn, and no further body comes.
        lock(&hashers.0.turns).threads = 1;
        let taken = hashers.next().unwrap();
        assert_eq!(taken.len(), LANES);
        for (seed, digest) in (0_u8..).zip(bodies).skip(LANES) {
            let digest = runtime::timeout(std::time::Duration::from_secs(60), digest).await;
            assert_eq!(digest.unwrap().unwrap(), Some(md5_of(&content(seed, 1000)).0));
        }
    }
}
