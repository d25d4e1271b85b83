//! Bodies on their way out, and what is known of how far they came.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http_body::{Frame, SizeHint};
use runtime::Instant;

use crate::error::{BoxError, Sent};

/// Chunks of a body, in order.
pub type BodyStream = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>;

/// A body to be sent.
pub enum PutBody {
    /// Whole in memory.
    Bytes(Bytes),
    /// A stream that yields exactly `length` bytes, or fails.
    Stream {
        /// Bytes in the stream.
        length: u64,
        /// The bytes.
        stream: BodyStream,
    },
}

impl PutBody {
    /// Bytes in the body.
    #[must_use]
    pub fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Stream { length, .. } => *length,
        }
    }
}

impl std::fmt::Debug for PutBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PutBody({} bytes)", self.length())
    }
}

/// How far the sending of a body has come. Shared by the body, which moves along with the connection,
/// and the request, which watches it.
pub(crate) struct Progress {
    origin: Instant,
    state: AtomicU8,
    /// When the state was last entered or renewed, in milliseconds since `origin`.
    changed_ms: AtomicU64,
    /// Whether a connection took the request. It may hand it back.
    left: AtomicBool,
    failure: Mutex<Option<BoxError>>,
}

/// The connection has the turn: it must take what it was given.
const SENDING: u8 = 0;
/// The giver of the body has the turn.
const WAITING_FOR_GIVER: u8 = 1;
/// The last byte was handed over.
const WHOLE: u8 = 2;

/// Who is late with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Late {
    /// Nobody: look again after this time.
    Nobody(Duration),
    /// The server takes no more bytes.
    Taking,
    /// The server has all and does not answer.
    Answering,
}

impl Progress {
    pub(crate) fn new(whole: bool) -> Arc<Self> {
        Arc::new(Self {
            origin: runtime::instant_now(),
            state: AtomicU8::new(if whole { WHOLE } else { SENDING }),
            changed_ms: AtomicU64::new(0),
            left: AtomicBool::new(false),
            failure: Mutex::new(None),
        })
    }

    fn enter(&self, state: u8) {
        self.changed_ms.store(self.elapsed_ms(), Ordering::Relaxed);
        self.state.store(state, Ordering::Release);
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Notes that a connection has the request, or has handed it back untouched.
    pub(crate) fn set_left(&self, left: bool) {
        self.left.store(left, Ordering::Release);
        if left {
            self.changed_ms.store(self.elapsed_ms(), Ordering::Relaxed);
        }
    }

    /// How much of the request may have reached the server.
    pub(crate) fn sent(&self) -> Sent {
        if !self.left.load(Ordering::Acquire) {
            Sent::Never
        } else if self.state.load(Ordering::Acquire) == WHOLE {
            Sent::Whole
        } else {
            Sent::Head
        }
    }

    /// Why the body failed, if it did.
    pub(crate) fn take_failure(&self) -> Option<BoxError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether the server is late. The giver of a body is never: how long to wait for it, it knows best.
    pub(crate) fn late(&self, stall: Duration, response_header: Duration) -> Late {
        let state = self.state.load(Ordering::Acquire);
        let since =
            Duration::from_millis(self.elapsed_ms().saturating_sub(self.changed_ms.load(Ordering::Relaxed)));
        let (limit, late) = match state {
            WAITING_FOR_GIVER => return Late::Nobody(stall),
            WHOLE => (response_header, Late::Answering),
            _ => (stall, Late::Taking),
        };
        match limit.checked_sub(since) {
            // At least a little, for the clock counts milliseconds here.
            Some(rest) if !rest.is_zero() => Late::Nobody(rest.max(Duration::from_millis(1))),
            _ => late,
        }
    }
}

/// What hyper sends.
pub(crate) struct RequestBody {
    source: Source,
    progress: Arc<Progress>,
}

enum Source {
    Done,
    Bytes(Bytes),
    Stream {
        stream: BodyStream,
        remaining: u64,
    },
    /// All bytes have come. The last of them go out once the giver has ended without a complaint: until
    /// then the server cannot take the body for complete.
    HeldBack {
        stream: BodyStream,
        last: Bytes,
    },
}

impl RequestBody {
    /// The body, and what tells how far it came.
    pub(crate) fn new(body: PutBody) -> (Self, Arc<Progress>) {
        let progress = Progress::new(body.length() == 0);
        let source = match body {
            PutBody::Bytes(bytes) if bytes.is_empty() => Source::Done,
            PutBody::Bytes(bytes) => Source::Bytes(bytes),
            // An empty stream was asked for its end already, see `prove_empty`.
            PutBody::Stream { length: 0, .. } => Source::Done,
            PutBody::Stream { length, stream } => Source::Stream { stream, remaining: length },
        };
        (Self { source, progress: Arc::clone(&progress) }, progress)
    }

