//! Bytes on their way: counted, and covered before they pass.

use futures::{StreamExt, stream};
use runtime::{mutation, simulation};
use types::LimitKind;

use super::{Counter, Direction};
use crate::{BackendError, BodyError, ByteStream, Cover, ErrorKind, Needs, Operation};

/// Bytes of a download that are covered beyond what may lie unread. No driver gives larger chunks.
const SLICE_BYTES: u64 = 1 << 20;
/// The same where all bodies and chunks are small.
const SIMULATED_SLICE_BYTES: u64 = 4 << 10;

/// What of a download is covered before it is asked for. A length that is not known is taken for a long one.
pub(super) fn first_slice(length: Option<u64>, lead: u64) -> u64 {
    let slice = if simulation::is_on() { SIMULATED_SLICE_BYTES } else { SLICE_BYTES };
    let ahead = lead.saturating_add(slice);
    length.map_or(ahead, |length| length.min(ahead))
}

/// An upload that is only counted.
pub(super) fn counted_upload(body: ByteStream, counter: Counter) -> ByteStream {
    Box::pin(body.inspect(move |chunk| {
        if let Ok(chunk) = chunk {
            counter.bytes(Direction::In, chunk.len() as u64);
        }
    }))
}

/// A download that is only counted.
pub(super) fn counted_download(body: ByteStream<BackendError>, counter: Counter) -> ByteStream<BackendError> {
    Box::pin(body.inspect(move |chunk| match chunk {
        Ok(chunk) => counter.bytes(Direction::Out, chunk.len() as u64),
        Err(error) => counter.broken(error.kind),
    }))
}

/// An upload whose bytes are spent as the driver takes them. What it does not take goes back with the cover.
pub(super) fn upload(body: ByteStream, cover: Cover, counter: Counter) -> ByteStream {
    Box::pin(stream::unfold(Some((body, cover)), move |state| {
        let counter = counter.clone();
        async move {
            let (mut body, mut cover) = state?;
            let chunk = match body.next().await? {
                Ok(chunk) => chunk,
                Err(error) => return Some((Err(error), None)),
            };
            // A border may have passed while the giver was waited for.
            if let Err(error) = cover.extend(Operation::Put, Needs::default()).await {
                return Some((Err(BodyError(error.to_string())), None));
            }
            cover.spend(Needs::ingress(chunk.len() as u64));
            counter.bytes(Direction::In, chunk.len() as u64);
            Some((Ok(chunk), Some((body, cover))))
        }
    }))
}

/// A download on its way, with what covers it. Dropped early, it charges what may have been sent unread.
pub(super) struct Passing {
    cover: Option<Cover>,
    lead: u64,
    /// Bytes that are still to come, as far as is known.
    rest: u64,
}

impl Passing {
    pub(super) fn new(cover: Option<Cover>, lead: u64) -> Self {
        let rest = cover.as_ref().map_or(0, |cover| cover.left(LimitKind::Egress));
        Self { cover, lead, rest }
    }

    /// The store refused, or never heard of it: no bytes were sent.
    pub(super) fn refused(&mut self, error: &BackendError) {
        if is_refusal(error) {
            self.rest = 0;
        }
    }

    /// The body that was answered.
    pub(super) fn download(
        mut self,
        body: ByteStream<BackendError>,
        length: u64,
        counter: Counter,
    ) -> ByteStream<BackendError> {
        self.rest = length;
        Box::pin(stream::unfold(Some((body, self)), move |state| {
            let counter = counter.clone();
            async move {
                let (mut body, mut passing) = state?;
                if let Err(error) = passing.cover_next().await {
                    return Some((Err(error), None));
                }
                match body.next().await? {
                    Ok(chunk) => {
                        passing.passed(chunk.len() as u64);
                        counter.bytes(Direction::Out, chunk.len() as u64);
                        Some((Ok(chunk), Some((body, passing))))
                    }
                    Err(error) => {
                        counter.broken(error.kind);
                        Some((Err(error), None))
                    }
                }
            }
        }))
    }

    /// Covers the next slice before it is read, on top of what may lie unread.
    async fn cover_next(&mut self) -> Result<(), BackendError> {
        let Some(cover) = self.cover.as_mut().filter(|_| self.rest > 0) else { return Ok(()) };
        if mutation::is_on("get.extended") {
            return Ok(());
        }
        let wanted = first_slice(Some(self.rest), self.lead);
        let left = cover.left(LimitKind::Egress);
        if left > wanted {
            cover.give_back(Needs::egress(left - wanted));
        }
        cover.extend(Operation::Get, Needs::egress(wanted.saturating_sub(left))).await
    }

    fn passed(&mut self, bytes: u64) {
        self.rest = self.rest.saturating_sub(bytes);
        if let Some(cover) = &mut self.cover {
            let left = cover.left(LimitKind::Egress);
            debug_assert!(
                bytes <= left || mutation::is_on("get.extended"),
                "a chunk is larger than what was covered"
            );
            cover.spend(Needs::egress(bytes));
        }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if let Some(cover) = self.cover.as_mut().filter(|_| !mutation::is_on("get.lead")) {
            cover.spend(Needs::egress(self.rest.min(self.lead)));
        }
    }
}

/// Whether an attempt that failed was answered without a body, or did not get as far as the store.
fn is_refusal(error: &BackendError) -> bool {
    let source = error.source.as_ref().and_then(|source| source.downcast_ref::<s3_client::Error>());
    match source {
        Some(cause) => {
            cause.status.is_some_and(|status| status >= 300) || cause.sent == s3_client::Sent::Never
        }
        None => matches!(error.kind, ErrorKind::NotFound | ErrorKind::Denied | ErrorKind::Unsupported),
    }
}
