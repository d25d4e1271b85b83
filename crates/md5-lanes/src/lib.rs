//! MD5 of several streams at once, at a third of what each costs alone.
//!
//! Alone a stream is digested by the crate `md-5`. What comes out is the same; only the compression function of
//! four streams side by side is ours. A crate of its own, so that builds for tests can optimise it.

mod compress;

use compress::compress;

/// Streams that are taken further together, at most.
pub const LANES: usize = compress::LANES;

const BLOCK_BYTES: usize = 64;
const INITIAL: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The MD5 of a stream that is still coming.
#[derive(Debug, Clone)]
pub struct Md5 {
    state: [u32; 4],
    /// Bytes taken so far.
    length: u64,
    /// The bytes behind the last whole block, at its beginning.
    rest: [u8; BLOCK_BYTES],
}

impl Default for Md5 {
    fn default() -> Self {
        Self { state: INITIAL, length: 0, rest: [0; BLOCK_BYTES] }
    }
}

impl Md5 {
    /// Of no bytes yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of this stream alone.
    pub fn update(&mut self, bytes: &[u8]) {
        let (blocks, rest) = self.fill_up(bytes).as_chunks();
        md5::block_api::compress(&mut self.state, blocks);
        self.keep(blocks.len(), rest);
    }

    /// The digest.
    #[must_use]
    pub fn finish(mut self) -> [u8; 16] {
        let bits = self.length.wrapping_mul(8);
        let used = self.rest_bytes();
        // A one, zeros up to eight bytes before the end of a block, and the length.
        let zeros = (2 * BLOCK_BYTES - 9 - used) % BLOCK_BYTES;
        let mut padding = [0; BLOCK_BYTES + 8];
        padding[0] = 0x80;
        padding[1 + zeros..][..8].copy_from_slice(&bits.to_le_bytes());
        self.update(&padding[..1 + zeros + 8]);
        let mut digest = [0; 16];
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(self.state) {
            *bytes = word.to_le_bytes();
        }
        digest
    }

    fn rest_bytes(&self) -> usize {
        usize::try_from(self.length % BLOCK_BYTES as u64).expect("it is below 64")
    }

    /// Completes the block that was begun; gives what is left of the bytes.
    fn fill_up<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let used = self.rest_bytes();
        if used == 0 {
            return bytes;
        }
        let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - used));
        self.rest[used..used + now.len()].copy_from_slice(now);
        self.length = self.length.wrapping_add(now.len() as u64);
        if used + now.len() == BLOCK_BYTES {
            md5::block_api::compress(&mut self.state, &[self.rest]);
        }
        later
    }

    /// Notes what was digested, and keeps what is no whole block.
    fn keep(&mut self, blocks: usize, rest: &[u8]) {
        let bytes = blocks * BLOCK_BYTES + rest.len();
        self.length = self.length.wrapping_add(bytes as u64);
        // An empty one may stand behind a block that is still being filled up.
        if !rest.is_empty() {
            self.rest[..rest.len()].copy_from_slice(rest);
        }
    }
}

/// A stream and its next bytes.
#[derive(Debug)]
pub struct Lane<'a> {
    /// The stream.
    pub md5: &'a mut Md5,
    /// What comes next of it.
    pub bytes: &'a [u8],
}

