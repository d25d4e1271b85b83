//! The window of a body: the bytes that came in and that not all targets have taken yet.
//!
//! One producer, one reader per target. Bytes are shared, not copied. The body's last byte is held back
//! until [`Window::release`]: no target can have stored a body that was not proved. A body that fits the
//! window stays whole in it, so that a target that fails can be replaced; of a longer one only the first
//! half of a window is kept for that.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use backend::BodyError;
use bytes::Bytes;
use futures::Stream;
use runtime::{Instant, mutation};

/// The window. Clones share it.
#[derive(Clone)]
pub(crate) struct Window {
    state: Arc<Mutex<State>>,
}

struct State {
    /// Bytes of the whole body.
    length: u64,
    /// Bytes that may be here before the producer has to wait.
    capacity: u64,
    /// As long as no more than this came in, everything stays here.
    kept_whole: u64,
    chunks: VecDeque<(u64, Bytes)>,
    /// Offset of the first byte that is still here.
    start: u64,
    /// Offset behind the last byte that came in.
    end: u64,
    released: bool,
    failed: Option<BodyError>,
    readers: Vec<Reader>,
    producer: Option<Waker>,
}

struct Reader {
    position: u64,
    /// When it last took a byte, or last had none to take.
    moved_at: Instant,
    waker: Option<Waker>,
    gone: bool,
}

