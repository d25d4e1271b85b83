//! The connections to one endpoint: bounded in number, reused, never used for a second try of a request
//! that may have left.
//!
//! A pool of our own on hyper's connections, not hyper-util's client: it knows whether a request left, it
//! hands an unsent one back instead of sending it again behind our back, and it drops a connection, and
//! with it whatever is still being sent, as soon as nobody waits for the answer.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use connect::Connector;
use http::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use runtime::{Instant, Task};
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
    _task: Task<()>,
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
        while let Some(last) = idle.connections.pop() {
            if !last.connection.sender.is_closed() && last.since.elapsed() < self.options.idle_timeout {
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
        let task = runtime::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("connection ended: {error}");
            }
        });
        Ok(Connection { sender, _task: task })
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
        idle.connections.retain(|one| !one.connection.sender.is_closed() && one.since.elapsed() < keep);
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
