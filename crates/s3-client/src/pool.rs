//! The connections to one endpoint: bounded in number, reused, never used for a second try of a request
//! that may have left.
//!
//! A pool of our own on hyper's connections, not hyper-util's client: it knows whether a request left, it
//! hands an unsent one back instead of sending it again behind our back, and it drops a connection, and
//! with it whatever is still being sent, as soon as nobody waits for the answer.
//!
//! A connection has no task of its own: whoever waits for its answer keeps it going. Bytes on their way through
//! the process so need no second thread to be woken for each piece of them.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use connect::{Connector, Stream};
use http::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use runtime::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::body::RequestBody;
use crate::error::Error;
use crate::options::{PoolOptions, Timeouts};

/// The connections to one endpoint.
pub(crate) struct Pool {
    connector: Connector,
    options: PoolOptions,
    timeouts: Timeouts,
    permits: Arc<Semaphore>,
    idle: Mutex<IdleSet>,
}

#[derive(Default)]
struct IdleSet {
    /// The one used last is at the end, and used next.
    connections: Vec<Idle>,
    sweeping: bool,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// One connection. Dropping it closes it, whatever it is doing.
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<RequestBody>,
    pub(crate) driver: Driver,
}

/// What moves bytes on a connection: nothing does unless it is polled.
pub(crate) struct Driver(Option<Box<http1::Connection<TokioIo<Stream>, RequestBody>>>);

impl Driver {
    /// Moves what can be moved now. Whoever polls is woken when there is more to do.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) {
        let Some(connection) = &mut self.0 else { return };
        if let Poll::Ready(ended) = Pin::new(&mut **connection).poll(cx) {
            if let Err(error) = ended {
                tracing::debug!("connection ended: {error}");
            }
            // Its drop is what tells a request that waits.
            self.0 = None;
        }
    }

    /// Waits for something on this connection, and keeps it going meanwhile.
    pub(crate) async fn keep_going<F: Future>(&mut self, awaited: F) -> F::Output {
        let mut awaited = pin!(awaited);
        poll_fn(|cx| {
            self.poll(cx);
            awaited.as_mut().poll(cx)
        })
        .await
    }
}

impl Connection {
    /// Looks at what has come while nobody cared: whether the server has closed it.
    fn is_open(&mut self) -> bool {
        self.driver.poll(&mut Context::from_waker(Waker::noop()));
        self.driver.0.is_some() && !self.sender.is_closed()
    }
}

/// The right to use one connection, and the connection once there is one.
pub(crate) struct Lease {
    connection: Connection,
    pool: Arc<Pool>,
    permit: OwnedSemaphorePermit,
}

impl Pool {
    pub(crate) fn new(connector: Connector, options: PoolOptions, timeouts: Timeouts) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(options.connections_max.clamp(1, Semaphore::MAX_PERMITS)));
        Arc::new(Self { connector, options, timeouts, permits, idle: Mutex::default() })
    }

    /// Waits for one of the bounded connections to be free.
    pub(crate) async fn permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        let limit = self.timeouts.acquire;
        match runtime::timeout(limit, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(permit) => Ok(permit.expect("the semaphore is never closed")),
            Err(runtime::Elapsed) => Err(Error::never_sent(format!(
                "none of {} connections was free within {limit:?}",
                self.options.connections_max
            ))),
        }
    }

    /// An idle connection that still looks open.
    pub(crate) fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.lock();
        while let Some(mut last) = idle.connections.pop() {
            if last.since.elapsed() < self.options.idle_timeout && last.connection.is_open() {
                return Some(last.connection);
            }
        }
        None
    }

    /// A new connection.
    pub(crate) async fn connect(&self) -> Result<Connection, Error> {
        let stream = self.connector.connect().await.map_err(no_connection)?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(self.options.read_buffer_bytes_max.max(16 * 1024))
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Error::never_sent("the connection failed at once").with_source(error))?;
        Ok(Connection { sender, driver: Driver(Some(Box::new(connection))) })
    }

    pub(crate) fn lease(self: &Arc<Self>, connection: Connection, permit: OwnedSemaphorePermit) -> Lease {
        Lease { connection, pool: Arc::clone(self), permit }
    }

    fn put_idle(self: &Arc<Self>, connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        let mut idle = self.lock();
        // Where all permits are out, somebody may be waiting for this one: to close it then would only make
        // them open another.
        if idle.connections.len() >= self.options.idle_max && self.permits.available_permits() > 0 {
            return;
        }
        idle.connections.push(Idle { connection, since: runtime::instant_now() });
        if !std::mem::replace(&mut idle.sweeping, true) {
            runtime::spawn(sweep(Arc::downgrade(self), self.options.idle_timeout)).detach();
        }
    }

    /// Drops what was idle for too long, and what is more than is kept. Says whether anything is left.
    fn drop_expired(&self) -> bool {
        let mut idle = self.lock();
        let keep = self.options.idle_timeout;
        let surplus = idle.connections.len().saturating_sub(self.options.idle_max);
        idle.connections.drain(..surplus);
        idle.connections.retain_mut(|one| one.since.elapsed() < keep && one.connection.is_open());
        idle.sweeping = !idle.connections.is_empty();
        idle.sweeping
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, IdleSet> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks after the idle connections for as long as there are any.
async fn sweep(pool: Weak<Pool>, interval: std::time::Duration) {
    loop {
        runtime::sleep(interval.max(std::time::Duration::from_millis(10))).await;
        let Some(pool) = pool.upgrade() else { return };
        if !pool.drop_expired() {
            return;
        }
    }
}

impl Lease {
    /// Keeps the connection going.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) {
        self.connection.driver.poll(cx);
    }

    /// Gives the connection back for the next request. Only where request and answer are over: else drop
    /// the lease.
    pub(crate) fn give_back(self) {
        self.pool.put_idle(self.connection);
        // After the connection is idle, so that whoever waits for the permit finds it.
        drop(self.permit);
    }
}

fn no_connection(error: connect::Error) -> Error {
    Error::never_sent(error.to_string()).with_source(error)
}

/// What hyper is given.
pub(crate) type HttpRequest = Request<RequestBody>;