impl Window {
    pub(crate) fn new(length: u64, capacity: u64) -> Self {
        // Without room for a byte nothing would ever come in.
        let capacity = capacity.max(1);
        let kept_whole = if length <= capacity { length } else { capacity / 2 };
        let state = State {
            length,
            capacity,
            kept_whole,
            chunks: VecDeque::new(),
            start: 0,
            end: 0,
            released: false,
            failed: None,
            readers: Vec::new(),
            producer: None,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reader from the first byte on; `None` where the first byte is no longer here.
    pub(crate) fn reader(&self) -> Option<WindowReader> {
        let mut state = self.lock();
        if state.start > 0 {
            return None;
        }
        state.readers.push(Reader { position: 0, moved_at: Instant::now(), waker: None, gone: false });
        Some(WindowReader { state: Arc::clone(&self.state), index: state.readers.len() - 1 })
    }

    /// Whether a new reader would still see the whole body.
    pub(crate) fn is_whole(&self) -> bool {
        self.lock().start == 0
    }

    /// Gives the next bytes in, once there is room for them.
    pub(crate) async fn push(&self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        std::future::poll_fn(|cx| self.poll_room(cx)).await;
        let mut state = self.lock();
        let offset = state.end;
        state.end += bytes.len() as u64;
        debug_assert!(state.end <= state.length, "the intake lets no more through than was announced");
        state.chunks.push_back((offset, bytes));
        state.trim();
        state.wake_readers();
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.end - state.start < state.capacity || mutation::is_on("window.capacity") {
            return Poll::Ready(());
        }
        state.producer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The body is proved: readers get its last byte.
    pub(crate) fn release(&self) {
        let mut state = self.lock();
        debug_assert!(state.end == state.length, "only a whole body is proved");
        state.released = true;
        state.wake_readers();
    }

    /// The body failed: readers get an error instead of more bytes.
    pub(crate) fn fail(&self, why: &str) {
        let mut state = self.lock();
        state.failed = Some(BodyError(why.to_owned()));
        state.wake_readers();
    }

    /// Whether a reader has taken nothing for `patience`, although there was something to take, while the
    /// producer or a peer waits for it.
    pub(crate) fn is_stalled(&self, reader: usize, patience: Duration) -> bool {
        let state = self.lock();
        let limit = state.limit();
        let Some(this) = state.readers.get(reader) else { return false };
        let behind = !this.gone && this.position < limit && this.moved_at.elapsed() >= patience;
        behind && state.readers.iter().any(|peer| !peer.gone && peer.position == limit)
    }

    /// Lets a reader go: it gets an error instead of more bytes, and nobody waits for it any more.
    pub(crate) fn abandon(&self, reader: usize) {
        let mut state = self.lock();
        if let Some(reader) = state.readers.get_mut(reader) {
            reader.gone = true;
            if let Some(waker) = reader.waker.take() {
                waker.wake();
            }
        }
        state.trim();
        if let Some(waker) = state.producer.take() {
            waker.wake();
        }
    }

    /// Whether a reader has taken the body to its last byte.
    pub(crate) fn has_all(&self, reader: usize) -> bool {
        let state = self.lock();
        state.readers.get(reader).is_some_and(|reader| reader.position == state.length)
    }

    /// For how long a reader has taken nothing.
    pub(crate) fn idle(&self, reader: usize) -> Duration {
        self.lock().readers.get(reader).map_or(Duration::ZERO, |reader| reader.moved_at.elapsed())
    }
}

impl State {
    /// Readers may take bytes up to here.
    fn limit(&self) -> u64 {
        if self.released || mutation::is_on("window.last-byte") {
            self.end
        } else {
            self.end.min(self.length.saturating_sub(1))
        }
    }

    /// Drops what everyone has taken.
    fn trim(&mut self) {
        if self.end <= self.kept_whole {
            return;
        }
        let taken = self.readers.iter().filter(|reader| !reader.gone).map(|reader| reader.position).min();
        // Without a reader left the rest of the body is only drained.
        let taken = taken.unwrap_or(self.end);
        while let Some((offset, chunk)) = self.chunks.front() {
            let chunk_end = offset + chunk.len() as u64;
            if chunk_end > taken {
                break;
            }
            self.start = chunk_end;
            self.chunks.pop_front();
        }
        if self.end - self.start < self.capacity
            && let Some(waker) = self.producer.take()
        {
            waker.wake();
        }
    }

    fn wake_readers(&mut self) {
        for reader in &mut self.readers {
            if let Some(waker) = reader.waker.take() {
                // It had nothing to take until now.
                reader.moved_at = Instant::now();
                waker.wake();
            }
        }
    }

    fn chunk_at(&self, position: u64, limit: u64) -> Option<Bytes> {
        let next = self.chunks.partition_point(|(offset, _)| *offset <= position);
        let (offset, chunk) = self.chunks.get(next.checked_sub(1)?)?;
        let from = usize::try_from(position - offset).ok()?;
        let to = usize::try_from((limit - offset).min(chunk.len() as u64)).ok()?;
        (from < to).then(|| chunk.slice(from..to))
    }
}

/// The bytes for one target.
pub(crate) struct WindowReader {
    state: Arc<Mutex<State>>,
    index: usize,
}

impl WindowReader {
    /// Its number in the window.
    pub(crate) fn index(&self) -> usize {
        self.index
    }
}

impl Stream for WindowReader {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Reader { position, gone, .. } = state.readers[self.index];
        if gone {
            return Poll::Ready(Some(Err(BodyError("the target was let go".to_owned()))));
        }
        if position == state.length && state.released {
            return Poll::Ready(None);
        }
        if let Some(error) = &state.failed {
            return Poll::Ready(Some(Err(error.clone())));
        }
        let limit = state.limit();
        if let Some(chunk) = state.chunk_at(position, limit) {
            let reader = &mut state.readers[self.index];
            reader.position += chunk.len() as u64;
            reader.moved_at = Instant::now();
            state.trim();
            return Poll::Ready(Some(Ok(chunk)));
        }
        state.readers[self.index].waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for WindowReader {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.readers[self.index].gone = true;
        state.trim();
        // The producer may have waited for this reader alone.
        if let Some(waker) = state.producer.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};

    use super::*;

    fn next(reader: &mut WindowReader) -> Option<Option<Result<Vec<u8>, String>>> {
        let item = reader.next().now_or_never()?;
        Some(item.map(|chunk| chunk.map(|b| b.to_vec()).map_err(|e| e.to_string())))
    }

    fn push(window: &Window, bytes: &'static [u8]) -> bool {
        window.push(Bytes::from_static(bytes)).now_or_never().is_some()
    }

    #[tokio::test]
    async fn the_last_byte_is_held_back_until_the_body_is_proved() {
        let window = Window::new(6, 100);
        let mut reader = window.reader().unwrap();
        assert!(push(&window, b"abc") && push(&window, b"def"));
        assert_eq!(next(&mut reader), Some(Some(Ok(b"abc".to_vec()))));
        assert_eq!(next(&mut reader), Some(Some(Ok(b"de".to_vec()))));
        assert_eq!(next(&mut reader), None);
        window.release();
        assert_eq!(next(&mut reader), Some(Some(Ok(b"f".to_vec()))));
        assert_eq!(next(&mut reader), Some(None));
    }

    #[tokio::test]
    async fn a_body_that_failed_never_ends_cleanly() {
        let window = Window::new(6, 100);
        let mut reader = window.reader().unwrap();
        push(&window, b"abc");
        window.fail("gone");
        assert!(matches!(next(&mut reader), Some(Some(Err(_)))));
    }

    #[tokio::test]
    async fn a_body_that_fits_stays_whole_for_a_replacement() {
        let window = Window::new(4, 4);
        let mut first = window.reader().unwrap();
        push(&window, b"abcd");
        window.release();
        assert_eq!(next(&mut first), Some(Some(Ok(b"abcd".to_vec()))));
        drop(first);
        let mut second = window.reader().unwrap();
        assert_eq!(next(&mut second), Some(Some(Ok(b"abcd".to_vec()))));
    }

    #[tokio::test]
    async fn n37_the_producer_waits_for_the_slowest_and_goes_on_when_it_is_let_go() {
        let window = Window::new(100, 4);
        let mut fast = window.reader().unwrap();
        let slow = window.reader().unwrap();
        assert!(push(&window, b"abcd"));
        assert_eq!(next(&mut fast), Some(Some(Ok(b"abcd".to_vec()))));
        assert!(!push(&window, b"efgh"), "the slow reader holds the window");
        drop(slow);
        assert!(push(&window, b"efgh"));
        assert_eq!(next(&mut fast), Some(Some(Ok(b"efgh".to_vec()))));
        assert!(!window.is_whole() && window.reader().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_is_stalled_only_while_a_peer_waits_for_it() {
        let patience = Duration::from_secs(5);
        let window = Window::new(100, 4);
        let mut fast = window.reader().unwrap();
        let slow = window.reader().unwrap();
        assert!(push(&window, b"abcd"));
        runtime::sleep(patience).await;
        assert!(!window.is_stalled(slow.index(), patience), "no peer has run ahead");
        next(&mut fast);
        assert!(window.is_stalled(slow.index(), patience));
        assert!(!window.is_stalled(fast.index(), patience));
    }
}
