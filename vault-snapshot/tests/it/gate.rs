//! A forwarder of TCP connections that stands in the way: it cuts them, holds them for a while, or changes a byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What it does to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Cuts a connection on which the server has answered so many bytes.
    CutAnswers(u64),
    /// Changes a byte of what the server answers after so many.
    FlipAnswers(u64),
    /// Lets no further byte of a request pass after so many, until [`Gate::release`].
    HoldRequests(u64),
}

pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    /// How many connections are still to be treated so.
    left: Arc<AtomicUsize>,
    /// Bytes that reached the obstacle.
    pub(crate) held: Arc<AtomicU64>,
    released: watch::Sender<bool>,
    _task: runtime::Task<()>,
}

impl Gate {
    /// In front of a port of the loopback address; the first so many connections that come to the obstacle meet it.
    pub(crate) async fn start(listener: TcpListener, target: u16, obstacle: Obstacle, times: usize) -> Self {
        let (address, left) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(times)));
        let (released, held) = (watch::Sender::new(false), Arc::new(AtomicU64::new(0)));
        let shared = (Arc::clone(&left), Arc::clone(&held), released.clone());
        let task = runtime::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (left, held, released) = shared.clone();
                runtime::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
                    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                        (client.into_split(), server.into_split());
                    let requests = async {
                        let (mut buffer, mut passed) = (vec![0; 16 * 1024], 0_u64);
                        while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
                            passed += length as u64;
                            if matches!(obstacle, Obstacle::HoldRequests(after) if passed > after)
                                && take(&left)
                            {
                                held.store(passed, Ordering::SeqCst);
                                let _ = released.subscribe().wait_for(|released| *released).await;
                            }
                            if to_server.write_all(&buffer[..length]).await.is_err() {
                                break;
                            }
                        }
                    };
                    let answers = async {
                        let (mut buffer, mut passed) = (vec![0; 16 * 1024], 0_u64);
                        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
                            passed += length as u64;
                            if matches!(obstacle, Obstacle::CutAnswers(after) if passed > after)
                                && take(&left)
                            {
                                held.store(passed, Ordering::SeqCst);
                                break;
                            }
                            if matches!(obstacle, Obstacle::FlipAnswers(after) if passed > after)
                                && take(&left)
                            {
                                held.store(passed, Ordering::SeqCst);
                                buffer[length - 1] ^= 1;
                            }
                            if to_client.write_all(&buffer[..length]).await.is_err() {
                                break;
                            }
                        }
                    };
                    tokio::select! { () = requests => {} () = answers => {} }
                })
                .detach();
            }
        });
        Self { address, left, held, released, _task: task }
    }

    /// From here on everything passes.
    pub(crate) fn release(&self) {
        self.left.store(0, Ordering::SeqCst);
        self.released.send_replace(true);
    }
}

/// Takes one of the times that are left.
fn take(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}
