//! One request and its answer.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Future, Stream, StreamExt};
use http::{HeaderMap, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use runtime::{Elapsed, Instant};
use tokio::sync::OwnedSemaphorePermit;

use crate::body::{Late, Progress};
use crate::error::{Error, ErrorKind, Sent};
use crate::options::Timeouts;
use crate::pool::{Connection, HttpRequest, Lease, Pool};

/// The answer to a request: its head, and its body to come.
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Download,
    /// Whether the server had the whole request when it answered.
    pub sent: Sent,
}

/// Sends a request once and waits for the head of its answer.
///
/// A connection that turns out to be closed before it took anything hands the request back, and the next
/// connection gets it: nothing left. From the first byte on there is no second try.
pub(crate) async fn exchange(
    pool: &Arc<Pool>,
    mut request: HttpRequest,
    progress: &Progress,
    timeouts: &Timeouts,
) -> Result<Answer, Error> {
    let permit = pool.permit().await?;
    loop {
        let (connection, fresh) = match pool.take_idle() {
            Some(connection) => (connection, false),
            None => (pool.connect().await?, true),
        };
        match on_one_connection(connection, request, progress, timeouts).await? {
            Attempt::Answered(connection, response) => {
                return Ok(answer(pool, connection, permit, response, progress.sent(), timeouts.stall));
            }
            Attempt::Unsent(_) if fresh => {
                return Err(Error::never_sent("the server closed a new connection at once"));
            }
            Attempt::Unsent(unsent) => request = unsent,
        }
    }
}

enum Attempt {
    Answered(Connection, Response<Incoming>),
    /// The connection was closed and took nothing.
    Unsent(HttpRequest),
}

async fn on_one_connection(
    mut connection: Connection,
    request: HttpRequest,
    progress: &Progress,
    timeouts: &Timeouts,
) -> Result<Attempt, Error> {
    let Connection { sender, driver } = &mut connection;
    // One that was given back is ready as soon as it has noticed that it is idle.
    match runtime::timeout(timeouts.connect, driver.keep_going(sender.ready())).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) | Err(Elapsed) => return Ok(Attempt::Unsent(request)),
    }
    progress.set_left(true);
    let sending = driver.keep_going(sender.try_send_request(request));
    let answered = in_time(sending, progress, timeouts).await?;
    match answered {
        Ok(response) => Ok(Attempt::Answered(connection, response)),
        Err(mut error) => match error.take_message() {
            Some(unsent) => {
                progress.set_left(false);
                Ok(Attempt::Unsent(unsent))
            }
            None => Err(lost(error.into_error(), progress)),
        },
    }
}

/// Waits for as long as the server is in time.
async fn in_time<F: Future>(future: F, progress: &Progress, timeouts: &Timeouts) -> Result<F::Output, Error> {
    let mut future = pin!(future);
    let mut wait = timeouts.stall.min(timeouts.response_header);
    loop {
        if let Ok(output) = runtime::timeout(wait, future.as_mut()).await {
            return Ok(output);
        }
        match progress.late(timeouts.stall, timeouts.response_header) {
            Late::Nobody(rest) => wait = rest,
            Late::Taking => {
                let message = format!("the server took no byte of the body for {:?}", timeouts.stall);
                return Err(Error::no_answer(progress.sent(), message));
            }
            Late::Answering => {
                let message = format!("no answer within {:?}", timeouts.response_header);
                return Err(Error::no_answer(progress.sent(), message));
            }
        }
    }
}

/// The error of a request that left and was not answered.
fn lost(error: hyper::Error, progress: &Progress) -> Error {
    if let Some(failure) = progress.take_failure() {
        return Error::new(ErrorKind::Body, Sent::Head, failure.to_string()).with_source(failure);
    }
    if error.is_parse() {
        return Error::no_answer(progress.sent(), "the answer is not HTTP").with_source(error);
    }
    Error::no_answer(progress.sent(), format!("the connection was lost: {}", deepest(&error)))
        .with_source(error)
}

