//! The listener: accepts connections, bounds them, and ends them gracefully.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use config::HostPort;
use http::{HeaderName, HeaderValue, Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use runtime::{Chance, Phase, Shutdown};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::connection::{Activity, Noted, Overdue, Patience, Watched};
use crate::front::{AnswerBody, whole};
use crate::refusal::Refuser;
use crate::tls::Tls;

/// Bytes of one HTTP/2 connection, and of one stream of it, that may wait unread.
const HTTP2_WINDOW_BYTES: u32 = 1 << 20;
/// Requests on one HTTP/2 connection at once.
const HTTP2_STREAMS_MAX: u32 = 128;
/// Up to so many times the bytes of a head that is allowed are read in HTTP/2, to refuse it as S3 does. What is
/// larger still the library refuses, with a bare status.
const HTTP2_HEAD_FACTOR: usize = 2;
/// What HTTP/2 counts for each header beside its text.
const HTTP2_HEADER_BYTES: usize = 32;
/// Bytes of one HTTP/2 answer that may wait unsent.
const HTTP2_SEND_BYTES_MAX: usize = 256 << 10;
/// The smallest buffer that the HTTP library takes.
const HEAD_BYTES_LEAST: usize = 8192;
/// Pause where the system has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What gives the answers.
pub(crate) trait Answer: Send + Sync + 'static {
    /// Answers one request.
    fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<AnswerBody>> + Send;
}

/// The bounds of a listener.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Connections at once.
    pub connections_max: u32,
    /// Bytes of a request's head.
    pub head_bytes_max: usize,
    /// Header lines of a request.
    pub header_lines_max: usize,
    /// How long clients may keep a connection waiting.
    pub patience: Patience,
}

impl Limits {
    /// What the configuration allows.
    pub(crate) fn of(server: &config::Server) -> Self {
        let head_bytes = usize::try_from(server.max_header_bytes.bytes()).unwrap_or(usize::MAX);
        Self {
            connections_max: server.max_connections,
            head_bytes_max: head_bytes.max(HEAD_BYTES_LEAST),
            header_lines_max: server.max_header_value_count as usize,
            patience: Patience {
                head: server.read_header_timeout,
                write: server.write_timeout,
                idle: server.idle_timeout,
            },
        }
    }
}

/// Opens a listener. An empty host is every interface.
pub(crate) async fn bind(address: &HostPort) -> Result<TcpListener, String> {
    let hosts = if address.host.is_empty() { &["::", "0.0.0.0"][..] } else { &[&*address.host] };
    let mut failure = None;
    for host in hosts {
        match TcpListener::bind((*host, address.port)).await {
            Ok(listener) => return Ok(listener),
            // Machines without IPv6 have the second.
            Err(error) => failure = Some(error),
        }
    }
    let failure = failure.expect("there is at least one host to try");
    Err(match failure.kind() {
        std::io::ErrorKind::AddrInUse => format!("cannot listen on {address}: another program does already"),
        _ => format!("cannot listen on {address}: {failure}"),
    })
}

/// Serves until the drain: then accepts no more, and returns when the last connection has ended, or at
/// [`Phase::Stopped`], when those that are left are cut off.
pub(crate) async fn serve<A: Answer>(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    answer: Arc<A>,
    limits: Limits,
    shutdown: Shutdown,
) {
    let places = Arc::new(Semaphore::new(limits.connections_max as usize));
    let builder = Arc::new(builder(&limits));
    let ids = Chance::from_os();
    let mut draining = pin!(shutdown.reached(Phase::Draining));
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
            (place, accept(&listener).await)
        };
        let (place, (stream, peer)) = tokio::select! {
            biased;
            () = &mut draining => break,
            next = next => next,
        };
        let connection = Connection {
            tls: tls.clone(),
            answer: Arc::clone(&answer),
            builder: Arc::clone(&builder),
            limits: limits.clone(),
            shutdown: shutdown.clone(),
            ids: ids.clone(),
            peer,
        };
        let task = async move {
            tokio::select! {
                () = connection.run(stream) => {}
                () = connection.shutdown.reached(Phase::Stopped) => {}
            }
            drop(place);
        };
        // Its end is in the phases, which it watches itself.
        runtime::spawn(task).detach();
    }
    drop(listener);
    // Every connection holds a place: when all are back, all have ended.
    tokio::select! {
        _ = places.acquire_many(limits.connections_max) => {}
        () = shutdown.reached(Phase::Stopped) => {}
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let mut told = false;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // A connection that is gone already will show itself as such.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            Err(error) => {
                if !told {
                    tracing::warn!(%error, "cannot accept connections, trying on");
                    told = true;
                }
                runtime::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Runs what the HTTP library starts: a task per HTTP/2 stream.
#[derive(Debug, Clone, Copy)]
struct Spawner;

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        runtime::spawn(future).detach();
    }
}

