//! Which of very many replicas were seen, in bounded memory: a Bloom filter.
//!
//! It may take one for seen that was not, never the other way round. Another run, with other chance, errs
//! about others.

use types::ReplicaId;

/// Bits for each replica that is expected: 1 in 500 is taken for seen by mistake.
const BITS_EACH: u64 = 16;
const PROBES: u64 = 4;
/// 8 KiB at least, 16 MiB at most: enough for 8 million replicas. With more of them, more mistakes.
const BITS_MIN: u64 = 1 << 16;
const BITS_MAX: u64 = 1 << 27;

/// What was seen.
#[derive(Debug)]
pub(crate) struct Seen {
    words: Vec<u64>,
    mask: u64,
    chance: u64,
}

impl Seen {
    /// Room for about so many.
    pub(crate) fn for_about(expected: u64, chance: u64) -> Self {
        let bits = expected.saturating_mul(BITS_EACH).clamp(BITS_MIN, BITS_MAX).next_power_of_two();
        let words = vec![0; usize::try_from(bits / 64).expect("2 MiB of words")];
        Self { words, mask: bits - 1, chance }
    }

    /// Notes one.
    pub(crate) fn add(&mut self, replica: ReplicaId) {
        for bit in self.bits(replica) {
            self.words[word(bit)] |= 1 << (bit % 64);
        }
    }

    /// Notes one, where that holds.
    pub(crate) fn add_where(&mut self, holds: bool, replica: ReplicaId) {
        if holds {
            self.add(replica);
        }
    }

    /// Whether it was noted; now and then also where it was not.
    pub(crate) fn has(&self, replica: ReplicaId) -> bool {
        self.bits(replica).all(|bit| self.words[word(bit)] >> (bit % 64) & 1 == 1)
    }

    fn bits(&self, replica: ReplicaId) -> impl Iterator<Item = u64> + use<> {
        let wide = u128::from_be_bytes(replica.to_bytes());
        #[expect(clippy::cast_possible_truncation, reason = "two halves")]
        let (low, high) = (wide as u64, (wide >> 64) as u64);
        let first = mix(low ^ self.chance);
        let step = mix(high ^ first) | 1;
        let mask = self.mask;
        (0..PROBES).map(move |probe| first.wrapping_add(step.wrapping_mul(probe)) & mask)
    }
}

fn word(bit: u64) -> usize {
    usize::try_from(bit / 64).expect("2 MiB of words")
}

/// The finish of SplitMix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use types::Timestamp;

    use super::*;

    fn id(number: u128) -> ReplicaId {
        ReplicaId::from_parts(Timestamp::from_millis(1_700_000_000_000), number)
    }

    #[test]
    fn nothing_that_was_seen_is_missed_and_little_else_is_taken_for_seen() {
        for chance in [0, 7, u64::MAX] {
            let mut seen = Seen::for_about(50_000, chance);
            (0..50_000).for_each(|number| seen.add(id(number)));
            assert!((0..50_000).all(|number| seen.has(id(number))));
            let mistakes = (50_000..150_000).filter(|number| seen.has(id(*number))).count();
            assert!(mistakes < 1_000, "{mistakes} of 100,000");
        }
    }

    #[test]
    fn its_memory_has_a_bound() {
        assert_eq!(Seen::for_about(u64::MAX, 1).words.len() * 8, 16 << 20);
        assert_eq!(Seen::for_about(0, 1).words.len() * 8, 8 << 10);
    }
}
