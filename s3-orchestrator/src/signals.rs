//! What the operator says by signal: end, end at once, look at your files again.

use std::process;

use runtime::Task;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT.
pub(crate) struct Ending {
    terminate: Signal,
    interrupt: Signal,
}

impl Ending {
    /// Listens from now on; until then, the signals have their usual effect.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one. Gives its name and the exit code of a process that it killed.
    pub(crate) async fn received(&mut self) -> (&'static str, i32) {
        tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", 143),
            _ = self.interrupt.recv() => ("SIGINT", 130),
        }
    }

    /// From now on, the next signal ends the process where it stands.
    pub(crate) fn next_ends_at_once(mut self) -> Task<()> {
        runtime::spawn(async move {
            let (name, code) = self.received().await;
            tracing::warn!("{name} came again: ending at once");
            process::exit(code);
        })
    }
}

/// SIGHUP, once for each.
pub(crate) fn reloads() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}
