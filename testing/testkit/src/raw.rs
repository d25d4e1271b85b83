//! A server that does with each connection what a test tells it: for the faults that real servers do not
//! show on demand.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Largest head that is read.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What has come over the wire so far.
#[derive(Debug, Default)]
struct Seen {
    heads: Mutex<Vec<String>>,
    open: AtomicUsize,
    open_max: AtomicUsize,
    connections: AtomicUsize,
}

/// The server. Dropping it closes everything.
#[derive(Debug)]
pub struct RawServer {
    /// Where it listens: `http://127.0.0.1:PORT`.
    pub endpoint: String,
    seen: Arc<Seen>,
    _task: runtime::Task<()>,
}

/// One connection to it.
#[derive(Debug)]
pub struct RawConnection<S = TcpStream> {
    /// The bytes.
    pub stream: S,
    /// How many connections came before.
    pub index: usize,
    unread: Vec<u8>,
    place: Place,
}

/// Counts an open connection for as long as it lasts.
#[derive(Debug)]
struct Place(Arc<Seen>);

impl Place {
    fn take(seen: &Arc<Seen>) -> Self {
        let open = seen.open.fetch_add(1, Ordering::SeqCst) + 1;
        seen.open_max.fetch_max(open, Ordering::SeqCst);
        Self(Arc::clone(seen))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl RawServer {
    /// Starts a server that runs `serve` on each connection, which is closed when that ends.
    ///
    /// # Panics
    /// Where the machine has no free port.
    pub async fn start<F, Fut>(serve: F) -> Self
    where
        F: Fn(RawConnection) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("the machine has a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("a bound listener has an address"));
        let seen = Arc::new(Seen::default());
        let accept = {
            let seen = Arc::clone(&seen);
            async move {
                let mut running = Vec::new();
                while let Ok((stream, _)) = listener.accept().await {
                    let index = seen.connections.fetch_add(1, Ordering::SeqCst);
                    let place = Place::take(&seen);
                    let connection = RawConnection { stream, index, unread: Vec::new(), place };
                    running.push(runtime::spawn(serve(connection)));
                }
            }
        };
        Self { endpoint, seen, _task: runtime::spawn(accept) }
    }

    /// The heads of all requests that arrived, on any connection.
    #[must_use]
    pub fn heads(&self) -> Vec<String> {
        self.seen.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests began with this text, such as `PUT /bucket/key `.
    #[must_use]
    pub fn count(&self, start: &str) -> usize {
        self.heads().iter().filter(|head| head.starts_with(start)).count()
    }

    /// How many connections were made.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// How many connections are open on our side.
    #[must_use]
    pub fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    /// How many connections were open at once, at most.
    #[must_use]
    pub fn open_max(&self) -> usize {
        self.seen.open_max.load(Ordering::SeqCst)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> RawConnection<S> {
    /// Reads the head of the next request; `None` where the connection ends before it is whole.
    pub async fn read_head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.unread.split_off(end + 4);
                let head = String::from_utf8_lossy(&std::mem::replace(&mut self.unread, rest)).into_owned();
                self.place.0.heads.lock().unwrap_or_else(PoisonError::into_inner).push(head.clone());
                return Some(head);
            }
            if self.unread.len() > HEAD_BYTES_MAX || self.stream.read_buf(&mut self.unread).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// Reads up to `length` bytes of a body: fewer where the connection ends.
    pub async fn read_body(&mut self, length: usize) -> Vec<u8> {
        while self.unread.len() < length {
            match self.stream.read_buf(&mut self.unread).await {
                Ok(1..) => {}
                _ => break,
            }
        }
        let rest = self.unread.split_off(length.min(self.unread.len()));
        std::mem::replace(&mut self.unread, rest)
    }

    /// Reads a whole request, head and body.
    pub async fn read_request(&mut self) -> Option<(String, Vec<u8>)> {
        let head = self.read_head().await?;
        let length = content_length(&head);
        let body = self.read_body(length).await;
        (body.len() == length).then_some((head, body))
    }

    /// Writes an answer with a length, as it stands. Nobody may be there to read it.
    pub async fn answer(&mut self, status: &str, headers: &[&str], body: &[u8]) {
        let mut head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        self.write(&[head.as_bytes(), body].concat()).await;
    }

    /// Writes bytes as they stand. Nobody may be there to read them.
    pub async fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// Waits until the other side closes, and says how many bytes came until then.
    pub async fn until_closed(&mut self) -> usize {
        let mut count = self.unread.len();
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = self.stream.read(&mut buffer).await {
            count += read;
        }
        count
    }
}

impl RawConnection {
    /// The same connection with TLS, or whatever else wraps its bytes.
    ///
    /// # Errors
    /// The wrapper's own.
    pub async fn wrap<S, E>(
        self,
        wrap: impl AsyncFnOnce(TcpStream) -> Result<S, E>,
    ) -> Result<RawConnection<S>, E> {
        let Self { stream, index, place, .. } = self;
        Ok(RawConnection { stream: wrap(stream).await?, index, unread: Vec::new(), place })
    }
}

/// The value of `Content-Length` in a head; 0 where there is none.
#[must_use]
pub fn content_length(head: &str) -> usize {
    let value = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    value.unwrap_or(0)
}