/// The innermost reason, which says most.
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn answer(
    pool: &Arc<Pool>,
    connection: Connection,
    permit: OwnedSemaphorePermit,
    response: Response<Incoming>,
    sent: Sent,
    stall: Duration,
) -> Answer {
    let (head, incoming) = response.into_parts();
    let lease = pool.lease(connection, permit);
    // A request that is still being sent keeps its connection busy: it is dropped instead, and the rest of
    // the body with it.
    let lease = if sent == Sent::Whole { Reuse::AtEnd(lease) } else { Reuse::Never(lease) };
    let mut body = Download { incoming, reuse: Some(lease), stall, waiting: None };
    if body.incoming.is_end_stream() {
        body.end();
    }
    Answer { status: head.status, headers: head.headers, body, sent }
}

/// The body of an answer. Dropping it before its end closes the connection.
pub struct Download {
    incoming: Incoming,
    reuse: Option<Reuse>,
    stall: Duration,
    /// Since when the next byte is awaited, and what wakes us if it does not come.
    waiting: Option<(Instant, Timer)>,
}

type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

enum Reuse {
    AtEnd(Lease),
    Never(Lease),
}

impl Reuse {
    fn lease(&mut self) -> &mut Lease {
        match self {
            Self::AtEnd(lease) | Self::Never(lease) => lease,
        }
    }
}

impl Download {
    fn end(&mut self) {
        if let Some(Reuse::AtEnd(lease)) = self.reuse.take() {
            lease.give_back();
        }
    }

    /// Reads all of it; `None` where it is longer than allowed.
    pub(crate) async fn collect(mut self, bytes_max: usize) -> Result<Option<Bytes>, Error> {
        let mut all = BytesMut::new();
        while let Some(chunk) = self.next().await {
            let chunk = chunk?;
            if all.is_empty() && self.incoming.is_end_stream() && chunk.len() <= bytes_max {
                return Ok(Some(chunk));
            }
            if all.len() + chunk.len() > bytes_max {
                return Ok(None);
            }
            all.extend_from_slice(&chunk);
        }
        Ok(Some(all.freeze()))
    }

    fn late(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let stall = self.stall;
        let (since, timer) =
            self.waiting.get_or_insert_with(|| (runtime::instant_now(), Box::pin(runtime::sleep(stall))));
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let message = format!("the body stands still since {:?}", since.elapsed());
        Poll::Ready(Error::no_answer(Sent::Whole, message))
    }
}

impl Stream for Download {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(reuse) = &mut this.reuse {
                reuse.lease().poll(cx);
            }
            let frame = match Pin::new(&mut this.incoming).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    return this.late(cx).map(|error| {
                        this.reuse = None;
                        Some(Err(error))
                    });
                }
            };
            this.waiting = None;
            return Poll::Ready(match frame {
                None => {
                    this.end();
                    None
                }
                Some(Err(error)) => {
                    this.reuse = None;
                    Some(Err(broken(error)))
                }
                Some(Ok(frame)) => {
                    // At the last byte already: who knows the length does not ask again.
                    if this.incoming.is_end_stream() {
                        this.end();
                    }
                    match frame.into_data() {
                        Ok(chunk) => Some(Ok(chunk)),
                        // Trailers say nothing to us.
                        Err(_) => continue,
                    }
                }
            });
        }
    }
}

fn broken(error: hyper::Error) -> Error {
    let message = format!("the body broke off: {}", deepest(&error));
    if error.is_incomplete_message() || is_cut_short(&error) {
        return Error::corrupt(message).with_source(error);
    }
    Error::no_answer(Sent::Whole, message).with_source(error)
}

fn is_cut_short(error: &(dyn std::error::Error + 'static)) -> bool {
    let io = std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::UnexpectedEof)
}
