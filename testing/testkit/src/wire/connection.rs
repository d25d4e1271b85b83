//! One connection, byte by byte.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::answer::Head;
use super::{Answer, Call, SignedHead};

/// Nobody waits longer than this for a byte of an answer.
const PATIENCE: Duration = Duration::from_secs(60);
const READ_BYTES: usize = 64 * 1024;

/// A connection to a server.
#[derive(Debug)]
pub struct Wire {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    unread: Vec<u8>,
}

impl Wire {
    /// Connects.
    ///
    /// # Errors
    /// Where nobody listens.
    pub async fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        Ok(Self { reader, writer, unread: Vec::new() })
    }

    /// Sends a whole request and reads the whole answer. The answer may come before the body is sent, and the
    /// server may then take no more of it.
    ///
    /// # Errors
    /// Where the connection fails before the answer is whole.
    pub async fn send(&mut self, head: &SignedHead, call: &Call) -> io::Result<Answer> {
        let request = if call.body.len() < READ_BYTES {
            [&head.bytes[..], &call.body].concat()
        } else {
            self.write(&head.bytes).await?;
            call.body.clone()
        };
        self.exchange(&request, &call.method).await
    }

    /// Writes bytes while it reads the answer.
    ///
    /// # Errors
    /// Where the connection fails before the answer is whole.
    pub async fn exchange(&mut self, bytes: &[u8], method: &str) -> io::Result<Answer> {
        let Self { reader, writer, unread } = self;
        // A server that has answered may close while it is still being written to.
        let written = async {
            let _ = writer.write_all(bytes).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = written => unreachable!("it never ends"),
            answer = read_answer(reader, unread, method) => answer,
        }
    }

    /// Writes bytes as they stand.
    ///
    /// # Errors
    /// Where the server has closed the connection.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes).await
    }

    /// Says that no more will be written.
    ///
    /// # Errors
    /// Where the server has closed the connection.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.writer.shutdown().await
    }

    /// Reads the answer to a request that was written.
    ///
    /// # Errors
    /// Where the connection fails before it is whole.
    pub async fn answer_to(&mut self, method: &str) -> io::Result<Answer> {
        read_answer(&mut self.reader, &mut self.unread, method).await
    }

    /// Waits until the server closes the connection; true where it does so within the time.
    pub async fn closes_within(&mut self, limit: Duration) -> bool {
        let closed = async {
            let mut buffer = vec![0; READ_BYTES];
            while let Ok(1..) = self.reader.read(&mut buffer).await {}
        };
        runtime::timeout(limit, closed).await.is_ok()
    }
}

async fn read_answer(reader: &mut OwnedReadHalf, unread: &mut Vec<u8>, method: &str) -> io::Result<Answer> {
    let head = loop {
        let head = loop {
            if let Some(head) = Head::take(unread)? {
                break head;
            }
            more(reader, unread).await?;
        };
        // 100 Continue and its kin come ahead of the answer.
        if head.status >= 200 {
            break head;
        }
    };
    let body = if method == "HEAD" || head.status == 204 || head.status == 304 {
        Vec::new()
    } else if let Some(length) = head.header("content-length") {
        let length: usize = length.parse().map_err(|_| malformed("its length is no number"))?;
        take(reader, unread, length).await?
    } else if head.header("transfer-encoding").is_some() {
        read_chunks(reader, unread).await?
    } else {
        while more(reader, unread).await.is_ok() {}
        std::mem::take(unread)
    };
    Ok(head.with_body(body))
}

async fn read_chunks(reader: &mut OwnedReadHalf, unread: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = loop {
            if let Some(end) = unread.windows(2).position(|pair| pair == b"\r\n") {
                let rest = unread.split_off(end + 2);
                break std::mem::replace(unread, rest);
            }
            more(reader, unread).await?;
        };
        let digits = String::from_utf8_lossy(&line);
        let digits = digits.trim().split(';').next().unwrap_or_default();
        let length = usize::from_str_radix(digits, 16).map_err(|_| malformed("a chunk has no length"))?;
        let chunk = take(reader, unread, length + 2).await?;
        if length == 0 {
            return Ok(body);
        }
        body.extend_from_slice(&chunk[..length]);
    }
}

async fn take(reader: &mut OwnedReadHalf, unread: &mut Vec<u8>, length: usize) -> io::Result<Vec<u8>> {
    while unread.len() < length {
        more(reader, unread).await?;
    }
    let rest = unread.split_off(length);
    Ok(std::mem::replace(unread, rest))
}

async fn more(reader: &mut OwnedReadHalf, unread: &mut Vec<u8>) -> io::Result<()> {
    unread.reserve(READ_BYTES);
    match runtime::timeout(PATIENCE, reader.read_buf(unread)).await {
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no byte of an answer came")),
        Ok(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(read) => read.map(|_| ()),
    }
}

fn malformed(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a malformed answer: {problem}"))
}