    /// Ends the body with an error: hyper then drops the connection, and the server is left with fewer
    /// bytes than it was promised.
    fn fail(&mut self, error: BoxError) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        *self.progress.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        Poll::Ready(Some(Err("the body failed".into())))
    }
}

/// What comes of asking a source once.
enum Step {
    Again,
    Ended,
    Frame(Bytes),
    Failed(BoxError),
}

impl Source {
    /// Moves on by one chunk. Leaves `Done` behind at the end.
    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        Poll::Ready(match std::mem::replace(self, Self::Done) {
            Self::Done => Step::Ended,
            Self::Bytes(bytes) => Step::Frame(bytes),
            Self::Stream { mut stream, remaining } => match stream.as_mut().poll_next(cx) {
                Poll::Pending => {
                    *self = Self::Stream { stream, remaining };
                    return Poll::Pending;
                }
                Poll::Ready(None) => Step::Failed(format!("it ended {remaining} bytes early").into()),
                Poll::Ready(Some(Err(error))) => Step::Failed(error),
                Poll::Ready(Some(Ok(chunk))) => match remaining.checked_sub(chunk.len() as u64) {
                    None => Step::Failed(too_long()),
                    Some(0) => {
                        *self = Self::HeldBack { stream, last: chunk };
                        Step::Again
                    }
                    Some(remaining) => {
                        *self = Self::Stream { stream, remaining };
                        if chunk.is_empty() { Step::Again } else { Step::Frame(chunk) }
                    }
                },
            },
            Self::HeldBack { mut stream, last } => match poll_end(&mut stream, cx) {
                Poll::Pending => {
                    *self = Self::HeldBack { stream, last };
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => Step::Failed(error),
                Poll::Ready(Ok(())) => Step::Frame(last),
            },
        })
    }
}

/// Waits for a stream, all of whose bytes have come, to end.
fn poll_end(stream: &mut BodyStream, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
    loop {
        return Poll::Ready(match stream.as_mut().poll_next(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => Ok(()),
            Poll::Ready(Some(Ok(chunk))) if chunk.is_empty() => continue,
            Poll::Ready(Some(Ok(_))) => Err(too_long()),
            Poll::Ready(Some(Err(error))) => Err(error),
        });
    }
}

fn too_long() -> BoxError {
    "it is longer than announced".into()
}

/// Waits for a stream without bytes to end, as its request is complete as soon as its head is sent.
pub(crate) async fn prove_empty(body: &mut PutBody) -> Result<(), BoxError> {
    match body {
        PutBody::Stream { length: 0, stream } => std::future::poll_fn(|cx| poll_end(stream, cx)).await,
        _ => Ok(()),
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            return match this.source.step(cx) {
                Poll::Pending => {
                    this.progress.enter(WAITING_FOR_GIVER);
                    Poll::Pending
                }
                Poll::Ready(Step::Again) => continue,
                Poll::Ready(Step::Ended) => Poll::Ready(None),
                Poll::Ready(Step::Failed(error)) => this.fail(error),
                Poll::Ready(Step::Frame(chunk)) => {
                    this.progress.enter(if this.is_end_stream() { WHOLE } else { SENDING });
                    Poll::Ready(Some(Ok(Frame::data(chunk))))
                }
            };
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::Done)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.source {
            Source::Done => 0,
            Source::Bytes(bytes) => bytes.len() as u64,
            Source::Stream { remaining, .. } => *remaining,
            Source::HeldBack { last, .. } => last.len() as u64,
        })
    }
}
