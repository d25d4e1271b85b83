//! The connections to one node: reused, never used for a second try of a request that may have left.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use connect::{Connector, Stage};
use futures::Stream;
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use runtime::{Elapsed, Instant, Task};
use zeroize::Zeroizing;

use crate::error::{BoxError, Error, ErrorKind};

/// Connections kept while idle.
const IDLE_MAX: usize = 8;
/// For how long: below the patience of servers, so that it is rarely they who close first.
const IDLE_FOR: Duration = Duration::from_secs(15);

/// Chunks of a body, in order.
pub(crate) type BodyStream = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>;

pub(crate) struct Link {
    connector: Connector,
    idle: Mutex<Vec<(Connection, Instant)>>,
}

/// One connection. Dropping it closes it, whatever it is doing.
pub(crate) struct Connection {
    sender: SendRequest<Body>,
    _task: Task<()>,
}

/// Why a request was not answered.
pub(crate) struct Lost {
    pub kind: ErrorKind,
    pub message: String,
    pub source: Option<BoxError>,
}

impl Lost {
    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    fn from_hyper(kind: ErrorKind, what: &str, error: hyper::Error) -> Self {
        let message = format!("{what}: {}", deepest(&error));
        Self { kind, message, source: Some(error.into()) }
    }
}

impl Link {
    pub(crate) fn new(connector: Connector) -> Self {
        Self { connector, idle: Mutex::default() }
    }

    /// Sends a request once, and waits for the head of its answer for as long as bytes of its body move and
    /// `patience` after the last.
    ///
    /// A connection that turns out to be closed before it took anything hands the request back, and the next
    /// connection gets it.
    pub(crate) async fn send(
        &self,
        mut request: Request<Body>,
        patience: Duration,
    ) -> Result<(Connection, Response<Incoming>), Lost> {
        let progress = Arc::clone(&request.body().progress);
        loop {
            let idle = self.take_idle();
            let fresh = idle.is_none();
            let mut connection = match idle {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            if connection.sender.ready().await.is_err() {
                if fresh {
                    return Err(Lost::new(ErrorKind::NoAnswer, "the node closed a new connection at once"));
                }
                continue;
            }
            let answered = in_time(connection.sender.try_send_request(request), &progress, patience).await?;
            match answered {
                Ok(response) => return Ok((connection, response)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !fresh => request = unsent,
                    _ => return Err(lost(error.into_error(), &progress)),
                },
            }
        }
    }

    /// Keeps a connection whose answer was read to its end.
    pub(crate) fn give_back(&self, connection: Connection) {
        let mut idle = self.lock();
        if idle.len() < IDLE_MAX && !connection.sender.is_closed() {
            idle.push((connection, runtime::instant_now()));
        }
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.lock();
        while let Some((connection, since)) = idle.pop() {
            if since.elapsed() < IDLE_FOR && !connection.sender.is_closed() {
                return Some(connection);
            }
        }
        None
    }

    async fn connect(&self) -> Result<Connection, Lost> {
        let stream = self.connector.connect().await.map_err(|error| Lost {
            kind: ErrorKind::Unreachable(error.stage),
            message: error.to_string(),
            source: Some(error.into()),
        })?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| {
            Lost::from_hyper(ErrorKind::Unreachable(Stage::Tcp), "the connection failed at once", error)
        })?;
        let task = runtime::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("connection ended: {error}");
            }
        });
        Ok(Connection { sender, _task: task })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Connection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for as long as bytes move, and `patience` more.
async fn in_time<F: Future>(future: F, progress: &Progress, patience: Duration) -> Result<F::Output, Lost> {
    let mut future = std::pin::pin!(future);
    let mut moved = progress.bytes.load(Ordering::Relaxed);
    loop {
        if let Ok(output) = runtime::timeout(patience, future.as_mut()).await {
            return Ok(output);
        }
        let now = progress.bytes.load(Ordering::Relaxed);
        if now == moved {
            return Err(Lost::new(ErrorKind::NoAnswer, format!("no answer within {patience:?}")));
        }
        moved = now;
    }
}

fn lost(error: hyper::Error, progress: &Progress) -> Lost {
    if progress.failed.load(Ordering::Relaxed) {
        return Lost::from_hyper(ErrorKind::Body, "the body that was to be sent failed", error);
    }
    if error.is_parse() {
        return Lost::from_hyper(ErrorKind::Corrupt, "the answer is not HTTP", error);
    }
    Lost::from_hyper(ErrorKind::NoAnswer, "the connection was lost", error)
}