fn builder(limits: &Limits) -> Builder<Spawner> {
    let mut builder = Builder::new(Spawner);
    builder
        .http1()
        .timer(TokioTimer::new())
        // Ours tells waiting for a request from waiting for the rest of one.
        .header_read_timeout(None)
        .max_headers(limits.header_lines_max)
        .max_buf_size(limits.head_bytes_max);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(HTTP2_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_WINDOW_BYTES)
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_send_buf_size(HTTP2_SEND_BYTES_MAX)
        .max_header_list_size(u32::try_from(limits.head_bytes_max * HTTP2_HEAD_FACTOR).unwrap_or(u32::MAX));
    builder
}

/// Whether a head that came in HTTP/2 is larger than allowed. In HTTP/1 the library has seen to that.
fn is_too_large<B>(request: &Request<B>, limits: &Limits) -> bool {
    if request.version() != Version::HTTP_2 {
        return false;
    }
    let headers = request.headers();
    let of_one = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    let bytes: usize = headers.iter().map(|one| of_one(one) + HTTP2_HEADER_BYTES).sum();
    let path = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    headers.len() > limits.header_lines_max || bytes + path > limits.head_bytes_max
}

struct Connection<A> {
    tls: Option<Arc<Tls>>,
    answer: Arc<A>,
    builder: Arc<Builder<Spawner>>,
    limits: Limits,
    shutdown: Shutdown,
    ids: Chance,
    peer: SocketAddr,
}

impl<A: Answer> Connection<A> {
    async fn run(&self, stream: TcpStream) {
        let Some(tls) = &self.tls else { return self.speak_http(stream).await };
        let handshake = runtime::timeout(self.limits.patience.head, tls.accept(stream));
        tokio::select! {
            done = handshake => match done {
                Ok(Ok(stream)) => self.speak_http(stream).await,
                Ok(Err(error)) => tracing::debug!(peer = %self.peer, %error, "a TLS handshake failed"),
                Err(_) => tracing::debug!(peer = %self.peer, "a TLS handshake took too long"),
            },
            () = self.shutdown.reached(Phase::Draining) => {}
        }
    }

    async fn speak_http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S) {
        let activity = Activity::new();
        let refuser = Refuser { peer: self.peer, ids: self.ids.clone() };
        let service = service_fn(|request| {
            let under_way = activity.request();
            let (answer, peer) = (Arc::clone(&self.answer), self.peer);
            let refused = is_too_large(&request, &self.limits).then(|| refuser.too_large());
            async move {
                let response = match refused {
                    Some(refusal) => whole(&request, refusal),
                    None => answer.answer(request, peer).await,
                };
                Ok::<_, Infallible>(response.map(|body| Watched::new(body, under_way)))
            }
        });
        let stream = TokioIo::new(Noted::new(stream, Arc::clone(&activity), refuser.clone()));
        let mut connection = pin!(self.builder.serve_connection(stream, service));
        let mut draining = pin!(self.shutdown.reached(Phase::Draining));
        let mut ending = false;
        loop {
            tokio::select! {
                ended = &mut connection => {
                    if let Err(error) = ended {
                        tracing::debug!(peer = %self.peer, %error, "a connection ended early");
                    }
                    return;
                }
                () = &mut draining, if !ending => {
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = runtime::sleep(self.limits.patience.tick()) => match activity.overdue(&self.limits.patience) {
                    None => {}
                    Some(Overdue::Idle) if !ending => {
                        ending = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    Some(overdue) => {
                        tracing::debug!(peer = %self.peer, ?overdue, "gave up a connection");
                        return;
                    }
                },
            }
        }
    }
}
