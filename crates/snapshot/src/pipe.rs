//! From an asynchronous stream to code that reads: a bounded queue with a thread at its end.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

/// Chunks on their way at once.
const DEPTH: usize = 4;

/// The end that is fed.
pub(crate) struct Feed(mpsc::Sender<Option<Bytes>>);

/// The end that is read, on a thread that may block. Where the feed is dropped without having said that this was
/// the end, reading fails: a stream that broke off is never taken for a short one.
pub(crate) struct Reader {
    chunks: mpsc::Receiver<Option<Bytes>>,
    current: Bytes,
    ended: bool,
}

pub(crate) fn pipe() -> (Feed, Reader) {
    let (feed, chunks) = mpsc::channel(DEPTH);
    (Feed(feed), Reader { chunks, current: Bytes::new(), ended: false })
}

impl Feed {
    /// False where nobody reads any more.
    pub(crate) async fn send(&self, chunk: Bytes) -> bool {
        chunk.is_empty() || self.0.send(Some(chunk)).await.is_ok()
    }

    /// Says that this was all.
    pub(crate) async fn end(self) {
        // Who reads no more need not be told.
        let _ = self.0.send(None).await;
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.chunks.blocking_recv() {
                Some(Some(chunk)) => self.current = chunk,
                Some(None) => self.ended = true,
                None => return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the stream broke off")),
            }
        }
        let length = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was fed, and how reading it ended.
    fn read(ended: bool) -> (Vec<u8>, io::Result<usize>) {
        let (feed, mut reader) = pipe();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it needs nothing");
        runtime.block_on(async {
            assert!(feed.send(Bytes::from_static(b"abc")).await);
            if ended { feed.end().await } else { drop(feed) }
        });
        let mut bytes = Vec::new();
        let outcome = reader.read_to_end(&mut bytes);
        (bytes, outcome)
    }

    #[test]
    fn a_stream_that_broke_off_is_no_short_one() {
        let (bytes, outcome) = read(true);
        assert_eq!((bytes, outcome.ok()), (b"abc".to_vec(), Some(3)));
        let (bytes, outcome) = read(false);
        assert_eq!(bytes, b"abc");
        assert_eq!(outcome.map_err(|error| error.kind()), Err(io::ErrorKind::BrokenPipe));
    }
}
