//! Bodies to send: long, cheap to make, and with no two neighbouring pieces alike.
//!
//! A body is a sequence of pieces of 1 MiB out of a fixed set, so that gigabytes of it can be kept, sent and
//! compared without being held.

use std::sync::LazyLock;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use s3_client::{BoxError, PutBody};

/// Bytes of a piece.
pub const PIECE_BYTES: usize = 1 << 20;
/// Different pieces: a prime, so that they line up with nothing.
const PIECES: usize = 61;

static SET: LazyLock<Vec<Bytes>> = LazyLock::new(|| (0..PIECES as u64).map(piece).collect());

/// What a body consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Bodies of different seeds differ from their first byte on.
    pub seed: usize,
    /// Bytes in the body.
    pub length: u64,
}

impl Content {
    /// Its bytes, piece by piece; the last one may be shorter.
    pub fn pieces(self) -> impl Iterator<Item = Bytes> + Send + 'static {
        let length = usize::try_from(self.length).unwrap_or(usize::MAX);
        (0..length.div_ceil(PIECE_BYTES)).map(move |index| {
            let piece = &SET[self.seed.wrapping_add(index) % PIECES];
            piece.slice(..PIECE_BYTES.min(length - index * PIECE_BYTES))
        })
    }

    /// Its bytes as a stream of pieces.
    pub fn stream(self) -> impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static {
        stream::iter(self.pieces().map(Ok))
    }

    /// A body to put: whole where it is one piece, which the client then signs; else a stream.
    #[must_use]
    pub fn put_body(self) -> PutBody {
        if self.length > PIECE_BYTES as u64 {
            return PutBody::Stream { length: self.length, stream: self.stream().boxed() };
        }
        PutBody::Bytes(self.pieces().next().unwrap_or_default())
    }

    /// Whether chunks of any lengths are exactly these bytes.
    #[must_use]
    pub fn equals(self, chunks: impl IntoIterator<Item = Bytes>) -> bool {
        let mut expected = self.pieces();
        let mut piece = Bytes::new();
        for mut chunk in chunks {
            while !chunk.is_empty() {
                if piece.is_empty() {
                    let Some(next) = expected.next() else { return false };
                    piece = next;
                }
                let length = chunk.len().min(piece.len());
                if chunk.split_to(length) != piece.split_to(length) {
                    return false;
                }
            }
        }
        piece.is_empty() && expected.next().is_none()
    }
}

/// Pseudo-random bytes (splitmix64), so that nothing on the way can shrink them.
fn piece(seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut bytes = Vec::with_capacity(PIECE_BYTES);
    while bytes.len() < PIECE_BYTES {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    Bytes::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seed: usize, length: u64, chunk: usize, as_seed: usize, as_length: u64, equal: bool) {
        let all: Vec<u8> = Content { seed, length }.pieces().flatten().collect();
        assert_eq!(all.len() as u64, length);
        let chunks = all.chunks(chunk).map(Bytes::copy_from_slice);
        assert_eq!(Content { seed: as_seed, length: as_length }.equals(chunks), equal);
    }

    #[test]
    fn a_body_equals_itself_however_it_is_cut() {
        check(3, 3 << 20, 1 << 20, 3, 3 << 20, true);
        check(3, (3 << 20) + 17, 100_000, 3, (3 << 20) + 17, true);
        check(3, 0, 1, 3, 0, true);
    }

    #[test]
    fn a_body_differs_from_any_other() {
        check(3, 3 << 20, 100_000, 4, 3 << 20, false);
        check(3, 3 << 20, 100_000, 3, (3 << 20) + 1, false);
        check(3, (3 << 20) + 1, 100_000, 3, 3 << 20, false);
        check(3, 0, 1, 3, 1, false);
    }
}
