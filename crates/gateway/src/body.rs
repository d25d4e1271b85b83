//! Bodies, both ways.
//!
//! In: bytes are counted, a client that falls silent is given up, the aws-chunked framing is walked ahead of
//! its decoder. Out: bytes are counted, and an object's body that fails breaks the connection off.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use engine::{BodyFault, EngineError};
use futures::Stream;
use http_body::{Body, Frame, SizeHint};
use runtime::Instant;
use s3s::StdError;

use crate::call::Call;
use crate::framing::Reframer;
use crate::observe::Ticket;

/// A client's body on its way in.
pub(crate) struct ClientBody<B> {
    inner: B,
    call: Arc<Call>,
    bytes: Arc<AtomicU64>,
    idle: Idle,
    framing: Option<Reframer>,
    ready: VecDeque<Bytes>,
    ended: bool,
}

impl<B> ClientBody<B> {
    pub(crate) fn new(
        inner: B,
        call: Arc<Call>,
        bytes: Arc<AtomicU64>,
        idle: Duration,
        framing: Option<Reframer>,
    ) -> Self {
        Self { inner, call, bytes, idle: Idle::new(idle), framing, ready: VecDeque::new(), ended: false }
    }

    fn fail(&mut self, fault: BodyFault) -> StdError {
        self.ended = true;
        self.ready.clear();
        let text = fault.to_string();
        // The first fault is the cause.
        let _ = self.call.body_fault.set(fault);
        text.into()
    }
}

impl<B> Body for ClientBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<StdError>,
{
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = self.get_mut();
        loop {
            if let Some(bytes) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if this.ended {
                return Poll::Ready(None);
            }
            let Poll::Ready(next) = Pin::new(&mut this.inner).poll_frame(cx) else {
                ready!(this.idle.poll(cx));
                let silent = BodyFault::Silent(this.idle.limit);
                return Poll::Ready(Some(Err(this.fail(silent))));
            };
            this.idle.touch();
            let taken = match next {
                // Trailers of HTTP itself mean nothing here.
                Some(Ok(frame)) => frame.into_data().map_or(Ok(()), |bytes| this.take(bytes)),
                Some(Err(error)) => Err(BodyFault::Disconnected(error.into().to_string())),
                None => {
                    this.ended = true;
                    this.framing.as_ref().map_or(Ok(()), Reframer::finish)
                }
            };
            if let Err(fault) = taken {
                return Poll::Ready(Some(Err(this.fail(fault))));
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        if self.framing.is_some() { SizeHint::default() } else { self.inner.size_hint() }
    }
}

impl<B> ClientBody<B> {
    fn take(&mut self, bytes: Bytes) -> Result<(), BodyFault> {
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        match &mut self.framing {
            Some(framing) => framing.push(bytes, &mut self.ready),
            None => {
                self.ready.push_back(bytes);
                Ok(())
            }
        }
    }
}

/// Notices silence. Costs a look at the clock per buffer, and a timer only while waiting.
struct Idle {
    limit: Duration,
    since: Instant,
    timer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Idle {
    fn new(limit: Duration) -> Self {
        Self { limit, since: runtime::instant_now(), timer: None }
    }

    fn touch(&mut self) {
        self.since = runtime::instant_now();
    }

    /// Ready once nothing was touched for the whole limit.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let end = self.since + self.limit;
            let timer = self.timer.get_or_insert_with(|| Box::pin(runtime::sleep_until(end)));
            ready!(timer.as_mut().poll(cx));
            // The timer was set before the last byte came: set it anew.
            self.timer = None;
            if runtime::instant_now() >= end {
                return Poll::Ready(());
            }
        }
    }
}

/// A decoded body as the engine takes it.
pub(crate) struct Decoded {
    inner: s3s::Body,
    call: Arc<Call>,
    got: u64,
}

impl Decoded {
    pub(crate) fn new(inner: s3s::Body, call: Arc<Call>) -> Self {
        Self { inner, call, got: 0 }
    }

    /// The decoder's errors are private types; their text is all that tells them apart.
    fn fault(&self, error: &StdError) -> BodyFault {
        if let Some(fault) = self.call.body_fault.get() {
            return fault.clone();
        }
        let expected = self.call.length.unwrap_or_default();
        let text = error.to_string();
        match text.rsplit(": ").next().unwrap_or_default() {
            "SignatureMismatch" => BodyFault::BadSignature,
            "Sha256Mismatch" => BodyFault::BadContentSha256,
            "Incomplete" => BodyFault::TooShort { expected, got: self.got },
            "LengthMismatch" => BodyFault::TooLong { expected },
            _ if text.starts_with("AwsChunkedStreamError") => {
                BodyFault::Malformed("its chunks cannot be read".into())
            }
            _ => BodyFault::Disconnected(text),
        }
    }
}

