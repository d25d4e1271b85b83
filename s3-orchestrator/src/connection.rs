//! One connection: what moves on it, and when it has been patient for long enough.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use runtime::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::front::AnswerBody;
use crate::refusal::Refuser;

/// How long a client may keep a connection waiting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For the head of a request, from its first byte on; for the first request, from the connection on.
    pub head: Duration,
    /// For it to take some of an answer.
    pub write: Duration,
    /// For it to ask for something.
    pub idle: Duration,
}

impl Patience {
    /// How often to look.
    pub(crate) fn tick(&self) -> Duration {
        let shortest = self.head.min(self.write).min(self.idle);
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(5))
    }
}

/// Why a connection is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// The head of a request did not end.
    Head,
    /// An answer is not taken.
    Write,
    /// Nothing is asked for.
    Idle,
}

/// No head has begun.
const NONE: u64 = u64::MAX;

/// What happens on a connection, in milliseconds since it began.
#[derive(Debug)]
pub(crate) struct Activity {
    start: Instant,
    http2: AtomicBool,
    in_flight: AtomicU32,
    /// Answers of which a piece was handed out and no further one was asked for.
    owed: AtomicU32,
    moved_ms: AtomicU64,
    head_ms: AtomicU64,
}

impl Activity {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            start: runtime::instant_now(),
            http2: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            owed: AtomicU32::new(0),
            moved_ms: AtomicU64::new(0),
            // The first head is awaited from the connection on.
            head_ms: AtomicU64::new(0),
        })
    }

    /// Notes that a request was read; it is under way until the answer is dropped.
    pub(crate) fn request(self: &Arc<Self>) -> UnderWay {
        self.head_ms.store(NONE, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
        UnderWay { activity: Arc::clone(self), owes: false }
    }

    /// What the client has kept waiting for too long.
    pub(crate) fn overdue(&self, patience: &Patience) -> Option<Overdue> {
        let now = self.now_ms();
        let longer_than = |since, most| Duration::from_millis(now.saturating_sub(since)) > most;
        let (moved, head) = (self.moved_ms.load(Relaxed), self.head_ms.load(Relaxed));
        if self.in_flight.load(Relaxed) > 0 {
            let stuck = self.owed.load(Relaxed) > 0 && longer_than(moved, patience.write);
            return stuck.then_some(Overdue::Write);
        }
        if head != NONE {
            return longer_than(head, patience.head).then_some(Overdue::Head);
        }
        longer_than(moved, patience.idle).then_some(Overdue::Idle)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(NONE - 1)
    }

    fn moved(&self) {
        self.moved_ms.store(self.now_ms(), Relaxed);
    }

    /// Bytes came. In HTTP/1 a head begins with them where no request is under way; HTTP/2 also sends
    /// frames that ask for nothing.
    fn came(&self, bytes: &[u8]) {
        if self.head_ms.load(Relaxed) == 0 && bytes.starts_with(b"PRI ") {
            self.http2.store(true, Relaxed);
        }
        if self.in_flight.load(Relaxed) == 0
            && !self.http2.load(Relaxed)
            && self.head_ms.load(Relaxed) == NONE
        {
            self.head_ms.store(self.now_ms(), Relaxed);
        }
    }
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct UnderWay {
    activity: Arc<Activity>,
    owes: bool,
}

impl UnderWay {
    fn set_owes(&mut self, owes: bool) {
        if self.owes == owes {
            return;
        }
        self.owes = owes;
        if owes {
            self.activity.owed.fetch_add(1, Relaxed);
        } else {
            self.activity.owed.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.set_owes(false);
        self.activity.moved();
        self.activity.in_flight.fetch_sub(1, Relaxed);
    }
}

/// An answer's body that notes whether the client takes it.
pub(crate) struct Watched {
    body: AnswerBody,
    under_way: UnderWay,
}

impl Watched {
    pub(crate) fn new(body: AnswerBody, under_way: UnderWay) -> Self {
        Self { body, under_way }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = <AnswerBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.under_way.set_owes(false);
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.under_way.set_owes(true);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Most bytes that are read on of a head that was refused.
const REFUSED_BYTES_MAX: usize = 32 << 20;

/// A stream that notes what moves on it, and exchanges the refusals of the HTTP library.
pub(crate) struct Noted<S> {
    stream: S,
    activity: Arc<Activity>,
    refuser: Refuser,
    /// What is being written in the place of such a refusal.
    instead: Option<Bytes>,
    /// Bytes that may still be read of a head that was refused.
    refused: Option<usize>,
}

impl<S> Noted<S> {
    pub(crate) fn new(stream: S, activity: Arc<Activity>, refuser: Refuser) -> Self {
        Self { stream, activity, refuser, instead: None, refused: None }
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(count)) if count > 0) {
            self.activity.moved();
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let came = &buf.filled()[before..];
        if !came.is_empty() {
            self.activity.came(came);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Noted<S> {
    /// Writes something else where the HTTP library writes a refusal of its own: `None` where it does not.
    fn poll_instead(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Option<Poll<io::Result<usize>>> {
        if self.instead.is_none() {
            self.instead = Some(self.refuser.instead_of(buf)?);
        }
        while let Some(left) = self.instead.as_mut().filter(|left| !left.is_empty()) {
            match Pin::new(&mut self.stream).poll_write(cx, left) {
                Poll::Ready(Ok(0)) => return Some(Poll::Ready(Err(io::ErrorKind::WriteZero.into()))),
                Poll::Ready(Ok(count)) => left.advance(count),
                other => return Some(other),
            }
        }
        self.instead = None;
        self.refused = Some(REFUSED_BYTES_MAX);
        Some(Poll::Ready(Ok(buf.len())))
    }
}

impl<S: AsyncRead + Unpin> Noted<S> {
    /// Reads what is left of a head that was refused. A connection that is closed before reaches a client that
    /// is still sending as a reset, and the answer is lost. How long this may take is bounded as for any head.
    fn poll_read_on(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut space = [0; 8192];
        while let Some(left) = self.refused.filter(|left| *left > 0) {
            let mut buf = ReadBuf::new(&mut space);
            if ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf)).is_err() || buf.filled().is_empty()
            {
                break;
            }
            self.refused = Some(left.saturating_sub(buf.filled().len()));
        }
        self.refused = None;
        Poll::Ready(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Noted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(written) = self.poll_instead(cx, buf) {
            return written;
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // A refusal of the library has no body.
        if let [head] = bufs
            && let Some(written) = self.poll_instead(cx, head)
        {
            return written;
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Done once already where it is asked for again.
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        self.poll_read_on(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        head: Duration::from_secs(10),
        write: Duration::from_secs(60),
        idle: Duration::from_secs(120),
    };

    async fn after(seconds: u64) {
        runtime::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_head_is_awaited_from_the_start() {
        let activity = Activity::new();
        after(9).await;
        assert_eq!(activity.overdue(&PATIENCE), None);
        activity.came(b"G");
        after(2).await;
        assert_eq!(activity.overdue(&PATIENCE), Some(Overdue::Head), "a byte now and then buys no time");
    }

    #[tokio::test(start_paused = true)]
    async fn between_requests_a_client_may_idle_but_not_dawdle() {
        let activity = Activity::new();
        after(5).await;
        drop(activity.request());
        after(119).await;
        assert_eq!(activity.overdue(&PATIENCE), None);
        activity.came(b"G");
        after(11).await;
        assert_eq!(activity.overdue(&PATIENCE), Some(Overdue::Head));
        drop(activity.request());
        after(121).await;
        assert_eq!(activity.overdue(&PATIENCE), Some(Overdue::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn http2_frames_begin_no_head() {
        let activity = Activity::new();
        activity.came(b"PRI * HTTP/2.0\r\n");
        drop(activity.request());
        activity.came(b"a window update");
        after(100).await;
        assert_eq!(activity.overdue(&PATIENCE), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_taken_is_given_up_but_a_slow_backend_is_awaited() {
        let activity = Activity::new();
        let mut request = activity.request();
        after(3600).await;
        assert_eq!(activity.overdue(&PATIENCE), None, "the client waits for us");
        request.set_owes(true);
        activity.moved();
        after(59).await;
        assert_eq!(activity.overdue(&PATIENCE), None);
        after(2).await;
        assert_eq!(activity.overdue(&PATIENCE), Some(Overdue::Write));
    }
}