/// Takes streams further together, cheapest where there are [`LANES`] of them with as many bytes each.
pub fn update_all(lanes: &mut [Lane<'_>]) {
    for set in lanes.chunks_mut(LANES) {
        update_set(set);
    }
}

/// At most [`LANES`] of them.
fn update_set(lanes: &mut [Lane<'_>]) {
    for lane in &mut *lanes {
        lane.bytes = lane.md5.fill_up(lane.bytes);
    }
    loop {
        let whole = |lane: &Lane<'_>| lane.bytes.len() / BLOCK_BYTES;
        let mut busy: Vec<_> = lanes.iter_mut().filter(|lane| whole(lane) > 0).collect();
        let Some(blocks) = busy.iter().map(|lane| whole(lane)).min().filter(|_| busy.len() > 1) else {
            break;
        };
        side_by_side(&mut busy, blocks);
    }
    for lane in lanes {
        lane.md5.update(lane.bytes);
        lane.bytes = &[];
    }
}

/// Two to [`LANES`] streams, each by so many blocks.
fn side_by_side(lanes: &mut [&mut Lane<'_>], blocks: usize) {
    // A place that is not taken repeats the last one; nobody looks at what comes of it.
    let lane_of = |place: usize| place.min(lanes.len() - 1);
    let messages: [&[[u8; BLOCK_BYTES]]; LANES] =
        std::array::from_fn(|place| &lanes[lane_of(place)].bytes.as_chunks().0[..blocks]);
    let mut states: compress::States =
        std::array::from_fn(|word| std::array::from_fn(|place| lanes[lane_of(place)].md5.state[word]));
    compress(&mut states, messages);
    for (place, lane) in lanes.iter_mut().enumerate() {
        lane.md5.state = states.map(|word| word[place]);
        let (done, left) = lane.bytes.split_at(blocks * BLOCK_BYTES);
        lane.md5.keep(done.len() / BLOCK_BYTES, &[]);
        lane.bytes = left;
    }
}

#[cfg(test)]
mod tests {
    use md5::Digest as _;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn hex(digest: [u8; 16]) -> String {
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn alone(bytes: &[u8]) -> [u8; 16] {
        let mut md5 = Md5::new();
        md5.update(bytes);
        md5.finish()
    }

    /// The test suite of RFC 1321.
    #[test]
    fn digests_are_the_published_ones() {
        for (text, expected) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ] {
            assert_eq!(hex(alone(text.as_bytes())), expected, "{text}");
        }
    }

    #[test]
    fn every_length_is_padded_right() {
        let bytes: Vec<u8> = (0..=255).cycle().take(300).collect();
        for length in 0..bytes.len() {
            let expected: [u8; 16] = md5::Md5::digest(&bytes[..length]).into();
            assert_eq!(alone(&bytes[..length]), expected, "{length}");
        }
    }

    proptest! {
        /// Whatever comes together, each stream has the digest that it has alone.
        #[test]
        fn streams_do_not_mix(
            rounds in vec(vec((0_usize..6, vec(any::<u8>(), 0..400)), 0..7), 0..6)
        ) {
            let mut streams: [(Md5, Vec<u8>); 6] = Default::default();
            for round in &rounds {
                let mut taken = [false; 6];
                let mut bytes_of: [&[u8]; 6] = [&[]; 6];
                for (stream, bytes) in round {
                    (taken[*stream], bytes_of[*stream]) = (true, bytes);
                }
                let mut lanes = Vec::new();
                for (stream, (md5, all)) in streams.iter_mut().enumerate().filter(|(at, _)| taken[*at]) {
                    all.extend_from_slice(bytes_of[stream]);
                    lanes.push(Lane { md5, bytes: bytes_of[stream] });
                }
                update_all(&mut lanes);
            }
            for (md5, all) in streams {
                let expected: [u8; 16] = md5::Md5::digest(&all).into();
                prop_assert_eq!(md5.finish(), expected);
            }
        }
    }

    #[test]
    fn four_long_ones_of_the_same_length_are_right() {
        let bytes: Vec<Vec<u8>> = (0..LANES).map(|lane| vec![u8::try_from(lane).unwrap(); 100_000]).collect();
        let mut streams: Vec<Md5> = bytes.iter().map(|_| Md5::new()).collect();
        let mut lanes: Vec<_> = streams
            .iter_mut()
            .zip(&bytes)
            .map(|(md5, bytes)| Lane { md5, bytes: bytes.as_slice() })
            .collect();
        update_all(&mut lanes);
        for (md5, bytes) in streams.into_iter().zip(&bytes) {
            assert_eq!(md5.finish(), <[u8; 16]>::from(md5::Md5::digest(bytes)));
        }
    }
}
