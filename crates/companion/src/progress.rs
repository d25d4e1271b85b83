//! Progress for a person at a terminal. Silent where there is none.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use runtime::Instant;

const EVERY: Duration = Duration::from_millis(250);

/// A line that is written over and over.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    shown: bool,
    start: Instant,
    last: Instant,
    bytes: u64,
}

impl Progress {
    /// Begins with no byte.
    #[must_use]
    pub fn start(what: &'static str) -> Self {
        let now = runtime::instant_now();
        Self { what, shown: std::io::stderr().is_terminal(), start: now, last: now, bytes: 0 }
    }

    /// So many bytes more.
    pub fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if self.shown && self.last.elapsed() >= EVERY {
            self.last = runtime::instant_now();
            self.show("");
        }
    }

    /// Leaves the line as it is.
    pub fn end(self) {
        if self.shown {
            self.show("\n");
        }
    }

    fn show(&self, end: &str) {
        let seconds = self.start.elapsed().as_secs().max(1);
        let mut terminal = std::io::stderr();
        // A terminal that went away is no reason to stop.
        let _ = write!(
            terminal,
            "\r{}: {} MiB, {} KiB/s {end}",
            self.what,
            self.bytes >> 20,
            (self.bytes >> 10) / seconds
        );
        let _ = terminal.flush();
    }
}