/// The innermost reason, which says most.
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// How far a body has come. Shared by the body, which moves along with the connection, and who waits.
#[derive(Default)]
pub(crate) struct Progress {
    bytes: AtomicU64,
    failed: AtomicBool,
}

/// What hyper sends.
pub(crate) struct Body {
    source: Source,
    progress: Arc<Progress>,
}

enum Source {
    Done,
    Bytes(Bytes),
    Stream { stream: BodyStream, length: Option<u64> },
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self { source: Source::Done, progress: Arc::default() }
    }

    /// Bytes that are wiped once they are sent.
    pub(crate) fn bytes(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self { source: Source::Bytes(Bytes::from_owner(bytes)), progress: Arc::default() }
    }

    pub(crate) fn stream(stream: BodyStream, length: Option<u64>) -> Self {
        Self { source: Source::Stream { stream, length }, progress: Arc::default() }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let next = match std::mem::replace(&mut this.source, Source::Done) {
            Source::Done => None,
            Source::Bytes(bytes) => Some(Ok(bytes)),
            Source::Stream { mut stream, length } => match stream.as_mut().poll_next(cx) {
                Poll::Pending => {
                    this.source = Source::Stream { stream, length };
                    return Poll::Pending;
                }
                Poll::Ready(next) => {
                    if matches!(next, Some(Ok(_))) {
                        this.source = Source::Stream { stream, length };
                    }
                    next
                }
            },
        };
        match &next {
            Some(Ok(bytes)) => {
                this.progress.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            Some(Err(_)) => this.progress.failed.store(true, Ordering::Relaxed),
            None => {}
        }
        Poll::Ready(next.map(|next| next.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::Done)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Done => SizeHint::with_exact(0),
            Source::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            // Counted by hyper once the head is out, so the whole length stands here.
            Source::Stream { length, .. } => length.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

/// The body of an answer, as a stream. Dropping it closes the connection.
pub struct Download {
    incoming: Incoming,
    _connection: Connection,
    node: String,
    call: &'static str,
    stall: Duration,
    timer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Download {
    pub(crate) fn new(
        incoming: Incoming,
        connection: Connection,
        node: &str,
        call: &'static str,
        stall: Duration,
    ) -> Self {
        Self { incoming, _connection: connection, node: node.to_owned(), call, stall, timer: None }
    }
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Download({} at {})", self.call, self.node)
    }
}

impl Stream for Download {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) else {
                let stall = this.stall;
                let timer = this.timer.get_or_insert_with(|| Box::pin(runtime::sleep(stall)));
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                let message = format!("the answer stands still since {stall:?}");
                return Poll::Ready(Some(Err(Error::new(
                    ErrorKind::NoAnswer,
                    &this.node,
                    this.call,
                    message,
                ))));
            };
            this.timer = None;
            return Poll::Ready(match frame {
                None => None,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => Some(Ok(chunk)),
                    // Trailers say nothing to us.
                    Err(_) => continue,
                },
                Some(Err(error)) => {
                    let message = format!("the answer broke off: {}", deepest(&error));
                    let error =
                        Error::new(ErrorKind::NoAnswer, &this.node, this.call, message).caused_by(error);
                    Some(Err(error))
                }
            });
        }
    }
}

/// Reads a small answer whole, into memory that is wiped; `None` where it is longer than allowed.
pub(crate) async fn collect(
    incoming: &mut Incoming,
    bytes_max: usize,
) -> Result<Option<Zeroizing<Vec<u8>>>, Lost> {
    // With room from the start: growing would leave what was read so far behind.
    let expected = incoming.size_hint().upper().and_then(|length| usize::try_from(length).ok());
    let mut all = Zeroizing::new(Vec::with_capacity(expected.unwrap_or(16 * 1024).min(bytes_max)));
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut *incoming).poll_frame(cx)).await {
        let frame =
            frame.map_err(|error| Lost::from_hyper(ErrorKind::NoAnswer, "the answer broke off", error))?;
        let Ok(chunk) = frame.into_data() else { continue };
        if all.len() + chunk.len() > bytes_max {
            return Ok(None);
        }
        all.extend_from_slice(&chunk);
    }
    Ok(Some(all))
}

/// Puts a bound to a whole call.
pub(crate) async fn within<T>(
    limit: Duration,
    future: impl Future<Output = Result<T, Lost>>,
) -> Result<T, Lost> {
    match runtime::timeout(limit, future).await {
        Ok(result) => result,
        Err(Elapsed) => Err(Lost::new(ErrorKind::NoAnswer, format!("no answer within {limit:?}"))),
    }
}
