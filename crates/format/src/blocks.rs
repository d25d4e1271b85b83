//! Block checksums: the CRC32C of each 64 KiB of a blob's stored bytes.
//!
//! They find what a disk, a network or a provider changed; they are no defence against someone who wants
//! to deceive.

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use types::ByteRange;

/// Bytes in a block. The last block of a blob may be shorter.
pub const BLOCK_BYTES: u64 = 64 * 1024;

const BLOCK: usize = 64 * 1024;

/// Stored bytes are not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("block {block} has checksum {found:08x}, expected {expected:08x}")]
pub struct BlockError {
    /// Which block of the blob.
    pub block: u64,
    /// The recorded checksum.
    pub expected: u32,
    /// What the bytes add up to.
    pub found: u32,
}

/// Number of blocks in a blob of this size.
#[must_use]
pub fn blocks_of(size: u64) -> u64 {
    size.div_ceil(BLOCK_BYTES)
}

/// The smallest run of whole blocks around a range of a blob of `size` bytes.
#[must_use]
pub fn align_to_blocks(range: ByteRange, size: u64) -> ByteRange {
    let start = range.start / BLOCK_BYTES * BLOCK_BYTES;
    let end = (range.end().div_ceil(BLOCK_BYTES) * BLOCK_BYTES).min(size);
    ByteRange::new(start, end.saturating_sub(start))
}

fn digest() -> Digest {
    Digest::new(CrcAlgorithm::Crc32Iscsi)
}

#[expect(clippy::cast_possible_truncation, reason = "a CRC32C has 32 bits")]
fn sum(digest: &Digest) -> u32 {
    digest.finalize() as u32
}

/// Adds up the blocks of a blob while it streams by.
#[derive(Debug)]
pub struct BlockHasher {
    digest: Digest,
    filled: usize,
    sums: Vec<u32>,
}

impl Default for BlockHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl BlockHasher {
    /// Starts at the first byte of a blob.
    #[must_use]
    pub fn new() -> Self {
        Self { digest: digest(), filled: 0, sums: Vec::new() }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(BLOCK - self.filled));
            self.digest.update(now);
            self.filled += now.len();
            bytes = rest;
            if self.filled == BLOCK {
                self.close_block();
            }
        }
    }

    /// The checksums of all blocks.
    #[must_use]
    pub fn finish(mut self) -> Vec<u32> {
        if self.filled > 0 {
            self.close_block();
        }
        self.sums
    }

    fn close_block(&mut self) {
        self.sums.push(sum(&self.digest));
        self.digest = digest();
        self.filled = 0;
    }
}

/// Proves bytes of a blob block by block. Holds back at most one block; what it gives out is proved.
#[derive(Debug)]
pub struct BlockVerifier {
    digest: Digest,
    filled: usize,
    held: Vec<Bytes>,
    /// Bytes of the present run that are not yet taken in.
    left: u64,
    block: u64,
}

impl BlockVerifier {
    /// Starts at a run of whole blocks, as [`align_to_blocks`] makes it.
    #[must_use]
    pub fn new(run: ByteRange) -> Self {
        debug_assert!(run.start.is_multiple_of(BLOCK_BYTES), "a run starts at a block");
        Self {
            digest: digest(),
            filled: 0,
            held: Vec::new(),
            left: run.length,
            block: run.start / BLOCK_BYTES,
        }
    }

    /// Takes the next bytes; proved ones are appended to `proved`. `expected` gives the recorded checksum
    /// of a block, or `None` where none was recorded (such a block passes).
    ///
    /// # Errors
    /// The first block that is not what was written; none of its bytes were given out.
    pub fn update(
        &mut self,
        mut bytes: Bytes,
        expected: impl Fn(u64) -> Option<u32>,
        proved: &mut Vec<Bytes>,
    ) -> Result<(), BlockError> {
        while !bytes.is_empty() && self.left > 0 {
            let room = (BLOCK - self.filled).min(usize::try_from(self.left).unwrap_or(usize::MAX));
            let now = bytes.split_to(bytes.len().min(room));
            self.digest.update(&now);
            self.filled += now.len();
            self.left -= now.len() as u64;
            self.held.push(now);
            if self.filled == BLOCK || self.left == 0 {
                self.close_block(&expected, proved)?;
            }
        }
        Ok(())
    }

    fn close_block(
        &mut self,
        expected: impl Fn(u64) -> Option<u32>,
        proved: &mut Vec<Bytes>,
    ) -> Result<(), BlockError> {
        let found = sum(&self.digest);
        let block = self.block;
        if let Some(expected) = expected(block).filter(|expected| *expected != found) {
            return Err(BlockError { block, expected, found });
        }
        proved.append(&mut self.held);
        self.digest = digest();
        self.filled = 0;
        self.block += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sums_of(data: &[u8]) -> Vec<u32> {
        let mut hasher = BlockHasher::new();
        hasher.update(data);
        hasher.finish()
    }

    #[test]
    fn the_checksum_is_crc32c() {
        // The check value of CRC-32/ISCSI in the catalogue of parametrised CRC algorithms.
        assert_eq!(sums_of(b"123456789"), [0xe306_9283]);
        assert_eq!(sums_of(b""), [] as [u32; 0]);
    }

    #[test]
    fn a_range_grows_to_whole_blocks() {
        let size = 3 * BLOCK_BYTES + 5;
        assert_eq!(align_to_blocks(ByteRange::new(1, 1), size), ByteRange::new(0, BLOCK_BYTES));
        let last = ByteRange::new(3 * BLOCK_BYTES + 1, 4);
        assert_eq!(align_to_blocks(last, size), ByteRange::new(3 * BLOCK_BYTES, 5));
        assert_eq!(blocks_of(size), 4);
    }

    proptest! {
        #[test]
        fn proved_bytes_are_the_written_ones_and_a_flipped_bit_is_found(
            size in 1usize..300_000, cuts in prop::collection::vec(1usize..70_000, 0..8), flip in any::<prop::sample::Index>(),
        ) {
            let data: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
            let sums = sums_of(&data);
            let expected = |block: u64| sums.get(block as usize).copied();
            let run = |data: &[u8]| {
                let mut verifier = BlockVerifier::new(ByteRange::whole(size as u64));
                let (mut out, mut rest) = (Vec::new(), Bytes::copy_from_slice(data));
                for cut in &cuts {
                    verifier.update(rest.split_to((*cut).min(rest.len())), expected, &mut out)?;
                }
                verifier.update(rest, expected, &mut out)?;
                Ok::<_, BlockError>(out.concat())
            };
            prop_assert_eq!(run(&data).unwrap(), data.clone());

            let at = flip.index(size);
            let mut bad = data.clone();
            bad[at] ^= 1;
            prop_assert_eq!(run(&bad).unwrap_err().block, at as u64 / BLOCK_BYTES);
        }
    }
}
