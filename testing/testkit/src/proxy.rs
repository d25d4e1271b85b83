//! A TCP proxy that misbehaves on command: a network between two programs that a test can break and mend.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Most bytes that are under way in one direction of a connection.
const CHUNK_BYTES: usize = 16 * 1024;

/// What the network does to all connections, open and new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Bytes pass as they come.
    #[default]
    None,
    /// Connections end at once, as when the other side closes them; new ones are made and end too.
    Cut,
    /// The same with a reset.
    Reset,
    /// Connections are made and stay open, and no byte passes. Those that wait pass when this is over.
    Stall,
    /// Each few bytes (at most 16 KiB) come so much later.
    Slow(Duration),
    /// So many bytes pass in a second, in each direction of each connection.
    Throttle {
        /// The bytes.
        bytes_per_s: u32,
    },
}

impl Fault {
    fn is_end(self) -> bool {
        matches!(self, Self::Cut | Self::Reset)
    }

    /// How many bytes are taken at once, so that a throttled connection moves little by little.
    fn chunk(self) -> usize {
        match self {
            Self::Throttle { bytes_per_s } => (bytes_per_s as usize / 10).clamp(1, CHUNK_BYTES),
            _ => CHUNK_BYTES,
        }
    }

    /// How long bytes are held back.
    fn delay(self, bytes: usize) -> Duration {
        match self {
            Self::Slow(delay) => delay,
            Self::Throttle { bytes_per_s } => {
                Duration::from_secs_f64(bytes as f64 / f64::from(bytes_per_s.max(1)))
            }
            _ => Duration::ZERO,
        }
    }
}

/// What really happened to connections.
#[derive(Debug, Default)]
struct Seen {
    connections: AtomicU64,
    ended: AtomicU64,
    held: AtomicU64,
}

/// The proxy. Dropping it closes everything.
#[derive(Debug)]
pub struct FaultProxy {
    /// Where it listens: `http://127.0.0.1:PORT`.
    pub endpoint: String,
    faults: watch::Sender<Fault>,
    server: watch::Sender<SocketAddr>,
    seen: Arc<Seen>,
    _task: runtime::Task<()>,
}

impl FaultProxy {
    /// Starts one in front of a server: `http://127.0.0.1:PORT`, or without the scheme.
    ///
    /// # Panics
    /// Where the address is none, or the machine has no free port.
    pub async fn start(server: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("the machine has a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("a bound listener has an address"));
        let (faults, told) = watch::channel(Fault::None);
        let seen = Arc::new(Seen::default());
        let (server, place) = watch::channel(address_of(server));
        let accept = accept(listener, place, told, Arc::clone(&seen));
        Self { endpoint, faults, server, seen, _task: runtime::spawn(accept) }
    }

    /// From now on this happens.
    pub fn set(&self, fault: Fault) {
        self.faults.send_replace(fault);
    }

    /// New connections go to another server from now on.
    ///
    /// # Panics
    /// Where the address is none.
    pub fn lead_to(&self, server: &str) {
        self.server.send_replace(address_of(server));
    }

    /// How many connections were made.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// How many connections were ended by a fault, and how often bytes were held back by one.
    #[must_use]
    pub fn injected(&self) -> (u64, u64) {
        (self.seen.ended.load(Ordering::Relaxed), self.seen.held.load(Ordering::Relaxed))
    }
}

fn address_of(endpoint: &str) -> SocketAddr {
    endpoint.trim_start_matches("http://").parse().expect("it is an address")
}

async fn accept(
    listener: TcpListener,
    server: watch::Receiver<SocketAddr>,
    faults: watch::Receiver<Fault>,
    seen: Arc<Seen>,
) {
    // All end when this does.
    let mut open: Vec<runtime::Task<()>> = Vec::new();
    while let Ok((client, _)) = listener.accept().await {
        seen.connections.fetch_add(1, Ordering::Relaxed);
        let server = *server.borrow();
        open.push(runtime::spawn(connect(client, server, faults.clone(), Arc::clone(&seen))));
    }
}

/// One connection, from its first byte to its end.
async fn connect(
    mut client: TcpStream,
    server: SocketAddr,
    mut faults: watch::Receiver<Fault>,
    seen: Arc<Seen>,
) {
    // Nobody may listen there at present.
    let server = TcpStream::connect(server).await;
    let Ok(mut server) = server else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ended = {
        let ((client_reads, client_writes), (server_reads, server_writes)) = (client.split(), server.split());
        let (up, down) = (Flow::new(&faults, &seen), Flow::new(&faults, &seen));
        tokio::try_join!(up.pump(client_reads, server_writes), down.pump(server_reads, client_writes))
    };
    if ended.is_err() && faults.borrow_and_update().is_end() {
        seen.ended.fetch_add(1, Ordering::Relaxed);
    }
    if *faults.borrow() == Fault::Reset {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// One direction of a connection.
struct Flow {
    faults: watch::Receiver<Fault>,
    seen: Arc<Seen>,
}

impl Flow {
    fn new(faults: &watch::Receiver<Fault>, seen: &Arc<Seen>) -> Self {
        Self { faults: faults.clone(), seen: Arc::clone(seen) }
    }

    /// Passes bytes on until their giver ends; an error where the connection is to end as a whole.
    async fn pump(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let fault = self.until_open().await?;
            let read = tokio::select! {
                biased;
                _ = self.faults.changed() => continue,
                read = from.read(&mut buffer[..fault.chunk()]) => read?,
            };
            if read == 0 {
                return to.shutdown().await;
            }
            self.hold(fault.delay(read)).await?;
            self.write(&mut to, &buffer[..read]).await?;
        }
    }

    /// Waits while nothing may pass.
    async fn until_open(&mut self) -> io::Result<Fault> {
        loop {
            let fault = *self.faults.borrow_and_update();
            if fault.is_end() {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if fault != Fault::Stall {
                return Ok(fault);
            }
            self.seen.held.fetch_add(1, Ordering::Relaxed);
            self.changed().await?;
        }
    }

    /// Holds bytes back for as long as nothing changes.
    async fn hold(&mut self, delay: Duration) -> io::Result<()> {
        if delay.is_zero() {
            return Ok(());
        }
        self.seen.held.fetch_add(1, Ordering::Relaxed);
        tokio::select! {
            changed = self.changed() => changed,
            () = runtime::sleep(delay) => Ok(()),
        }
    }

    async fn write(&mut self, to: &mut WriteHalf<'_>, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.until_open().await?;
            tokio::select! {
                biased;
                _ = self.faults.changed() => {}
                // It takes some of them, or none: nothing is lost where it is cancelled.
                written = to.write(bytes) => bytes = &bytes[written?..],
            }
        }
        Ok(())
    }

    async fn changed(&mut self) -> io::Result<()> {
        // Without its proxy a connection is to end.
        self.faults.changed().await.map_err(|_| io::ErrorKind::ConnectionReset.into())
    }
}