impl Stream for Decoded {
    type Item = Result<Bytes, BodyFault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(match ready!(Pin::new(&mut self.inner).poll_next(cx)) {
            Some(Ok(bytes)) => {
                self.got += bytes.len() as u64;
                Some(Ok(bytes))
            }
            Some(Err(error)) => Some(Err(self.fault(&error))),
            None => None,
        })
    }
}

/// An object's bytes on their way out: exactly as many as announced, or an error, which breaks the
/// connection off so that no client takes a part for the whole.
pub(crate) struct ObjectBody {
    stream: Pin<Box<dyn Stream<Item = Result<Bytes, EngineError>> + Send>>,
    left: u64,
}

impl ObjectBody {
    pub(crate) fn new(
        stream: Pin<Box<dyn Stream<Item = Result<Bytes, EngineError>> + Send>>,
        length: u64,
    ) -> Self {
        Self { stream, left: length }
    }
}

impl Body for ObjectBody {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(match ready!(self.stream.as_mut().poll_next(cx)) {
            Some(Ok(bytes)) if bytes.len() as u64 <= self.left => {
                self.left -= bytes.len() as u64;
                Ok(Frame::data(bytes))
            }
            Some(Ok(_)) => Err("the object has more bytes than its state says".into()),
            Some(Err(error)) => Err(error.into()),
            None => Err(format!("{} bytes of the object are missing", self.left).into()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// The body of an answer. When it is dropped the request is over.
pub struct AnswerBody {
    inner: s3s::Body,
    ticket: Ticket,
}

impl AnswerBody {
    pub(crate) fn new(inner: s3s::Body, ticket: Ticket) -> Self {
        Self { inner, ticket }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let next = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &next {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.ticket.record.bytes_out += bytes as u64;
            }
            Some(Err(error)) => {
                self.ticket.record.error = Some(format!("the answer was broken off: {error}"));
            }
            None => {}
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::{BodyExt, Full, StreamBody};

    use super::*;
    use crate::operation::Operation;
    use crate::query::Query;
    use crate::target::Target;

    fn call() -> Arc<Call> {
        Arc::new(Call::new(Operation::PutObject, Target::Service, Query::default()))
    }

    #[tokio::test]
    async fn an_objects_body_never_ends_cleanly_too_early() {
        let body =
            |chunks: Vec<Result<Bytes, EngineError>>| ObjectBody::new(Box::pin(stream::iter(chunks)), 5);
        let ok = |text: &'static str| Ok(Bytes::from_static(text.as_bytes()));
        assert_eq!(body(vec![ok("he"), ok("llo")]).collect().await.unwrap().to_bytes(), "hello");
        assert!(body(vec![ok("he")]).collect().await.is_err());
        assert!(body(vec![ok("hello!")]).collect().await.is_err());
        assert!(body(vec![ok("he"), Err(EngineError::NoSuchKey)]).collect().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_given_up() {
        let limit = Duration::from_secs(60);
        let slow = stream::unfold(0u64, |n| async move {
            // Slow, but it goes on: then it falls silent.
            runtime::sleep(Duration::from_secs(if n < 10 { 50 } else { 100_000 })).await;
            Some((Ok::<_, StdError>(Frame::data(Bytes::from_static(b"x"))), n + 1))
        });
        let (call, bytes) = (call(), Arc::<AtomicU64>::default());
        let body = ClientBody::new(
            StreamBody::new(Box::pin(slow)),
            Arc::clone(&call),
            Arc::clone(&bytes),
            limit,
            None,
        );
        let started = runtime::instant_now();
        assert!(body.collect().await.is_err());
        assert_eq!(bytes.load(Ordering::Relaxed), 10);
        assert_eq!(call.body_fault.get(), Some(&BodyFault::Silent(limit)));
        assert_eq!(runtime::instant_now() - started, Duration::from_secs(560));
    }

    #[tokio::test]
    async fn framing_is_walked_ahead_of_the_decoder() {
        let (call, bytes) = (call(), Arc::<AtomicU64>::default());
        let input = Full::new(Bytes::from_static(b"3\r\nabc\r\n0\r\n\r\n"));
        let framing = Some(Reframer::new(false, 3));
        let body = ClientBody::new(input, call, bytes, Duration::from_secs(1), framing);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "3\r\nabc\r\n0\r\n\r\n");
    }
}
