//! Reads on, for a while, what a client sends after its request was refused.
//!
//! Many clients send a whole body before they look for an answer. A connection that is closed while they do
//! reaches them as a reset, and the answer that says why is lost. Never more than a bound is read.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::EXPECT;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

/// Most bytes that are read of a body that nobody wants.
const BYTES_MAX: u64 = 32 << 20;
/// Longest time for that.
const WITHIN: Duration = Duration::from_secs(5);

/// The body of a request, which lingers where it is dropped before its end.
pub(crate) struct Lingering<B: Unwanted> {
    body: Option<B>,
    /// The client waits to be told before it sends anything, and has not been told.
    held_back: bool,
}

/// What can linger.
pub(crate) trait Unwanted: Body<Data = Bytes> + Send + Unpin + 'static {}

impl<B: Body<Data = Bytes> + Send + Unpin + 'static> Unwanted for B {}

impl<B: Unwanted> Lingering<B> {
    /// The body of a request with these headers.
    pub(crate) fn new(body: B, headers: &HeaderMap) -> Self {
        Self { body: Some(body), held_back: headers.contains_key(EXPECT) }
    }
}

impl<B: Unwanted> Body for Lingering<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        // Asking for the body is what tells the client to send it.
        self.held_back = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B: Unwanted> Drop for Lingering<B> {
    fn drop(&mut self) {
        if let Some(body) = self.body.take()
            && !self.held_back
            && !body.is_end_stream()
        {
            // Detached: it ends by itself, and the connection with it.
            runtime::spawn(read_on(body)).detach();
        }
    }
}

async fn read_on<B: Unwanted>(mut body: B) {
    let reading = async {
        let mut left = BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            let Some(rest) = left.checked_sub(length) else { return };
            left = rest;
        }
    };
    // Whoever is slower than this learns of it by the end of the connection.
    let _ = runtime::timeout(WITHIN, reading).await;
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::{StreamExt, stream};
    use http::HeaderValue;
    use http_body_util::StreamBody;
    use tokio::sync::mpsc;

    use super::*;

    /// A body of so many MiB; the receiver counts what was read of it and ends with the body.
    fn body(count: usize) -> (impl Unwanted, mpsc::UnboundedReceiver<()>) {
        let (read, reads) = mpsc::unbounded_channel();
        let frames = stream::iter(0..count).map(move |_| {
            read.send(()).unwrap();
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; 1 << 20])))
        });
        (StreamBody::new(frames), reads)
    }

    /// How many MiB are read in all of a body that is dropped after the first so many.
    async fn check(count: usize, wanted: usize, headers: HeaderMap, expected: usize) {
        let (body, mut reads) = body(count);
        let mut body = Lingering::new(body, &headers);
        for _ in 0..wanted {
            assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
        }
        drop(body);
        let mut read = 0;
        while reads.recv().await.is_some() {
            read += 1;
        }
        assert_eq!(read, expected);
    }

    #[tokio::test]
    async fn the_rest_of_a_body_is_read() {
        check(10, 0, HeaderMap::new(), 10).await;
        check(10, 3, HeaderMap::new(), 10).await;
        check(3, 3, HeaderMap::new(), 3).await;
    }

    #[tokio::test]
    async fn no_more_than_the_bound() {
        check(1000, 0, HeaderMap::new(), 33).await;
    }

    #[tokio::test]
    async fn a_client_that_waits_to_be_told_is_not_told() {
        let expects = HeaderMap::from_iter([(EXPECT, HeaderValue::from_static("100-continue"))]);
        check(10, 0, expects.clone(), 0).await;
        check(10, 1, expects, 10).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stands_still_is_given_up() {
        let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
        let frames = stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|frame| (frame, receiver))
        });
        drop(Lingering::new(StreamBody::new(Box::pin(frames)), &HeaderMap::new()));
        // Ends when the other side is dropped, which nothing but the time does.
        sender.closed().await;
    }
}
